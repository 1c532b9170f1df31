"""Inference on arrays as one compiled graph: layer by layer, a small model spends most of its time in Python."""

from functools import partial

import keras


class Compiled:
    """A model's methods from tensor to tensor, each compiled when it is first used (on PyTorch only without gradients).

    Not a dict on the model: Keras would save what is in it.
    """

    def __init__(self, model):
        self.model, self.made = model, {}

    def __call__(self, method, **options):
        """The method with its options fixed; what it depends on must be among them, or in the model's variables."""
        key = (method, *sorted(options.items()))
        if key not in self.made:
            self.made[key] = _compile(self.model, partial(getattr(self.model, method), **options))
        return self.made[key]


def _compile(model, function):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    if backend == "torch":
        import torch

        return torch.no_grad()(function)
    import jax

    @jax.jit
    def pure(values, x):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))) as scope:
            y = function(x)
        return y, [scope.get_current_value(v) for v in model.non_trainable_variables]

    def run(x):
        y, state = pure([v.value for v in model.variables], x)
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        return y

    return run
