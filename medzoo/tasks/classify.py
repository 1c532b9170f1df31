"""Tell classes apart: a preset's encoder under a classification head, and the training that suits it."""

import keras
import numpy as np
from keras import ops

from medzoo.models.checks import check_data, check_shape, check_training_data


@keras.saving.register_keras_serializable("medzoo")
class Classifier(keras.Model):
    """A pretrained encoder with a classification head; an ordinary Keras model.

        classifier = Classifier.from_pretrained("ae-chestxray", num_classes=2)
        classifier.compile()                                # Adam, cross-entropy, accuracy
        classifier.fit(images, labels, epochs=10)           # the head; the encoder is frozen
        classifier.unfreeze()
        classifier.compile(keras.optimizers.Adam(1e-4))
        classifier.fit(images, labels, epochs=10)           # all of it

    The head sees mean, deviation and largest value of every filter of every stage of the encoder, normalised by batch
    normalisation. `predict` gives probabilities `(N, num_classes)`; labels are integers.

    Args:
        encoder: an `Encoder`, see `medzoo.layers.blocks`.
        image_shape: `(height, width, channels)` that it takes.
        num_classes: 2 or more.
        dropout: share of the pooled features dropped in training.
    """

    input_range = (0.0, 1.0)
    preprocess = None

    def __init__(self, encoder, image_shape, num_classes, dropout=0.3, **kwargs):
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"Classifier: num_classes={num_classes}; expected 2 or more.")
        self.encoder, self.image_shape = encoder, tuple(image_shape)
        self.bottleneck, self.downsampling = encoder.bottleneck, encoder.downsampling
        self.num_classes = num_classes
        self.normalization = keras.layers.BatchNormalization(momentum=0.9, name="normalization")
        self.dropout = keras.layers.Dropout(dropout)
        self.head = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32", name="head")
        self.build()

    @classmethod
    def from_pretrained(cls, name, num_classes, dropout=0.3, pretrained=True):
        """A classifier on the encoder of a preset, frozen.

        Args:
            name: anything `medzoo.load` takes.
            num_classes, dropout: as above.
            pretrained: `False` starts the same network from random weights, not frozen: the control that shows what the
                pretraining is worth.
        """
        from medzoo.zoo.presets import load

        model = load(name)
        if not pretrained:
            fresh = type(model).from_config(model.get_config())
            fresh.preprocess = model.preprocess
            model = fresh
        classifier = cls(model.encoder, model.image_shape, num_classes, dropout, name=f"{model.name}-classifier")
        classifier.preprocess = model.preprocess
        if pretrained:
            classifier.encoder.trainable = False
        return classifier

    def build(self, input_shape=None):
        if self.built:
            return
        if not self.encoder.built:
            self.encoder.build((None, *self.image_shape))
        if not self.encoder.trainable:  # from a file; there and back: TensorFlow skips what is set already
            self.encoder.trainable = True
            self.encoder.trainable = False
        self._leave_latents()
        pooled = (None, 3 * sum(self.encoder.filters))
        self.normalization.build(pooled)
        self.head.build(pooled)
        self.built = True

    def _leave_latents(self):
        """Takes the layers on the way to the latents out of the training: nothing here depends on them."""
        for unused in (self.encoder.linear, self.encoder.squeeze, self.encoder.head):
            if unused is not None:
                unused.trainable = False

    def unfreeze(self):
        """Lets `fit` train the encoder too; compile again afterwards, with a smaller learning rate."""
        self.encoder.trainable = True
        self._leave_latents()

    def call(self, x, training=False):
        check_shape(self, x)
        maps = [ops.cast(ops.relu(stage), "float32") for stage in self.encoder.stage_outputs(x)]
        pooled = [f(m) for m in maps for f in (_mean, _deviation, _largest)]
        hidden = self.normalization(ops.concatenate(pooled, axis=1), training=training)
        return ops.softmax(self.head(self.dropout(hidden, training=training)))

    def compile(self, optimizer="adam", loss="sparse_categorical_crossentropy", metrics=("accuracy",), **kwargs):
        super().compile(optimizer=optimizer, loss=loss, metrics=list(metrics or ()), **kwargs)

    def compile_from_config(self, config):  # Keras asks for this where compile is overridden
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        check_training_data(self, x)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        check_data(self, x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        check_data(self, x)
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        return {
            "name": self.name,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "dropout": self.dropout.rate,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def _mean(x):
    return ops.mean(x, axis=(1, 2))


def _deviation(x):
    return ops.sqrt(ops.var(x, axis=(1, 2)) + 1e-6)


def _largest(x):
    return ops.max(x, axis=(1, 2))


def class_weights(labels):
    """Weights that make all classes count alike, `{class: weight}`, for `fit(class_weight=...)`."""
    classes, counts = np.unique(labels, return_counts=True)
    return {int(c): len(labels) / (len(classes) * int(n)) for c, n in zip(classes, counts, strict=True)}


def fine_tune(
    classifier, x, y, validation_data, epochs=(15, 15), learning_rates=(1e-3, 1e-4), batch_size=32, verbose=0
):
    """Staged unfreezing: the head first, then everything at a smaller learning rate; the best epoch of each is kept.

    Args:
        classifier: a `Classifier`.
        x, y: float images `(N, H, W, 1)` in [0, 1] and integer labels; classes are weighted to count alike.
        validation_data: `(x, y)`, whose loss chooses the epoch.
        epochs, learning_rates: of the two stages; 0 epochs skips one.

    Returns: the classifier.
    """
    for stage, (count, rate) in enumerate(zip(epochs, learning_rates, strict=True)):
        if not count:
            continue
        if stage:
            classifier.unfreeze()
        steps = count * -(-len(x) // batch_size)
        classifier.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.02)))
        best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=count, restore_best_weights=True)
        classifier.fit(
            x,
            y,
            validation_data=validation_data,
            batch_size=batch_size,
            epochs=count,
            class_weight=class_weights(y),
            callbacks=[best],
            verbose=verbose,
        )
    return classifier
