"""Exceptions of medzoo. Those about images, weights and files are ValueErrors."""


class ImageError(ValueError):
    """A file cannot be read as an image. The message names the file and what was expected."""


class PresetError(ValueError):
    """A preset cannot be loaded: it is incomplete, invalid, or of a newer medzoo version.

    Base class of `PresetNotFoundError`, `HubError`, `DamagedPresetError` and `CacheError`.
    """


class PresetNotFoundError(PresetError):
    """There is no preset, folder, repository, revision or file of that name."""


class HubError(PresetError):
    """The Hugging Face Hub is unreachable, denies access or fails.

    Also raised if HF_HUB_OFFLINE is set and the file is not in the cache.
    """


class DamagedPresetError(PresetError):
    """A file is truncated or altered: its size or sha256 is not the expected one."""


class CacheError(PresetError):
    """The cache cannot be written: the disk is full, or permission is missing."""


class CompressedFileError(ValueError):
    """A compressed file cannot be decoded.

    The file is damaged, of another format version, or was encoded with other weights.
    """


class TrainingError(RuntimeError):
    """A training cannot be continued. The message states the cause and what was saved."""


class CheckpointError(PresetError):
    """A checkpoint of another library cannot be read or converted. The message names what was found."""
