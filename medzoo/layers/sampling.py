"""Reparameterized sampling from a Gaussian posterior."""

import keras
from keras import ops

from medzoo.layers import replicas


@keras.saving.register_keras_serializable("medzoo")
class Sampling(keras.layers.Layer):
    """Sampling of `z = mean + exp(log_var / 2) * eps` with `eps ~ N(0, I)`.

    Reparameterization trick (Kingma & Welling 2014, arXiv:1312.6114).

    Args:
        seed: int or `None`. Makes the sequence of samples reproducible.

    Call arguments:
        mean: float tensor of shape `(batch, ..., latent_dim)`.
        log_var: float tensor shaped like `mean`, the natural logarithm of the variance.
        training: bool. If `False`, `mean` is returned, so that inference is deterministic.

    Returns:
        float tensor shaped like `mean`.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, *shapes) -> None:
        self.built = True

    def call(self, mean, log_var, training=True):
        if not training:
            return mean
        eps = replicas.normal(ops.shape(mean), self.seed_generator)
        return mean + ops.exp(log_var / 2) * ops.cast(eps, mean.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}
