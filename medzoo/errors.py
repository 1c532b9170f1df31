"""The exceptions of the library's two doors, image files and weights. Both are ValueErrors."""


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names the file, what was found and what was expected."""


class PresetError(ValueError):
    """A preset that cannot be loaded: unknown, incomplete, corrupted, or not ours."""
