"""The web demo: what it shows, in a real browser, and what it leaves behind."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from conftest import free_port
from PIL import Image

from medzoo.app.inference import LARGEST, InferenceSession, classes_of, page
from medzoo.app.uploads import Uploads
from medzoo.data.phantom import chest_phantom
from medzoo.errors import ImageError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def film(tmp_path):
    Image.fromarray((chest_phantom(256, 3)[..., 0] * 255).astype("uint8")).save(tmp_path / "my film.png")
    return tmp_path / "my film.png"


def test_a_look_says_what_was_seen_and_how_well(film):
    looker = InferenceSession()
    result = looker.look(looker.read(film), "ae-chestxray")
    text = page(result)
    for wanted in ("my film.png: 256 × 256", "PSNR", "like 64 drawn", "bit per pixel"):
        assert wanted in text
    assert text.count("data:image/png;base64,") == 2
    # A drawn film that is in the set is its own nearest neighbour.
    assert looker.search.search(looker.images[5:6], 1)[1][0, 0] == 5
    strange = looker.read(film)[2][::-1, ::-1]
    upside_down = ("<b>upside down", 1, np.ascontiguousarray(strange), None)
    facts = looker.look(upside_down, "vae-chestxray-64")["facts"]
    assert any("unlike" in fact for fact in facts)
    assert "<b>" not in page({"facts": facts, "figure": b"", "knn": b""})


def test_a_threshold_is_chosen_and_images_are_drawn_by_class(film):
    looker = InferenceSession()
    seen = looker.read(film)
    strict, loose = (
        float(re.search(r"threshold ([\d.]+)", " ".join(looker.look(seen, "ae-chestxray-64", rate=rate)["facts"]))[1])
        for rate in (0.1, 0.5)
    )
    assert strict > loose
    first, again, other = (looker.draw("vae-chestxray-64", seed=seed)["figure"] for seed in (0, 0, 1))
    assert first == again != other
    assert page(looker.draw("vae-hippocampus")).count("data:image/png;base64,") == 1
    assert classes_of("vae-chestxray")[3] == "pediatric_cxr: normal"
    assert classes_of("ae-chestxray") == []
    with pytest.raises(ValueError, match="has no prior"):
        looker.draw("ae-chestxray-64")


def test_volumes_are_shown_in_three_planes_or_slice_by_slice(film, tmp_path):
    import nibabel

    from medzoo.data.phantom import head_volume

    head = np.round(200 * head_volume((20, 40, 36), 1)[..., 0].T).astype("uint8")
    nibabel.save(nibabel.Nifti1Image(head, np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "head.nii.gz")
    looker = InferenceSession()
    volume = looker.read(tmp_path / "head.nii.gz")
    assert (volume[2].shape, volume[3]) == ((20, 40, 36, 1), (1.0, 1.0, 2.0))
    middle, top = (looker.look(volume, "vqvae-hippocampus", place) for place in (0.5, 1.0))
    assert "seen by vqvae-hippocampus at 20 × 40 × 36" in middle["facts"][0]
    assert page(middle).count("data:image/png;base64,") == 1
    assert middle["figure"] != top["figure"]
    assert "at 32 × 48 × 32" in looker.look(volume, "ae-hippocampus")["facts"][0]
    assert "axial slice 19 of 20" in looker.look(volume, "vae-medical", 1.0)["facts"][0]
    with pytest.raises(ValueError, match=r"takes volumes \(NIfTI\); my film.png is an image"):
        looker.look(looker.read(film), "vqvae-hippocampus")


def test_large_images_are_made_smaller_and_broken_ones_refused(tmp_path):
    Image.fromarray(np.zeros((1500, 3000), "uint8")).save(tmp_path / "wide.png")
    assert InferenceSession.read(tmp_path / "wide.png")[2].shape == (LARGEST // 2, LARGEST, 1)
    (tmp_path / "film.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"film\.png"):
        InferenceSession.read(tmp_path / "film.png")


def test_an_upload_goes_when_its_last_reader_is_done(tmp_path):
    uploads, folder = Uploads(grace=0.2), tmp_path / "hash-of-what-is-in-it"
    folder.mkdir()
    file = folder / "film.png"
    file.write_bytes(b"film")
    with uploads.reading(file):
        with uploads.reading(file):  # the same file of a second visitor
            pass
        time.sleep(0.6)
        assert file.exists()
    file.write_bytes(b"film")  # of a third, who has not begun to read
    while folder.exists():
        time.sleep(0.05)
    assert uploads.readers == {}


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("gradio")
    port = free_port()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "medzoo", "app", "--port", str(port)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
            break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, process.stdout.read().decode()
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}", temporary
    process.terminate()
    process.wait(60)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_a_browser_shows_a_dropped_image_and_nothing_is_left(server, film, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    address, temporary = server
    (tmp_path / "broken.dcm").write_text("not a DICOM file")
    elsewhere = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1300, "height": 1050})
        tab.on(
            "request", lambda r: elsewhere.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None
        )
        tab.goto(address)
        tab.set_input_files("#upload input[type=file]", film)
        tab.wait_for_selector("#shown img", timeout=120_000)
        assert "my film.png: 256 × 256" in tab.inner_text("#shown")
        shown = tab.evaluate("[...document.querySelectorAll('#shown img')].map(i => [i.naturalWidth, i.naturalHeight])")
        assert all(width > 500 and height > 150 for width, height in shown)
        if picture := os.environ.get("MEDZOO_SCREENSHOT"):
            tab.wait_for_timeout(1000)
            tab.screenshot(path=picture)
        tab.set_input_files("#upload input[type=file]", tmp_path / "broken.dcm")
        tab.wait_for_selector("text=broken.dcm: ", timeout=60_000)
        tab.get_by_role("tab", name="Draw").click()
        tab.click("#draw")
        tab.wait_for_selector("#drawn img", timeout=180_000)
        assert "vae-chestxray: 4 drawn" in tab.inner_text("#drawn")
        browser.close()
    assert elsewhere == []  # offline: no fonts, no scripts, no statistics from anywhere
    left = True
    for _ in range(100):
        left = [p for p in temporary.rglob("*") if p.is_file() and p.suffix in (".png", ".dcm", ".webp")]
        if not left:
            break
        time.sleep(0.2)
    assert left == []
