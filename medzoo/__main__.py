"""`python -m medzoo`: the command line."""

from medzoo.cli import main

main(prog_name="medzoo")
