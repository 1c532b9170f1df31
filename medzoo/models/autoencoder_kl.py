"""The autoencoder of latent diffusion models."""

import math

import keras
import numpy as np
from keras import ops

from medzoo.layers.grids import convolution
from medzoo.layers.kl_networks import MIDDLES, KLDecoder, KLEncoder
from medzoo.models.vae import VAE

ACTIVATIONS_AT_ONCE = 2**28  # float32 numbers in one feature map of the finest level: 1 GiB


@keras.saving.register_keras_serializable("medzoo")
class AutoencoderKL(VAE):
    """Variational autoencoder of latent diffusion models (Rombach et al. 2022, arXiv:2112.10752).

    Residual blocks with group normalization and SiLU, strided convolutions with the original's one-sided padding, and
    attention at the coarsest level. Loss, sampling and prior are those of `VAE`. MedVAE, the autoencoders of Stable
    Diffusion and FLUX, and MONAI's and MAISI's are this family with other weights: see `medzoo.zoo.converters`.

    `encode` returns the posterior mean, **not** multiplied by `scaling_factor`. Images of any size that is a multiple
    of `downsampling` are accepted. `posterior(x)` accepts other sizes too and returns what the original networks
    return: an odd side n becomes (n - 1) / 2 at each level.

    Group normalization and attention depend on the whole image. `reconstruct(x, tile=...)` therefore differs from the
    whole image's reconstruction: each tile is normalized and attended to by itself, as in the sliding windows of MONAI
    and MedVAE. Memory: attention over n positions holds at most 256 MiB of scores at a time, and inference on NumPy
    arrays runs in batches whose finest feature map holds at most 1 GiB. Training keeps about
    `13 * (2 * blocks + 1) * filters[0]` float32 numbers per voxel, measured on TensorFlow with 40×40×40 voxels: 8 KiB
    with `filters=(32, 64, 64)` and two blocks_per_stage, which makes 2 GiB for 64×64×64 voxels.

    Args:
        image_shape: tuple. `(height, width, channels)` or `(depth, height, width, channels)`; the sides may be `None`.
        latent_dim: int. Number of latent channels per position.
        filters: sequence of int. Width of each level, the finest first; each level but the last halves the resolution,
            so `downsampling` is `2 ** (len(filters) - 1)`.
        blocks_per_stage: int or sequence of int. Residual blocks of each level of the encoder.
        decoder_blocks: sequence of int. The same for the decoder, the finest level first; default: one more than in the
            encoder (Latent Diffusion, diffusers). MONAI has as many as in the encoder.
        stem: int. Width of the encoder's first convolution; default: that of the finest level.
        attention: sequence of int. Levels whose residual blocks are each followed by attention; 0 is the finest.
        decoder_attention: sequence of int. The same for the decoder; default: as in the encoder.
        middle: str. Blocks at the coarsest level: `"attention"` (residual block, attention, residual block),
            `"residual"` (two residual blocks_per_stage) or `"none"`.
        decoder_middle: str. The same for the decoder; default: as in the encoder.
        groups: int. Groups of channels of the normalization; divides every width.
        epsilon: float. Added to the variance in the normalization.
        final_activation: bool. Whether SiLU precedes the last convolution of encoder and decoder; `False` in MONAI.
        attention_projection: bool. Whether attention ends in a linear layer; `include_fc` of MONAI.
        learned_resampling: bool. `False`: average pooling, and repetition without a convolution.
        upsampling: str. `"nearest"`, `"linear"`, `"transposed-2"` or `"transposed-3"`, see
            `medzoo.layers.kl_blocks.Upsample`.
        quantization: bool. Whether a convolution of kernel size 1 gives the posterior's moments (`quant_conv`).
        decoder_quantization: bool. Whether one precedes the decoder (`post_quant_conv`); default: as `quantization`.
        moments: int. Channels before `quant_conv`; default: `2 * latent_dim`.
        decoder_width: int. Channels after `post_quant_conv`; default: `latent_dim`.
        projection: bool. Whether the model has the convolutions of `project`, MedVAE's second latent.
        out_channels: int. Channels of the decoded images where they differ from those of the input; such a model
            encodes and decodes, and cannot be trained on images alone.
        value_range: `(low, high)`. Range of images that the network itself works in. `model(x)`, `encode` and `decode`
            take and return values in [0, 1] and convert.
        scaling_factor: float. What latent diffusion models multiply latents by, after subtracting `shift_factor`.
            Stored only: `encode` and `decode` do not apply it.
        shift_factor: float. See `scaling_factor`.
        **kwargs: See `VAE`.

    Raises:
        ValueError: If the arguments do not fit together.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)
    NETWORK = ("decoder_blocks", "stem", "attention", "decoder_attention", "middle", "decoder_middle", "groups")
    NETWORK += ("epsilon", "final_activation", "attention_projection", "learned_resampling", "upsampling")
    NETWORK += ("quantization", "decoder_quantization", "moments", "decoder_width", "projection", "out_channels")
    NETWORK += ("value_range", "scaling_factor", "shift_factor")

    def __init__(
        self,
        image_shape=(None, None, 1),
        *,
        latent_dim=4,
        filters=(128, 256, 512),
        blocks_per_stage=2,
        decoder_blocks=None,
        stem=None,
        attention=(),
        decoder_attention=None,
        middle="attention",
        decoder_middle=None,
        groups=32,
        epsilon=1e-6,
        final_activation=True,
        attention_projection=True,
        learned_resampling=True,
        upsampling="nearest",
        quantization=True,
        decoder_quantization=None,
        moments=None,
        decoder_width=None,
        projection=False,
        out_channels=None,
        value_range=(-1.0, 1.0),
        scaling_factor=1.0,
        shift_factor=0.0,
        **kwargs,
    ):
        given = locals()
        self.network = {name: _plain(given[name]) for name in self.NETWORK}
        self.scaling_factor, self.shift_factor = scaling_factor, shift_factor
        _check(filters, blocks_per_stage, self.network)
        blocks_per_stage = blocks_per_stage if isinstance(blocks_per_stage, int) else tuple(blocks_per_stage)
        kwargs = {"bottleneck": "spatial", "patch_size": 1, **kwargs}
        super().__init__(
            image_shape, latent_dim=latent_dim, filters=filters, blocks_per_stage=blocks_per_stage, **kwargs
        )

    def make_networks(self):
        options, filters = self.network, self.filters
        blocks = (
            (self.blocks_per_stage,) * len(filters) if isinstance(self.blocks_per_stage, int) else self.blocks_per_stage
        )
        names = ("groups", "epsilon", "final_activation", "attention_projection", "learned_resampling", "value_range")
        shared = {name: options[name] for name in names} | {"spatial_dims": self.spatial_dims}
        encoder = KLEncoder(
            self.latent_dim,
            filters,
            blocks,
            attention=options["attention"],
            middle=options["middle"],
            **{name: options[name] for name in ("stem", "moments", "quantization")},
            **shared,
        )
        decoder = KLDecoder(
            self.latent_dim,
            filters,
            options["decoder_blocks"] or [n + 1 for n in blocks],
            channels=options["out_channels"] or self.image_shape[-1],
            attention=_default(options["decoder_attention"], options["attention"]),
            middle=_default(options["decoder_middle"], options["middle"]),
            upsampling=options["upsampling"],
            width=options["decoder_width"],
            quantization=_default(options["decoder_quantization"], options["quantization"]),
            **shared,
        )
        self.projections = self._make_projections() if options["projection"] else []
        return encoder, decoder

    def _make_projections(self):
        conv, z = convolution(self.spatial_dims), self.latent_dim
        sizes = ((64, 1), (64, 3), (z, 1), (z, 1))  # filters and kernel size; the last one is channel_proj
        shared = {"padding": "same", "dtype": "float32"}
        layers = [conv(width, kernel, name=f"projection_{i}", **shared) for i, (width, kernel) in enumerate(sizes)]
        for layer in layers:
            layer.trainable = False  # no loss of `fit` depends on them
        return layers

    def build(self, input_shape=None):
        if not self.built:
            width = self.latent_dim
            for layer in self.projections:
                layer.build((None, *(None,) * self.spatial_dims, width))
                width = layer.filters
        super().build(input_shape)

    def posterior(self, x):
        """Return q(z|x) as `(mean, log_var)`, each shaped like the latents; log_var is clipped to [-30, 20].

        Args:
            x: float tensor of images in [0, 1], of any size.
        """
        mean, log_var = ops.split(self.encoder(x), 2, axis=-1)
        return mean, ops.clip(log_var, -30.0, 20.0)

    def project(self, latents):
        """Return MedVAE's second latent, `channel_proj(channel_ds(z) + z)`, which its authors use downstream.

        `decode` takes `encode`'s latents, not these.

        Args:
            latents: array or tensor of latents, as `encode` returns them.

        Returns:
            Array or tensor shaped like `latents`.

        Raises:
            ValueError: If the model has no such projection.
        """
        if not self.projections:
            raise ValueError(f"{self.name}: the model has no projection. Expected a converted MedVAE model.")
        return self._in_batches("_project", latents, images=False)

    def _project(self, latents):
        first, second, third, last = self.projections
        return last(third(ops.relu(second(ops.relu(first(latents))))) + latents)

    def _in_batches(self, method, x, images=True, batch_size=None, **options):
        if batch_size is None:
            positions = math.prod(np.shape(x)[1:-1]) if isinstance(x, np.ndarray) else 1
            positions *= 1 if images else math.prod(self.downsampling_factors)
            batch_size = max(1, min(64, ACTIVATIONS_AT_ONCE // max(1, positions * self.filters[0])))
        return super()._in_batches(method, x, images, batch_size, **options)

    def initialize_from_pca(self, images, max_samples=100_000):
        """Not available: the networks have no linear path.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{type(self).__name__}: has no linear path that a PCA could initialize. Train with fit(x).")

    def get_config(self):
        config = super().get_config()
        for name in ("bottleneck", "patch_size", "backbone"):
            config.pop(name)
        blocks = self.blocks_per_stage if isinstance(self.blocks_per_stage, int) else list(self.blocks_per_stage)
        network = {key: list(v) if isinstance(v, (tuple, list)) else v for key, v in self.network.items()}
        return {**config, "blocks_per_stage": blocks, **network}


