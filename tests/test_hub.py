"""Download and upload with the real huggingface_hub client and a loopback server that fails on demand."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import FAMILIES
from loopback_hub import COMMIT, LoopbackHub

import medzoo
from medzoo.cli import main
from medzoo.errors import CacheError, DamagedPresetError, HubError, PresetError, PresetNotFoundError
from medzoo.zoo import files as preset_files
from medzoo.zoo.download import fetch
from medzoo.zoo.manifest import manifest

URI = "hf://user/repo"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return medzoo.save_preset(FAMILIES["vae-vector"](), tmp_path_factory.mktemp("hub") / "preset", dtype="float32")


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    """A server with a preset as user/repo, and an empty cache, for the client in this process."""
    server = LoopbackHub({p.name: p.read_bytes() for p in saved.iterdir()})
    import huggingface_hub.constants
    import huggingface_hub.file_download

    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    values = {"ENDPOINT": server.endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_DOWNLOAD_TIMEOUT": 0.5}
    values |= {"HF_HUB_ETAG_TIMEOUT": 0.5, "HF_HUB_DISABLE_XET": True, "HF_HUB_DISABLE_PROGRESS_BARS": True}
    for module in (huggingface_hub.constants, huggingface_hub.file_download):
        for name, value in values.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    yield server
    server.go.set()
    server.shutdown()
    server.server_close()


def only(name, fault, times=1, method="GET"):
    """A fault for the first requests of one file."""
    left = [times]

    def choose(asked, file, data):
        if asked != method or file != name or not left[0]:
            return None
        left[0] -= 1
        return fault(data) if callable(fault) else fault

    return choose


def incomplete(cache):
    return [p for p in cache.rglob("*") if "incomplete" in p.name]


# --- without faults --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_presets_are_loaded_from_the_cache_the_second_time(hub, saved, tmp_path):
    x = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    expected = medzoo.load(saved).reconstruct(x)
    for uri in (URI, f"{URI}@{COMMIT}"):
        assert np.array_equal(medzoo.load(uri).reconstruct(x), expected)
    hub.requests.clear()
    assert np.array_equal(medzoo.load(f"{URI}@{COMMIT}").reconstruct(x), expected)
    assert hub.requests == []  # a full commit hash in the cache costs no request
    hub.shutdown()
    hub.server_close()
    assert np.array_equal(medzoo.load(URI).reconstruct(x), expected)  # offline
    assert list((tmp_path / "cache").glob("models--user--repo"))  # where MEDZOO_CACHE says


def test_manifest_entries_are_checked_against_the_manifest(hub, saved, monkeypatch):
    files = {
        name: {"size": (saved / name).stat().st_size, "sha256": hashlib.sha256((saved / name).read_bytes()).hexdigest()}
        for name in ("config.json", "model.weights.h5")
    }
    listed = {"there": {"files": files, "hub": {"repo": "user/repo", "commit": COMMIT}}}
    monkeypatch.setattr(preset_files, "manifest", lambda: listed)
    monkeypatch.setattr(preset_files, "entry", listed.get)
    assert medzoo.load("there").name
    fetch("user/repo", "model.weights.h5", COMMIT).resolve().write_bytes(b"rotten")
    assert [problem is None for _, problem in preset_files.verify()] == [True, False]
    with pytest.raises(DamagedPresetError, match=r"6 bytes; expected .* removed from the cache"):
        medzoo.load("there")
    assert medzoo.load("there").name


def test_redirects_are_followed_and_the_token_is_sent_to_the_hub_only(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.token = "hf_secret"
    elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
    hub.fault = lambda method, name, data: f"{elsewhere}/cdn/{name}" if name.endswith(".h5") else None
    assert medzoo.load(URI).name
    sent = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert sent
    assert not any("authorization" in headers for headers in sent)


# --- with faults ---------------------------------------------------------------------------------------------------


def test_an_interrupted_download_resumes(hub, saved, monkeypatch):
    import huggingface_hub.constants

    size = (saved / "model.weights.h5").stat().st_size
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", size // 3)  # for the client the file is small
    hub.fault = only("model.weights.h5", ("cut", size // 3), times=2)
    assert medzoo.load(URI).name
    ranges = [h["range"] for m, _, h in hub.requests if m == "GET" and "range" in h]
    assert ranges == [f"bytes={size // 3}-", f"bytes={2 * (size // 3)}-"]


def test_a_stalled_download_is_retried_and_then_fails(hub, tmp_path, monkeypatch):
    hub.fault = only("model.weights.h5", ("stall", 1000), times=1)
    assert medzoo.load(URI).name
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "empty"))
    hub.requests.clear()
    hub.fault = lambda method, name, data: ("stall", 0) if method == "GET" else None
    with pytest.raises(HubError, match=r"Hub cannot be reached \(ReadTimeout.*HTTPS_PROXY"):
        medzoo.load(URI)
    assert len(hub.asked("GET")) < 20
    assert not incomplete(tmp_path)


@pytest.mark.parametrize("method", ["HEAD", pytest.param("GET", marks=pytest.mark.slow)])  # the client waits
def test_status_503_is_retried_a_few_times(hub, method, tmp_path, monkeypatch):
    hub.fault = only("model.weights.h5", 503, times=2, method=method)
    assert medzoo.load(URI).name
    hub.fault = only("config.json", 503, times=1000, method=method)
    assert medzoo.load(URI).name  # loaded from the cache while the Hub is down
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "empty"))
    hub.requests.clear()
    with pytest.raises(HubError, match=r"the Hub returned status 503\. Retry later"):
        medzoo.load(URI)
    assert 3 <= len(hub.requests) < 30


def test_wrong_bytes_and_wrong_lengths_are_never_loaded(hub, tmp_path):
    hub.fault = only("model.weights.h5", lambda data: bytes([data[0] ^ 255]) + data[1:])
    with pytest.raises(DamagedPresetError, match=r"model\.weights\.h5: sha256 .* removed from the cache"):
        medzoo.load(URI)
    hub.fault = only("model.weights.h5", lambda data: data[:-100])
    with pytest.raises(DamagedPresetError, match="truncated"):
        medzoo.load(URI)
    assert not incomplete(tmp_path / "cache")
    assert medzoo.load(URI).name


def test_a_missing_repository_revision_or_file_is_named(hub):
    with pytest.raises(PresetNotFoundError, match=r"hf://user/other: no such repository, or a private one.*hf auth"):
        medzoo.load("hf://user/other")
    with pytest.raises(PresetNotFoundError, match="no such revision"):
        medzoo.load(f"{URI}@v2")
    del hub.files["config.json"]
    with pytest.raises(PresetNotFoundError, match=r"has no file config\.json"):
        medzoo.load(URI)
    for wrong in ("hf://user", "hf://user/repo@../../x", "hf://../../x"):
        with pytest.raises(PresetError, match="expected hf://user/repo"):
            medzoo.load(wrong)


def test_private_and_gated_repositories_need_a_token(hub, monkeypatch, tmp_path):
    hub.token = "hf_right"
    with pytest.raises(PresetNotFoundError, match="if private, run `hf auth login`"):
        medzoo.load(URI)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert medzoo.load(URI).name
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "empty"))
    hub.fault = lambda method, name, data: 403
    with pytest.raises(HubError, match="access must be granted first"):
        medzoo.load(URI)


def test_offline_mode_names_the_missing_file_and_the_cache(hub, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"not in the cache .*cache, and HF_HUB_OFFLINE is set"):
        medzoo.load(URI)
    assert medzoo.load("vae-chestxray-64").name  # bundled presets need no network
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    medzoo.load(URI)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert medzoo.load(URI).name


def test_a_full_or_unwritable_cache_is_named(hub, monkeypatch, tmp_path):
    import huggingface_hub.file_download

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"file.cache cannot be written .*MEDZOO_CACHE"):
        medzoo.load(URI)
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", full)
    with pytest.raises(CacheError, match=r"no space left in .*cache"):
        medzoo.load(URI)
    assert not incomplete(tmp_path / "cache")


FETCH = """
import sys
from medzoo.zoo.download import fetch
print(fetch("user/repo", "model.weights.h5", "main").stat().st_size)
"""


def process(hub, cache):
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "MEDZOO_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.Popen([sys.executable, "-c", FETCH], env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_four_concurrent_processes_all_download_the_complete_file(hub, tmp_path, saved):
    processes = [process(hub, tmp_path / "cache") for _ in range(4)]
    size = (saved / "model.weights.h5").stat().st_size
    assert [int(p.communicate(timeout=120)[0]) for p in processes] == [size] * 4
    assert medzoo.load(URI).name


@pytest.mark.slow
def test_a_killed_process_leaves_a_valid_cache(hub, tmp_path):
    hub.fault = only("model.weights.h5", ("stall", 1000))
    victim = process(hub, tmp_path / "cache")
    until = time.monotonic() + 60
    while not incomplete(tmp_path / "cache") and time.monotonic() < until:
        os.sched_yield() if hasattr(os, "sched_yield") else None
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert incomplete(tmp_path / "cache")  # killed during the download
    hub.go.set()
    assert medzoo.load(URI).name


def test_a_manifest_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "weights_manifest.json"
    monkeypatch.setattr("medzoo.zoo.manifest.manifest_path", lambda: path)
    manifest.cache_clear()
    try:
        path.write_text('{"format": 2, "presets": {}}')
        with pytest.raises(PresetError, match=r"format 2; this version of medzoo reads 1\. Run pip install -U medzoo"):
            medzoo.load("vae-chestxray-64")
        path.write_text("[]")
        with pytest.raises(PresetError, match="Reinstall medzoo"):
            medzoo.load("vae-chestxray-64")
    finally:
        manifest.cache_clear()


# --- push -------------------------------------------------------------------------------------------------------


def test_push_lists_files_first_then_uploads_a_loadable_preset(hub, saved, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    shutil.copytree(saved, folder)
    (folder / "patients.csv").write_text("name")
    run = CliRunner().invoke
    refused = run(main, ["push", str(folder), URI])
    assert refused.exit_code == 1
    assert "--license" in refused.output
    hub.files.clear()
    options = ["push", str(folder), URI, "--license", "apache-2.0", "--dataset", "me/images"]
    dry = run(main, options)
    assert dry.exit_code == 0, dry.output
    assert "nothing was uploaded" in dry.output
    assert "not uploaded: patients.csv" in dry.output
    assert hub.requests == []
    done = run(main, [*options, "--yes"])
    assert done.exit_code == 0, done.output
    assert set(hub.files) == {"config.json", "model.weights.h5", "README.md"}
    assert hub.files["model.weights.h5"] == (saved / "model.weights.h5").read_bytes()
    from huggingface_hub import ModelCard

    card = ModelCard(hub.files["README.md"].decode()).data
    assert (card.library_name, card.license, card.datasets) == ("keras", "apache-2.0", ["me/images"])
    assert {"medzoo", "autoencoder", "vae"} <= set(card.tags)
    entry = json.loads(done.output.split("Manifest entry:\n")[1].split("Uploaded.")[0])["repo"]
    assert entry["hub"] == {"repo": "user/repo", "commit": hub.commits[-1]}
    assert entry["files"]["model.weights.h5"]["size"] == (saved / "model.weights.h5").stat().st_size
    x = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    assert np.array_equal(medzoo.load(URI).reconstruct(x), medzoo.load(saved).reconstruct(x))


def test_push_of_a_zoo_preset_includes_its_results_as_metadata():
    from huggingface_hub import ModelCard

    from medzoo.zoo.manifest import BUNDLED
    from medzoo.zoo.push import prepare

    upload = prepare(BUNDLED / "vae-chestxray-64", "hf://me/vae-chestxray-64")
    data = ModelCard(upload.card).data
    assert data.license == "cc-by-sa-4.0"
    measured = {r.metric_type: r.metric_value for r in data.eval_results}
    assert measured["psnr"] == manifest()["vae-chestxray-64"]["metrics"]["psnr"]["mean"]
    assert upload.entry()["files"] == manifest()["vae-chestxray-64"]["files"]


def test_push_without_permission_or_of_a_damaged_preset_is_refused(hub, saved, tmp_path):
    hub.token = "hf_right"
    options = ["--license", "apache-2.0", "--yes"]
    result = CliRunner().invoke(main, ["push", str(saved), URI, *options])
    assert result.exit_code == 1
    assert "hf auth login" in result.output
    shutil.copytree(saved, tmp_path / "a")
    (tmp_path / "a" / "model.weights.h5").write_bytes(b"rotten")
    result = CliRunner().invoke(main, ["push", str(tmp_path / "a"), URI, *options])
    assert "6 bytes; expected" in result.output
