"""The web page under load: does it lose a request, does it lose memory?

    python benchmarks/web_app_load.py --looks 300 --out benchmarks/web_app_load

Twenty visitors upload at once: drawn films, volumes, and files that are broken, announce too much, or are larger than
the page takes. Then one visitor after another looks at a film, the presets taken in turn, as many times as
`--looks` says: at a look every twelve seconds 300 are an hour. Memory is what the server's process holds (resident).
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
from matplotlib.figure import Figure
from PIL import Image
from common import explained, write

from medzoo.data.phantom import chest_phantom, head_volume

VISITORS = 20
PRESETS = ("ae-chestxray", "vae-chestxray", "mae-medical", "vqvae-medical", "ae-chestxray-64")


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def uploads():
    """`(name, bytes, preset, whether it can be used)`, twenty of them."""
    film = png((chest_phantom(512, 0)[..., 0] * 255).astype("uint8"))
    head = nibabel.Nifti1Image((200 * head_volume((24, 32, 28), 0)[..., 0]).astype("uint8"), np.eye(4)).to_bytes()
    for i in range(10):
        yield f"film-{i}.png", film, PRESETS[i % len(PRESETS)], True
    for i in range(4):
        yield f"head-{i}.nii", head, ("vqvae-hippocampus", "vae-medical")[i % 2], True
    yield "cut.png", film[: len(film) // 2], PRESETS[0], False
    yield "words.dcm", b"no DICOM file", PRESETS[0], False
    yield "empty.png", b"", PRESETS[0], False
    yield "bomb.png", png(np.zeros((20000, 20000), "uint8")), PRESETS[0], False
    yield "large.npy", bytes(80 * 2**20), PRESETS[0], False
    yield "film.nii", film, PRESETS[0], False


class Visitor:
    """One open page: uploads, and waits for what it says, as the browser does."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=1800)
        self.session = uuid.uuid4().hex
        config = self.http.get("/config").json()
        (self.upload,) = (c["id"] for c in config["components"] if c["props"].get("elem_id") == "upload")
        calls = config["dependencies"]
        (self.read,) = (d["id"] for d in calls if [self.upload, "upload"] in map(list, d["targets"]))
        (self.show,) = (d["id"] for d in calls if d.get("trigger_after") == self.read)

    def look(self, name, data, preset):
        """The page's answer, or what the error says."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, data)})
        if answer.status_code != 200:
            return f"error: {answer.text[:200]}"
        given = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}
        said = self.call(self.read, [given])
        return said if isinstance(said, str) else self.call(self.show, [None, preset, 0.5, 0.05])[0]

    def call(self, function, data):
        """What one of the page's functions gives, a list, or what the error says, text."""
        job = {"data": data, "fn_index": function, "session_hash": self.session, "trigger_id": self.upload}
        self.http.post("/gradio_api/queue/join", json=job).raise_for_status()
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                said = json.loads(line[6:]) if line.startswith("data: ") else {}
                if said.get("msg") == "process_completed":
                    output = said["output"]
                    return output["data"] if said["success"] else f"error: {output['error']}"
        raise RuntimeError("no answer")


def answered(text, usable):
    """Whether a visitor was told what there was to tell: a picture, or what is wrong with the file."""
    return "data:image/png;base64," in text if usable else bool(re.match(r"error: \S", text))


def resident(process):
    """MiB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def serve(folder):
    """`(process, address)` of a server."""
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
@click.option("--looks", default=300, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(looks, out):
    with tempfile.TemporaryDirectory() as folder:
        process, address = serve(folder)
        try:
            at_start, jobs = resident(process), list(uploads())
            with ThreadPoolExecutor(VISITORS) as pool:
                told = list(pool.map(lambda job: Visitor(address).look(*job[:3]), jobs))
            crowd = [(job[0], answered(text, job[3])) for job, text in zip(jobs, told, strict=True)]
            for (name, *_, usable), text in zip(jobs, told, strict=True):
                click.echo(f"{name}: {'shown' if usable and answered(text, True) else text[:150]}")
            held, right, film = [resident(process)], 0, jobs[0][1]
            for i in range(looks):
                right += answered(Visitor(address).look("film.png", film, PRESETS[i % len(PRESETS)]), True)
                held.append(resident(process))
                if i % 20 == 19:
                    click.echo(f"{i + 1} looks: {held[-1]:.0f} MiB")
            left = sorted(p.name for p in Path(folder).rglob("*") if p.is_file() and p.name in {j[0] for j in jobs})
        finally:
            process.terminate()
            process.wait(60)
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(held)
    axis.set(xlabel="looks", ylabel="MiB held by the server", ylim=(0, None))
    figure.savefig(out.with_suffix(".png"), dpi=120)
    half = len(held) // 2
    rows = [
        ["uploads at once", len(crowd)],
        ["of these answered rightly, with a picture or an error that says why", sum(ok for _, ok in crowd)],
        ["looks one after another", looks],
        ["of these answered with a picture", right],
        ["MiB held at the start", round(at_start)],
        ["after the crowd", round(held[0])],
        ["after half of the looks", round(held[half])],
        ["at the end", round(held[-1])],
        ["uploads left on disk", len(left)],
    ]
    facts = {"crowd": dict(crowd), "looks": looks, "answered": right, "mib": [round(x) for x in held], "left": left}
    write(out, "The web page under load", [("", ["", ""], rows)], facts, explained())


if __name__ == "__main__":
    main()
