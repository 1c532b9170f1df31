"""Download of preset files from the Hugging Face Hub, verified by size and SHA-256.

`huggingface_hub` manages cache, resuming, retries, locks, tokens and proxies. This module adds the comparison with
expected checksums and error messages with instructions.
"""

import errno
import hashlib
import logging
import os
import time
from pathlib import Path

from medzoo.errors import CacheError, DamagedPresetError, HubError, PresetError, PresetNotFoundError

log = logging.getLogger("medzoo")
ATTEMPTS = 3  # at a download that the Hub answers with 5xx, in addition to the client's own
LOGIN = "run `hf auth login`, or set HF_TOKEN"


def sha256(path: str | os.PathLike) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: str | os.PathLike, expected: dict) -> None:
    """Check size and SHA-256 of a file.

    Args:
        path: The file.
        expected: Dict `{"size": ..., "sha256": ...}`.

    Raises:
        DamagedPresetError: If size or SHA-256 differ.
    """
    size = Path(path).stat().st_size
    if size != expected["size"]:
        raise DamagedPresetError(
            f"{path}: {size} bytes; expected {expected['size']}. The file is truncated or altered."
        )
    digest = sha256(path)
    if digest != expected["sha256"]:
        raise DamagedPresetError(f"{path}: sha256 {digest}; expected {expected['sha256']}. It is corrupted or altered.")


def cache_folder() -> str:
    """Return the download cache: MEDZOO_CACHE, else that of `huggingface_hub` (HF_HUB_CACHE, HF_HOME)."""
    from huggingface_hub import constants

    return os.environ.get("MEDZOO_CACHE") or constants.HF_HUB_CACHE


def fetch(repo: str, filename: str, revision: str | None = None, expected: dict | None = None) -> Path:
    """Return one file of a repository on the Hugging Face Hub, from the cache or the network.

    Args:
        repo: `user/name`.
        filename: Name of the file in the repository.
        revision: Branch, tag or commit; a cached full commit hash needs no request. Default: the main branch.
        expected: Dict `{"size": ..., "sha256": ...}`, or `None` to skip the check.

    Returns:
        Path in the cache.

    Raises:
        PresetNotFoundError: If the repository, revision or file does not exist.
        HubError: If the file is not in the cache, and the Hub is unreachable, denies access or fails repeatedly.
        CacheError: If the cache cannot be written.
        DamagedPresetError: If the file is not the expected one; it is removed from the cache.
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
            log.warning("%s: the Hub returned status %d; retrying", where, status)
            time.sleep(2**attempt)
    if expected is not None:
        verify_or_remove(path, expected)
    return path


def _status(error):
    return getattr(getattr(error, "response", None), "status_code", None)


UPLOAD = "the upload"


def explained(error: Exception, where: str, filename: str) -> PresetError:
    """Return the medzoo exception for an error of `huggingface_hub`, with instructions.

    Args:
        error: The error of the client.
        where: `hf://user/repo[@revision]`, for the message.
        filename: Name of the file, or `UPLOAD`.
    """
    from huggingface_hub import errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    status, number = _status(cause), getattr(cause, "errno", None)
    text = f"{where}: {filename}"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return HubError(
            f"{text} is not in the cache {cache_folder()}, and HF_HUB_OFFLINE is set. Load it once online "
            "without it, or set MEDZOO_CACHE to a cache that contains it."
        )
    if isinstance(cause, errors.HFValidationError):
        return PresetNotFoundError(f"{where}: invalid repository name ({cause}). Expected hf://user/repo[@revision].")
    if isinstance(cause, errors.GatedRepoError):
        return HubError(f"{text}: access must be granted first. Request it on the repository's page, then {LOGIN}.")
    if isinstance(cause, errors.RepositoryNotFoundError):
        return PresetNotFoundError(
            f"{where}: no such repository, or a private one. Check the name; if private, {LOGIN}."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return PresetNotFoundError(f"{where}: no such revision. Omit @revision for the newest.")
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, errors.LocalEntryNotFoundError):
        return PresetNotFoundError(f"{where}: contains no file {filename}. Expected a medzoo preset.")
    if status in (401, 403):
        return HubError(f"{text}: the Hub returned status {status}, permission denied. Check the token: {LOGIN}.")
    if status is not None:
        return HubError(f"{text}: the Hub returned status {status}. Retry later, see https://status.huggingface.co.")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return CacheError(
            f"{text}: no space left in {cache_folder()}. Free disk space, or set MEDZOO_CACHE to another folder."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return CacheError(f"{text}: {cache_folder()} cannot be written ({cause}). Set MEDZOO_CACHE to another folder.")
    if "Consistency check failed" in str(cause):
        return DamagedPresetError(f"{text}: the download was truncated and discarded. Load again. ({cause})")
    cached = "" if filename == UPLOAD else f" is not in the cache {cache_folder()}, and"
    return HubError(
        f"{text}{cached} the Hub cannot be reached ({type(cause).__name__}: {cause}). Check the connection, "
        "HTTPS_PROXY and HF_ENDPOINT."
    )


def verify_or_remove(path: Path, expected: dict) -> None:
    """Check a cached file; remove it if the check fails, so that the next call downloads it again.

    Args:
        path: Path in the cache.
        expected: See `check_file`.

    Raises:
        DamagedPresetError: If the file is not the expected one.
    """
    try:
        check_file(path, expected)
    except PresetError as error:
        blob = path.resolve()
        for damaged in {path, blob}:
            damaged.unlink(missing_ok=True)
        log.warning("removed %s from the cache", path)
        raise DamagedPresetError(f"{error} It was removed from the cache. Load again to download it.") from None
