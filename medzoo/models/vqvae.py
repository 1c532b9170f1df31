"""Vector-quantized autoencoder."""

from collections.abc import Sequence

import keras
from keras import ops

from medzoo.layers import quantizer
from medzoo.layers.quantizer import VectorQuantizer
from medzoo.metrics.image import CodebookUsage, Perplexity
from medzoo.models.base import Autoencoder
from medzoo.models.checks import check_shape
from medzoo.models.conv_ae import RECONSTRUCTION
from medzoo.utils.arguments import checked, choice

ARGUMENTS = {**quantizer.ARGUMENTS, "reconstruction_loss": choice(*RECONSTRUCTION)}


@keras.saving.register_keras_serializable("medzoo")
class VQVAE(Autoencoder):
    """Vector-quantized variational autoencoder (VQ-VAE).

    Van den Oord et al. 2017, arXiv:1711.00937. The loss per image is the squared (or absolute) error summed over
    pixels, plus the quantizer's commitment (and codebook) loss summed over latents. `encode` returns int32 codes
    `(batch, height/f, width/f)` from 0 to `codebook_size` - 1.

    Args:
        image_shape: tuple `(height, width, channels)`; the sides may be `None`.
        latent_dim: int. Length of the codebook entries.
        codebook_size: int, see `VectorQuantizer`.
        commitment_cost: float, see `VectorQuantizer`.
        codebook_update: `"ema"` or `"gradient"`, see `VectorQuantizer`.
        decay: float, see `VectorQuantizer`.
        restart_threshold: float, see `VectorQuantizer`.
        reconstruction_loss: `"mse"` or `"mae"`. Error that the loss sums over pixels.
        bottleneck: `"spatial"`, the only one.
        **kwargs: Further arguments of `Autoencoder`.
    """

    bottlenecks = ("spatial",)

    def __init__(
        self,
        image_shape: Sequence[int | None] = (None, None, 1),
        *,
        latent_dim: int = 16,
        codebook_size: int = 512,
        commitment_cost: float = 0.25,
        codebook_update: str = "ema",
        decay: float = 0.99,
        restart_threshold: float = 0.01,
        reconstruction_loss: str = "mse",
        bottleneck: str = "spatial",
        **kwargs,
    ):
        *own, reconstruction_loss = checked(
            type(self).__name__,
            ARGUMENTS,
            codebook_size=codebook_size,
            commitment_cost=commitment_cost,
            codebook_update=codebook_update,
            decay=decay,
            restart_threshold=restart_threshold,
            reconstruction_loss=reconstruction_loss,
        )
        super().__init__(image_shape, latent_dim=latent_dim, bottleneck=bottleneck, **kwargs)
        self.reconstruction_loss = reconstruction_loss
        self.quantizer = VectorQuantizer(*own, self.seed, dtype="float32")  # type: ignore[call-arg]
        self.codebook_metrics = [Perplexity(codebook_size), CodebookUsage(codebook_size)]
        self.build()

    def build(self, input_shape=None) -> None:
        if not self.built:
            self.quantizer.build((None, None, None, self.latent_dim))
        super().build(input_shape)

    def reported(self) -> tuple[str, ...]:
        return (*super().reported(), "commitment_loss")

    def latent_shape(self, input_shape: Sequence[int | None] | None = None) -> tuple[int | None, ...]:
        """Return the shape of one image's codes, e.g. `(32, 32)`."""
        return super().latent_shape(input_shape)[:-1]

    def call(self, x, training=False):
        check_shape(self, x)
        quantized, _, _ = self.quantizer(self.encoder(x), training=training)
        return super()._decode(quantized)

    def _encode(self, x):
        return self.quantizer.nearest(ops.cast(self.encoder(x), "float32"))

    def _decode(self, codes):
        return super()._decode(self.quantizer.lookup(codes))

    @property
    def codes(self) -> int:  # type: ignore[override]
        """Number of codes, the size of the codebook."""
        return self.quantizer.codebook_size

    def loss_terms(self, x, target, training: bool) -> tuple:
        quantized, codes, quantizer_loss = self.quantizer(self.encoder(x), training=training)
        reconstruction = self.decoder(quantized)
        for metric in self.codebook_metrics:
            metric.update_state(codes)
        error = RECONSTRUCTION[self.reconstruction_loss](target, reconstruction)
        terms = {"loss": error + quantizer_loss, "reconstruction_loss": error, "commitment_loss": quantizer_loss}
        return reconstruction, terms

    def pca_scales(self, eigenvalues, noise: float) -> tuple:
        """Return scales of 1, so that errors of latents and of pixels are equal."""
        return 1.0, 1.0

    def get_config(self) -> dict:
        quantizer = self.quantizer.get_config()
        names = ("codebook_size", "commitment_cost", "codebook_update", "decay", "restart_threshold")
        return {
            **super().get_config(),
            **{n: quantizer[n] for n in names},
            "reconstruction_loss": self.reconstruction_loss,
        }
