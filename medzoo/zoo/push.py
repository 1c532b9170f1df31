"""A preset folder to the hub: what would be uploaded, the card with the hub's metadata, the upload itself."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import PresetError
from medzoo.zoo.download import UPLOAD, explained, sha256
from medzoo.zoo.files import CARD, CONFIG, WEIGHTS, check_preset

OPTIONAL = ("metrics.json", "training.json", "samples.png")  # beside these, nothing in the folder is uploaded


@dataclass(frozen=True)
class Upload:
    """What `push` uploads: `files` maps names in the repository to paths, or to the bytes of the card."""

    repo: str
    files: dict
    card: str

    def sizes(self):
        """Bytes of each file."""
        return {n: len(f) if isinstance(f, bytes) else f.stat().st_size for n, f in sorted(self.files.items())}

    def entry(self, commit=None):
        """The preset's entry in a manifest, as far as the folder tells."""
        config = json.loads(Path(self.files[CONFIG]).read_text(encoding="utf-8"))
        return {
            "family": config["model"]["class_name"],
            "input": config["model"]["config"]["image_shape"],
            "files": {
                name: {"size": Path(self.files[name]).stat().st_size, "sha256": sha256(self.files[name])}
                for name in (CONFIG, WEIGHTS)
            },
            "hub": {"repo": self.repo, "commit": commit},
        }


def prepare(folder, target, licence=None, datasets=()):
    """Checks a preset folder and says what `push` would upload; asks nothing of the network.

    Args:
        folder: a preset folder, as `save_preset` writes it.
        target: `hf://user/repo`.
        licence: identifier of the weights' licence as the hub knows it, e.g. `"apache-2.0"`; not needed where the
            folder's README.md says it.
        datasets: identifiers of the training data on the hub.

    Raises:
        PresetError: no preset, damaged, no licence, or another target.
    """
    folder = Path(folder)
    if not (match := re.fullmatch(r"hf://([\w.-]+/[\w.-]+)", target)):
        raise PresetError(f"{target}: expected hf://user/repo.")
    config = check_preset(folder)
    card = _card(folder, match[1], config, licence, datasets)
    files = {name: folder / name for name in (CONFIG, WEIGHTS, *OPTIONAL) if (folder / name).is_file()}
    return Upload(match[1], {**files, CARD: card.encode()}, card)


def push(upload, private=False):
    """Creates the repository if need be and uploads in one commit; returns the commit's hash.

    The token is that of the hub's client (`hf auth login`, HF_TOKEN).

    Raises:
        PresetError: of the kinds in `medzoo.errors`, as `load`.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        api.create_repo(upload.repo, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, source) for name, source in sorted(upload.files.items())]
        return api.create_commit(upload.repo, operations, commit_message="medzoo push").oid
    except Exception as error:  # the client raises its own, httpx's, and OSError
        raise explained(error, f"hf://{upload.repo}", UPLOAD) from error


def _card(folder, repo, config, licence, datasets):
    """The folder's README.md, or a short one, with the metadata that the hub's pages are made of."""
    from huggingface_hub import ModelCard

    family = config["model"]["class_name"]
    path = folder / CARD
    card = ModelCard(path.read_text(encoding="utf-8") if path.is_file() else _text(repo, family, config))
    data = card.data
    data.license = licence or data.license
    if not data.license:
        raise PresetError(f"{folder}: whose weights may be used how? Pass a licence, e.g. --license apache-2.0.")
    data.library_name = "keras"
    data.tags = list(dict.fromkeys([*(data.tags or []), "medzoo", "autoencoder", "medical-imaging", family.lower()]))
    if datasets:
        data.datasets = list(datasets)
    if (folder / "metrics.json").is_file():
        measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        data.metrics = [name for name in ("psnr", "ssim", "ms_ssim") if name in measured]
        data.model_name, data.eval_results = repo.split("/")[1], _results(measured)
    return str(card)


def _results(measured):
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type=Path(measured["data"]).stem,
            dataset_name=measured["data"],
            dataset_split=measured["split"],
            metric_type=name,
            metric_name=name.upper().replace("_", "-"),
            metric_value=measured[name]["mean"],
        )
        for name in ("psnr", "ssim", "ms_ssim")
        if name in measured
    ]


def _text(repo, family, config):
    shape = "×".join("any" if n is None else str(n) for n in config["model"]["config"]["image_shape"])
    return f"""# {repo.split("/")[1]}

{family} of medzoo, input {shape}, values in [0, 1].

```python
import medzoo

model = medzoo.load("hf://{repo}")
```

For research. Not a medical device, not for diagnosis or treatment: a reconstruction shows what is usual in the training
data, and may lose or invent findings.
"""
