"""Image compression: lossy with a learned `Codec`, near-lossless with a maximum error, or lossless."""

from medzoo.tasks.compress.file_io import compress_each, compress_files, contents_of, decompress_file
from medzoo.tasks.compress.files import DEFAULT, compress, contents, decompress

__all__ = [
    "DEFAULT",
    "compress",
    "compress_each",
    "compress_files",
    "contents",
    "contents_of",
    "decompress",
    "decompress_file",
]
