"""The page around `Looker`, by Gradio.

An upload is deleted seconds after it was read, the image stays in memory while the page is open, and results are
sent, not written.
"""

import contextlib
import ctypes
import logging
import os
import tempfile
import threading
from pathlib import Path

from medzoo.app.uploads import Uploads

LARGEST_UPLOAD = "64mb"
ANY = "anything"
M_ARENA_MAX = -8  # of malloc.h
READERS = 2  # files that are decoded at once
VISITORS = 50  # whose images are kept in memory, those who came last
PRIVATE = {"api_visibility": "private"}
ONE = {**PRIVATE, "concurrency_id": "model", "concurrency_limit": 1}  # one model works at a time, the others wait
ABOUT = """# medzoo
Drop an image (DICOM, PNG, JPEG, TIFF or npy) or a volume (NIfTI). It stays on this machine, and is deleted
seconds after it was read.

*For research. Not a medical device, not for diagnosis: a reconstruction may invent or lose structures.*"""

log = logging.getLogger("medzoo")


def build(looker):
    """The page, a `gradio.Blocks`: a tab to look at an image, one to draw some."""
    import gradio as gr

    with gr.Blocks(title="medzoo", analytics_enabled=False) as blocks:
        gr.Markdown(ABOUT)
        with gr.Tab("Look"):
            _look(gr, looker)
        with gr.Tab("Draw"):
            _draw(gr, looker)
    return blocks


def _look(gr, looker):
    from medzoo.app.inference import page
    from medzoo.zoo.manifest import TASKS, list_models

    uploads, few = Uploads(), threading.Semaphore(READERS)

    def read(path):
        path = Path(path)
        try:
            with uploads.reading(path), few:
                return looker.read(path), None  # None: the place is free for the next one
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(str(path), path.name), print_exception=False) from error

    def show(film, *settings):
        try:
            return page(looker.look(film, *settings)) if film is not None else ""
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def made_for(task, chosen):
        names = list_models(task=task if task != ANY else None)
        return gr.update(choices=names, value=chosen if chosen in names else names[0])

    film = gr.State(None, time_to_live=3600)
    with gr.Row():
        file = gr.File(label="Image or volume", elem_id="upload", scale=2, height=130)
        with gr.Column():
            task = gr.Dropdown([ANY, *TASKS], value=ANY, label="Presets for", elem_id="task")
            preset = gr.Dropdown(list_models(), value="ae-chestxray", label="Preset", elem_id="preset")
        with gr.Column():
            place = gr.Slider(0, 1, 0.5, step=0.02, label="Slice of a volume, from below", elem_id="place")
            rate = gr.Slider(0.01, 0.5, 0.05, step=0.01, label="Normal images called anomalies", elem_id="rate")
    result = gr.HTML(elem_id="shown")
    settings = [preset, place, rate]
    # Read at once, not when its turn comes to be looked at.
    read_at_once = file.upload(read, file, [film, file], concurrency_limit=None, **PRIVATE)
    read_at_once.success(show, [film, *settings], result, **ONE)
    task.change(made_for, [task, preset], preset, **PRIVATE)
    for event in (preset.change, place.release, rate.release):
        event(show, [film, *settings], result, **ONE)


def _draw(gr, looker):
    from medzoo.app.inference import classes_of, page
    from medzoo.zoo.manifest import list_models

    def labels(preset):
        return gr.update(choices=[ANY, *classes_of(preset)], value=ANY)

    def draw(preset, label, seed):
        return page(looker.draw(preset, classes_of(preset).index(label) if label != ANY else None, int(seed)))

    names = list_models(task="generate")
    with gr.Row():
        preset = gr.Dropdown(names, value="vae-chestxray", label="Preset", elem_id="drawer")
        label = gr.Dropdown([ANY, *classes_of("vae-chestxray")], value=ANY, label="Class", elem_id="label")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
        button = gr.Button("Draw", elem_id="draw")
    drawn = gr.HTML(elem_id="drawn")
    preset.change(labels, preset, label, **PRIVATE)
    button.click(draw, [preset, label, seed], drawn, **ONE)


def serve(images=None, host="127.0.0.1", port=7860):
    """Serves the page until interrupted; the folder that uploads pass through goes when it ends.

    Args:
        images: folder to compare with, see `medzoo.app.inference.Looker`.
    """
    _few_arenas()
    with tempfile.TemporaryDirectory(prefix="medzoo-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio as gr

        from medzoo.app.inference import InferenceSession

        # Fonts of the reader's machine: the theme's own would be asked for from the network.
        plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        blocks = build(InferenceSession(images))
        log.info("http://%s:%d  (Ctrl-C ends it)", host, port)
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            max_file_size=LARGEST_UPLOAD,
            state_session_capacity=VISITORS,
            theme=plain,
            footer_links=[],
            show_error=True,
            quiet=True,
        )


def _few_arenas():
    """glibc keeps the memory that a thread gave back for that thread, in up to eight arenas a core: with two, an hour
    of looks holds what its first minutes held. Elsewhere there is no such thing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 2)
