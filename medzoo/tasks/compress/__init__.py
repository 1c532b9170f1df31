"""Compress images with a `Codec`: lossy, with a guaranteed largest error, or bit for bit."""

from medzoo.tasks.compress.files import DEFAULT, compress, compress_files, decompress, decompress_file

__all__ = ["DEFAULT", "compress", "compress_files", "decompress", "decompress_file"]
