"""Inference on arrays as one compiled graph: eager execution of small models is slow."""

from collections.abc import Callable
from functools import partial

import keras


def state_of(model: keras.Model) -> tuple:
    """Return the settings, besides the weights, that a compiled graph of a model depends on."""
    own = model.settings() if hasattr(model, "settings") else ()
    return (*own, *((layer.trainable, layer.dtype_policy.name) for layer in model._flatten_layers()))


class Compiled:
    """Methods of a model from tensor to tensor, each compiled on first use.

    On PyTorch a method is only run without gradients. When the model is quantized, frozen or unfrozen, or its dtype
    policy changes, its graphs are compiled again. The cache is not a dict on the model, since Keras would save its
    contents.
    """

    def __init__(self, model: keras.Model):
        self.model, self.functions = model, {}
        self.state: tuple | None = None

    def __call__(self, method: str, **options) -> Callable:
        """Return the compiled method with its options fixed.

        Args:
            method: str. Name of the method.
            **options: All that the method depends on besides its tensor and the model's variables.
        """
        state = state_of(self.model)
        if state != self.state:
            self.functions, self.state = {}, state
        key = (method, *sorted(options.items()))
        if key not in self.functions:
            self.functions[key] = _compile(self.model, partial(getattr(self.model, method), **options))
        return self.functions[key]


class RecompileMixin(keras.Model):
    """Mixin that compiles the functions of `fit`, `evaluate` and `predict` again when needed.

    They are compiled again when `state_of` the model has changed.
    Keras does so only after `compile` and `quantize` of the model itself.
    """

    def make_train_function(self, force=False):
        return super().make_train_function(force=force or self._outdated("train"))

    def make_test_function(self, force=False):
        return super().make_test_function(force=force or self._outdated("test"))

    def make_predict_function(self, force=False):
        return super().make_predict_function(force=force or self._outdated("predict"))

    def _outdated(self, which):
        states = self.__dict__.setdefault("_states", {})  # in __dict__, since Keras would track and save an attribute
        before, states[which] = states.get(which), state_of(self)
        return before not in (None, states[which])


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
