"""The command that serves the web demo."""

import click

from medzoo.cli.options import FOLDER


@click.command()
@click.option(
    "--images",
    type=FOLDER,
    help="Folder of 20 or more normal images to compare with; default: drawn chest films.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Anything else lets others in: there is no login.")
@click.option("--port", default=7860, show_default=True)
def app(images, host, port):
    """Serve a page that shows what the zoo makes of an image you drop on it.

    Reconstruction, difference, anomaly map, most similar images, compressed size. Works offline, is reached from this
    machine only, keeps nothing. Needs pip install "medzoo[app]".

    \b
    Example:
        medzoo app --images normal-films/
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise click.ClickException('medzoo app needs gradio: pip install "medzoo[app]".') from error
    from medzoo.app.web import serve

    serve(images, host, port)


COMMANDS = (app,)
