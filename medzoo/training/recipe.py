"""What a recipe is: the data, the model, the training, and what the card says about it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.patients import warn_of_shared
from medzoo.data.phantom import chest_phantom
from medzoo.training.trainer import run

SIDE = 256  # pixels of images from files, for a model that takes any size


@dataclass(frozen=True)
class TrainingSource:
    """Some of a recipe's training images.

    Fields:
        source: where they are from, see `medzoo.recipes.datasets`.
        classes: which of its classes, `None` for all.
        sampling_weight: how much of the training they are, in proportion to the other parts'.
    """

    source: dict
    classes: list | None = None
    sampling_weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained, and what its card says about it.

    Fields:
        name: of the preset.
        model: function that builds the untrained model, called with `name=` and `seed=`.
        data: the `Part`s that it was made for.
        modality: `"X-ray"`, `"CT"`, `"MR"`, `"ultrasound"`, or `"several"`.
        domain: what is in the pictures.
        description: what the model is for, a sentence.
        tasks: the same in words to choose by, some of `medzoo.zoo.manifest.TASKS`.
        limits: what it cannot do, beyond what the card says of every model of its size.
        epochs, batch_size, learning_rate: of the training; the rate is the peak of `schedule`.
        prior_epochs: of a codec, after the others, see `Codec.settle`; fewer in proportion if fewer are asked for.
        initial_weights: preset of the same widths whose encoder and decoder the training starts from, see `start_from`; or a
            function that gives the new model weights from elsewhere.
        size: side in pixels that all images are brought to before; by default each keeps its own.
        steps: batches an epoch; by default an epoch shows each image once.
        probe: a labelled archive to try the features on, see `medzoo.recipes.datasets`; by default the training data's
            test split, if it has several classes.
        example_images: functions that draw pictures for the card of a model that cannot draw its own.
        augment: arguments of `AugmentedDataset` that differ from its defaults.
    """

    name: str
    model: Callable
    data: tuple
    modality: str
    domain: str
    description: str
    epochs: int
    tasks: tuple = ()
    limits: str = ""
    prior_epochs: int = 0
    initial_weights: str | Callable | None = None
    size: int | None = None
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    probe: dict | None = None
    example_images: tuple = (chest_phantom,)
    augment: dict = field(default_factory=dict)

    def collections(self, data, size=None, **reading):
        """The images to train on, `[(Collection, share)]`.

        Args:
            data: the recipe's own archives and folders, known by their names, in any order; or one or several others,
                as `open_dataset` takes them, which count alike. Of these the recipe's classes are taken where they
                have classes of those names.
            size: side in pixels of images from files; by default the recipe's own.
            reading: options of `open_dataset`.

        Raises:
            FileNotFoundError, ImageError: as `open_dataset`.
            ValueError: some of the recipe's own are given and others missing.
        """
        given = [data] if isinstance(data, (str, os.PathLike, ImageDataset)) else list(data)
        names = {d.name if isinstance(d, ImageDataset) else Path(d).name: d for d in given}
        parts = {part.source["file"]: part for part in self.data}
        if missing := set(names) & set(parts) and set(parts) - set(names):
            raise ValueError(f"{self.name}: also needs {', '.join(sorted(missing))}.")
        if set(names) == set(parts):
            shares = [part.sampling_weight for part in parts.values()]
            opened = [
                open_dataset(names[file], part.source.get("size"), classes=part.classes, group=part.source.get("group"))
                for file, part in parts.items()
            ]
        else:
            opened = [self._foreign(open_dataset(d, size or self.size_of_files, **reading)) for d in given]
            shares = [1.0] * len(opened)
        warn_of_shared(opened)
        return list(zip(opened, shares, strict=True))

    def _foreign(self, collection):
        """Of images that the recipe was not made for, those of its classes, if there are such classes."""
        classes = self.data[0].classes
        there = classes and collection.class_names and set(classes) <= set(collection.class_names)
        return collection.only(classes) if there else collection

    @property
    def size_of_files(self):
        """`(height, width)` that images from files are brought to, or three sides of volumes."""
        *sides, _ = self.model(name=self.name, seed=0).image_shape
        if sides[0]:
            return tuple(sides)
        return (self.size or SIDE,) * 2 if len(sides) == 2 else self.data[0].source["size"]

    def probe_beside(self, data):
        """Path of the archive that the features are tried on, if it lies where the training data lie, else `None`."""
        path = self.probe and Path(data).parent / self.probe["file"]
        return path if path and path.is_file() else None

    def train(self, data, out, *, epochs=None, seed=0, strategy="auto"):
        """Trains on images and writes the preset.

        Started again with the same arguments, it goes on where it stopped, in the middle of an epoch too, and ends as
        if it had not. The model starts from the PCA of the training images, and from the preset `start`; the epoch with
        the lowest validation loss is kept. Several workers share the folder `out`; the first one writes.

        Args:
            data: see `collections`.
            out: folder to write; must not exist unless a training stopped in it.
            epochs: by default the recipe's.
            seed: int.
            strategy: see `devices`.

        Returns: path of the preset folder.

        Raises:
            TrainingError: the loss is not finite, the disk is full, or memory does not suffice for one image; the last
                good checkpoint is kept.
        """
        return run(self, data, Path(out), epochs or self.epochs, seed, strategy)
