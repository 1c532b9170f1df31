"""The web demo, `medzoo app`: needs `pip install "medzoo[app]"`."""
