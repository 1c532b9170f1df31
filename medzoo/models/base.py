"""What the three families share: the contract encode / decode / reconstruct / fit, and the checks on what comes in."""

from functools import partial

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
from medzoo.models.keras_methods import UsualMethods
from medzoo.models.ood import OODMixin
from medzoo.models.preprocessor_mixin import PreprocessorMixin
from medzoo.models.tiles import in_tiles
from medzoo.utils.arguments import COUNT, NONE, SEED, WIDTHS, checked, choice, either, policy, several, whole

ARGUMENTS = {
    "image_shape": several(either(COUNT, NONE), 3, 4),
    "latent_dim": COUNT,
    "filters": WIDTHS,
    "blocks_per_stage": whole(0),
    "patch_size": either(COUNT, several(COUNT, 2, 3)),
    "seed": SEED,
    "batch_size": COUNT,
    "max_samples": COUNT,
}


class Autoencoder(PreprocessorMixin, OODMixin, UsualMethods):
    """A convolutional autoencoder of images with values in [0, 1].

    `model(x)` gives the reconstruction, shaped like x; `encode(x)` the latents; `decode(latents)` images, and
    `decode(encode(x))` equals `model(x)` at inference. `fit(x)` needs no y: the target is the input (a given y is
    taken as the clean target). The loss is the model's own, a sum over pixels and latents, averaged over images.

    Args:
        image_shape: `(height, width, channels)`, or for volumes `(depth, height, width, channels)`: what is said here
            of images and pixels then holds for volumes and voxels. With a spatial bottleneck the sides may be `None`:
            any multiple of `downsampling` is taken.
        latent_dim: numbers per image (vector bottleneck) or per position (spatial bottleneck).
        bottleneck: `"vector"` (one code for the whole image, which may use where things usually are) or `"spatial"`
            (a grid of codes, one for each `downsampling` x `downsampling` pixels).
        filters: width of each stage of the encoder; the decoder mirrors it.
        blocks_per_stage: residual blocks a stage.
        patch_size: side in pixels of the patches that the first stage works on; for voxels that are longer one way than
            another one number for each axis, e.g. `(1, 4, 4)`.
        backbone: net of the encoder: `"residual"`, that of `filters` and `blocks_per_stage`; or for images and a spatial
            bottleneck of 1/32 `"efficientnet-lite0"`, see `medzoo.layers.efficientnet`: `filters`, `blocks_per_stage` and `patch_size`
            are then the decoder's.
        seed: int or `None`; makes the model's random draws repeatable (initial weights follow
            `keras.utils.set_random_seed`).
        kwargs: `name`, and `dtype`: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`; by default the dtype policy
            that is set in Keras, where it is one of these, else float32. Weights, latents and images are float32 under
            all of them.

    Attributes: `spatial_dims`, 2 for images and 3 for volumes; `factors`, the pixels that one position of the latents stands
        for, axis by axis; `downsampling`, the number among them, or where they differ the tuple.

    Raises:
        ValueError: arguments that do not fit together.
    """

    input_range = (0.0, 1.0)
    numbers_per_latent = 1  # what the encoder gives for each: 1, or 2 for a mean and a log-variance
    bottlenecks = ("vector", "spatial")
    backbones = ("residual", "efficientnet-lite0")
    codes = None  # how many there are, if latents are codes
    quantized = None  # mode of `quantize`

    def __init__(
        self,
        image_shape=(64, 64, 1),
        latent_dim=64,
        bottleneck="vector",
        filters=(48, 96),
        blocks_per_stage=2,
        patch_size=4,
        backbone="residual",
        seed=None,
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
            raise ValueError(f"{name}: patch_size={patch_size}; expected one number, or {self.spatial_dims}.")
        self.patch_size, self.downsampling_factors = together(patches), downsampling(patches, self.filters)
        self.downsampling = together(self.downsampling_factors)
        for side, factor in zip(self.image_shape, self.downsampling_factors, strict=False):
            if (side is None and bottleneck == "vector") or (side is not None and side % factor):
                raise ValueError(
                    f"{name}: image_shape={image_shape}; a {bottleneck} bottleneck with patch_size={patch_size} and "
                    f"{len(self.filters)} stages needs sides that are multiples of {self.downsampling}"
                    + (" (or None)." if bottleneck == "spatial" else ".")
                )
        shared = {
            "bottleneck": bottleneck,
            "filters": filters,
            "blocks_per_stage": blocks_per_stage,
            "patch_size": patch_size,
        }
        shared["dtype"] = self.dtype_policy
        extra = latent_dim * (self.numbers_per_latent - 1)
        if backbone == "residual":
            self.encoder = Encoder(latent_dim, extra=extra, spatial_dims=self.spatial_dims, **shared)
        else:
            self.encoder = EfficientNetEncoder(latent_dim, extra=extra, dtype=self.dtype_policy)
            if (bottleneck, self.downsampling_factors) != ("spatial", self.encoder.downsampling_factors):
                raise ValueError(
                    f"{name}: patch_size={patch_size} and {len(self.filters)} stages give a {bottleneck} bottleneck of "
                    f"1/{self.downsampling}; {backbone} needs a spatial one of 1/{self.encoder.downsampling_factors[0]}, of images."
                )
        self.decoder = Decoder(self.image_shape, **shared)
        self.compiled_method = Compiled(self)

    def reported(self):
        """Names of the terms that training reports beside `loss`."""
        return ("reconstruction_loss", "psnr")

    def build(self, input_shape=None):
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
        """Images to latents.

        Args:
            x: images `(batch, height, width, channels)` in [0, 1]. A NumPy array is checked, encoded in batches and
                gives a NumPy array; a tensor gives a tensor.

        Raises:
            ValueError: wrong rank, size or channels; for NumPy arrays also values outside [0, 1], NaN, empty batch.
        """
        return self._in_batches("_encode", x)

    def decode(self, latents):
        """Latents, as `encode` returns them, to images in [0, 1].

        Raises:
            ValueError: another rank, length or type, NaN or infinity, codes that the codebook lacks, empty batch.
        """
        return self._in_batches("_decode", latents, images=False)

    def reconstruct(self, x, tile=None, overlap=None, **options):
        """`decode(encode(x))`; see `encode`.

        Args:
            x: images.
            tile: side in pixels of square tiles (or cubes) that large NumPy images are reconstructed in, one at a
                time, so that they fit into memory; only for models that take any size. `None`: the whole image at once.
            overlap: pixels that neighbouring tiles share; they are blended there. By default 96, with which the presets
                for 256 pixels give the whole image's values to 0.005; in volumes about a third of the tile.
            options: `batch_size` (64: images at once), and those of a family's own encoder and decoder.
        """
        at_once = partial(self._in_batches, "_reconstruct", **options)
        if tile is None and overlap is None:
            return at_once(x)
        x = ops.convert_to_numpy(as_array(self, x))
        check_images(self, x)
        return in_tiles(at_once, x, tile, overlap, self)

    def latent_shape(self, input_shape=None):
        """Shape of one image's latents, e.g. `(64,)` or `(32, 32, 4)`.

        Args:
            input_shape: `(height, width, channels)`; by default that of the model.
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

    def loss_terms(self, x, target, training):
        """The loss and its parts.

        Args:
            x, target: images; they differ only when denoising.
            training: as in `call`.

        Returns: `(reconstruction, terms)`: images, not clipped, and a dict of tensors `(batch,)` with `"loss"` and
            the names in `reported()` other than `"psnr"`.
        """
        raise NotImplementedError

    def forward_loss(self, x, target, sample_weight, training):
        """Mean loss of a batch and its reconstruction; updates what `fit` reports."""
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

    # --- initialisation and configuration -----------------------------------------------------------------------

    def pca_scales(self, eigenvalues, noise):
        """How the linear path is scaled: `(encoder, decoder)` factors for each component. Here: whitened latents."""
        return eigenvalues**-0.5, eigenvalues**0.5

    def initialize_from_pca(self, images, max_samples=100_000):
        """Sets the linear path around encoder and decoder to the PCA of the images (or of their patches).

        The model then starts as that PCA and training can only improve on it.

        Args:
            images: `(N, height, width, channels)` in [0, 1], training images.
            max_samples: at most this many images (or patches, spaced evenly) are used.

        Returns: `(eigenvalues, noise)`: variances along the components, and the mean of those left out.
        """
        from sklearn.decomposition import PCA

        max_samples = checked("initialize_from_pca", ARGUMENTS, max_samples=max_samples)
        images = as_array(self, images)
        check_images(self, images)
        if self.quantized:
            raise ValueError("initialize_from_pca: the model is quantized; expected one of float32 weights.")
        seen = ops.convert_to_numpy(self.encoder.linear_input(images))
        samples = seen.reshape(-1, seen.shape[-1])
        samples = samples[:: -(-len(samples) // max_samples)].astype("float32")
        if min(samples.shape) < self.latent_dim:
            of = "images" if self.bottleneck == "vector" else "patches"
            raise ValueError(
                f"initialize_from_pca: {samples.shape[0]} {of} of {samples.shape[1]} numbers; expected at least "
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

    def get_config(self):
        names = ("name", "latent_dim", "bottleneck", "blocks_per_stage", "backbone", "seed")
        patch_size = list(self.patch_size) if isinstance(self.patch_size, tuple) else self.patch_size
        shapes = {"image_shape": list(self.image_shape), "filters": list(self.filters), "patch_size": patch_size}
        kept = {"dtype": self.dtype_policy.name} if self.dtype_policy.name != "float32" else {}
        if self.quantized:
            kept["quantized"] = self.quantized
        return self.with_preprocess({**{name: getattr(self, name) for name in names}, **shapes, **kept})

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        quantized = config.pop("quantized", None)
        model = super().from_config(config)
        if quantized == "custom":
            raise ValueError(f"{cls.__name__}: quantized with config or filters; only quantize(mode) can be rebuilt.")
        if quantized:
            model.quantize(quantized)
        return model
