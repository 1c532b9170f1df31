"""A pretrained encoder with a classification head, and its fine-tuning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from scipy.ndimage import gaussian_filter

from medzoo.data.augmentation import ArrayDataset, AugmentedDataset
from medzoo.data.splits import stratified_group_split
from medzoo.layers import pooling
from medzoo.layers.blocks import Encoder
from medzoo.metrics.classification import fit_temperature
from medzoo.models.checks import check_2d, check_shape
from medzoo.tasks.attribution import occlusion_map
from medzoo.tasks.shared.encoder_model import EncoderModel
from medzoo.tasks.shared.finetuning import fit_best
from medzoo.utils.groups import encode_groups, has_known_groups

AUGMENTATIONS = {  # options of `AugmentedDataset` by the argument `augment` of `fine_tune`
    True: {"translation": 3.0, "affine": 0.1, "contrast": 0.2},
    False: {"identity_fraction": 1.0, "contrast": 0.0},
    # Selected on validation images whose two classes had exchanged aspect ratio and sharpness.
    "acquisition": {"affine": 0.1, "aspect_ratio": 0.25, "contrast": 0.2, "acquisition": 0.4, "identity_fraction": 0.0},
}


@keras.saving.register_keras_serializable("medzoo")
class Classifier(EncoderModel):
    """Keras model of a pretrained encoder with a classification head.

    The input of the head is the features `"both"` of `medzoo.tasks.features`: the pooled latents, and mean, standard
    deviation and maximum of every channel of every encoder stage, after batch normalization. `predict` returns
    probabilities of shape `(N, num_classes)`. Labels are integers; with `multi_label` they are arrays of 0 and 1 of
    shape `(N, num_classes)`, and each label has an independent probability. `calibrate` on validation images makes the
    probabilities agree with observed frequencies.

    Args:
        encoder: An `Encoder`, see `medzoo.layers.blocks`.
        image_shape: Tuple `(height, width, channels)`; the sides may be `None`.
        num_classes: int. Number of classes, 2 or more; with `multi_label` 1 or more.
        dropout: float in [0, 1). Dropout rate of the pooled features.
        multi_label: bool. Whether an image can have several labels or none.
        class_names: Names of the classes, for reports; by default their indices.

    Examples:
        ```python
        classifier = Classifier.from_pretrained("ae-chestxray-64", num_classes=2)
        classifier.compile()  # Adam, cross-entropy, accuracy
        classifier.fit(images, labels, epochs=10)  # trains the head; the encoder is frozen
        classifier.unfreeze()
        classifier.compile(keras.optimizers.Adam(1e-4))
        classifier.fit(images, labels, epochs=10)  # trains head and encoder
        ```
    """

    def __init__(
        self,
        encoder: Encoder,
        image_shape: tuple[int | None, ...],
        num_classes: int,
        dropout: float = 0.3,
        multi_label: bool = False,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        self.least_classes = 1 if multi_label else 2
        super().__init__(encoder, image_shape, num_classes, **kwargs)
        self.multi_label = multi_label
        self.class_names = list(map(str, range(num_classes) if class_names is None else class_names))
        self.normalization = keras.layers.BatchNormalization(momentum=0.9, name="normalization")
        self.dropout = keras.layers.Dropout(dropout)
        self.head = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32", name="head")
        self.build()

    @classmethod
    def from_pretrained(
        cls,
        name: keras.Model | str | Path,
        num_classes: int,
        dropout: float = 0.3,
        pretrained: bool = True,
        multi_label: bool = False,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Build a classifier on the frozen encoder of a preset.

        Args:
            name: Anything `medzoo.load` takes, a medzoo model, or another model on an encoder, whose encoder is copied.
            num_classes: See the class.
            dropout: See the class.
            pretrained: bool. If `False`, the encoder is randomly initialized and not frozen, as a baseline.
            multi_label: See the class.
            class_names: See the class.

        Returns:
            The classifier.
        """
        own = {"dropout": dropout, "multi_label": multi_label, "class_names": class_names}
        classifier = cls._on_preset(name, num_classes, pretrained, "classifier", **own)
        if pretrained:
            classifier.encoder.trainable = False
        return classifier

    def build_head(self) -> None:
        """Build the layers that follow the encoder."""
        pooled = (None, pooling.pooled_size(self.encoder) + 3 * sum(self.encoder.filters))
        self.normalization.build(pooled)
        self.head.build(pooled)
        self.temperature = self.add_weight((), "ones", trainable=False, name="temperature")

    def unfreeze(self) -> None:
        """Make the encoder trainable. Compile again afterwards, with a lower learning rate."""
        self.encoder.trainable = True

    def call(self, x, training: bool = False):
        """Return the class probabilities of images.

        Args:
            x: Float tensor of shape `(N, height, width, 1)` with values in [0, 1].
            training: bool. Whether dropout and batch statistics are used.

        Returns:
            Float tensor of shape `(N, num_classes)`.
        """
        check_shape(self, x)
        stages = self.encoder.stage_outputs(x)
        latents = self.encoder.latents(x, stages)[..., : self.encoder.latent_dim]
        pooled = ops.concatenate([pooling.pool_grid(latents), pooling.pool_stages(stages)], axis=1)
        hidden = self.normalization(pooled, training=training)
        scores = self.head(self.dropout(hidden, training=training)) / self.temperature
        return ops.sigmoid(scores) if self.multi_label else ops.softmax(scores)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: Any = None,
        metrics: Sequence | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure the model for training.

        Args:
            optimizer: A Keras optimizer.
            loss: A Keras loss; by default the cross-entropy.
            metrics: Keras metrics; by default the accuracy, with `multi_label` the AUC.
            kwargs: Further options of `keras.Model.compile`.
        """
        if self.multi_label:
            default = "binary_crossentropy", [keras.metrics.AUC(multi_label=True, name="auc")]
        else:
            default = "sparse_categorical_crossentropy", ["accuracy"]
        metrics = default[1] if metrics is None else metrics
        super().compile(optimizer=optimizer, loss=loss or default[0], metrics=list(metrics), **kwargs)

    def calibrate(self, x: Any, y: np.ndarray) -> None:
        """Fit the temperature that divides the logits (temperature scaling).

        The predicted classes do not change (Guo et al. 2017, arXiv:1706.04599).

        Args:
            x: Images, or a `keras.utils.PyDataset`, that the classifier was not trained on.
            y: Labels, see the class.
        """
        probabilities = self.predict(x if isinstance(x, keras.utils.PyDataset) else ArrayDataset(x), verbose=0)
        self.temperature.assign(self.temperature * fit_temperature(probabilities, y))

    def occlusion_map(self, image: np.ndarray, target: int | None = None, patch: int | None = None) -> np.ndarray:
        """Compute how the log-odds of a class decrease when patches of an image are blurred.

        Occlusion sensitivity (Zeiler & Fergus 2014, arXiv:1311.2901). The map shows which regions this classifier uses,
        not why: they may contain a confounder such as a marker or a tube instead of the finding.

        Args:
            image: Float32 array of shape `(H, W, 1)` with values in [0, 1].
            target: int. Index of the class; by default the most probable one.
            patch: int. Side length of the patches in pixels, by default an eighth of the shorter side. Patches overlap
                by half.

        Returns:
            Float32 array of shape `(H, W)`: positive where the image supports the class, negative where it contradicts
            it.
        """
        check_2d(self, "Classifier.occlusion_map")
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


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Return weights inversely proportional to class frequencies, for `fit(class_weight=...)`.

    Args:
        labels: Integer array of shape `(N,)`.

    Returns:
        Dict of the weight of each class.
    """
    classes, counts = np.unique(labels, return_counts=True)
    return {int(c): len(labels) / (len(classes) * int(n)) for c, n in zip(classes, counts, strict=True)}


