"""3D networks on volumes compared with 2D networks on slices: reconstruction quality, throughput and memory.

    KERAS_BACKEND=torch python benchmarks/volumes_3d_vs_2d.py --data DIR --cache DIR --out benchmarks/volumes_3d_vs_2d

DIR contains brain_3d (T1 and FLAIR of 18 elderly people, 2 mm; 3 people for testing, 13 for training; used for
evaluation only). The first table lists the PSNR of the six complete test volumes, with intensities scaled from the
0.5th to the 99.5th percentile and 95% intervals from resampling volumes. A code of a VQ-VAE is one of at most 1,024
values and counts as one latent element, as does a component of the PCA, which is a float; in bits, the code is smaller.
The networks on slices and on volumes have equal widths and are trained with equal batches (262,144 pixels or voxels),
steps and learning rates, from the PCA of their patches or from the preset; slices are axial. Throughput: one core,
batches of one, as a fraction of the throughput of a product of two matrices of 2,048 rows on that core in the same run.
Multiply-accumulate operations (MACs) are counted by PyTorch; training counts as three times reconstruction. Memory is
that of a fresh process on two cores that reconstructs a volume of 512×512×300 voxels in tiles of 96 voxels with
TensorFlow.
"""

from functools import lru_cache
from pathlib import Path

import click
import keras
import numpy as np
from common import (
    bar_chart,
    cached,
    description,
    measure_throughput,
    run_in_process,
    throughput_table,
    use_one_core,
    write_page,
)

import medzoo
from medzoo.evaluation.reconstruction import from_rows, to_rows
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.metrics.image import psnr
from medzoo.models.tiles import pad_to_multiple
from medzoo.training.trainer import training_schedule

STEPS, RATE = 600, 1e-3
PRESET = "vqvae-hippocampus"
PRESET_2D, CROP, SLICES = "vqvae-brainmri", 32, (1, 64, 64)
SHARED = {"latent_dim": 8, "codebook_size": 1024, "filters": (48,), "blocks_per_stage": 2}
ROWS = {  # name: (voxels per latent element, method)
    "PCA of blocks of 8×8×8, 8 components": (64, "pca"),
    f"{PRESET}, pretrained": (64, PRESET),
    f"{PRESET}, fine-tuned": (64, "fine-tuned"),
    "same network, initialized from PCA of patches of 4×4×4": (64, "volumes"),
    "slices: same network, patches of 8×8": (64, "slices"),
    f"slices: {PRESET_2D}, pretrained": (16, PRESET_2D),
}
TILED = """
import json, resource
import numpy as np, medzoo
x = np.random.default_rng(0).random((1, 300, 512, 512, 1), dtype="float32")
y = medzoo.load("vqvae-hippocampus").reconstruct(x, tile=96)
assert y.shape == x.shape
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"gib": peak, "volume_gib": x.nbytes / 2**30}))
"""


@lru_cache(1)
def volumes_by_split(data):
    """Return `{split: [volumes (D, H, W, 1)]}`, T1 and FLAIR of each person."""
    folder = data / "brain_3d"
    rows = [row.split(",") for row in (folder / "split.csv").read_text().split()[1:]]
    files = {s: [f for p, where in rows if where == s for f in sorted(folder.glob(f"*/{p}_*"))] for _, s in rows}
    return {split: [medzoo.read_volume(path).to_images() for path in paths] for split, paths in files.items()}


class Crops(keras.utils.PyDataset):
    """Batches of random crops of volumes; crops of one slice are images."""

    def __init__(self, volumes, size, steps):
        super().__init__()
        self.volumes, self.size, self.steps = volumes, size, steps
        self.count = 2**18 // int(np.prod(size))

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        crops = []
        for _ in range(self.count):
            volume = self.volumes[random.integers(len(self.volumes))]
            first = [random.integers(max(1, n - s + 1)) for n, s in zip(volume.shape, self.size, strict=False)]
            crops.append(volume[tuple(slice(f, f + s) for f, s in zip(first, self.size, strict=True))])
        crops = np.stack(crops)
        return crops[:, 0] if self.size[0] == 1 else crops


