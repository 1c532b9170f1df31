"""The reparameterisation trick."""

import keras
from keras import ops

from medzoo.layers import replicas


@keras.saving.register_keras_serializable("medzoo")
class Sampling(keras.layers.Layer):
    """Draws z = mean + exp(log_var / 2) * eps, eps ~ N(0, I).

    The reparameterisation trick (Kingma & Welling 2014, arXiv:1312.6114).

    Args:
        seed: int or `None`; makes the sequence of draws repeatable.

    Call arguments:
        mean, log_var: float tensors of equal shape `(batch, ..., latent_dim)`; log_var is the natural log of the
            variance.
        training: `False` returns the mean, so that inference is deterministic.

    Returns: tensor shaped like `mean`.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, *shapes):
        self.built = True

    def call(self, mean, log_var, training=True):
        if not training:
            return mean
        eps = replicas.normal(ops.shape(mean), self.seed_generator)
        return mean + ops.exp(log_var / 2) * ops.cast(eps, mean.dtype)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