def fine_tune(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
    epochs: Sequence[int] = (15, 15),
    learning_rates: Sequence[float] = (1e-3, 3e-4),
    batch_size: int = 32,
    steps: int | None = None,
    augment: bool | str | dict[str, Any] = True,
    loss: Any = None,
    class_weight: str | None = "balanced",
    seed: int = 0,
    verbose: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> Classifier:
    """Train the head, then the head and the encoder at a lower learning rate.

    Each stage keeps the epoch with the lowest validation loss.

    Args:
        classifier: A `Classifier`.
        x: Array of shape `(N, H, W, 1)`, uint8 or float32 in [0, 1]. Training images.
        y: Labels, see `Classifier`.
        validation_data: Tuple `(x, y)` of other patients than the training images; its loss selects the epoch. By
            default one seventh of the patients (of the images, where patients are not known) is held out for it.
        epochs: Two int. Number of epochs of both stages; 0 skips a stage.
        learning_rates: Two float. Initial learning rates of both stages.
        batch_size: int. Number of images per batch.
        steps: int. Number of batches per epoch; by default each image is used once per epoch, which can be too few with
            few labels.
        augment: `True` for translation, rotation, scaling and intensity changes. `"acquisition"` for acquisition-shift
            augmentation: aspect ratio, brightness, contrast, sharpness and noise. It is recommended where the classes
            differ in acquisition, as in the pediatric chest X-rays of Kermany et al. (2018), so that the classifier
            does not learn this confounder. It is not recommended where shape is diagnostic, as for lesions in
            ultrasound. `False` for no augmentation. A dict of options of `medzoo.data.augmentation.AugmentedDataset`
            for any other augmentation.
        loss: A Keras loss for integer labels; by default that of the classifier.
        class_weight: `"balanced"` weights the classes inversely to their frequency; `None` weights them equally. Not
            used for multi-label data.
        seed: int. Seed of augmentation and split.
        verbose: int. See `keras.Model.fit`.
        groups: Sequence of N patient identifiers for the default validation split. Images with a missing identifier
            count as separate patients.

    Returns:
        The classifier.

    Raises:
        ValueError: If `augment` is unknown, both `groups` and `validation_data` are given, or there are too few images
            or patients without `validation_data`.
    """
    x, y, validation_data = _with_validation(x, y, validation_data, groups, seed)
    if not isinstance(augment, dict):
        if augment not in AUGMENTATIONS:
            expected = ", ".join(map(repr, AUGMENTATIONS))
            raise ValueError(f"fine_tune: unknown augment. Expected {expected} or a dict, got {augment!r}.")
        augment = {"translation": min(x.shape[1:-1]) / 20, **AUGMENTATIONS[augment]}
    batches = AugmentedDataset(x, batch_size, seed, y, steps=steps, **augment)
    for stage, (count, rate) in enumerate(zip(epochs, learning_rates, strict=True)):
        if not count:
            continue
        if stage:
            classifier.unfreeze()
        fit_best(
            classifier,
            batches,
            validation_data=ArrayDataset(*validation_data, batch_size),  # type: ignore[call-arg]
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
    """Return training images, training labels and validation data, with a patient-level split."""
    if validation_data is not None:
        if groups is not None:
            raise ValueError(
                "fine_tune: both groups and validation_data are given. Expected one of them: groups determine the "
                "validation split where there is no validation_data."
            )
        return x, y, validation_data
    y = np.asarray(y)
    where = stratified_group_split(
        y, encode_groups(groups, len(x)) if has_known_groups(groups) else None, seed, names=("train", "val")
    )
    kept, rest = where == "val", where == "train"
    return x[rest], y[rest], (x[kept], y[kept])