def build_model(method):
    if method == "volumes":
        return medzoo.VQVAE((None, None, None, 1), patch_size=4, seed=0, **SHARED)
    if method == "slices":
        return medzoo.VQVAE((None, None, 1), patch_size=8, seed=0, **SHARED)
    return medzoo.load(PRESET if method == "fine-tuned" else method)


def apply_to_volume(function, volume, model):
    """Apply a function of batches to a volume, or to its slices."""
    batch = volume[None] if model.spatial_dims == 3 else volume
    found = function(pad_to_multiple(batch, model))
    return found[tuple(slice(side) for side in batch.shape)].reshape(volume.shape)


def evaluate(data, method):
    """Return the PSNR of each test volume."""
    pairs = zip(volumes_by_split(data)["test"], reconstruct(data, method), strict=True)
    return [float(psnr(truth[None], found[None])[0]) for truth, found in pairs]


def reconstruct(data, method):
    """Return reconstructions of the test volumes by one method of `ROWS`."""
    split = volumes_by_split(data)
    if method == "pca":
        reconstruct_pca = pca(split["train"])
        return [reconstruct_pca(volume) for volume in split["test"]]
    keras.utils.set_random_seed(0)
    model = build_model(method)
    if method in ("fine-tuned", "volumes", "slices"):
        batches = Crops(split["train"], SLICES if method == "slices" else (CROP,) * 3, STEPS)
        if method != "fine-tuned":
            model.initialize_from_pca(np.concatenate([batches[i] for i in range(10)]))
        model.compile(keras.optimizers.Adam(training_schedule(RATE, STEPS), global_clipnorm=1000.0))
        model.fit(batches, epochs=1, shuffle=False, verbose=2)
    return [apply_to_volume(model.reconstruct, volume, model) for volume in split["test"]]


def pca(volumes, side=8, components=8):
    """Return a function that reconstructs a volume from the PCA of its blocks."""
    from sklearn.decomposition import PCA

    def pad_to_blocks(volume):
        margins = [(0, -n % side) for n in volume.shape[:3]]
        return np.pad(volume, [*margins, (0, 0)], mode="edge")[None]

    seen = np.concatenate([to_rows(pad_to_blocks(volume), side) for volume in volumes])
    fitted = PCA(components, svd_solver="covariance_eigh").fit(seen)

    def reconstruct(volume):
        x = pad_to_blocks(volume)
        found = fitted.inverse_transform(fitted.transform(to_rows(x, side))).astype("float32")
        return np.clip(from_rows(found, x.shape, side)[0][tuple(slice(n) for n in volume.shape)], 0, 1)

    return reconstruct


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, out):
    use_one_core()
    cache.mkdir(parents=True, exist_ok=True)
    scores = {
        name: cached(cache, ["volumes", method], lambda method=method: evaluate(data, method))
        for name, (_, method) in ROWS.items()
    }
    quality = {name: bootstrap_mean_ci(own) for name, own in scores.items()}
    bar_chart(
        out, list(quality), [round(value["mean"], 2) for value in quality.values()], "PSNR of held-out volumes (dB)"
    )
    throughput = measure_throughput({PRESET: (1, 96, 96, 96, 1), PRESET_2D: (96, 96, 96, 1)}, "voxel")
    tiled = run_in_process(TILED, "tensorflow")
    cells = [[name, f"1/{ROWS[name][0]}", format_ci(value)] for name, value in quality.items()]
    memory = [["volume", f"{tiled['volume_gib']:.2f} GiB"], ["process, peak", f"{tiled['gib']:.2f} GiB"]]
    tables = [
        ("Held-out brain volumes", ["Model", "latent elements per voxel", "PSNR (dB)"], cells),
        throughput_table(throughput, "voxel"),
        ("512×512×300 voxels in tiles", ["Memory", ""], memory),
    ]
    facts = {"backend": keras.backend.backend(), "psnr": quality, "speed": throughput, "tiled": tiled}
    write_page(out, "Volumes: 3D versus 2D networks", tables, facts, description())


if __name__ == "__main__":
    main()
