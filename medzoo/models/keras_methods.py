"""The methods that users of Keras know, after checks of what is given: compile, fit, evaluate, predict ..."""

import keras

from medzoo.models.checks import as_array, check_data, check_options, check_set, check_trainable
from medzoo.models.custom_loss import CustomLossMixin

REBUILT = ("int8", "float8")  # modes of `quantize` that a file of the model can say


class UsualMethods(CustomLossMixin):
    """Mixin for autoencoders, whose loss is their own and whose target is the input."""

    def compile(self, optimizer="adam", loss=None, **kwargs):
        """As `keras.Model.compile`, without `loss`: that is the model's own.

        Raises:
            ValueError: a `loss` is given.
        """
        if loss is not None:
            raise ValueError(
                f"{type(self).__name__} computes its own loss (see loss_terms); compile(optimizer, metrics=[...]) "
                f"without loss={loss!r}. ConvAutoencoder and VQVAE take reconstruction=... in the constructor."
            )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config):  # Keras asks for this where compile is overridden
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """`keras.Model.fit`, after a look at the data: values must be in [0, 1], for a dataset in its first batch.

        Raises:
            ValueError: wrong images, targets, weights or options; a model of which all is frozen.
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
        check_options(self, dict(zip(("batch_size",), args, strict=False)) | kwargs)
        x, y = self._given(x, y, kwargs)
        return super().evaluate(x, y, *args, **kwargs)

    def _given(self, x, y, options):
        """x and y of `fit` and `evaluate`, checked like the sample_weight among the options; lists as arrays."""
        x, y, weight = check_set(self, (x, y, options.get("sample_weight")))
        if weight is None:
            return x, y
        options["sample_weight"] = weight
        return x, x if y is None else y  # Keras drops sample_weight where y is missing

    def predict(self, x, *args, **kwargs):
        check_options(self, dict(zip(("batch_size",), args, strict=False)) | kwargs)
        x = as_array(self, x)
        check_data(self, x)
        return super().predict(x, *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """`keras.Model.export` of `model(x)`; `medzoo.export` writes `encode` and `decode` too, and smaller files."""
        if input_signature is None:
            if format == "litert" and None in self.image_shape:
                raise ValueError(
                    f"{self.name}: takes images of any size, a LiteRT file one: medzoo.export(model, 'model.tflite', "
                    "size=(256, 256))."
                )
            input_signature = [keras.InputSpec(shape=(None, *self.image_shape), dtype="float32")]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, mode=None, config=None, **kwargs):
        """`keras.Model.quantize`: dense layers only, convolutions stay as they are. `medzoo.export(model,
        "model.tflite", quantize="int8")` quantizes all weights."""
        super().quantize(mode, config=config, **kwargs)
        usual = mode in REBUILT and not kwargs.get("filters") and config.get_config() == type(config)().get_config()
        self.quantized = mode if usual else "custom"
