"""The web application: results, behavior in a browser, and removal of uploads."""

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

from medzoo.app.inference import MAX_SIDE, InferenceSession, InputFile, prior_class_names, render_html
from medzoo.app.uploads import Uploads
from medzoo.data.phantom import chest_phantom
from medzoo.errors import ImageError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def session():
    return InferenceSession()


@pytest.fixture
def image_file(tmp_path):
    Image.fromarray((chest_phantom(256, 3)[..., 0] * 255).astype("uint8")).save(tmp_path / "example image.png")
    return tmp_path / "example image.png"


def test_analysis_reports_quality_anomaly_score_and_compressed_size(session, image_file):
    result = session.analyze(session.read(image_file), "ae-chestxray")
    metrics, html = dict(result["metrics"]), render_html(result)
    assert metrics["File"] == "example image.png"
    assert metrics["Input size"] == "256 × 256 pixels"
    assert metrics["Decision"].startswith("normal, relative to 64 synthetic phantoms")
    assert re.fullmatch(r"\d+\.\d\d dB", metrics["PSNR"])
    assert re.search(r"bytes, \d\.\d+ bpp", metrics["Compressed size"])
    assert html.count("data:image/png;base64,") == 2
    assert '<th scope="row" style="text-align:left">Latent shape</th>' in html
    # A phantom of the reference set is its own nearest neighbor.
    assert session.retriever.search(session.reference_images[5:6], 1)[1][0, 0] == 5


def test_an_image_turned_by_180_degrees_is_anomalous_and_names_are_escaped(session, image_file):
    values = np.ascontiguousarray(session.read(image_file).values[::-1, ::-1])
    metrics = session.analyze(InputFile("<b>rotated", 1, values), "vae-chestxray-64")["metrics"]
    assert dict(metrics)["Decision"].startswith("anomalous")
    assert "<b>" not in render_html({"metrics": metrics, "figure": b"", "neighbors": b""})


def test_a_lower_false_positive_rate_raises_the_threshold(session, image_file):
    image = session.read(image_file)
    strict, loose = (
        dict(session.analyze(image, "ae-chestxray-64", false_positive_rate=rate)["metrics"])["Anomaly threshold"]
        for rate in (0.1, 0.5)
    )
    assert float(strict.split()[0]) > float(loose.split()[0])


def test_images_are_generated_by_class_and_repeat_with_the_seed(session):
    first, again, other = (session.generate("vae-chestxray-64", seed=seed)["figure"] for seed in (0, 0, 1))
    assert first == again != other
    assert render_html(session.generate("vae-hippocampus")).count("data:image/png;base64,") == 1
    assert prior_class_names("vae-chestxray")[3] == "pediatric_cxr: normal"
    assert prior_class_names("ae-chestxray") == []
    with pytest.raises(ValueError, match=r"prior|generat"):
        session.generate("ae-chestxray-64")


def test_volumes_are_shown_in_three_planes_or_slice_by_slice(session, image_file, tmp_path):
    import nibabel

    from medzoo.data.phantom import head_volume

    head = np.round(200 * head_volume((20, 40, 36), 1)[..., 0].T).astype("uint8")
    nibabel.save(nibabel.Nifti1Image(head, np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "head.nii.gz")
    volume = session.read(tmp_path / "head.nii.gz")
    assert (volume.values.shape, volume.spacing) == ((20, 40, 36, 1), (1.0, 1.0, 2.0))
    middle, top = (session.analyze(volume, "vqvae-hippocampus", position) for position in (0.5, 1.0))
    assert dict(middle["metrics"])["Model input"] == "20 × 40 × 36 voxels (vqvae-hippocampus)"
    assert render_html(middle).count("data:image/png;base64,") == 1
    assert middle["figure"] != top["figure"]
    assert "32 × 48 × 32" in dict(session.analyze(volume, "ae-hippocampus")["metrics"])["Model input"]
    assert "axial slice 19 of 20" in dict(session.analyze(volume, "vae-medical", 1.0)["metrics"])["File"]
    with pytest.raises(ValueError, match=r"Expected a volume \(NIfTI\), got example image.png, which is an image"):
        session.analyze(session.read(image_file), "vqvae-hippocampus")


def test_large_images_are_downsampled_and_invalid_files_are_refused(tmp_path):
    Image.fromarray(np.zeros((1500, 3000), "uint8")).save(tmp_path / "wide.png")
    assert InferenceSession.read(tmp_path / "wide.png").values.shape == (MAX_SIDE // 2, MAX_SIDE, 1)
    (tmp_path / "invalid.png").write_text("not an image")
    with pytest.raises(ImageError, match=r"invalid\.png"):
        InferenceSession.read(tmp_path / "invalid.png")


def test_an_upload_is_removed_after_its_last_reader(tmp_path):
    uploads, folder = Uploads(grace=0.2), tmp_path / "hash-of-the-file"
    folder.mkdir()
    file = folder / "image.png"
    file.write_bytes(b"image")
    with uploads.reading(file):
        with uploads.reading(file):  # a second visitor uploaded the same file
            pass
        time.sleep(0.6)
        assert file.exists()
    file.write_bytes(b"image")  # a third visitor, whose file is not read yet
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
def test_the_page_analyzes_and_generates_in_a_browser_and_keeps_no_file(server, image_file, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    address, temporary = server
    (tmp_path / "invalid.dcm").write_text("not a DICOM file")
    external_requests = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1300, "height": 1050})
        tab.on(
            "request",
            lambda r: external_requests.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None,
        )
        tab.goto(address)
        tab.set_input_files("#upload input[type=file]", image_file)
        tab.wait_for_selector("#analysis img", timeout=120_000)
        assert "256 × 256 pixels" in tab.inner_text("#analysis")
        sizes = tab.evaluate(
            "[...document.querySelectorAll('#analysis img')].map(i => [i.naturalWidth, i.naturalHeight])"
        )
        assert all(width > 500 and height > 150 for width, height in sizes)
        if screenshot := os.environ.get("MEDZOO_SCREENSHOT"):
            tab.wait_for_timeout(1000)
            tab.screenshot(path=screenshot)
        tab.set_input_files("#upload input[type=file]", tmp_path / "invalid.dcm")
        tab.wait_for_selector("text=invalid.dcm: ", timeout=60_000)
        tab.get_by_role("tab", name="Generate").click()
        tab.click("#generate")
        tab.wait_for_selector("#generated img", timeout=180_000)
        assert "4 (synthetic, no real patients)" in tab.inner_text("#generated")
        browser.close()
    assert external_requests == []  # no fonts, scripts or analytics from other servers
    left = True
    for _ in range(100):
        left = [p for p in temporary.rglob("*") if p.is_file() and p.suffix in (".png", ".dcm", ".webp")]
        if not left:
            break
        time.sleep(0.2)
    assert left == []
