"""The families: ConvAutoencoder, VAE, VQVAE, and Codec for compression."""

from medzoo.models.base import Autoencoder
from medzoo.models.codec import Codec
from medzoo.models.conv_ae import ConvAutoencoder
from medzoo.models.vae import VAE
from medzoo.models.vqvae import VQVAE

__all__ = ["VAE", "VQVAE", "Autoencoder", "Codec", "ConvAutoencoder"]
