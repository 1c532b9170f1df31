"""A preset's encoder under a classification head, and the training that suits it."""

import keras
import numpy as np
from keras import ops
from scipy.ndimage import gaussian_filter

from medzoo.data.augmentation import ArrayDataset, AugmentedDataset
from medzoo.data.splits import stratified_group_split
from medzoo.layers import pooling
from medzoo.metrics.classification import fit_temperature
from medzoo.models.checks import check_shape, images_only
from medzoo.tasks.attribution import occlusion_map
from medzoo.tasks.shared.encoder_model import EncoderModel
from medzoo.tasks.shared.finetuning import fit_best
from medzoo.utils.groups import encode_groups, has_known_groups

CHANGES = {  # how `fine_tune` varies images, by its `augment`: options of `AugmentedDataset`
    True: {"translation": 3.0, "affine": 0.1, "contrast": 0.2},
    False: {"identity_fraction": 1.0, "contrast": 0.0},
    # Chosen on validation films whose two classes had swapped proportions and sharpness.
    "acquisition": {"affine": 0.1, "aspect_ratio": 0.25, "contrast": 0.2, "acquisition": 0.4, "identity_fraction": 0.0},
}


@keras.saving.register_keras_serializable("medzoo")
class Classifier(EncoderModel):
    """A pretrained encoder with a classification head; an ordinary Keras model.

        classifier = Classifier.from_pretrained("ae-chestxray-64", num_classes=2)
        classifier.compile()                                # Adam, cross-entropy, accuracy
        classifier.fit(images, labels, epochs=10)           # the head; the encoder is frozen
        classifier.unfreeze()
        classifier.compile(keras.optimizers.Adam(1e-4))
        classifier.fit(images, labels, epochs=10)           # all of it

    The head sees what `medzoo.tasks.features` calls "both": the latents, pooled in cells, and mean, deviation and
    largest value of every filter of every stage of the encoder; all of it normalised by batch normalisation. `predict`
    gives probabilities `(N, num_classes)`; labels are integers, or with `multi_label` 0 and 1 `(N, num_classes)`, and
    each finding has a probability of its own. `calibrate` on validation images makes them mean what they say.

    Args:
        encoder: an `Encoder`, see `medzoo.layers.blocks`.
        image_shape: `(height, width, channels)` that it takes.
        num_classes: 2 or more; of findings 1 or more.
        dropout: share of the pooled features dropped in training.
        multi_label: an image may have several of the findings, or none.
        class_names: of classes or findings, for reports; by default their numbers.
    """

    def __init__(self, encoder, image_shape, num_classes, dropout=0.3, multi_label=False, class_names=None, **kwargs):
        self.least_classes = 1 if multi_label else 2
        super().__init__(encoder, image_shape, num_classes, **kwargs)
        self.multi_label = multi_label
        self.class_names = list(map(str, range(num_classes) if class_names is None else class_names))
        self.normalization = keras.layers.BatchNormalization(momentum=0.9, name="normalization")
        self.dropout = keras.layers.Dropout(dropout)
        self.head = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32", name="head")
        self.build()

    @classmethod
    def from_pretrained(cls, name, num_classes, dropout=0.3, pretrained=True, multi_label=False, class_names=None):
        """A classifier on the encoder of a preset, frozen.

        Args:
            name: anything `medzoo.load` takes, a medzoo model, or another model on an encoder, whose encoder is taken.
            num_classes, dropout, multi_label, class_names: as above.
            pretrained: `False` starts the same network from random weights, not frozen: the control that shows what the
                pretraining is worth.
        """
        own = {"dropout": dropout, "multi_label": multi_label, "class_names": class_names}
        classifier = cls._on_preset(name, num_classes, pretrained, "classifier", **own)
        if pretrained:
            classifier.encoder.trainable = False
        return classifier

    def build_head(self):
        pooled = (None, pooling.pooled_size(self.encoder) + 3 * sum(self.encoder.filters))
        self.normalization.build(pooled)
        self.head.build(pooled)
        self.temperature = self.add_weight((), "ones", trainable=False, name="temperature")

    def unfreeze(self):
        """Lets `fit` train the encoder too; compile again afterwards, with a smaller learning rate."""
        self.encoder.trainable = True

    def call(self, x, training=False):
        check_shape(self, x)
        stages = self.encoder.stage_outputs(x)
        latents = self.encoder.latents(x, stages)[..., : self.encoder.latent_dim]
        pooled = ops.concatenate([pooling.pool_grid(latents), pooling.pool_stages(stages)], axis=1)
        hidden = self.normalization(pooled, training=training)
        scores = self.head(self.dropout(hidden, training=training)) / self.temperature
        return ops.sigmoid(scores) if self.multi_label else ops.softmax(scores)

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """As `keras.Model.compile`; cross-entropy and accuracy (of findings: AUC) where nothing else is asked for."""
        if self.multi_label:
            usual = "binary_crossentropy", [keras.metrics.AUC(multi_label=True, name="auc")]
        else:
            usual = "sparse_categorical_crossentropy", ["accuracy"]
        metrics = usual[1] if metrics is None else metrics
        super().compile(optimizer=optimizer, loss=loss or usual[0], metrics=list(metrics), **kwargs)

    def calibrate(self, x, y):
        """Sets the temperature that scores are divided by (Guo et al. 2017, arXiv:1706.04599) to the one that suits
        images and labels best which the classifier was not trained on; the classes found stay the same."""
        found = self.predict(x if isinstance(x, keras.utils.PyDataset) else ArrayDataset(x), verbose=0)
        self.temperature.assign(self.temperature * fit_temperature(found, y))

    def occlusion_map(self, image, target=None, patch=None):
        """What in an image speaks for a class: how its log-odds fall where a square of the image gives way to its own
        blur (occlusion, Zeiler & Fergus 2014, arXiv:1311.2901). Covering shows what this classifier uses, not why; the
        cause may be beside the finding, a marker or a tube.

        Args:
            image: float32 `(H, W, 1)` in [0, 1].
            target: class or finding; by default the most probable one.
            patch: side of the squares in pixels, by default an eighth of the shorter side; they overlap by half.

        Returns: float32 `(H, W)`, above 0 where the image speaks for the class, below 0 where against.
        """
        images_only(self, "explain")
        side = min(image.shape[:2])
        patch = patch or max(2, side // 8)
        target = int(self.predict(image[None], verbose=0)[0].argmax()) if target is None else target

        def log_odds(images):
            p = np.clip(self.predict(ArrayDataset(images), verbose=0)[:, target].astype("float64"), 1e-7, 1 - 1e-7)
            return np.log(p / (1 - p))

        blurred = gaussian_filter(image[..., 0], side / 12)[..., None]
        return occlusion_map(log_odds, image, patch, blurred, max(1, patch // 2))

    def get_config(self):
        own = {"dropout": self.dropout.rate, "multi_label": self.multi_label, "class_names": self.class_names}
        return {**super().get_config(), **own}


def class_weights(labels):
    """Weights that make all classes count alike, `{class: weight}`, for `fit(class_weight=...)`."""
    classes, counts = np.unique(labels, return_counts=True)
    return {int(c): len(labels) / (len(classes) * int(n)) for c, n in zip(classes, counts, strict=True)}


def fine_tune(
    classifier,
    x,
    y,
    validation_data=None,
    epochs=(15, 15),
    learning_rates=(1e-3, 3e-4),
    batch_size=32,
    steps=None,
    augment=True,
    loss=None,
    class_weight="balanced",
    seed=0,
    verbose=0,
    groups=None,
):
    """Staged unfreezing: the head first, then everything at a smaller learning rate; the best epoch of each is kept.

    Args:
        classifier: a `Classifier`.
        x, y: images `(N, H, W, 1)`, uint8 or float32 in [0, 1], and labels as the classifier takes them.
        validation_data: `(x, y)`, whose loss chooses the epoch; of other patients than `x`. By default a seventh of the
            patients (of the images, where patients are not known) is held out for it.
        epochs, learning_rates: of the two stages; 0 epochs skips one.
        steps: batches an epoch; by default as many as show each image once, which is little where labels are few.
        augment: `True`: move, turn, scale and expose the training images a little differently each epoch. `"acquisition"`:
            as another machine might have taken them, with other proportions, exposure, sharpness and noise; where the
            classes differ in these (in the children's films of Kermany et al. 2018 they do), a classifier learns that
            in the place of disease. Not where shape is the sign: lesions in ultrasound are told by it. `False`: as they
            are. Or a dict of options of `medzoo.data.augmentation.AugmentedDataset`.
        loss: of Keras, for integer labels; by default the classifier's own.
        class_weight: `"balanced"` weights the classes inversely to their frequency; `None` does not. Not used for
            multi-label data.
        seed, verbose: of the training.
        groups: Sequence `(N,)` that tells patients apart, for what is held out by default; missing values are patients
            of their own.

    Returns: the classifier.

    Raises:
        ValueError: If groups are given beside `validation_data`, or too few images or patients without it.
    """
    x, y, validation_data = _with_validation(x, y, validation_data, groups, seed)
    if not isinstance(augment, dict):
        if augment not in CHANGES:
            raise ValueError(f"fine_tune: augment={augment!r}; expected {', '.join(map(repr, CHANGES))} or a dict.")
        augment = {"translation": min(x.shape[1:-1]) / 20, **CHANGES[augment]}
    batches = AugmentedDataset(x, batch_size, seed, y, steps=steps, **augment)
    for stage, (count, rate) in enumerate(zip(epochs, learning_rates, strict=True)):
        if not count:
            continue
        if stage:
            classifier.unfreeze()
        fit_best(
            classifier,
            batches,
            validation_data=ArrayDataset(*validation_data, batch_size),
            epochs=count,
            steps=len(batches),
            learning_rate=rate,
            loss=loss,
            class_weight=class_weights(y) if class_weight == "balanced" and not classifier.multi_label else None,
            callbacks=[batches.counted()],
            shuffle=False,
            verbose=verbose,
        )
    return classifier


def _with_validation(x, y, validation_data, groups, seed):
    """Images and labels to learn from, and those whose loss chooses the epoch; no patient is in both."""
    if validation_data is not None:
        if groups is not None:
            raise ValueError(
                "fine_tune: groups beside validation_data. Expected one of the two: groups tell which images are held "
                "out together where there is no validation_data."
            )
        return x, y, validation_data
    y = np.asarray(y)
    where = stratified_group_split(
        y, encode_groups(groups, len(x)) if has_known_groups(groups) else None, seed, names=("train", "val")
    )
    kept, rest = where == "val", where == "train"
    return x[rest], y[rest], (x[kept], y[kept])
