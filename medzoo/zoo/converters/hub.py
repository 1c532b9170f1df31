"""Other libraries' checkpoints on the Hugging Face Hub: fetched, converted once, and kept as a preset in the cache."""

import hashlib
import json
import logging
import re
from pathlib import Path

from medzoo.errors import CheckpointError, DamagedPresetError, PresetError, PresetNotFoundError
from medzoo.zoo.converters import bundles, medvae
from medzoo.zoo.converters.sources import diffusers_names, read_config
from medzoo.zoo.converters.weight_files import INDEX, SUFFIXES, shards_of
from medzoo.zoo.download import cache_folder, fetch, verify_or_remove
from medzoo.zoo.manifest import converted_models

log = logging.getLogger("medzoo")
FOLDER = "medzoo-converted"  # in the cache
LARGE = 10 * 2**20  # bytes; larger downloads are announced


class Repository:
    """Files of one repository at one revision, in the cache once they were asked for.

    Args:
        repo: str. `user/name`.
        revision: str. Branch, tag or commit; after the first file its commit.

    Attributes:
        folder: path of the snapshot in the cache, which has the repository's layout; `None` before the first file.
    """

    def __init__(self, repo, revision=None):
        self.repo, self.revision, self.folder = repo, revision, None

    def get(self, name):
        """Path of a file, verified by the hub's own checksum; `None` if the repository has no such file."""
        try:
            self._announce(name)
            path = fetch(self.repo, name, self.revision)
        except PresetNotFoundError as error:
            if no_such_entry(error):
                return None
            raise
        self.folder = path.parents[len(Path(name).parts) - 1]
        if re.fullmatch(r"[0-9a-f]{40}", self.folder.name):
            self.revision = self.folder.name  # all further files from the same commit
        recorded = path.resolve().name  # the cache names what it keeps by the hub's record: SHA-256 of large files
        if re.fullmatch(r"[0-9a-f]{64}", recorded):
            verify_or_remove(path, {"size": path.stat().st_size, "sha256": recorded})
        return path

    def _announce(self, name):
        """Say how large a download is before it begins; the client shows its progress."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

        cached = try_to_load_from_cache(self.repo, name, cache_folder(), self.revision)
        if isinstance(cached, str) or not name.endswith(SUFFIXES):
            return
        try:
            size = get_hf_file_metadata(hf_hub_url(self.repo, name, revision=self.revision)).size or 0
        except Exception:  # `fetch` meets the same error and explains it
            return
        if size > LARGE:
            log.info("hf://%s: downloading %s, %.0f MB, to %s", self.repo, name, size / 1e6, cache_folder())


def no_such_entry(error):
    """Whether an error of `fetch` means that the repository is there and the file is not in it."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cause = error.__cause__
    return isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError)


def download(repository, source=None, variant=None):
    """Fetch what one checkpoint consists of; returns the snapshot's folder, or the file to be converted.

    Raises:
        PresetNotFoundError: If the repository has none of the known layouts.
        CheckpointError: If it holds several networks and `variant` does not tell.
    """
    if source == "medvae" or variant in medvae.VARIANTS:
        return _medvae(repository, variant)
    layouts = {"diffusers": _diffusers, "monai": _monai}
    for layout, of in layouts.items():
        if source in (None, layout) and (found := of(repository, variant)):
            return found
    if repository.get(medvae.VARIANTS["medvae_4_1_2d"][0]):
        return _medvae(repository, variant)
    raise PresetNotFoundError(
        f"hf://{repository.repo}: has no file config.json of medzoo or diffusers, no configs/inference.json of a MONAI "
        "bundle and no model_weights/ of MedVAE; is it one of them? Download a single file and pass its path."
    )


def _medvae(repository, variant):
    if variant not in medvae.VARIANTS:
        raise CheckpointError(
            f"hf://{repository.repo}: holds several networks. Expected variant= one of {', '.join(medvae.VARIANTS)}, "
            f"got {variant!r}."
        )
    config, weights = medvae.VARIANTS[variant]
    repository.get(config)
    if repository.get(weights) is None:
        raise PresetNotFoundError(f"hf://{repository.repo}: has no file {weights}.")
    return repository.folder


def _diffusers(repository, variant):
    for inside in ("", "vae/"):
        config = repository.get(f"{inside}config.json")
        if config is None or "_class_name" not in read_config(config):
            continue
        for name in diffusers_names(variant):
            path = repository.get(inside + name)
            if path is None:
                continue
            for shard in shards_of(path) if name.endswith(INDEX) else ():
                if repository.get(inside + shard) is None:
                    raise PresetNotFoundError(f"hf://{repository.repo}: has no file {inside}{shard}.")
            return path
        raise PresetNotFoundError(f"hf://{repository.repo}: has no file {inside}{diffusers_names(variant)[0]}.")
    return None


def _monai(repository, variant):
    for config in (repository.get(f"configs/{name}") for name in bundles.CONFIGS):
        if config is None:
            continue
        content = read_config(config)
        definition, _ = bundles.definition(content, variant, config)
        names = bundles.named_files(content, definition)
        names = [f"{variant}.pt"] * bool(variant) + names + ["model.pt", "model_autoencoder.pt"]
        for name in dict.fromkeys(names):
            if repository.get(f"models/{name}"):
                return repository.folder
        raise PresetNotFoundError(f"hf://{repository.repo}: has none of models/{', models/'.join(names)}.")
    return None


def by_name(name, source=None, variant=None, options=None):
    """Return the folder of the preset that a name of `medzoo.list_converted()` stands for; see `converted`."""
    facts = converted_models()[name]
    log.warning("%s: weights of %s; license: %s; cite: %s", name, facts["repo"], facts["license"], facts["citation"])
    source, variant = source or facts["source"], variant or facts.get("variant")
    options = {**facts.get("options", {}), **(options or {})}
    return converted(facts["repo"], facts.get("revision"), source, variant, options)


def converted(repo, revision=None, source=None, variant=None, options=None):
    """Return the folder of the preset that a checkpoint on the hub was converted to; the first time it is converted.

    Args:
        repo: str. `user/name`.
        revision: str. Branch, tag or commit.
        source: str. See `medzoo.zoo.converters.convert.convert`.
        variant: str. See there.
        options: dict. See there.

    Raises:
        PresetError: Of the kinds in `medzoo.errors`, as `medzoo.load`.
    """
    from medzoo.zoo.converters.convert import convert
    from medzoo.zoo.files import check_preset
    from medzoo.zoo.presets import save_preset

    repository, options = Repository(repo, revision), options or {}
    asked = json.dumps([source, variant, options], sort_keys=True, default=str)
    key = hashlib.sha256(asked.encode()).hexdigest()[:16]
    root = Path(cache_folder()) / FOLDER / repo.replace("/", "--")
    if (done := _done(root, repository, key)) is not None:
        return done
    found = download(repository, source, variant)
    target = root / f"{repository.revision}-{key}"
    try:
        check_preset(target)
    except PresetError:
        log.info("hf://%s: converting", repo)
        model = convert(found, source, variant, **options)
        root.mkdir(parents=True, exist_ok=True)
        save_preset(model, target, dtype="float32", overwrite=True)
    return target


def _done(root, repository, key):
    """The converted preset of a full commit hash, which costs no request; `None` where there is none."""
    target = root / f"{repository.revision}-{key}"
    if not re.fullmatch(r"[0-9a-f]{40}", str(repository.revision)) or not target.is_dir():
        return None
    from medzoo.zoo.files import check_preset

    try:
        check_preset(target)
    except DamagedPresetError:
        return None
    return target
