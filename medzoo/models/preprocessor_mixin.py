"""Preprocessing as part of a model's configuration, copies, pickles and .keras files."""

import copy

import keras
import numpy as np


class PreprocessorMixin:
    """Mixin for Keras models: the attribute `preprocess`, a serializable function.

    Attributes:
        preprocess: `None`, or a copy of the assigned function, whose attribute `model` is the model.
    """

    _preprocess = None

    @property
    def preprocess(self):
        """Function that reads files or checks arrays; set by `medzoo.load`, else `None`."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value):
        self._preprocess = copy.copy(value)
        if value is not None:
            self._preprocess.model = self

    def postprocess(self, images: np.ndarray) -> np.ndarray:
        """Return images in the units of the files that `preprocess` reads, e.g. Hounsfield units.

        Args:
            images: float array in [0, 1], as `model(x)`, `decode` and `sample` return them.

        Returns:
            float32 NumPy array of the same shape; without a known unit the values are those given.
        """
        inverse = getattr(self.preprocess, "inverse", None)
        images = keras.ops.convert_to_numpy(images)
        return images if inverse is None else inverse(images)

    def with_preprocess(self, config: dict) -> dict:
        """Return a configuration that includes the preprocessing, if there is one."""
        kept = self.preprocess and {"preprocess": keras.saving.serialize_keras_object(self.preprocess)}
        return {**config, **(kept or {})}

    @classmethod
    def from_config(cls, config: dict) -> keras.Model:
        config = dict(config)
        preprocess = config.pop("preprocess", None)
        model = cls(**config)
        if preprocess is not None:
            model.preprocess = keras.saving.deserialize_keras_object(preprocess)
        return model
