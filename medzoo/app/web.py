"""Web page around `InferenceSession`, built with Gradio.

Uploads are deleted seconds after they were read, the image stays in memory while the page is open, and results are sent
to the browser without being written to disk.
"""

import contextlib
import ctypes
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.app.uploads import Uploads

if TYPE_CHECKING:
    import gradio

    from medzoo.app.inference import InferenceSession

MAX_UPLOAD_SIZE = "64mb"
ALL = "all"
M_ARENA_MAX = -8  # constant of malloc.h
MAX_READERS = 2  # files that are decoded at the same time
MAX_SESSIONS = 50  # most recent visitors whose images are kept in memory
PRIVATE = {"api_visibility": "private"}
# One model runs at a time; other requests are queued.
QUEUED = {**PRIVATE, "concurrency_id": "model", "concurrency_limit": 1}
ABOUT = """# medzoo
Upload an image (DICOM, PNG, JPEG, TIFF or npy) or a volume (NIfTI). Files are processed on this machine and deleted
seconds after they were read.

*Research use only. Not a medical device and not for diagnosis: reconstructions can contain artificial structures or
omit real ones.*"""

log = logging.getLogger("medzoo")


def build(session: "InferenceSession") -> "gradio.Blocks":
    """Build the page with its tabs *Analyze* and *Generate*.

    Args:
        session: The session that analyzes and generates images.

    Returns:
        The page.
    """
    import gradio as gr

    with gr.Blocks(title="medzoo", analytics_enabled=False) as blocks:
        gr.Markdown(ABOUT)
        with gr.Tab("Analyze"):
            _build_analyze_tab(gr, session)
        with gr.Tab("Generate"):
            _build_generate_tab(gr, session)
    return blocks


def _build_analyze_tab(gr, session):
    from medzoo.app.inference import render_html
    from medzoo.zoo.manifest import TASKS, list_models

    uploads, readers = Uploads(), threading.Semaphore(MAX_READERS)

    def read(path):
        path = Path(path)
        try:
            with uploads.reading(path), readers:
                return session.read(path), None  # None empties the upload field for the next file
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(str(path), path.name), print_exception=False) from error

    def analyze(image, *settings):
        try:
            return render_html(session.analyze(image, *settings)) if image is not None else ""
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def presets_for(task, selected):
        names = list_models(task=task if task != ALL else None)
        return gr.update(choices=names, value=selected if selected in names else names[0])

    image = gr.State(None, time_to_live=3600)
    with gr.Row():
        file = gr.File(label="Image or volume", elem_id="upload", scale=2, height=130)
        with gr.Column():
            task = gr.Dropdown([ALL, *TASKS], value=ALL, label="Task", elem_id="task")
            preset = gr.Dropdown(list_models(), value="ae-chestxray", label="Preset", elem_id="preset")
        with gr.Column():
            position = gr.Slider(0, 1, 0.5, step=0.02, label="Slice position", elem_id="slice-position")
            rate = gr.Slider(0.01, 0.5, 0.05, step=0.01, label="False-positive rate", elem_id="false-positive-rate")
    result = gr.HTML(elem_id="analysis")
    settings = [preset, position, rate]
    # Files are read immediately; only the analysis is queued.
    read_event = file.upload(read, file, [image, file], concurrency_limit=None, **PRIVATE)
    read_event.success(analyze, [image, *settings], result, **QUEUED)
    task.change(presets_for, [task, preset], preset, **PRIVATE)
    for event in (preset.change, position.release, rate.release):
        event(analyze, [image, *settings], result, **QUEUED)


def _build_generate_tab(gr, session):
    from medzoo.app.inference import prior_class_names, render_html
    from medzoo.zoo.manifest import list_models

    def update_labels(preset):
        return gr.update(choices=[ALL, *prior_class_names(preset)], value=ALL)

    def generate(preset, label, seed):
        index = prior_class_names(preset).index(label) if label != ALL else None
        return render_html(session.generate(preset, index, int(seed)))

    with gr.Row():
        preset = gr.Dropdown(
            list_models(task="generate"), value="vae-chestxray", label="Preset", elem_id="generate-preset"
        )
        label = gr.Dropdown([ALL, *prior_class_names("vae-chestxray")], value=ALL, label="Class", elem_id="label")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
        button = gr.Button("Generate", elem_id="generate")
    generated = gr.HTML(elem_id="generated")
    preset.change(update_labels, preset, label, **PRIVATE)
    button.click(generate, [preset, label, seed], generated, **QUEUED)


def serve(images: str | Path | None = None, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until it is interrupted. The folder of temporary uploads is removed at the end.

    Args:
        images: Folder of reference images, see `medzoo.app.inference.InferenceSession`.
        host: Address to listen on. Default: this machine only.
        port: int. TCP port. Default: 7860.
    """
    _limit_malloc_arenas()
    with tempfile.TemporaryDirectory(prefix="medzoo-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio as gr

        from medzoo.app.inference import InferenceSession

        # System fonts: those of the theme would be downloaded.
        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        blocks = build(InferenceSession(images))
        log.info("http://%s:%d  (Ctrl-C stops the server)", host, port)
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            max_file_size=MAX_UPLOAD_SIZE,
            state_session_capacity=MAX_SESSIONS,
            theme=theme,
            footer_links=[],
            show_error=True,
            quiet=True,
        )


def _limit_malloc_arenas():
    """Limit glibc to two memory arenas.

    By default glibc keeps freed memory in up to eight arenas per core. With two, memory use stays constant over an hour
    of requests. Other C libraries have no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 2)
