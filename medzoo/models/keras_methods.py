"""Overrides of Keras methods (fit, evaluate, predict, ...) with input checks."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from medzoo.models.checks import as_array, check_data, check_options, check_set, check_trainable
from medzoo.models.custom_loss import CustomLossMixin

if TYPE_CHECKING:
    from medzoo.models.ood import ReferenceStatistics

REBUILT = ("int8", "float8")  # modes of `quantize` that a configuration can store


class KerasMethodsMixin(CustomLossMixin):
    """Mixin for autoencoders, which compute their own loss and whose target is the input."""

    reference_statistics: "ReferenceStatistics | None"

    def compile(self, optimizer="adam", loss: None = None, **kwargs) -> None:
        """Configure the model for training as `keras.Model.compile`, without `loss`.

        Raises:
            ValueError: If a `loss` is given: the model computes its own loss.
        """
        if loss is not None:
            raise ValueError(
                f"{type(self).__name__} computes its own loss (see loss_terms); compile(optimizer, metrics=[...]) "
                f"without loss={loss!r}. ConvAutoencoder and VQVAE accept reconstruction_loss=... in the constructor."
            )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config):  # required by Keras where compile is overridden
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs) -> keras.callbacks.History:
        """Train the model as `keras.Model.fit`, after checks of the data.

        Values must be in [0, 1]; of a dataset the first batch is checked. The reference statistics of
        out-of-distribution detection are removed, since they describe the weights before training.

        Args:
            x: Images, or a dataset of images.
            y: Clean target images, or `None`: the target is `x`.
            *args: Further positional arguments of `keras.Model.fit`.
            validation_data: Tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)`, or a dataset.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: If images, targets, weights or options are invalid, or nothing is trainable.
        """
        check_options(self, dict(zip(("batch_size", "epochs"), args, strict=False)) | kwargs)
        x, y = self._given(x, y, kwargs)
        if isinstance(validation_data, (tuple, list)):
            held_out = check_set(self, (*validation_data, None, None)[:3])
            validation_data = held_out[: len(validation_data)]
        elif validation_data is not None:
            check_set(self, (validation_data, None, None))
        if hasattr(x, "element_spec"):  # a tf.data.Dataset has its own order; Keras would warn of its default
            kwargs.setdefault("shuffle", False)
        check_trainable(self)
        self.reference_statistics = None
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Return loss and metrics as `keras.Model.evaluate`, after the checks of `fit`."""
        check_options(self, dict(zip(("batch_size",), args, strict=False)) | kwargs)
        x, y = self._given(x, y, kwargs)
        return super().evaluate(x, y, *args, **kwargs)

    def _given(self, x, y, options):
        """Return x and y of `fit` and `evaluate`, checked like the sample_weight among the options; lists as arrays."""
        x, y, weight = check_set(self, (x, y, options.get("sample_weight")))
        if weight is None:
            return x, y
        options["sample_weight"] = weight
        return x, x if y is None else y  # Keras drops sample_weight where y is missing

    def predict(self, x, *args, **kwargs) -> np.ndarray:
        """Return reconstructions as `keras.Model.predict`, after checks of the images."""
        check_options(self, dict(zip(("batch_size",), args, strict=False)) | kwargs)
        x = as_array(self, x)
        check_data(self, x)
        return super().predict(x, *args, **kwargs)

    def export(
        self, filepath: str, format: str = "tf_saved_model", verbose=None, input_signature=None, **kwargs
    ) -> None:
        """Export `model(x)` with `keras.Model.export`.

        `medzoo.export` also writes `encode` and `decode`, and smaller files.
        """
        if input_signature is None:
            if format == "litert" and None in self.image_shape:
                raise ValueError(
                    f"{self.name}: the image size is open, but a LiteRT file has a fixed size. Use "
                    "medzoo.export(model, 'model.tflite', "
                    "size=(256, 256))."
                )
            input_signature = [keras.InputSpec(shape=(None, *self.image_shape), dtype="float32")]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, mode: str | None = None, config=None, **kwargs) -> None:
        """Quantize dense layers with `keras.Model.quantize`; convolutions are not quantized.

        `medzoo.export(model, "model.tflite", quantize="int8")` quantizes all weights.
        """
        super().quantize(mode, config=config, **kwargs)
        by_mode_only = (
            mode in REBUILT and not kwargs.get("filters") and config.get_config() == type(config)().get_config()
        )
        self.quantized = mode if by_mode_only else "custom"
