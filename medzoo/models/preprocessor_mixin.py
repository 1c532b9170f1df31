"""What `load` attached to a model stays with it: in its configuration, so in copies, pickles and .keras files."""

import copy

import keras


class PreprocessorMixin:
    """Mixin for Keras models: the attribute `preprocess`, `None` or a serializable function of files and arrays.

    What is set is copied and bound to the model by its attribute `model`.
    """

    _preprocess = None

    @property
    def preprocess(self):
        """Reads files, or checks arrays, as in training; set by `medzoo.load`, else `None`."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value):
        self._preprocess = copy.copy(value)
        if value is not None:
            self._preprocess.model = self

    def with_preprocess(self, config):
        """A configuration, and in it the preprocessing if there is one."""
        kept = self.preprocess and {"preprocess": keras.saving.serialize_keras_object(self.preprocess)}
        return {**config, **(kept or {})}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        preprocess = config.pop("preprocess", None)
        model = cls(**config)
        if preprocess is not None:
            model.preprocess = keras.saving.deserialize_keras_object(preprocess)
        return model
