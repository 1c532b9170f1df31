"""The exceptions of what comes in: image files, weights, compressed files. All are ValueErrors."""


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names the file, what was found and what was expected."""


class PresetError(ValueError):
    """A preset that cannot be loaded: unknown, incomplete, corrupted, or not ours."""


class CompressedFileError(ValueError):
    """A compressed file that cannot be decoded: damaged, of another version, or made with other weights."""
