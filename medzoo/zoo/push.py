"""Upload of preset folders to the Hugging Face Hub, with the metadata of the model card."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import PresetError
from medzoo.zoo.download import UPLOAD, explained, sha256
from medzoo.zoo.files import CARD, CONFIG, WEIGHTS, check_preset

OPTIONAL = ("metrics.json", "training.json", "samples.png")  # no other file of the folder is uploaded


@dataclass(frozen=True)
class Upload:
    """Files of a preset that `push` uploads.

    Attributes:
        repo: `user/name` on the Hugging Face Hub.
        files: Dict from names in the repository to paths, or to the bytes of the model card.
        card: Text of the model card.
    """

    repo: str
    files: dict
    card: str

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in bytes."""
        return {n: len(f) if isinstance(f, bytes) else f.stat().st_size for n, f in sorted(self.files.items())}

    def entry(self, commit: str | None = None) -> dict:
        """Return the manifest entry of the preset, with the information that is in the folder.

        Args:
            commit: Commit hash of the upload, or `None`.
        """
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


def prepare(folder: str | os.PathLike, target: str, license: str | None = None, datasets: Sequence[str] = ()) -> Upload:
    """Check a preset folder and collect the files that `push` uploads, without network access.

    Args:
        folder: A preset folder, as `save_preset` writes it.
        target: `hf://user/repo`.
        license: License identifier of the weights on the Hugging Face Hub, e.g. `"apache-2.0"`. Default: the license
            in the folder's README.md.
        datasets: Identifiers of the training datasets on the Hugging Face Hub.

    Returns:
        An `Upload`.

    Raises:
        PresetError: If the folder is not a valid preset, the license is missing, or the target is invalid.
    """
    folder = Path(folder)
    if not (match := re.fullmatch(r"hf://([\w.-]+/[\w.-]+)", target)):
        raise PresetError(f"{target}: expected hf://user/repo.")
    config = check_preset(folder)
    card = _card(folder, match[1], config, license, datasets)
    files = {name: folder / name for name in (CONFIG, WEIGHTS, *OPTIONAL) if (folder / name).is_file()}
    return Upload(match[1], {**files, CARD: card.encode()}, card)


def push(upload: Upload, private: bool = False) -> str:
    """Upload a preset in one commit, and create the repository if necessary.

    The token is that of the `huggingface_hub` client (`hf auth login`, HF_TOKEN).

    Args:
        upload: See `prepare`.
        private: bool. Create a private repository. Default: `False`.

    Returns:
        The commit hash.

    Raises:
        PresetError: See `load`; the subclasses are in `medzoo.errors`.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        api.create_repo(upload.repo, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, source) for name, source in sorted(upload.files.items())]
        return api.create_commit(upload.repo, operations, commit_message="medzoo push").oid
    except Exception as error:  # the client raises its own, httpx's, and OSError
        raise explained(error, f"hf://{upload.repo}", UPLOAD) from error


def _card(folder, repo, config, license, datasets):
    """The folder's README.md, or a short one, with metadata for the Hugging Face Hub."""
    from huggingface_hub import ModelCard

    family = config["model"]["class_name"]
    path = folder / CARD
    card = ModelCard(path.read_text(encoding="utf-8") if path.is_file() else _text(repo, family, config))
    data = card.data
    data.license = license or data.license
    if not data.license:
        raise PresetError(f"{folder}: the license of the weights is missing. Set it, e.g. --license apache-2.0.")
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

Research use only. The model is not a medical device and must not be used for diagnosis or treatment. Reconstructions
are biased towards the training distribution: findings may be lost, and structures may appear that are not in the image.
"""
