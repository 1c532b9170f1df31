"""Preset files from the Hugging Face hub, checked by size and sha256.

`huggingface_hub` keeps the cache, resumes, retries, locks, reads tokens and proxies; it does not compare what arrived
with a checksum, and its errors do not say what to do. That happens here.
"""

import errno
import hashlib
import logging
import os
import time
from pathlib import Path

from medzoo.errors import CacheError, DamagedPresetError, HubError, PresetError, PresetNotFoundError

log = logging.getLogger("medzoo")
ATTEMPTS = 3  # at a download that the hub answers with 5xx, besides the client's own
LOGIN = "run `hf auth login`, or set HF_TOKEN"


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path, expected):
    """Raises DamagedPresetError unless the file has the size and sha256 of `{"size": ..., "sha256": ...}`."""
    size = Path(path).stat().st_size
    if size != expected["size"]:
        raise DamagedPresetError(
            f"{path}: {size} bytes; expected {expected['size']}. The file is truncated or altered."
        )
    found = sha256(path)
    if found != expected["sha256"]:
        raise DamagedPresetError(f"{path}: sha256 {found}; expected {expected['sha256']}. It is corrupted or altered.")


def cache_folder():
    """Where downloads are kept: MEDZOO_CACHE, else what the hub's client uses (HF_HUB_CACHE, HF_HOME)."""
    from huggingface_hub import constants

    return os.environ.get("MEDZOO_CACHE") or constants.HF_HUB_CACHE


def fetch(repo, filename, revision=None, expected=None):
    """One file of a hub repository, from the cache or the network.

    Args:
        repo: `user/name`.
        filename: inside the repository.
        revision: branch, tag or commit; a cached full commit hash costs no request.
        expected: `{"size": ..., "sha256": ...}`, or `None` where nothing is known.

    Returns: path in the cache.

    Raises:
        PresetNotFoundError: no such repository, revision or file.
        HubError: not in the cache, and the hub is not reachable, refuses, or fails time and again.
        CacheError: the cache cannot be written.
        DamagedPresetError: not the expected bytes; the bad file is removed first.
    """
    from huggingface_hub import hf_hub_download

    where = f"hf://{repo}" + (f"@{revision}" if revision else "")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path = Path(hf_hub_download(repo, filename, revision=revision, cache_dir=cache_folder()))
            break
        except Exception as error:  # the client raises its own, httpx's, and OSError
            status = _status(error)
            if status is None or status < 500 or attempt == ATTEMPTS:
                raise explained(error, where, filename) from error
            log.warning("%s: the hub answers %d; trying again", where, status)
            time.sleep(2**attempt)
    if expected is not None:
        verify_or_remove(path, expected)
    return path


def _status(error):
    return getattr(getattr(error, "response", None), "status_code", None)


UPLOAD = "the upload"


def explained(error, where, filename):
    """The exception of ours that says what the hub client's error means for a file, or for UPLOAD, and what to do."""
    from huggingface_hub import errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    status, number = _status(cause), getattr(cause, "errno", None)
    text = f"{where}: {filename}"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return HubError(
            f"{text} is not in the cache {cache_folder()}, and HF_HUB_OFFLINE is set. Load it once without, while "
            "online, or point MEDZOO_CACHE to a cache that has it."
        )
    if isinstance(cause, errors.HFValidationError):
        return PresetNotFoundError(f"{where}: no name of a repository ({cause}). Expected hf://user/repo[@revision].")
    if isinstance(cause, errors.GatedRepoError):
        return HubError(f"{text}: access must be granted first. Ask for it on the repository's page, then {LOGIN}.")
    if isinstance(cause, errors.RepositoryNotFoundError):
        return PresetNotFoundError(
            f"{where}: no such repository, or a private one. Check the name; if private, {LOGIN}."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return PresetNotFoundError(f"{where}: no such revision. Leave @revision out for the newest.")
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, errors.LocalEntryNotFoundError):
        return PresetNotFoundError(f"{where}: has no file {filename}; is it a medzoo preset?")
    if status in (401, 403):
        return HubError(f"{text}: the hub answers {status}, no permission. Check the token: {LOGIN}.")
    if status is not None:
        return HubError(f"{text}: the hub answers {status}. Try again later; https://status.huggingface.co knows more.")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return CacheError(
            f"{text}: no room left in {cache_folder()}. Make room, or set MEDZOO_CACHE to another folder."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return CacheError(f"{text}: {cache_folder()} cannot be written ({cause}). Set MEDZOO_CACHE to another folder.")
    if "Consistency check failed" in str(cause):
        return DamagedPresetError(f"{text}: arrived truncated, and was not kept. Load again. ({cause})")
    cached = "" if filename == UPLOAD else f" is not in the cache {cache_folder()}, and"
    return HubError(
        f"{text}{cached} the hub cannot be reached ({type(cause).__name__}: {cause}). Check the connection, "
        "HTTPS_PROXY and HF_ENDPOINT."
    )


def verify_or_remove(path, expected):
    """`check_file`; a file that fails is removed from the cache, so that the next call fetches it anew."""
    try:
        check_file(path, expected)
    except PresetError as error:
        blob = path.resolve()
        for bad in {path, blob}:
            bad.unlink(missing_ok=True)
        log.warning("removed %s from the cache", path)
        raise DamagedPresetError(f"{error} It was removed from the cache; load again to fetch it anew.") from None
