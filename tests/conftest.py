import os
import socket

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One process per core: threads of several processes would only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.models import (
    VAE,
    VQVAE,
    AutoencoderKL,
    Codec,
    ConvAutoencoder,
    MaskedAutoencoder,
    StridedVQVAE,
    TinyAutoencoder,
)

SMALL = {"filters": (8, 16), "blocks_per_stage": 1, "seed": 0}
EFFICIENTNET = {**SMALL, "backbone": "efficientnet-lite0", "bottleneck": "spatial", "latent_dim": 3, "patch_size": 16}

# Every family with every bottleneck that it supports.
FAMILIES = {
    "ae-vector": lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL),
    "ae-spatial": lambda: ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
    "ae-efficientnet": lambda: ConvAutoencoder((None, None, 1), **EFFICIENTNET),
    "dae": lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, noise_std=(0.0, 0.1), sparsity_weight=0.01, **SMALL),
    "sae": lambda: ConvAutoencoder((32, 32, 1), latent_dim=12, top_k=4, **SMALL),
    "vae-vector": lambda: VAE((32, 32, 1), latent_dim=6, **SMALL),
    "vae-spatial": lambda: VAE((None, None, 1), latent_dim=3, bottleneck="spatial", free_bits=0.05, **SMALL),
    "vqvae-ema": lambda: VQVAE((None, None, 1), latent_dim=4, codebook_size=16, **SMALL),
    "vqvae-loss": lambda: VQVAE((None, None, 1), latent_dim=4, codebook_size=16, codebook_update="gradient", **SMALL),
    "mae": lambda: MaskedAutoencoder(latent_dim=3, **SMALL),
    "codec": lambda: Codec((None, None, 1), latent_dim=4, groups=(4,), hidden=8, **SMALL),
    "kl": lambda: AutoencoderKL((None, None, 1), latent_dim=2, groups=4, attention=(1,), **SMALL),
    "tiny": lambda: TinyAutoencoder((None, None, 1), latent_dim=3, pooled=True, **SMALL),
    "vqvae-strided": lambda: StridedVQVAE((None, None, 1), latent_dim=4, codebook_size=16, **SMALL),
}
ANY_VOLUME = (None, None, None, 1)
VOLUMES = {
    "ae-volume": lambda: ConvAutoencoder((8, 16, 16, 1), latent_dim=6, patch_size=(2, 4, 4), noise_std=0.1, **SMALL),
    "vae-volume": lambda: VAE(ANY_VOLUME, latent_dim=3, bottleneck="spatial", patch_size=(1, 4, 4), **SMALL),
    "vqvae-volume": lambda: VQVAE(ANY_VOLUME, latent_dim=4, codebook_size=16, patch_size=2, **SMALL),
    "kl-volume": lambda: AutoencoderKL(ANY_VOLUME, latent_dim=2, groups=4, upsampling="linear", **SMALL),
    "mae-volume": lambda: MaskedAutoencoder(ANY_VOLUME, latent_dim=3, patch_size=2, **SMALL),
}


def pytest_configure():
    if keras.backend.backend() == "tensorflow":  # two devices, so that two replicas can be tested anywhere
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


# Tests of compiled graphs. All others run their few small steps eagerly: compilation takes longer.
COMPILED = ("test_compiled", "test_distribution", "test_export", "test_training", "test_sampling")


@pytest.fixture(autouse=True, scope="module")
def _eagerly(request):
    if keras.backend.backend() != "tensorflow" or request.module.__name__ in COMPILED:
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def _same_seed():
    keras.utils.set_random_seed(0)


DEFAULT = ("ae-vector", "vae-spatial", "vqvae-ema", "codec")  # one of each kind; the others with -m slow


def each(default=DEFAULT):
    """Return the names of the families as parameters of a test; those not in `default` are slow."""
    return [pytest.param(name, marks=[] if name in default else pytest.mark.slow) for name in FAMILIES]


@pytest.fixture(params=each())
def make(request):
    """Return a function that builds a small model, once per family and bottleneck."""
    return FAMILIES[request.param]


@pytest.fixture(scope="session")
def images():
    """Return 32 different synthetic chest phantoms of 32×32 pixels."""
    return np.stack([chest_phantom(32, seed) for seed in range(32)])


@pytest.fixture(scope="session")
def preset(images, tmp_path_factory):
    """Return the preset folder of a small VQ-VAE with an open image size."""
    model = VQVAE((None, None, 1), latent_dim=4, codebook_size=16, **SMALL)
    model.initialize_from_pca(images)
    return medzoo.save_preset(model, tmp_path_factory.mktemp("zoo") / "small")


def write_npz(path, size=64, counts=(160, 8, 40)):
    """Write an NPZ file of synthetic chest phantoms in the MedMNIST layout; images of class `dark` are darker."""
    arrays = {"class_names": np.array(["dark", "chest_xray"])}
    for split, n in zip(("train", "val", "test"), counts, strict=True):
        images = np.stack([chest_phantom(size, seed) for seed in range(n)])[..., 0]
        labels = np.arange(n) % 2
        images[labels == 0] *= 0.5
        arrays[f"{split}_images"] = np.round(images * 255).astype("uint8")
        arrays[f"{split}_labels"] = labels[:, None].astype("uint8")
    np.savez(path, **arrays)
    return path


def free_port():
    """Return an unused port of the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
