"""Model families: ConvAutoencoder, VAE, VQVAE, MaskedAutoencoder and Codec."""

from medzoo.models.base import Autoencoder
from medzoo.models.codec import Codec
from medzoo.models.conv_ae import ConvAutoencoder
from medzoo.models.masked import MaskedAutoencoder
from medzoo.models.vae import VAE
from medzoo.models.vqvae import VQVAE

FAMILIES = (ConvAutoencoder, VAE, VQVAE, MaskedAutoencoder, Codec)

__all__ = ["FAMILIES", "VAE", "VQVAE", "Autoencoder", "Codec", "ConvAutoencoder", "MaskedAutoencoder"]
