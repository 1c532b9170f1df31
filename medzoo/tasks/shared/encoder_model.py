"""What `Classifier` and `Segmenter` share: a preset's encoder under a head of their own, as an ordinary Keras model."""

from pathlib import Path
from zipfile import BadZipFile

import keras

from medzoo.errors import PresetError, PresetNotFoundError
from medzoo.layers.grids import together
from medzoo.models.checks import check_data, check_trainable, check_training_data
from medzoo.models.compiled_inference import CompiledAnew
from medzoo.models.multi_worker import MultiWorkerMixin
from medzoo.models.ood import OODMixin, ReferenceStatistics
from medzoo.models.preprocessor_mixin import PreprocessorMixin
from medzoo.zoo.presets import loaded


class EncoderModel(PreprocessorMixin, OODMixin, CompiledAnew, MultiWorkerMixin):
    """A Keras model on an encoder's stages; subclasses add `build_head`, `call` and a default loss.

    Args:
        encoder: an `Encoder`, see `medzoo.layers.blocks`.
        image_shape: `(height, width, channels)`, or with the depth before them, that it takes.
        num_classes: `least_classes` or more.
    """

    input_range = (0.0, 1.0)
    least_classes = 2
    counted = ""  # what the classes are, for the error about too few

    def __init__(self, encoder, image_shape, num_classes, **kwargs):
        super().__init__(**kwargs)
        if num_classes < self.least_classes:
            name = type(self).__name__
            raise ValueError(f"{name}: num_classes={num_classes}; expected {self.least_classes} or more{self.counted}.")
        self.encoder, self.image_shape, self.num_classes = encoder, tuple(image_shape), num_classes
        self.bottleneck, self.spatial_dims, self.downsampling_factors = (
            encoder.bottleneck,
            encoder.spatial_dims,
            encoder.downsampling_factors,
        )
        self.downsampling = together(self.downsampling_factors)

    @classmethod
    def _on_preset(cls, name, num_classes, pretrained, suffix, **own):
        model = loaded(name)
        copy = type(model).from_config(model.get_config())  # what is trained here must not change a model at hand
        if pretrained:
            copy.set_weights(model.get_weights())
        encoder = copy.encoder
        encoder.trainable = True  # a `Segmenter` freezes what it has no use for
        result = cls(encoder, model.image_shape, num_classes, name=f"{model.name}-{suffix}", **own)
        result.preprocess = model.preprocess
        return result

    @classmethod
    def load(cls, path):
        """The model that `save` or a command wrote.

        Args:
            path: of a `.keras` file.

        Raises:
            PresetError: no such file, damaged, or another model's.
        """
        if not Path(path).is_file():
            raise PresetNotFoundError(f"{path}: no such file.")
        try:
            model = keras.saving.load_model(path)
        except (ValueError, TypeError, KeyError, OSError, BadZipFile) as error:
            found = str(error).partition(". ")[0]  # Keras goes on with the whole configuration
            raise PresetError(f"{path}: no {cls.__name__} as its `save` writes one ({found}).") from error
        if not isinstance(model, cls):
            raise PresetError(f"{path}: a {type(model).__name__}; expected a {cls.__name__}.")
        return model

    def build_head(self):
        """Builds the layers behind the encoder."""
        raise NotImplementedError

    def build(self, input_shape=None):
        if self.built:
            return
        if not self.encoder.built:
            self.encoder.build((None, *self.image_shape))
        if not self.encoder.trainable:  # from a file; there and back: TensorFlow skips what is set already
            self.encoder.trainable = True
            self.encoder.trainable = False
        self.build_head()
        self.built = True

    def compile_from_config(self, config):  # Keras asks for this where compile is overridden
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
        usual = config.pop("reference_statistics", None)
        model = super().from_config(config)
        model.reference_statistics = usual and ReferenceStatistics(**usual)
        return model
