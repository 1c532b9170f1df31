"""Labelled images in splits, as people have them: an archive, folders, a DICOM tree, a table."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medzoo.data.decoding import Reader, name_of
from medzoo.data.identity import copies, copies_between, deduplicate, grouped, one_patient
from medzoo.data.indexing import index_csv, index_folder, index_volumes
from medzoo.data.npz import contents_of
from medzoo.data.splits import SPLITS, count_leaking_groups, stratified_group_split
from medzoo.errors import ImageError
from medzoo.utils.labels import canonical, encode_labels

log = logging.getLogger("medzoo")


@dataclass
class ImageDataset:
    """Labelled images in splits; made by `open_dataset`.

    Fields:
        name: of the file or folder.
        sources: `(path, frame)` of each image, or of an npz archive `(split, index)`.
        where: split of each image, array of `"train"`, `"val"`, `"test"`.
        split_by: `"given"`, `"patient"`, `"examination"` (a DICOM study, or a file of several images) or `"image"`.
        class_names: list of str, or `None` without labels.
        targets: integers `(N,)`; 0 and 1 `(N, K)` where an image may have several findings; or `None`.
        groups: whose each image is, `(N,)`, or `None` if nobody knows.
        subgroup_columns: of a table `{column: array (N,)}`, see `medzoo.metrics.subgroups`.
        kept: the classes that were asked for, or `None` for all.
        skipped: `{path: reason}` of files that could not be used, with `on_error="skip"`.
        notes: sentences on what was found in the data and how it was taken, for reports.
        grouped_by: what `groups` tells apart: `"patient"`, `"examination"` or `"image"`.
        split_notes: sentences on what the splits could not keep apart.
    """

    name: str
    sources: list
    where: np.ndarray
    split_by: str
    class_names: list | None
    targets: np.ndarray | None
    groups: np.ndarray | None
    read: object  # function of a list of sources: (array of those that can be read, their indices)
    kept: list | None = None
    subgroup_columns: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    grouped_by: str = "image"
    split_notes: list = field(default_factory=list)
    _loaded: dict = field(default_factory=dict, repr=False)

    @property
    def multi_label(self):
        return self.targets is not None and self.targets.ndim == 2

    def images(self, split="train"):
        """uint8 `(N, H, W, 1)`, or of volumes `(N, D, H, W, 1)`; in memory, or a file on disk that is read as needed
        (`np.memmap`)."""
        return self._load(split)[0]

    def labels(self, split="train"):
        """Integers `(N,)`, or 0 and 1 `(N, K)` for several findings.

        Raises:
            ImageError: there are no labels.
        """
        if self.targets is None:
            raise ImageError(
                f"{self.name}: no labels; expected a subfolder a class, a column of labels (or several of 0 and 1, "
                "columns={'label': 'Edema|Mass'}), or an archive with labels."
            )
        return self.targets[self._load(split)[1]]

    def classes_in(self, split="train"):
        """How many classes a split holds images of; 0 without labels or with several findings an image."""
        return 0 if self.targets is None or self.multi_label else len(np.unique(self.targets[self.where == split]))

    def patients(self, split="train"):
        """Whose each image is, `(N,)`, or `None` if nobody knows."""
        return None if self.groups is None else self.groups[self._load(split)[1]]

    def subgroups(self, split="train"):
        """`{column: what it says of each image of a split, array of str}`."""
        return {name: values[self._load(split)[1]] for name, values in self.subgroup_columns.items()}

    def paths(self, split="train"):
        """Where each image is from: `path`, or `path#frame`; of an archive `split#index`."""
        chosen = (self.sources[i] for i in self._load(split)[1])
        return [name_of(path, frame) for path, frame in chosen]

    def dataset(self, split="train", batch_size=32, shuffle=None, seed=None, labels=False, drop_remainder=False):
        """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1], with `labels=True` of pairs with labels.

        Args:
            split, batch_size, drop_remainder: as elsewhere.
            shuffle: anew each epoch; by default only the training split is shuffled.
            seed: int or `None`; makes the order repeatable.
        """
        from medzoo.data.datasets import from_arrays

        shuffle = split == "train" if shuffle is None else shuffle
        own = self.labels(split) if labels else None
        return from_arrays(self.images(split), own, batch_size, shuffle, seed, drop_remainder)

    def only(self, classes):
        """The images of some classes, names or integers; labels keep their numbers.

        Raises:
            ImageError: no such class, or no image of them.
        """
        asked = [classes] if isinstance(classes, (str, int)) else classes
        wanted, known = [], {canonical(name): i for i, name in enumerate(self.class_names or ())}
        for c in asked:
            if isinstance(c, str) and canonical(c) not in known:
                raise ImageError(f"{self.name}: no class {c!r}; found {', '.join(self.class_names or ['no labels'])}.")
            wanted.append(known[canonical(c)] if isinstance(c, str) else c)
        chosen = self.targets[:, wanted].any(axis=1) if self.multi_label else np.isin(self.targets, wanted)
        if not chosen.any():
            raise ImageError(f"{self.name}: no images of classes {classes}.")
        return replace(
            self,
            sources=[s for s, keep in zip(self.sources, chosen, strict=True) if keep],
            where=self.where[chosen],
            targets=self.targets[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            subgroup_columns={name: values[chosen] for name, values in self.subgroup_columns.items()},
            kept=list(asked),
            _loaded={},
        )

    def facts(self):
        """For reports, JSON-ready: name, images a split and class, how patients were kept apart, files skipped."""
        used = np.ones(len(self.where), bool)
        for part, (_, indices) in self._loaded.items():  # what was skipped is known
            used[self.where == part] = False
            used[indices] = True
        where = self.where[used]
        facts = {"data": self.name, "images": {s: int((where == s).sum()) for s in SPLITS if s in self.where}}
        if self.class_names is not None:
            targets = self.targets[used]
            counts = targets.sum(axis=0) if self.multi_label else np.bincount(targets, minlength=len(self.class_names))
            facts["classes"] = {name: int(n) for name, n in zip(self.class_names, counts, strict=True)}
        facts["split"] = self.describe_splits()
        more = {"notes": self.notes, "skipped": self.skipped}
        return {**facts, **{name: value for name, value in more.items() if value}}

    def describe_splits(self):
        """How the splits came about, in words."""
        unknown = "whose each image is, is not known"
        if self.split_by == "given":
            both = 0 if self.groups is None else count_leaking_groups(self.groups, self.where)
            known = self.groups is not None and self.grouped_by == "patient"
            said = "given, by patient" if known and not both else "given with the data"
            if not known:
                said += f"; {unknown}"
            if both:
                said += f"; {both} {'patients' if known else 'examinations'} stand in more than one"
        elif self.split_by == "patient":
            said = "by patient"
        else:
            said = f"by {self.split_by}: {unknown}"
        return "; ".join([said, *self.split_notes])

    def _load(self, split):
        """`(images, indices)` of a split."""
        if split not in self._loaded:
            chosen = np.flatnonzero(self.where == split)
            if not len(chosen):
                there = ", ".join(dict.fromkeys(self.where.tolist()))
                raise ImageError(f"{self.name}: no images in split {split!r}; found {there}.")
            images, good = self.read([self.sources[i] for i in chosen], self.skipped)
            self._loaded[split] = images, chosen[good]
        return self._loaded[split]


def open_dataset(
    data,
    size=None,
    *,
    classes=None,
    group=None,
    columns=None,
    seed=0,
    window=None,
    cache=None,
    on_error="raise",
):
    """Opens labelled images, wherever they are.

        films = medzoo.datasets.open_dataset("films/", size=224, group=r"person\\d+|IM-\\d+")
        x, y = films.images("train"), films.labels("train")

    Args:
        data: what is opened, by its kind:
            an npz archive in the MedMNIST convention (see `load_npz`), with `class_names` if there are; labels `(N, K)`
            of 0 and 1 are several findings;
            a folder with a subfolder a class, below `train/`, `val/`, `test/` where these are there; without subfolders
            there are no labels. DICOM files are known by content, every frame is an image. Hidden files are skipped and
            links to folders followed;
            a CSV file with a column of paths (relative to it; `file.dcm#3` is a frame) and, as far as there are,
            columns of labels, splits and groups. Several findings are joined by `|` as in NIH ChestX-ray14; then labels
            are 0 and 1 `(N, K)`, and `No Finding` is none of them. A path may begin above the table's folder or lack
            its suffix, as long as one file only can be meant. An image that is named more than once is used once;
            a `ImageDataset`, which is returned as it is.
        size: `(height, width)` or one number that files are cut and resized to (see `read_image`); archives have their
            own. `(depth, height, width)` of a folder of NIfTI files: these are opened as volumes, of which the middle
            is taken, or if they are smaller zeros around them; where there are `images/` and `split.csv`, those.
        classes: names or integers: only images of these.
        group: what tells patients apart: a regular expression on the path below the folder (its first group, or all
            that matches), or the name of a column. By default a table's column of that kind, and the PatientID of DICOM
            files. An image whose patient is blank stays with the images of its study or file, or else is by itself.
        columns: `{"path": ..., "label": ..., "split": ..., "group": ...}`, a table's own names for them; by default
            what they are usually called, see `medzoo.data.indexing.COLUMNS`. `"label": "Edema|Mass"` names columns of
            0 and 1, one for each finding. `"subgroups"`: names joined by `|` of columns that results are told apart by;
            by default those called sex, age, view, scanner and the like.
        seed: of the split, where none is given: about 70, 15 and 15% of each class, no patient in two of them.
        window: see `read_image`.
        cache: folder that decoded images are kept in for the next time; by default they stay in memory, or beyond 2 GiB
            in a temporary file.
        on_error: `"raise"`: one error that names every file that cannot be used; `"skip"`: leave these out and list
            them in `skipped`.

    Returns: `ImageDataset`.

    Raises:
        FileNotFoundError: no such file or folder, or none of its images.
        ImageError: files that cannot be used, columns or labels that are missing, patients that cannot be told.
    """
    if isinstance(data, ImageDataset):
        return data
    if on_error not in ("raise", "skip"):
        raise ValueError(f"{data}: on_error={on_error!r}; expected 'raise' or 'skip'.")
    path = Path(data)
    if path.suffix.lower() == ".npz":
        # It keeps its own splits; the images of each are read when they are asked for.
        collection = ImageDataset(path.name, split_by="given", groups=None, **contents_of(path))
        return _told(collection if classes is None else collection.only(classes))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    volumes = size is not None and not np.isscalar(size) and len(size) == 3
    if path.is_dir():
        found = index_volumes(path, group) if volumes else index_folder(path, group)
    elif path.suffix.lower() in (".csv", ".tsv"):
        found = index_csv(path, group, columns or {})
    else:
        raise ImageError(f"{path}: expected an npz archive, a CSV file or a folder.")
    if size is None:
        raise ValueError(f"{path}: size=None; images from files need one size: size=256 or (height, width).")
    if classes is not None and found.names is None:
        raise ImageError(f"{path}: no labels, so there are no classes {classes}.")
    size = (size, size) if np.isscalar(size) else tuple(size)
    collection = _collected(path, found, seed, lambda root: Reader(path.name, root, size, window, cache, on_error))
    return _told(collection if classes is None else collection.only(classes))


def _collected(path, found, seed, reader):
    """A `ImageDataset` of what was found: each image once, no patient in two of the splits that are made."""
    labelled = encode_labels(path, found.names, found.places, found.findings, found.written)  # lines are as they are
    once = deduplicate(path, found)
    if once is not found:
        found, labelled = once, encode_labels(path, once.names, once.places, once.findings, once.written)
    class_names, targets, notes = labelled
    same_bytes = copies(found)
    groups, kind, unknown = grouped(found, same_bytes)
    if found.where is None and kind == "patient" and (name := one_patient(groups)) is not None:
        raise ImageError(
            f"{path}: all {len(groups)} images are of one patient, {name!r}, as anonymized files may claim; expected "
            "several, to hold some out. Tell patients apart by the path, group='regular expression', or give splits."
        )
    try:
        where = _complete(found.where, groups, targets, len(found.sources), seed)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error
    return ImageDataset(
        path.name,
        found.sources,
        where,
        kind if found.where is None else "given",
        class_names,
        targets,
        None if kind == "image" else groups,
        reader(found.root),
        subgroup_columns={name: np.array(values) for name, values in found.subgroups.items()},
        notes=[*found.notes, *notes],
        grouped_by=kind,
        split_notes=[*unknown, *copies_between(found, same_bytes, where, targets)],
    )


def _told(collection):
    """The collection, after the log was told what is to be known about it."""
    for note in [*collection.notes, *collection.split_notes]:
        log.warning("%s: %s", collection.name, note)
    if (
        collection.split_by == "given"
        and collection.groups is not None
        and count_leaking_groups(collection.groups, collection.where)
    ):
        log.warning("%s: splits %s", collection.name, collection.describe_splits())
    return collection


# --- splits and pixels ----------------------------------------------------------------------------------------------


def _complete(where, groups, targets, count, seed):
    """The splits, with those that are missing cut from the training images."""
    if groups is None and targets is None:
        groups = np.arange(count)  # of which there is one each
    if where is None:
        return stratified_group_split(targets, groups, seed)
    if "val" not in where and "train" in where:
        train = np.flatnonzero(where == "train")
        own = [None if part is None else part[train] for part in (targets, groups)]
        where = where.astype("U8")
        where[train] = stratified_group_split(*own, seed, names=("train", "val"))
    return where
