"""Command line interface; each module defines one group of commands."""

import logging

import click

from medzoo.cli import datasets, images, tasks, train, web, zoo
from medzoo.cli.log_filter import filter_stderr
from medzoo.errors import TrainingError


class MedzooGroup(click.Group):
    """Command group that reports expected exceptions in one line instead of a traceback."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, TrainingError) as error:
            if ctx.obj:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=MedzooGroup)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="medzoo", help="Show the version and exit.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Pretrained autoencoders for medical images.

    \b
    Example:
        medzoo demo
        medzoo reconstruct vae-chestxray image.dcm -o out/
    """
    ctx.obj = debug
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in ("absl", "httpx", "tensorflow", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)


for module in (zoo, images, tasks, datasets, train, web):
    for command in module.COMMANDS:
        main.add_command(command)


def run() -> None:
    """Run the command line interface with TensorFlow's startup messages removed; the entry point of `medzoo`."""
    filter_stderr()
    main()
