"""One gradient step of a model that computes its own loss, on each backend of Keras.

The step of Keras calls the model and then computes a loss from `(y, y_pred)`. An autoencoder's loss also needs
intermediate results (posterior, codes). So a step here runs `forward_loss(x, target, sample_weight, training)`, which
returns `(loss, reconstruction)` and is the same on every backend; only its differentiation differs.
"""

import keras

from medzoo.layers import replicas
from medzoo.models.checks import check_trainable
from medzoo.models.compiled_inference import RecompileMixin
from medzoo.models.multi_worker import MultiWorkerMixin


class CustomLossMixin(RecompileMixin, MultiWorkerMixin):
    """Mixin with `train_step` and `test_step` based on `forward_loss`."""

    def fit(self, *args, **kwargs):
        check_trainable(self)
        return super().fit(*args, **kwargs)

    def forward_loss(self, x, target, sample_weight, training: bool) -> tuple:
        """Return `(loss, reconstruction)` of a batch. Subclasses implement it."""
        raise NotImplementedError

    def train_step(self, *args):
        backend = keras.backend.backend()
        if backend == "tensorflow":
            return self._tensorflow_step(*args)
        if backend == "torch":
            return self._torch_step(*args)
        return super().train_step(*args)  # JAX differentiates compute_loss_and_updates, below

    def _tensorflow_step(self, data):
        import tensorflow as tf

        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss, reconstruction = self.forward_loss(x, y, sample_weight, training=True)
            # apply_gradients sums over the replicas, and Keras does not average a custom loss. Without the division,
            # two replicas would train with twice the step size.
            shared = self.optimizer.scale_loss(loss / replicas.count())
        gradients = tape.gradient(shared, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._report(loss, x, y, reconstruction, sample_weight)

    def _torch_step(self, data):
        import torch

        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        loss, reconstruction = self.forward_loss(x, y, sample_weight, training=True)
        self.optimizer.scale_loss(loss).backward()
        gradients = [variable.value.grad for variable in self.trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, self.trainable_weights)
            return self._report(loss, x, y, reconstruction, sample_weight)

    def test_step(self, *args):
        if keras.backend.backend() == "jax":
            return super().test_step(*args)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(args[0])
        loss, reconstruction = self.forward_loss(x, y, sample_weight, training=False)
        return self._report(loss, x, y, reconstruction, sample_weight)

    def _report(self, loss, x, y, reconstruction, sample_weight):
        self._loss_tracker.update_state(loss, sample_weight=keras.ops.shape(x)[0])
        return self.compute_metrics(x, y, reconstruction, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, x if y is None else y, y_pred, sample_weight)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training: bool = True):
        """Return the mean loss of a batch. `y_pred` is not used: the model is run on `x`."""
        return self.forward_loss(x, y, sample_weight, training)[0]

    def compute_loss_and_updates(  # Keras calls it on JAX: forward_loss as a pure function of the state
        self,
        trainable_variables,
        non_trainable_variables,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=False,
        optimizer_variables=None,
    ):
        pairs = [
            (self.trainable_variables, trainable_variables),
            (self.non_trainable_variables, non_trainable_variables),
            (self.metrics_variables, metrics_variables),
            (self.optimizer.variables if optimizer_variables is not None else [], optimizer_variables or []),
        ]
        mapping = [pair for ours, values in pairs for pair in zip(ours, values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, reconstruction = self.forward_loss(x, y, sample_weight, training)
            scaled = self.optimizer.scale_loss(loss) if training else loss
            state = [scope.get_current_value(v) for v in self.non_trainable_variables]
            metrics = [scope.get_current_value(v) for v in self.metrics_variables]
        return scaled, (loss, reconstruction, state, metrics)
