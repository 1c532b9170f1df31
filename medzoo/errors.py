"""The exceptions of medzoo. Those of what comes in (images, weights, compressed files) are ValueErrors."""


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names the file, what was found and what was expected."""


class PresetError(ValueError):
    """A preset that cannot be loaded: incomplete, not ours, or of a newer medzoo. The four below are kinds of it."""


class PresetNotFoundError(PresetError):
    """No preset, folder, repository, revision or file of that name."""


class HubError(PresetError):
    """The hub cannot be reached, refuses, or fails; or HF_HUB_OFFLINE is set and the cache does not hold the file."""


class DamagedPresetError(PresetError):
    """A file is truncated or altered: its size or sha256 is not the one expected."""


class CacheError(PresetError):
    """The cache cannot be written: no room, or no permission."""


class CompressedFileError(ValueError):
    """A compressed file that cannot be decoded: damaged, of another version, or made with other weights."""


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says why, what was kept, and what to do."""
