"""Preset files from the Hugging Face hub, checked by size and sha256.

`huggingface_hub` keeps the cache, resumes and retries; it does not compare what arrived with a checksum, so that
happens here.
"""

import hashlib
import logging
from pathlib import Path

from medzoo.errors import PresetError

log = logging.getLogger("medzoo")


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path, expected):
    """Raises PresetError unless the file has the size and sha256 of `expected` (`{"size": ..., "sha256": ...}`)."""
    size = Path(path).stat().st_size
    if size != expected["size"]:
        raise PresetError(f"{path}: {size} bytes; expected {expected['size']}. The file is truncated or altered.")
    found = sha256(path)
    if found != expected["sha256"]:
        raise PresetError(f"{path}: sha256 {found}; expected {expected['sha256']}. The file is corrupted or altered.")


def fetch(repo, filename, revision=None, expected=None):
    """One file of a hub repository, from the cache or the network.

    Args:
        repo: `user/name`.
        filename: inside the repository.
        revision: branch, tag or commit; a cached full commit hash costs no request.
        expected: `{"size": ..., "sha256": ...}`, or `None` where nothing is known.

    Returns: path in the cache.

    Raises:
        PresetError: not there, not reachable, or not the expected bytes; the bad file is removed first.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    where = f"hf://{repo}" + (f"@{revision}" if revision else "")
    try:
        path = Path(hf_hub_download(repo, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        raise PresetError(
            f"{where}: {filename} is not in the cache and the hub cannot be reached ({error})."
        ) from error
    except EntryNotFoundError as error:
        raise PresetError(f"{where}: has no file {filename}; is it a medzoo preset? ({error})") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise PresetError(f"{where}: {filename} could not be downloaded ({error}).") from error
    if expected is not None:
        verify_or_remove(path, expected)
    return path


def verify_or_remove(path, expected):
    """`check_file`; a file that fails is removed from the cache, so that the next call fetches it anew."""
    try:
        check_file(path, expected)
    except PresetError as error:
        blob = path.resolve()
        for bad in {path, blob}:
            bad.unlink(missing_ok=True)
        log.warning("removed %s from the cache", path)
        raise PresetError(f"{error} It was removed from the cache; load again to fetch it anew.") from None
