"""Layers: residual encoder and decoder, reparameterized sampling, vector quantization."""

from medzoo.layers.blocks import Decoder, Encoder, ResidualBlock
from medzoo.layers.quantizer import VectorQuantizer
from medzoo.layers.sampling import Sampling

__all__ = ["Decoder", "Encoder", "ResidualBlock", "Sampling", "VectorQuantizer"]
