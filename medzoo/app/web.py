"""The page around `Looker`, by Gradio.

An upload is deleted as soon as it is read, the image stays in memory as long as the page is open, and results are sent,
not written.
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

LARGEST_UPLOAD = "64mb"
ABOUT = """# medzoo
Drop an image (DICOM, PNG, JPEG, TIFF or npy) or a volume (NIfTI). It stays on this machine, and is deleted as soon as
it is read.

*For research. Not a medical device, not for diagnosis: a reconstruction may invent or lose structures.*"""

log = logging.getLogger("medzoo")


def build(looker):
    """The page, a `gradio.Blocks`."""
    import gradio as gr

    from medzoo.app.look import page
    from medzoo.zoo.manifest import manifest

    def upload(path, preset, place):
        path = Path(path)
        try:
            film = looker.read(path)
            return film, page(looker.look(film, preset, place)), None  # None: the place is free for the next one
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(str(path), path.name)) from error
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def show(film, preset, place):
        try:
            return page(looker.look(film, preset, place)) if film is not None else ""
        except ValueError as error:
            raise gr.Error(str(error)) from error

    with gr.Blocks(title="medzoo", analytics_enabled=False) as blocks:
        gr.Markdown(ABOUT)
        film = gr.State(None, time_to_live=3600)
        with gr.Row():
            file = gr.File(label="Image", elem_id="upload", scale=2, height=130)
            preset = gr.Dropdown(list(manifest()), value="ae-chestxray", label="Preset", elem_id="preset")
            place = gr.Slider(0, 1, 0.5, step=0.02, label="Slice of a volume, from below", elem_id="place")
        result = gr.HTML(elem_id="shown")
        file.upload(upload, [file, preset, place], [film, result, file], api_visibility="private")
        preset.change(show, [film, preset, place], result, api_visibility="private")
        place.release(show, [film, preset, place], result, api_visibility="private")
    return blocks


def serve(looker, host="127.0.0.1", port=7860):
    """Serves the page until interrupted; the folder that uploads pass through goes when it ends."""
    with tempfile.TemporaryDirectory(prefix="medzoo-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio as gr

        # Fonts of the reader's machine: the theme's own would be asked for from the network.
        plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        blocks = build(looker)
        log.info("http://%s:%d  (Ctrl-C ends it)", host, port)
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            max_file_size=LARGEST_UPLOAD,
            theme=plain,
            footer_links=[],
            show_error=True,
            quiet=True,
        )
