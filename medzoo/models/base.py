"""Base class of all model families: encode, decode, reconstruct and fit."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers.blocks import Decoder, Encoder, downsampling
from medzoo.layers.efficientnet import EfficientNetEncoder
from medzoo.layers.grids import per_axis, together
from medzoo.models.checks import (
    as_array,
    check_images,
    check_latents,
    check_sample_weight,
    check_shape,
    check_target,
)
from medzoo.models.compiled_inference import Compiled
from medzoo.models.keras_methods import KerasMethodsMixin
from medzoo.models.ood import OODMixin
from medzoo.models.preprocessor_mixin import PreprocessorMixin
from medzoo.models.tiles import apply_in_tiles
from medzoo.utils.arguments import COUNT, NONE, SEED, WIDTHS, checked, choice, either, policy, several, whole

ARGUMENTS = {
    "image_shape": several(either(COUNT, NONE), 3, 4),
    "latent_dim": COUNT,
    "filters": WIDTHS,
    "blocks_per_stage": either(whole(0), several(whole(0))),  # one for each stage: of imported networks
    "patch_size": either(COUNT, several(COUNT, 2, 3)),
    "seed": SEED,
    "batch_size": COUNT,
    "max_samples": COUNT,
}


class Autoencoder(PreprocessorMixin, OODMixin, KerasMethodsMixin):
    """Base class of convolutional autoencoders of images with values in [0, 1].

    `model(x)` returns the reconstruction, shaped like `x`; `encode(x)` returns latents; `decode(latents)` returns
    images. `decode(encode(x))` equals `model(x)` at inference. `fit(x)` needs no `y`: the target is the input, or the
    clean target images if `y` is given. The model computes its own loss, a sum over pixels and latents, averaged over
    images.

    Args:
        image_shape: tuple `(height, width, channels)`, or `(depth, height, width, channels)` for volumes; pixels then
            mean voxels. With a spatial bottleneck the sides may be `None`: any multiple of `downsampling` is accepted.
        latent_dim: int. Latent elements per image (vector bottleneck) or per position (spatial bottleneck).
        bottleneck: `"vector"` (one latent vector per image, which can encode absolute positions) or `"spatial"` (a grid
            of latents, one position per `downsampling` x `downsampling` pixels).
        filters: tuple of int. Number of channels of each encoder stage; the decoder mirrors it.
        blocks_per_stage: int. Number of residual blocks per stage.
        patch_size: int, or one int per axis. Side in pixels of the patches of the first stage; for anisotropic voxels
            one number per axis, e.g. `(1, 4, 4)`.
        backbone: `"residual"` for the encoder described by `filters` and `blocks_per_stage`, or `"efficientnet-lite0"`
            (see `medzoo.layers.efficientnet`) for images and a spatial bottleneck of 1/32; `filters`,
            `blocks_per_stage` and `patch_size` then describe the decoder only.
        seed: int or `None`. Makes the model's random numbers reproducible. Initial weights follow
            `keras.utils.set_random_seed`.
        **kwargs: `name`, and `dtype`: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`. Default: the dtype policy
            of Keras if it is one of these, else float32. Weights, latents and images are float32 under all of them.

    Attributes:
        spatial_dims: int. 2 for images, 3 for volumes.
        downsampling_factors: tuple of int. Pixels per position of the latents, for each axis.
        downsampling: int, or the tuple `downsampling_factors` if the axes differ.

    Raises:
        ValueError: If an argument is out of range or arguments are incompatible.
    """

    built: bool  # by Keras
    input_range = (0.0, 1.0)
    outputs_per_latent = 1  # encoder outputs per latent: 1, or 2 for a mean and a log-variance
    bottlenecks: tuple[str, ...] = ("vector", "spatial")
    backbones: tuple[str, ...] = ("residual", "efficientnet-lite0")
    codes: int | None = None  # size of the codebook if latents are codes
    quantized: str | None = None  # mode of `quantize`

    def __init__(
        self,
        image_shape: Sequence[int | None] = (64, 64, 1),
        latent_dim: int = 64,
        bottleneck: str = "vector",
        filters: Sequence[int] = (48, 96),
        blocks_per_stage: int = 2,
        patch_size: int | Sequence[int] = 4,
        backbone: str = "residual",
        seed: int | None = None,
        **kwargs,
    ):
        name = type(self).__name__
        own = {
            "image_shape": image_shape,
            "latent_dim": latent_dim,
            "filters": filters,
            "blocks_per_stage": blocks_per_stage,
        }
        image_shape, latent_dim, filters, blocks_per_stage, patch_size, seed = checked(
            name, ARGUMENTS, **own, patch_size=patch_size, seed=seed
        )
        choices = {"bottleneck": choice(*self.bottlenecks), "backbone": choice(*self.backbones)}
        checked(name, choices, bottleneck=bottleneck, backbone=backbone)
        checked(name, {"channels": COUNT}, channels=image_shape[-1])
        super().__init__(**{**kwargs, "dtype": policy(name, kwargs.get("dtype"))})
        self.image_shape = image_shape
        self.latent_dim, self.bottleneck, self.seed = latent_dim, bottleneck, seed
        self.filters, self.blocks_per_stage, self.spatial_dims = filters, blocks_per_stage, len(image_shape) - 1
        self.backbone = backbone
        patches = per_axis(patch_size, self.spatial_dims)
        if len(patches) != self.spatial_dims:
            raise ValueError(f"{name}: patch_size={patch_size}; expected one integer, or {self.spatial_dims}.")
        self.patch_size, self.downsampling_factors = together(patches), downsampling(patches, self.filters)
        self.downsampling = together(self.downsampling_factors)
        for side, factor in zip(self.image_shape, self.downsampling_factors, strict=False):
            if (side is None and bottleneck == "vector") or (side is not None and side % factor):
                raise ValueError(
                    f"{name}: image_shape={image_shape}; a {bottleneck} bottleneck with patch_size={patch_size} and "
                    f"{len(self.filters)} stages needs sides that are multiples of {self.downsampling}"
                    + (" (or None)." if bottleneck == "spatial" else ".")
                )
        self.encoder, self.decoder = self.make_networks()
        self.compiled_method = Compiled(self)

    def make_networks(self):
        """Return the encoder and the decoder, not built yet. Families with other networks override this."""
        name, bottleneck = type(self).__name__, self.bottleneck
        shared = {
            "bottleneck": bottleneck,
            "filters": self.filters,
            "blocks_per_stage": self.blocks_per_stage,
            "patch_size": self.patch_size,
        }
        shared["dtype"] = self.dtype_policy
        extra = self.latent_dim * (self.outputs_per_latent - 1)
        if self.backbone == "residual":
            encoder = Encoder(self.latent_dim, extra=extra, spatial_dims=self.spatial_dims, **shared)
        else:
            encoder = EfficientNetEncoder(self.latent_dim, extra=extra, dtype=self.dtype_policy)
            if (bottleneck, self.downsampling_factors) != ("spatial", encoder.downsampling_factors):
                raise ValueError(
                    f"{name}: patch_size={self.patch_size} and {len(self.filters)} stages give a {bottleneck} "
                    f"bottleneck of 1/{self.downsampling}; {self.backbone} needs a spatial one of 1/"
                    f"{encoder.downsampling_factors[0]}, of images."
                )
        return encoder, Decoder(self.image_shape, **shared)

    def reported(self) -> tuple[str, ...]:
        """Return the names of the terms that training reports in addition to `loss`."""
        return ("reconstruction_loss", "psnr")

    def build(self, input_shape=None) -> None:
        if self.built:
            return
        self.encoder.build((None, *self.image_shape))
        self.decoder.build((None, *Autoencoder.latent_shape(self)))
        self.trackers = {n: keras.metrics.Mean(n) for n in self.reported()}
        self.built = True

    # --- the contract -------------------------------------------------------------------------------------------

    def call(self, x, training=False):
        check_shape(self, x)
        return self._decode(self._encode(x))

    def encode(self, x):
        """Encode images to latents.

        Args:
            x: float images `(batch, height, width, channels)` with values in [0, 1]. A NumPy array is checked and
                encoded in batches; the result is a NumPy array. A tensor gives a tensor.

        Returns:
            Latents of shape `(batch, *latent_shape)`.

        Raises:
            ValueError: If rank, size, channels or type are wrong. For NumPy arrays also if values are outside [0, 1] or
                NaN, or the batch is empty.
        """
        return self._in_batches("_encode", x)

    def decode(self, latents):
        """Decode latents, as `encode` returns them, to images in [0, 1].

        Args:
            latents: Array or tensor of shape `(batch, *latent_shape)`.

        Returns:
            float32 images `(batch, height, width, channels)`.

        Raises:
            ValueError: If rank, length or type are wrong, values are not finite, codes are not in the codebook, or the
                batch is empty.
        """
        return self._in_batches("_decode", latents, images=False)

    def reconstruct(self, x, tile: int | None = None, overlap: int | None = None, **options):
        """Return `decode(encode(x))`.

        Args:
            x: Images as in `encode`.
            tile: int or `None`. Side in pixels of square tiles (cubes for volumes) in which large NumPy images are
                reconstructed one at a time to limit memory. Only for models with an open image size. `None`: no tiles.
            overlap: int or `None`. Pixels that neighboring tiles share; the tiles are blended there. Default: 96, with
                which presets for 256 pixels differ from the untiled result by at most 0.005; for volumes about a third
                of the tile.
            **options: `batch_size` (int, default 64) and options of the family's encoder and decoder.

        Returns:
            float32 images shaped like `x`.

        Raises:
            ValueError: As in `encode`, or if the tiles do not fit the model.
        """
        at_once: Callable = partial(self._in_batches, "_reconstruct", **options)
        if tile is None and overlap is None:
            return at_once(x)
        x = ops.convert_to_numpy(as_array(self, x))
        check_images(self, x)
        return apply_in_tiles(at_once, x, tile, overlap, self)

    def latent_shape(self, input_shape: Sequence[int | None] | None = None) -> tuple[int | Any, ...]:
        """Return the shape of one image's latents, e.g. `(64,)` or `(32, 32, 4)`.

        Args:
            input_shape: tuple `(height, width, channels)`. Default: the model's `image_shape`.
        """
        if self.bottleneck == "vector":
            return (self.latent_dim,)
        sides = (input_shape or self.image_shape)[:-1]
        return (
            *(side and side // f for side, f in zip(sides, self.downsampling_factors, strict=True)),
            self.latent_dim,
        )

    def _encode(self, x):
        return self.encoder(x)

    def _decode(self, latents):
        return ops.clip(ops.cast(self.decoder(latents), "float32"), 0.0, 1.0)

    def _reconstruct(self, x, **options):
        return self._decode(self._encode(x, **options), **options)

    def _in_batches(self, method, x, images=True, batch_size=64, **options):
        batch_size = checked(self.name, ARGUMENTS, batch_size=batch_size)
        x = as_array(self, x) if images else check_latents(self, x)
        if not isinstance(x, np.ndarray):
            if images:
                check_shape(self, x)
            return getattr(self, method)(x, **options)
        if images:
            check_images(self, x)
        function = self.compiled_method(method, **options)
        batches = (x[i : i + batch_size] for i in range(0, len(x), batch_size))
        return np.concatenate([ops.convert_to_numpy(function(ops.convert_to_tensor(b))) for b in batches])

    # --- training -----------------------------------------------------------------------------------------------

    def loss_terms(self, x, target, training: bool) -> tuple:
        """Compute the loss and its terms.

        Args:
            x: float32 images, the input.
            target: float32 images, the target; different from `x` only for denoising.
            training: bool, as in `call`.

        Returns:
            Tuple `(reconstruction, terms)`: images that are not clipped, and a dict of tensors `(batch,)` with `"loss"`
            and the names in `reported()` other than `"psnr"`.
        """
        raise NotImplementedError

    def forward_loss(self, x, target, sample_weight, training: bool) -> tuple:
        """Return the mean loss of a batch and its reconstruction, and update the metrics of `fit`."""
        check_shape(self, x)
        target = x if target is None else target
        check_target(self, x, target)
        if sample_weight is not None:
            check_sample_weight(self, x, sample_weight)
        x, target = ops.cast(x, "float32"), ops.cast(target, "float32")
        reconstruction, terms = self.loss_terms(x, target, training)
        reconstruction = ops.clip(reconstruction, 0.0, 1.0)
        terms["psnr"] = metrics.psnr(target, reconstruction)
        for name, tracker in self.trackers.items():
            tracker.update_state(terms[name], sample_weight=sample_weight)
        loss = terms["loss"] if sample_weight is None else terms["loss"] * ops.cast(sample_weight, "float32")
        return ops.mean(loss), reconstruction

    # --- initialization and configuration -----------------------------------------------------------------------

    def pca_scales(self, eigenvalues: np.ndarray, noise: float) -> tuple:
        """Return the `(encoder, decoder)` scales of the components; here of whitened latents."""
        return eigenvalues**-0.5, eigenvalues**0.5

    def initialize_from_pca(self, images, max_samples: int = 100_000) -> tuple[np.ndarray, float]:
        """Initialize the linear path of encoder and decoder with a PCA of images or their patches.

        The initialized model computes this PCA, and training starts from there.

        Args:
            images: float array `(N, height, width, channels)` with values in [0, 1], training images.
            max_samples: int. Maximum number of images (or evenly spaced patches) that the PCA uses.

        Returns:
            Tuple `(eigenvalues, noise)`: the variances along the components, and the mean variance of the omitted
            components.

        Raises:
            ValueError: If the images do not fit the model, there are fewer samples than `latent_dim`, or the model is
                quantized.
        """
        from sklearn.decomposition import PCA

        max_samples = checked("initialize_from_pca", ARGUMENTS, max_samples=max_samples)
        images = as_array(self, images)
        check_images(self, images)
        if self.quantized:
            raise ValueError("initialize_from_pca: the model is quantized. Expected a model with float32 weights.")
        inputs = ops.convert_to_numpy(self.encoder.linear_input(images))
        samples = inputs.reshape(-1, inputs.shape[-1])
        samples = samples[:: -(-len(samples) // max_samples)].astype("float32")
        if min(samples.shape) < self.latent_dim:
            unit = "images" if self.bottleneck == "vector" else "patches"
            raise ValueError(
                f"initialize_from_pca: {samples.shape[0]} {unit} of {samples.shape[1]} values; expected at least "
                f"latent_dim={self.latent_dim} of each."
            )
        pca = PCA(
            self.latent_dim, svd_solver="covariance_eigh" if samples.shape[1] <= 1024 else "randomized", random_state=0
        )
        pca.fit(samples)
        eigenvalues = pca.explained_variance_
        whole = samples if self.encoder.low is None else images.reshape(len(images), -1)
        noise = (whole.var(axis=0).sum() - eigenvalues.sum()) / max(1, whole.shape[1] - self.latent_dim)
        noise = max(float(noise), 1e-6)
        encode, decode = self.pca_scales(eigenvalues, noise)
        kernel = pca.components_.T * encode
        self.encoder.linear.set_weights([kernel / self.encoder.linear_gain, -pca.mean_ @ kernel])
        kernel = (pca.components_.T * decode).T
        self.decoder.linear.set_weights([kernel / self.decoder.linear_gain, pca.mean_])
        return eigenvalues, noise

    def get_config(self) -> dict:
        names = ("name", "latent_dim", "bottleneck", "blocks_per_stage", "backbone", "seed")
        patch_size = list(self.patch_size) if isinstance(self.patch_size, tuple) else self.patch_size
        shapes = {"image_shape": list(self.image_shape), "filters": list(self.filters), "patch_size": patch_size}
        kept = {"dtype": self.dtype_policy.name} if self.dtype_policy.name != "float32" else {}
        if self.quantized:
            kept["quantized"] = self.quantized
        return self.with_preprocess({**{name: getattr(self, name) for name in names}, **shapes, **kept})

    @classmethod
    def from_config(cls, config: dict) -> "Autoencoder":
        config = dict(config)
        quantized = config.pop("quantized", None)
        model = super().from_config(config)
        if quantized == "custom":
            raise ValueError(
                f"{cls.__name__}: the model was quantized with config or filters. Only quantize(mode) can be rebuilt."
            )
        if quantized:
            model.quantize(quantized)
        return model
