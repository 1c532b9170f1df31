"""Building blocks: residual encoder and decoder, reparameterised sampling, vector quantisation."""

from medzoo.layers.blocks import Decoder, Encoder, ResidualBlock
from medzoo.layers.quantizer import VectorQuantizer
from medzoo.layers.sampling import Sampling

__all__ = ["Decoder", "Encoder", "ResidualBlock", "Sampling", "VectorQuantizer"]
