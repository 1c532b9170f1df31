import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from medzoo.images.phantom import chest_phantom
from medzoo.models import VAE, VQVAE, ConvAutoencoder

SMALL = {"filters": (8, 16), "blocks": 1, "seed": 0}

# Every family with every bottleneck it takes.
FAMILIES = {
    "ae-vector": lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL),
    "ae-spatial": lambda: ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
    "dae": lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, noise_std=(0.0, 0.1), sparsity=0.01, **SMALL),
    "vae-vector": lambda: VAE((32, 32, 1), latent_dim=6, **SMALL),
    "vae-spatial": lambda: VAE((None, None, 1), latent_dim=3, bottleneck="spatial", free_bits=0.05, **SMALL),
    "vqvae-ema": lambda: VQVAE((None, None, 1), latent_dim=4, codebook_size=16, **SMALL),
    "vqvae-loss": lambda: VQVAE((None, None, 1), latent_dim=4, codebook_size=16, learning="loss", **SMALL),
}


def pytest_configure():
    if keras.backend.backend() == "tensorflow":  # two devices, so that two replicas can be tested anywhere
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def _same_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(params=FAMILIES)
def make(request):
    """A function that builds a small model, once for every family and bottleneck."""
    return FAMILIES[request.param]


@pytest.fixture(scope="session")
def images():
    """32 drawn chest films of 32x32 pixels, all different."""
    return np.stack([chest_phantom(32, seed) for seed in range(32)])
