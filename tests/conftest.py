import os
import socket

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A process a core: threads of their own would only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.models import VAE, VQVAE, Codec, ConvAutoencoder, MaskedAutoencoder

SMALL = {"filters": (8, 16), "blocks_per_stage": 1, "seed": 0}
EFFICIENTNET = {**SMALL, "backbone": "efficientnet-lite0", "bottleneck": "spatial", "latent_dim": 3, "patch": 16}

# Every family with every bottleneck it takes.
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
}
ANY_VOLUME = (None, None, None, 1)
VOLUMES = {
    "ae-volume": lambda: ConvAutoencoder((8, 16, 16, 1), latent_dim=6, patch_size=(2, 4, 4), noise_std=0.1, **SMALL),
    "vae-volume": lambda: VAE(ANY_VOLUME, latent_dim=3, bottleneck="spatial", patch_size=(1, 4, 4), **SMALL),
    "vqvae-volume": lambda: VQVAE(ANY_VOLUME, latent_dim=4, codebook_size=16, patch_size=2, **SMALL),
    "mae-volume": lambda: MaskedAutoencoder(ANY_VOLUME, latent_dim=3, patch_size=2, **SMALL),
}


def pytest_configure():
    if keras.backend.backend() == "tensorflow":  # two devices, so that two replicas can be tested anywhere
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


# Tests of what happens in compiled graphs. All others run their few small steps at once: compiling takes longer.
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


SHOWN = ("ae-vector", "vae-spatial", "vqvae-ema", "codec")  # one of each kind; the others with -m slow


def each(shown=SHOWN):
    """Names of the families, as parameters of a test; those not shown are slow."""
    return [pytest.param(name, marks=[] if name in shown else pytest.mark.slow) for name in FAMILIES]


@pytest.fixture(params=each())
def make(request):
    """A function that builds a small model, once for every family and bottleneck."""
    return FAMILIES[request.param]


@pytest.fixture(scope="session")
def images():
    """32 drawn chest films of 32x32 pixels, all different."""
    return np.stack([chest_phantom(32, seed) for seed in range(32)])


@pytest.fixture(scope="session")
def preset(images, tmp_path_factory):
    """Folder of a small VQ-VAE that takes any size: what a preset is used for, in seconds."""
    model = VQVAE((None, None, 1), latent_dim=4, codebook_size=16, **SMALL)
    model.initialize_from_pca(images)
    return medzoo.save_preset(model, tmp_path_factory.mktemp("zoo") / "small")


def write_archive(path, size=64, counts=(160, 8, 40)):
    """An npz archive of drawn films in the MedMNIST convention: classes `chest_xray` and, darker, `dark`."""
    arrays = {"class_names": np.array(["dark", "chest_xray"])}
    for split, n in zip(("train", "val", "test"), counts, strict=True):
        films = np.stack([chest_phantom(size, seed) for seed in range(n)])[..., 0]
        labels = np.arange(n) % 2
        films[labels == 0] *= 0.5
        arrays[f"{split}_images"] = np.round(films * 255).astype("uint8")
        arrays[f"{split}_labels"] = labels[:, None].astype("uint8")
    np.savez(path, **arrays)
    return path


def free_port():
    """A port on loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
