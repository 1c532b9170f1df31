"""Tell classes apart: a preset's encoder under a classification head, and the training that suits it."""

import keras
import numpy as np
from keras import ops

from medzoo.models.checks import check_shape
from medzoo.recipes.augment import Augmented
from medzoo.tasks.on_encoder import OnEncoder


@keras.saving.register_keras_serializable("medzoo")
class Classifier(OnEncoder):
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

    def __init__(self, encoder, image_shape, num_classes, dropout=0.3, **kwargs):
        super().__init__(encoder, image_shape, num_classes, **kwargs)
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
        classifier = cls._on_preset(name, num_classes, pretrained, "classifier", dropout=dropout)
        if pretrained:
            classifier.encoder.trainable = False
        return classifier

    def build_head(self):
        pooled = (None, 3 * sum(self.encoder.filters))
        self.normalization.build(pooled)
        self.head.build(pooled)

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

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout.rate}


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
    classifier,
    x,
    y,
    validation_data,
    epochs=(15, 15),
    learning_rates=(1e-3, 1e-4),
    batch_size=32,
    augment=True,
    loss="sparse_categorical_crossentropy",
    balance=True,
    seed=0,
    verbose=0,
):
    """Staged unfreezing: the head first, then everything at a smaller learning rate; the best epoch of each is kept.

    Args:
        classifier: a `Classifier`.
        x, y: float32 images `(N, H, W, 1)` in [0, 1] and integer labels.
        validation_data: `(x, y)`, whose loss chooses the epoch.
        epochs, learning_rates: of the two stages; 0 epochs skips one.
        augment: move, turn, scale and expose the training images a little differently each epoch.
        loss: of Keras, for integer labels.
        balance: weight the classes to count alike.
        seed, verbose: of the training.

    Returns: the classifier.
    """
    changes = {"shift": 3.0, "warp": 0.1, "contrast": 0.2}
    batches = Augmented(x, batch_size, seed, y, **(changes if augment else dict.fromkeys(changes, 0.0)))
    for stage, (count, rate) in enumerate(zip(epochs, learning_rates, strict=True)):
        if not count:
            continue
        if stage:
            classifier.unfreeze()
        rates = keras.optimizers.schedules.CosineDecay(rate, count * len(batches), alpha=0.02)
        classifier.compile(keras.optimizers.Adam(rates), loss)
        classifier.fit(
            batches,
            validation_data=validation_data,
            epochs=count,
            class_weight=class_weights(y) if balance else None,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch)),
                keras.callbacks.EarlyStopping(monitor="val_loss", patience=count, restore_best_weights=True),
            ],
            shuffle=False,
            verbose=verbose,
        )
    return classifier
