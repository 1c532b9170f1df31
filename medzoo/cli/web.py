"""Command that serves the web application: app."""

from pathlib import Path

import click

from medzoo.cli.options import FOLDER


@click.command()
@click.option(
    "--images",
    type=FOLDER,
    help="Folder with 20 or more normal images as the reference set.  [default: 64 synthetic phantoms]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any other address gives access from the network; there is no login.",
)
@click.option("--port", default=7860, show_default=True, help="TCP port to listen on.")
def app(images: Path | None, host: str, port: int) -> None:
    """Serve a web page that analyzes and generates images.

    The page shows the reconstruction, the difference, the anomaly map, the most similar reference images and the
    compressed size of an uploaded image. It works offline, is reachable from this machine only and stores nothing.
    Requires pip install "medzoo[app]".

    \b
    Example:
        medzoo app --images normal-images/
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise click.ClickException('app: gradio is not installed. Run pip install "medzoo[app]".') from error
    from medzoo.app.web import serve

    serve(images, host, port)


COMMANDS = (app,)
