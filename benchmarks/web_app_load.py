"""Web app under load: correct responses and memory of the server.

    python benchmarks/web_app_load.py --requests 300 --out benchmarks/web_app_load

Twenty clients upload at once: synthetic phantoms, volumes, and files that are invalid, declare too large a size or
exceed the upload limit. Then one client after another requests the analysis of an image, with the presets in turn, as
many times as `--requests` states: at one request per twelve seconds, 300 requests take one hour. Memory is the resident
memory of the server process.
"""

import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import httpx
import nibabel
import numpy as np
from common import description, write_page
from matplotlib.figure import Figure
from PIL import Image

from medzoo.data.phantom import chest_phantom, head_volume

CLIENTS = 20
PRESETS = ("ae-chestxray", "vae-chestxray", "mae-medical", "vqvae-medical", "ae-chestxray-64")


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def uploads():
    """Yield twenty uploads: `(name, bytes, preset, whether the file is valid)`."""
    image = png((chest_phantom(512, 0)[..., 0] * 255).astype("uint8"))
    head = nibabel.Nifti1Image((200 * head_volume((24, 32, 28), 0)[..., 0]).astype("uint8"), np.eye(4)).to_bytes()
    for i in range(10):
        yield f"image-{i}.png", image, PRESETS[i % len(PRESETS)], True
    for i in range(4):
        yield f"head-{i}.nii", head, ("vqvae-hippocampus", "vae-medical")[i % 2], True
    yield "cut.png", image[: len(image) // 2], PRESETS[0], False
    yield "words.dcm", b"no DICOM file", PRESETS[0], False
    yield "empty.png", b"", PRESETS[0], False
    yield "bomb.png", png(np.zeros((20000, 20000), "uint8")), PRESETS[0], False
    yield "large.npy", bytes(80 * 2**20), PRESETS[0], False
    yield "image.nii", image, PRESETS[0], False


class Client:
    """One open page, which uploads a file and waits for the response, as a browser does."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=1800)
        self.session = uuid.uuid4().hex
        config = self.http.get("/config").json()
        (self.upload,) = (c["id"] for c in config["components"] if c["props"].get("elem_id") == "upload")
        calls = config["dependencies"]
        (self.read,) = (d["id"] for d in calls if [self.upload, "upload"] in map(list, d["targets"]))
        (self.show,) = (d["id"] for d in calls if d.get("trigger_after") == self.read)

    def analyze(self, name, data, preset):
        """Return the response of the page, or the error message."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, data)})
        if answer.status_code != 200:
            return f"error: {answer.text[:200]}"
        given = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}
        response = self.call(self.read, [given])
        return response if isinstance(response, str) else self.call(self.show, [None, preset, 0.5, 0.05])[0]

    def call(self, function, data):
        """Return the output of a function of the page, a list, or the error message, text."""
        job = {"data": data, "fn_index": function, "session_hash": self.session, "trigger_id": self.upload}
        self.http.post("/gradio_api/queue/join", json=job).raise_for_status()
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    output = message["output"]
                    return output["data"] if message["success"] else f"error: {output['error']}"
        raise RuntimeError("no answer")


def is_correct(text, valid):
    """Return whether the response is right: a figure for a valid file, an error message otherwise."""
    return "data:image/png;base64," in text if valid else bool(re.match(r"error: \S", text))


def resident(process):
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def serve(folder):
    """Start a server and return `(process, address)`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "medzoo", "app", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"})
    address = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.get(address)
            return process, address
        except httpx.TransportError:
            if process.poll() is not None:
                raise RuntimeError("the server ended") from None
            time.sleep(0.5)


@click.command(help=__doc__)
@click.option("--requests", default=300, show_default=True, help="Number of sequential requests.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(requests, out):
    with tempfile.TemporaryDirectory() as folder:
        process, address = serve(folder)
        try:
            at_start, jobs = resident(process), list(uploads())
            with ThreadPoolExecutor(CLIENTS) as pool:
                responses = list(pool.map(lambda job: Client(address).analyze(*job[:3]), jobs))
            uploads_correct = [(job[0], is_correct(text, job[3])) for job, text in zip(jobs, responses, strict=True)]
            for (name, *_, valid), text in zip(jobs, responses, strict=True):
                click.echo(f"{name}: {'shown' if valid and is_correct(text, True) else text[:150]}")
            memory, correct, image = [resident(process)], 0, jobs[0][1]
            for i in range(requests):
                correct += is_correct(Client(address).analyze("image.png", image, PRESETS[i % len(PRESETS)]), True)
                memory.append(resident(process))
                if i % 20 == 19:
                    click.echo(f"{i + 1} requests: {memory[-1]:.0f} MiB")
            left = sorted(p.name for p in Path(folder).rglob("*") if p.is_file() and p.name in {j[0] for j in jobs})
        finally:
            process.terminate()
            process.wait(60)
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(memory)
    axis.set(xlabel="Requests", ylabel="Resident memory of the server (MiB)", ylim=(0, None))
    figure.savefig(out.with_suffix(".png"), dpi=120)
    half = len(memory) // 2
    rows = [
        ["simultaneous uploads", len(uploads_correct)],
        ["of these answered correctly, with a figure or an error message", sum(ok for _, ok in uploads_correct)],
        ["sequential requests", requests],
        ["of these answered with a figure", correct],
        ["resident memory at the start (MiB)", round(at_start)],
        ["after the simultaneous uploads (MiB)", round(memory[0])],
        ["after half of the requests (MiB)", round(memory[half])],
        ["at the end (MiB)", round(memory[-1])],
        ["uploaded files left on disk", len(left)],
    ]
    facts = {
        "uploads": dict(uploads_correct),
        "requests": requests,
        "answered": correct,
        "mib": [round(x) for x in memory],
        "left": left,
    }
    write_page(out, "Web app under load", [("", ["Measurement", "Value"], rows)], facts, description())


if __name__ == "__main__":
    main()
