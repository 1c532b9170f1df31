"""`python -m medzoo`"""

from medzoo.cli import run

run()