def _plain(value):
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _default(value, default):
    return default if value is None else value


def _check(filters, blocks_per_stage, network):
    """Raise ValueError for arguments of `AutoencoderKL` that do not fit together."""
    name, levels = "AutoencoderKL", len(filters)
    for key in ("middle", "decoder_middle"):
        if network[key] not in (*MIDDLES, *([None] if key == "decoder_middle" else [])):
            raise ValueError(f"{name}: {key}={network[key]!r}. Expected one of {', '.join(MIDDLES)}.")
    for key, value in (("blocks_per_stage", blocks_per_stage), ("decoder_blocks", network["decoder_blocks"])):
        if isinstance(value, (list, tuple)) and len(value) != levels:
            raise ValueError(f"{name}: {key}={value}. Expected {levels} numbers, one per level of filters={filters}.")
    for key in ("attention", "decoder_attention"):
        if any(not 0 <= level < levels for level in network[key] or ()):
            raise ValueError(f"{name}: {key}={network[key]}. Expected levels from 0 to {levels - 1}.")
    groups = network["groups"]
    widths = [*filters, network["stem"] or filters[0]]
    if groups < 1 or any(width % groups for width in widths):
        raise ValueError(f"{name}: groups={groups}. Expected a divisor of every width in {tuple(widths)}.")
    low, high = network["value_range"]
    if not low < high:
        raise ValueError(f"{name}: value_range={network['value_range']}. Expected (low, high) with low < high.")
