"""Web application, served by `medzoo app`; requires `pip install "medzoo[app]"`."""
