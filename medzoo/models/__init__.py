"""Model families: ConvAutoencoder, VAE, VQVAE, MaskedAutoencoder, Codec, and those of imported weights."""

from medzoo.models.autoencoder_kl import AutoencoderKL
from medzoo.models.base import Autoencoder
from medzoo.models.codec import Codec
from medzoo.models.conv_ae import ConvAutoencoder
from medzoo.models.masked import MaskedAutoencoder
from medzoo.models.resnet_autoencoder import ResNetAutoencoder
from medzoo.models.strided_vqvae import StridedVQVAE
from medzoo.models.tiny_autoencoder import TinyAutoencoder
from medzoo.models.vae import VAE
from medzoo.models.vqvae import VQVAE

FAMILIES = (
    ConvAutoencoder,
    VAE,
    VQVAE,
    MaskedAutoencoder,
    Codec,
    AutoencoderKL,
    TinyAutoencoder,
    StridedVQVAE,
    ResNetAutoencoder,
)

__all__ = [
    "FAMILIES",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "AutoencoderKL",
    "Codec",
    "ConvAutoencoder",
    "MaskedAutoencoder",
    "ResNetAutoencoder",
    "StridedVQVAE",
    "TinyAutoencoder",
]
