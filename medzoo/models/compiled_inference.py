"""Inference on arrays as one compiled graph: layer by layer, a small model spends most of its time in Python."""

from functools import partial

import keras


def state_of(model):
    """What a compiled graph of a model has taken from it beside its weights: a new graph is needed once it changes."""
    own = model.settings() if hasattr(model, "settings") else ()
    return (*own, *((layer.trainable, layer.dtype_policy.name) for layer in model._flatten_layers()))


class Compiled:
    """A model's methods from tensor to tensor, each compiled when it is first used (on PyTorch only without gradients).

    Quantized, frozen or thawed, or with another dtype policy, the model is another one: its graphs are compiled anew.
    Not a dict on the model: Keras would save what is in it.
    """

    def __init__(self, model):
        self.model, self.made, self.state = model, {}, None

    def __call__(self, method, **options):
        """The method with its options fixed; what it depends on must be among them, or in the model's variables."""
        state = state_of(self.model)
        if state != self.state:
            self.made, self.state = {}, state
        key = (method, *sorted(options.items()))
        if key not in self.made:
            self.made[key] = _compile(self.model, partial(getattr(self.model, method), **options))
        return self.made[key]


class CompiledAnew(keras.Model):
    """Mixin: `fit`, `evaluate` and `predict` compile again once `state_of` the model is another one.

    Keras does so after `compile` and `quantize` of the model itself only.
    """

    def make_train_function(self, force=False):
        return super().make_train_function(force=force or self._outdated("train"))

    def make_test_function(self, force=False):
        return super().make_test_function(force=force or self._outdated("test"))

    def make_predict_function(self, force=False):
        return super().make_predict_function(force=force or self._outdated("predict"))

    def _outdated(self, which):
        states = self.__dict__.setdefault("_states", {})  # past Keras, which would save what is in it
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
