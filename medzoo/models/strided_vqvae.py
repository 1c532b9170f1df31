"""A VQ-VAE of strided convolutions."""

import math

import keras

from medzoo.layers.vq_networks import OUTPUT_ACTIVATIONS, VQDecoder, VQEncoder
from medzoo.models.vqvae import VQVAE

DOWN, UP = (2, 4, 1, 1), (2, 4, 1, 1, 0)


@keras.saving.register_keras_serializable("medzoo")
class StridedVQVAE(VQVAE):
    """VQ-VAE whose networks are strided convolutions and residual blocks without normalization.

    The architecture of van den Oord et al. 2017 (arXiv:1711.00937) as MONAI has it (Tudosiu et al. 2022,
    arXiv:2209.03177). Codes, codebook and loss are those of `VQVAE`.

    Args:
        image_shape: tuple. `(height, width, channels)` or `(depth, height, width, channels)`; the sides may be `None`.
        latent_dim: int. Length of the codebook's entries.
        filters: sequence of int. Width of each level, the finest first.
        blocks_per_stage: int. Residual blocks of each level.
        hidden: int or sequence of int. Channels within the residual blocks of each level; default: `filters`.
        downsample_parameters: sequence of `(stride, kernel, dilation, padding)`, one per level, the finest first;
            default: `(2, 4, 1, 1)` each.
        upsample_parameters: sequence of `(stride, kernel, dilation, padding, output_padding)`, one per level, the
            coarsest first; default: `(2, 4, 1, 1, 0)` each.
        output_activation: str. `"none"`, `"sigmoid"`, `"tanh"` or `"relu"`, applied to the decoded images.
        out_channels: int. Channels of the decoded images where they differ from those of the input.
        value_range: `(low, high)`. Range of images that the network itself works in.
        **kwargs: See `VQVAE`.

    Raises:
        ValueError: If the arguments do not fit together.
    """

    backbones = ("residual",)

    def __init__(
        self,
        image_shape=(None, None, 1),
        *,
        latent_dim=64,
        filters=(96, 96, 192),
        blocks_per_stage=3,
        hidden=None,
        downsample_parameters=None,
        upsample_parameters=None,
        output_activation="none",
        out_channels=None,
        value_range=(0.0, 1.0),
        **kwargs,
    ):
        filters = tuple(filters)
        hidden = filters if hidden is None else (hidden,) * len(filters) if isinstance(hidden, int) else tuple(hidden)
        down = downsample_parameters or [DOWN] * len(filters)
        up = upsample_parameters or [UP] * len(filters)
        self.network = {"filters": filters, "hidden": hidden, "out_channels": out_channels}
        self.network |= {"downsample_parameters": tuple(map(tuple, down)), "upsample_parameters": tuple(map(tuple, up))}
        self.network |= {"output_activation": output_activation, "value_range": tuple(value_range)}
        _check(self.network)
        factor = math.prod(stride for stride, *_ in down)
        options = {
            "filters": filters[-1:],
            "patch_size": factor,
            "blocks_per_stage": blocks_per_stage,
        }  # together the downsampling
        super().__init__(image_shape, latent_dim=latent_dim, **options, **kwargs)

    def make_networks(self):
        options = self.network
        shared = {"value_range": options["value_range"], "spatial_dims": self.spatial_dims}
        names = (self.latent_dim, options["filters"], self.blocks_per_stage, options["hidden"])
        encoder = VQEncoder(*names, options["downsample_parameters"], **shared)
        channels = options["out_channels"] or self.image_shape[-1]
        shared["output_activation"] = options["output_activation"]
        return encoder, VQDecoder(*names, options["upsample_parameters"], channels=channels, **shared)

    def initialize_from_pca(self, images, max_samples=100_000):
        """Not available: the networks have no linear path.

        Raises:
            ValueError: Always.
        """
        raise ValueError("StridedVQVAE: has no linear path that a PCA could initialize. Train with fit(x).")

    def get_config(self):
        config = super().get_config()
        for name in ("bottleneck", "patch_size", "backbone"):
            config.pop(name)
        network = {k: [list(n) for n in v] if k.endswith("_parameters") else v for k, v in self.network.items()}
        return {**config, **{k: list(v) if isinstance(v, tuple) else v for k, v in network.items()}}


def _check(network):
    """Raise ValueError for arguments of `StridedVQVAE` that do not fit together."""
    levels = len(network["filters"])
    for name, count in (("hidden", None), ("downsample_parameters", 4), ("upsample_parameters", 5)):
        value = network[name]
        if len(value) != levels or any(count and len(numbers) != count for numbers in value):
            raise ValueError(f"StridedVQVAE: {name}={value}. Expected one entry per level of {network['filters']}.")
    if network["output_activation"] not in OUTPUT_ACTIVATIONS:
        expected = ", ".join(OUTPUT_ACTIVATIONS)
        raise ValueError(f"StridedVQVAE: output_activation={network['output_activation']!r}. Expected {expected}.")
    for stride, kernel, dilation, padding in network["downsample_parameters"]:
        if not 0 <= dilation * (kernel - 1) - 2 * padding < stride or (stride > 1 and dilation > 1):
            raise ValueError(
                f"StridedVQVAE: downsample_parameters {(stride, kernel, dilation, padding)} do not divide a side by "
                f"{stride}. Expected 0 <= dilation * (kernel - 1) - 2 * padding < stride, and dilation 1 with a stride."
            )
    for stride, kernel, dilation, padding, extra in network["upsample_parameters"]:
        if kernel + extra - 2 * padding != stride or dilation != 1 or extra > padding:
            raise ValueError(
                f"StridedVQVAE: upsample_parameters {(stride, kernel, dilation, padding, extra)} do not multiply a "
                f"side by {stride}. Expected kernel + output_padding - 2 * padding = stride, and dilation 1."
            )
    down, up = (network[f"{name}_parameters"] for name in ("downsample", "upsample"))
    if [n[0] for n in down] != [n[0] for n in up][::-1]:
        raise ValueError(f"StridedVQVAE: strides {down} and {up}. Expected the same, in reverse order.")
