"""Labeled images in splits from NPZ files, folders, DICOM trees and CSV files."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from medzoo.data.decoding import Reader, name_of
from medzoo.data.identity import assign_groups, deduplicate, duplicate_notes, find_duplicates, single_patient
from medzoo.data.indexing import index_csv, index_folder, index_volumes
from medzoo.data.npz import contents_of
from medzoo.data.pipelines import from_arrays
from medzoo.data.splits import SPLITS, count_leaking_groups, stratified_group_split
from medzoo.errors import ImageError
from medzoo.utils.labels import canonical, encode_labels

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger("medzoo")


@dataclass
class ImageDataset:
    """Labeled images in training, validation and test splits, as returned by `open_dataset`.

    Attributes:
        name: str. Name of the file or folder.
        sources: list of `(path, frame)` of the images; for an NPZ file of `(split, index)`.
        splits: array of str `(N,)`, the split of each image: `"train"`, `"val"` or `"test"`.
        split_by: `"given"`, `"patient"`, `"examination"` (DICOM study or multi-frame file) or `"image"`.
        class_names: list of str, or `None` without labels.
        targets: integer array `(N,)`; 0 and 1 `(N, K)` for multi-label data; or `None` without labels.
        groups: array of str `(N,)`, the patient (or examination) of each image, or `None` if unknown.
        read: function that maps a list of sources and a dict of skipped files to `(images, indices)`.
        selected_classes: list of the classes selected with `classes`, or `None` for all classes.
        subgroup_columns: `{column: array of str (N,)}` of a CSV file, see `medzoo.metrics.subgroups`.
        skipped: `{path: reason}` of unreadable files, with `on_error="skip"`.
        notes: list of str. Remarks on the data and their interpretation, for reports.
        grouped_by: meaning of `groups`: `"patient"`, `"examination"` or `"image"`.
        split_notes: list of str. Remarks on possible leakage between the splits.
    """

    name: str
    sources: list
    splits: np.ndarray
    split_by: str
    class_names: list | None
    targets: np.ndarray | None
    groups: np.ndarray | None
    read: Callable
    selected_classes: list | None = None
    subgroup_columns: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    grouped_by: str = "image"
    split_notes: list = field(default_factory=list)
    _loaded: dict = field(default_factory=dict, repr=False)

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels."""
        return self.targets is not None and self.targets.ndim == 2

    def images(self, split: str = "train") -> np.ndarray:
        """Return the images of a split.

        Args:
            split: `"train"` (default), `"val"` or `"test"`.

        Returns:
            uint8 array `(N, H, W, 1)`, or `(N, D, H, W, 1)` for volumes; in memory, or an `np.memmap`.

        Raises:
            ImageError: If the split is empty, or files are unreadable.
        """
        return self._load(split)[0]

    def labels(self, split: str = "train") -> np.ndarray:
        """Return the labels of a split.

        Args:
            split: `"train"` (default), `"val"` or `"test"`.

        Returns:
            Integer array `(N,)`, or 0 and 1 `(N, K)` for multi-label data.

        Raises:
            ImageError: If the dataset has no labels.
        """
        if self.targets is None:
            raise ImageError(
                f"{self.name}: no labels; expected one subfolder per class, a column of labels (or several of 0 "
                "and 1, columns={'label': 'Edema|Mass'}), or an NPZ file with labels."
            )
        return self.targets[self._load(split)[1]]

    def classes_in(self, split: str = "train") -> int:
        """Return the number of classes with images in a split.

        Args:
            split: `"train"` (default), `"val"` or `"test"`.

        Returns:
            int; 0 without labels and for multi-label data.
        """
        return 0 if self.targets is None or self.multi_label else len(np.unique(self.targets[self.splits == split]))

    def patients(self, split: str = "train") -> np.ndarray | None:
        """Return the patient of each image of a split, array of str `(N,)`, or `None` if unknown."""
        return None if self.groups is None else self.groups[self._load(split)[1]]

    def subgroups(self, split: str = "train") -> dict[str, np.ndarray]:
        """Return the subgroup columns of a split as `{column: array of str (N,)}`."""
        return {name: values[self._load(split)[1]] for name, values in self.subgroup_columns.items()}

    def paths(self, split: str = "train") -> list[str]:
        """Return the source of each image of a split.

        Args:
            split: `"train"` (default), `"val"` or `"test"`.

        Returns:
            List of `path` or `path#frame`; for an NPZ file of `split#index`.
        """
        chosen = (self.sources[i] for i in self._load(split)[1])
        return [name_of(path, frame) for path, frame in chosen]

    def dataset(
        self,
        split: str = "train",
        batch_size: int = 32,
        shuffle: bool | None = None,
        seed: int | None = None,
        labels: bool = False,
        drop_remainder: bool = False,
    ) -> "tf.data.Dataset":
        """Return a `tf.data.Dataset` of a split.

        Args:
            split: `"train"` (default), `"val"` or `"test"`.
            batch_size: int. Number of images per batch, default 32.
            shuffle: bool or `None`. Whether to reshuffle the images in each epoch. By default only the training split
                is shuffled.
            seed: int or `None`. Seed of the order; with `None` the order differs between runs.
            labels: bool. Whether to return pairs `(images, labels)`, default `False`.
            drop_remainder: bool. Whether to drop the last batch if it is smaller than `batch_size`.

        Returns:
            `tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1], or of pairs `(images, labels)`.
        """
        shuffle = split == "train" if shuffle is None else shuffle
        own = self.labels(split) if labels else None
        return from_arrays(self.images(split), own, batch_size, shuffle, seed, drop_remainder)

    def select_classes(self, classes: Sequence[str | int] | str | int) -> "ImageDataset":
        """Return the subset of some classes; the integer labels are unchanged.

        Args:
            classes: class names or integer labels.

        Returns:
            An `ImageDataset`.

        Raises:
            ImageError: If a class does not exist, or no image has one of the classes.
        """
        asked = [classes] if isinstance(classes, (str, int)) else classes
        wanted, known = [], {canonical(name): i for i, name in enumerate(self.class_names or ())}
        for c in asked:
            if isinstance(c, str) and canonical(c) not in known:
                raise ImageError(f"{self.name}: no class {c!r}; found {', '.join(self.class_names or ['no labels'])}.")
            wanted.append(known[canonical(c)] if isinstance(c, str) else c)
        targets = cast("np.ndarray", self.targets)
        chosen = cast("np.ndarray", targets[:, wanted].any(axis=1)) if self.multi_label else np.isin(targets, wanted)
        if not chosen.any():
            raise ImageError(f"{self.name}: no images of classes {classes}.")
        return replace(
            self,
            sources=[s for s, keep in zip(self.sources, chosen, strict=True) if keep],
            splits=self.splits[chosen],
            targets=targets[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            subgroup_columns={name: values[chosen] for name, values in self.subgroup_columns.items()},
            selected_classes=list(asked),
            _loaded={},
        )

    def summary(self) -> dict:
        """Return a JSON-serializable summary.

        Returns:
            dict with the name, the number of images per split and per class, a description of the splits, notes and
            skipped files.
        """
        used = np.ones(len(self.splits), bool)
        for split, (_, indices) in self._loaded.items():  # skipped files of loaded splits are known
            used[self.splits == split] = False
            used[indices] = True
        splits = self.splits[used]
        summary = {"data": self.name, "images": {s: int((splits == s).sum()) for s in SPLITS if s in self.splits}}
        if self.class_names is not None:
            targets = cast("np.ndarray", self.targets)[used]
            counts = targets.sum(axis=0) if self.multi_label else np.bincount(targets, minlength=len(self.class_names))
            summary["classes"] = {name: int(n) for name, n in zip(self.class_names, counts, strict=True)}
        summary["split"] = self.describe_splits()
        more = {"notes": self.notes, "skipped": self.skipped}
        return {**summary, **{name: value for name, value in more.items() if value}}

    def describe_splits(self) -> str:
        """Return a description of how the splits were defined and of possible leakage."""
        unknown = "patients are unknown"
        if self.split_by == "given":
            leaking = 0 if self.groups is None else count_leaking_groups(self.groups, self.splits)
            known = self.groups is not None and self.grouped_by == "patient"
            text = "given, by patient" if known and not leaking else "given with the data"
            if not known:
                text += f"; {unknown}"
            if leaking:
                text += f"; {leaking} {'patients' if known else 'examinations'} are in more than one split"
        elif self.split_by == "patient":
            text = "by patient"
        else:
            text = f"by {self.split_by}: {unknown}"
        return "; ".join([text, *self.split_notes])

    def _load(self, split):
        """Return `(images, indices)` of a split."""
        if split not in self._loaded:
            chosen = np.flatnonzero(self.splits == split)
            if not len(chosen):
                known = ", ".join(dict.fromkeys(self.splits.tolist()))
                raise ImageError(f"{self.name}: no images in split {split!r}; found {known}.")
            images, readable = self.read([self.sources[i] for i in chosen], self.skipped)
            self._loaded[split] = images, chosen[readable]
        return self._loaded[split]


def open_dataset(
    data: "str | os.PathLike | ImageDataset",
    size: int | Sequence[int] | None = None,
    *,
    classes: Sequence[str | int] | str | int | None = None,
    group: str | None = None,
    columns: dict[str, str] | None = None,
    seed: int = 0,
    window: tuple[float, float] | str | int | None = None,
    cache: str | Path | None = None,
    on_error: str = "raise",
) -> ImageDataset:
    """Open labeled images from an NPZ file, a folder or a CSV file.

    `data` is one of the following:

    - An NPZ file in the MedMNIST convention (see `load_npz`), optionally with `class_names`. Labels of shape `(N, K)`
      with 0 and 1 are multi-label.
    - A folder with one subfolder per class, below `train/`, `val/` and `test/` if these exist. Without subfolders there
      are no labels. DICOM files are identified by content, and every frame is an image. Hidden files are skipped, and
      links to folders are followed.
    - A CSV file with a column of paths (relative to the file; `scan.dcm#3` is a frame) and optional columns of labels,
      splits and patients. Several labels of an image are separated by `|` as in NIH ChestX-ray14; labels are then 0 and
      1 `(N, K)`, and `No Finding` has none of them. A path may begin above the folder of the CSV file or lack its
      suffix if the match is unique. An image that is listed more than once is used once.
    - An `ImageDataset`, which is returned unchanged.

    Args:
        data: path of the NPZ file, folder or CSV file, or an `ImageDataset`.
        size: `(height, width)` in pixels or one int that files are cropped and resized to (see `read_image`); not used
            for NPZ files. `(depth, height, width)` reads the NIfTI files of a folder as volumes, cropped or zero-padded
            centrally; if the folder contains `images/` and `split.csv`, these are used.
        classes: class names or integer labels of the images to select; `None` (default) selects all.
        group: patient identifier: a regular expression applied to the path relative to the folder (its first group, or
            the whole match), or the name of a column. By default a column with a common name for patients, and the
            PatientID of DICOM files. An image without patient is grouped with the images of its study or file, else it
            is its own group.
        columns: `{"path": ..., "label": ..., "split": ..., "group": ...}`, names of the columns; by default common
            names are recognized, see `medzoo.data.indexing.COLUMNS`. `"label": "Edema|Mass"` selects columns of 0 and
            1, one per label. `"subgroups"`: names, separated by `|`, of columns for subgroup analysis; by default
            columns named sex, age, view, scanner and similar.
        seed: int. Seed of the split if none is given: about 70%, 15% and 15% of each class, at patient level.
        window: see `read_image`.
        cache: folder that stores decoded images for later calls. By default they are kept in memory, or above 2 GiB in
            a temporary file.
        on_error: `"raise"` (default) raises one error that names all unreadable files; `"skip"` leaves them out and
            lists them in `ImageDataset.skipped`.

    Returns:
        An `ImageDataset`.

    Raises:
        FileNotFoundError: If the file or folder does not exist, or contains no images.
        ImageError: If files are unreadable, columns or labels are missing, or patients cannot be identified.

    Examples:
        ```python
        dataset = medzoo.datasets.open_dataset("images/", size=224, group=r"person\\d+|IM-\\d+")
        x, y = dataset.images("train"), dataset.labels("train")
        ```
    """
    if isinstance(data, ImageDataset):
        return data
    if on_error not in ("raise", "skip"):
        raise ValueError(f"{data}: on_error={on_error!r}; expected 'raise' or 'skip'.")
    path = Path(data)
    if path.suffix.lower() == ".npz":
        # The splits are given; the images of a split are read on first access.
        dataset = ImageDataset(path.name, split_by="given", groups=None, **contents_of(path))
        return _log_notes(dataset if classes is None else dataset.select_classes(classes))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    volumes = size is not None and not np.isscalar(size) and len(cast("tuple[int, ...]", size)) == 3
    if path.is_dir():
        found = index_volumes(path, group) if volumes else index_folder(path, group)
    elif path.suffix.lower() in (".csv", ".tsv"):
        found = index_csv(path, group, columns or {})
    else:
        raise ImageError(f"{path}: expected an NPZ file, a CSV file or a folder.")
    if size is None:
        raise ValueError(f"{path}: size=None; all images need one size, e.g. size=256 or size=(height, width).")
    if classes is not None and found.names is None:
        raise ImageError(f"{path}: no labels; classes={classes} requires labels.")
    sides = cast("tuple[int, ...]", (size, size) if np.isscalar(size) else tuple(cast("tuple[int, ...]", size)))
    dataset = _build(path, found, seed, lambda root: Reader(path.name, root, sides, window, cache, on_error))
    return _log_notes(dataset if classes is None else dataset.select_classes(classes))


def _build(path, found, seed, reader):
    """Create an `ImageDataset` from an index: remove duplicates, encode labels, group and split."""
    labels = encode_labels(
        path, found.names, found.locations, found.findings, found.written
    )  # before duplicates are removed
    once = deduplicate(path, found)
    if once is not found:
        found, labels = once, encode_labels(path, once.names, once.locations, once.findings, once.written)
    class_names, targets, notes = labels
    duplicates = find_duplicates(found)
    groups, kind, unknown = assign_groups(found, duplicates)
    if found.splits is None and kind == "patient" and (name := single_patient(groups)) is not None:
        raise ImageError(
            f"{path}: all {len(groups)} images have the same patient, {name!r}, as in some anonymized data; expected "
            "several patients. Identify patients by path with group='regular expression', or provide splits."
        )
    try:
        splits = _complete_splits(found.splits, groups, targets, len(found.sources), seed)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error
    return ImageDataset(
        path.name,
        found.sources,
        splits,
        kind if found.splits is None else "given",
        class_names,
        targets,
        None if kind == "image" else groups,
        reader(found.root),
        subgroup_columns={name: np.array(values) for name, values in found.subgroups.items()},
        notes=[*found.notes, *notes],
        grouped_by=kind,
        split_notes=[*unknown, *duplicate_notes(found, duplicates, splits, targets)],
    )


def _log_notes(dataset):
    """Log the notes of a dataset and return it."""
    for note in [*dataset.notes, *dataset.split_notes]:
        log.warning("%s: %s", dataset.name, note)
    if (
        dataset.split_by == "given"
        and dataset.groups is not None
        and count_leaking_groups(dataset.groups, dataset.splits)
    ):
        log.warning("%s: splits %s", dataset.name, dataset.describe_splits())
    return dataset


def _complete_splits(splits, groups, targets, count, seed):
    """Create missing splits; a missing validation split is taken from the training split."""
    if groups is None and targets is None:
        groups = np.arange(count)
    if splits is None:
        return stratified_group_split(targets, groups, seed)
    if "val" not in splits and "train" in splits:
        train = np.flatnonzero(splits == "train")
        own = [None if part is None else part[train] for part in (targets, groups)]
        splits = splits.astype("U8")
        splits[train] = stratified_group_split(*own, seed, names=("train", "val"))
    return splits
