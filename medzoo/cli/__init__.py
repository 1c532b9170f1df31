"""The command line: a module a group of commands, each command parses, calls and prints."""

import logging

import click

from medzoo.cli import datasets, images, tasks, train, web, zoo
from medzoo.cli.log_filter import silence
from medzoo.errors import TrainingError


class MedzooGroup(click.Group):
    """Our own exceptions end in one line, not in a traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, TrainingError) as error:
            if ctx.obj:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=MedzooGroup)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="medzoo")
@click.pass_context
def main(ctx, debug):
    """Pretrained autoencoders of medical images.

    \b
    Example:
        medzoo demo
        medzoo reconstruct vae-chestxray film.dcm -o out/
    """
    ctx.obj = debug
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("absl", "httpx", "tensorflow", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


for module in (zoo, images, tasks, datasets, train, web):
    for command in module.COMMANDS:
        main.add_command(command)


def run():
    """What `medzoo` on the command line calls."""
    silence()
    main()
