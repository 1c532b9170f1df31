"""The base class of `Classifier` and `Segmenter`: a pretrained encoder with a task head."""

from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import keras

from medzoo.errors import PresetError, PresetNotFoundError
from medzoo.layers.blocks import Encoder
from medzoo.layers.grids import together
from medzoo.models.checks import check_data, check_trainable, check_training_data
from medzoo.models.compiled_inference import RecompileMixin
from medzoo.models.multi_worker import MultiWorkerMixin
from medzoo.models.ood import OODMixin, ReferenceStatistics
from medzoo.models.preprocessor_mixin import PreprocessorMixin
from medzoo.zoo.presets import loaded


class EncoderModel(PreprocessorMixin, OODMixin, RecompileMixin, MultiWorkerMixin):
    """Keras model on the stages of an encoder.

    Subclasses define `build_head`, `call` and a default loss.

    Args:
        encoder: An `Encoder`, see `medzoo.layers.blocks`.
        image_shape: Tuple `(height, width, channels)`, or `(depth, height, width, channels)` for volumes. Shape of the
            inputs; the sides may be `None`.
        num_classes: int. Number of classes, at least `least_classes`.

    Raises:
        ValueError: If there are too few classes.
    """

    input_range = (0.0, 1.0)
    least_classes = 2
    class_note = ""  # what the classes are, for the error about too few

    def __init__(self, encoder: Encoder, image_shape: tuple[int | None, ...], num_classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        if num_classes < self.least_classes:
            name = type(self).__name__
            raise ValueError(
                f"{name}: too few classes. Expected num_classes >= {self.least_classes}{self.class_note}, got "
                f"{num_classes}."
            )
        self.encoder, self.image_shape, self.num_classes = encoder, tuple(image_shape), num_classes
        self.bottleneck, self.spatial_dims, self.downsampling_factors = (
            encoder.bottleneck,
            encoder.spatial_dims,
            encoder.downsampling_factors,
        )
        self.downsampling = together(self.downsampling_factors)

    @classmethod
    def _on_preset(cls, name, num_classes, pretrained, suffix, **own):
        """Build a model on a copy of the encoder of a preset."""
        model = loaded(name)
        copy = type(model).from_config(model.get_config())  # training must not change the given model
        if pretrained:
            copy.set_weights(model.get_weights())
        encoder = copy.encoder
        encoder.trainable = True  # a `Segmenter` freezes the layers it does not use
        result = cls(encoder, model.image_shape, num_classes, name=f"{model.name}-{suffix}", **own)
        result.preprocess = model.preprocess
        return result

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a model that `save` or a command wrote.

        Args:
            path: Path of a `.keras` file.

        Returns:
            The model.

        Raises:
            PresetError: If the file does not exist, is damaged, or contains another kind of model.
        """
        if not Path(path).is_file():
            raise PresetNotFoundError(f"{path}: no such file.")
        try:
            model = keras.saving.load_model(path)
        except (ValueError, TypeError, KeyError, OSError, BadZipFile) as error:
            found = str(error).partition(". ")[0]  # Keras appends the whole configuration
            raise PresetError(f"{path}: not readable as a {cls.__name__} written by `save` ({found}).") from error
        if not isinstance(model, cls):
            raise PresetError(f"{path}: unexpected model. Expected a {cls.__name__}, got a {type(model).__name__}.")
        return model

    def build_head(self) -> None:
        """Build the layers that follow the encoder."""
        raise NotImplementedError

    def build(self, input_shape=None):
        if self.built:
            return
        if not self.encoder.built:
            self.encoder.build((None, *self.image_shape))
        if not self.encoder.trainable:  # from a file; TensorFlow ignores a value that is set already
            self.encoder.trainable = True
            self.encoder.trainable = False
        self.build_head()
        self.built = True

    def compile_from_config(self, config):  # required by Keras where compile is overridden
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        check_training_data(self, x)
        check_trainable(self)
        self.reference_statistics = None  # its encoder changes
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        check_data(self, x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        check_data(self, x)
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        config = {
            "name": self.name,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            **({"reference_statistics": self.reference_statistics.get_config()} if self.reference_statistics else {}),
        }
        return self.with_preprocess(config)

    @classmethod
    def from_config(cls, config):
        config = {**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])}
        statistics = config.pop("reference_statistics", None)
        model = super().from_config(config)
        model.reference_statistics = statistics and ReferenceStatistics(**statistics)
        return model
