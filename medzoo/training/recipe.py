"""Recipes: the data, model and training settings of a preset, and the text of its model card."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.patients import warn_shared_patients
from medzoo.data.phantom import chest_phantom
from medzoo.training.trainer import run

DEFAULT_SIZE = 256  # pixels per side of images read from files, for a model that accepts any size


@dataclass(frozen=True)
class TrainingSource:
    """One dataset of a recipe's training data.

    Attributes:
        source: Description of the dataset, see `medzoo.recipes.datasets`.
        classes: List of class names to train on, or `None` for all classes.
        sampling_weight: float. Share of the training batches, relative to the weights of the other sources. Default: 1.
    """

    source: dict
    classes: list[str] | None = None
    sampling_weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Training settings of a preset, with the descriptions for its model card.

    Attributes:
        name: Name of the preset.
        model: Function that builds the untrained model, called with `name=` and `seed=`.
        data: Tuple of `TrainingSource`, the datasets that the preset was trained on.
        modality: `"X-ray"`, `"CT"`, `"MR"`, `"ultrasound"` or `"several"`.
        domain: Modality and anatomy of the images, e.g. `"frontal chest X-rays"`.
        description: Purpose of the model, one or two sentences.
        epochs: int. Number of training epochs.
        tasks: Intended uses, a subset of `medzoo.zoo.manifest.TASKS`.
        limitations: Limitations beyond those that the card states for every model.
        prior_epochs: int. For a codec, number of additional epochs that train the entropy model only, see
            `Codec.train_entropy_model_only`. Scaled in proportion when `train` is called with fewer epochs.
        initial_weights: Name of a preset with the same widths whose weights initialize encoder and decoder, see
            `start_from`; or a function that assigns weights to the new model; or `None`.
        size: int. Side in pixels that all images are resized to; `None` keeps their size.
        steps: int. Batches per epoch; `None` means one pass over the training images per epoch.
        batch_size: int. Images per training step. Default: 32.
        learning_rate: float. Peak of the warm-up and cosine schedule. Default: 1.5e-3.
        probe: Labeled dataset for the linear probe, see `medzoo.recipes.datasets`; `None` means the test split of the
            training data, if it contains several classes.
        example_images: Functions `(size, seed)` that return synthetic phantoms, for the card of a model that cannot
            generate images.
        augment: Arguments of `AugmentedDataset` that differ from its defaults.
        preprocessing: Arguments of `Preprocessor`; by default the size of the model.
    """

    name: str
    model: Callable
    data: tuple[TrainingSource, ...]
    modality: str
    domain: str
    description: str
    epochs: int
    tasks: tuple[str, ...] = ()
    limitations: str = ""
    prior_epochs: int = 0
    initial_weights: str | Callable | None = None
    size: int | None = None
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    probe: dict | None = None
    example_images: tuple[Callable, ...] = (chest_phantom,)
    augment: dict = field(default_factory=dict)
    preprocessing: dict | None = None

    def open_datasets(
        self,
        data: "str | os.PathLike | ImageDataset | Sequence",
        size: "int | Sequence[int] | None" = None,
        **reading: Any,
    ) -> list[tuple[ImageDataset, float]]:
        """Open the training datasets, each with its sampling weight.

        Args:
            data: The recipe's own datasets (identified by their file names, in any order), or one or several other
                datasets as `open_dataset` takes them, which get equal sampling weights. Other datasets are restricted
                to the recipe's classes if they contain classes of these names.
            size: Side in pixels of images read from files. Default: the size of the recipe.
            **reading: Options of `open_dataset`.

        Returns:
            List of pairs `(dataset, sampling_weight)`.

        Raises:
            FileNotFoundError: See `open_dataset`.
            ImageError: See `open_dataset`.
            ValueError: If some of the recipe's own datasets are given and others are missing.
        """
        given = [data] if isinstance(data, (str, os.PathLike, ImageDataset)) else list(data)
        names = {d.name if isinstance(d, ImageDataset) else Path(d).name: d for d in given}
        sources = {part.source["file"]: part for part in self.data}
        if missing := set(names) & set(sources) and set(sources) - set(names):
            raise ValueError(f"{self.name}: also needs {', '.join(sorted(missing))}.")
        if set(names) == set(sources):
            weights = [part.sampling_weight for part in sources.values()]
            opened = [
                open_dataset(names[file], part.source.get("size"), classes=part.classes, group=part.source.get("group"))
                for file, part in sources.items()
            ]
        else:
            opened = [self._own_classes_of(open_dataset(d, size or self.file_image_size, **reading)) for d in given]
            weights = [1.0] * len(opened)
        warn_shared_patients(opened)
        return list(zip(opened, weights, strict=True))

    def _own_classes_of(self, dataset):
        """A dataset that is not the recipe's own, restricted to the recipe's classes if it contains them."""
        classes = self.data[0].classes
        available = classes and dataset.class_names and set(classes) <= set(dataset.class_names)
        return dataset.select_classes(classes) if available else dataset

    @property
    def file_image_size(self) -> tuple[int, ...]:
        """`(height, width)` that images read from files are resized to; `(depth, height, width)` of volumes."""
        *sides, _ = self.model(name=self.name, seed=0).image_shape
        if sides[0]:
            return tuple(sides)
        return (self.size or DEFAULT_SIZE,) * 2 if len(sides) == 2 else self.data[0].source["size"]

    def find_probe_data(self, data: "str | os.PathLike") -> Path | None:
        """Return the path of the linear probe's dataset if it is in the folder of the training data, else `None`."""
        path = self.probe and Path(data).parent / self.probe["file"]
        return path if path and path.is_file() else None

    def train(
        self,
        data: "str | os.PathLike | ImageDataset | Sequence",
        out: "str | os.PathLike",
        *,
        epochs: int | None = None,
        seed: int = 0,
        strategy: str = "auto",
    ) -> Path:
        """Train the model and write the preset.

        Run again with the same arguments, an interrupted training resumes where it stopped, also within an epoch, and
        ends with the same weights as an uninterrupted one. The model is initialized from the PCA of the training
        images and from `initial_weights`; the weights of the epoch with the lowest validation loss are kept. Several
        workers share the folder `out`; the first one writes.

        Args:
            data: See `open_datasets`.
            out: Folder to write. It must not exist unless it contains an unfinished training.
            epochs: int. Default: `epochs` of the recipe.
            seed: int. Seed of initialization, augmentation and data order. Default: 0.
            strategy: See `medzoo.training.distribution.distribution_scope`. Default: `"auto"`.

        Returns:
            Path of the preset folder.

        Raises:
            TrainingError: If the loss is not finite, the disk is full, or memory does not suffice for batches of one
                image. The last good checkpoint is kept.
        """
        return run(self, data, Path(out), epochs or self.epochs, seed, strategy)
