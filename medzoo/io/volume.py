"""A volume: values on a grid in space, slices of it, other grids, and the way back to the file's own."""

import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.intensity import apply_window, center_crop_resize, display_range, resolve_window, without_loss
from medzoo.utils.files import write_whole

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
MOST = 2**29  # voxels, 2 GiB as float32; more is a damaged header, or a trap


@dataclass(frozen=True)
class Volume:
    """Values on a grid in space; made by `medzoo.read_volume`.

    Fields:
        values: `(i, j, k)`, in the file's units (Hounsfield units for CT): float32, or float64 where float32 would
            not hold them, such as numbers of regions beyond 2**24.
        affine: `(4, 4)`, from indices of `values` to millimetres: x to the patient's right, y forward, z up (RAS+).
        path: of the file or folder.
        grid: `(shape, affine)` as the file stores them; `save` writes there.
        padding: `(smallest, largest)` value of the voxels that the file marks as padding, where these lie far from all
            others: they set no display range, and are black. Else `None`.
    """

    values: np.ndarray
    affine: np.ndarray
    path: Path
    grid: tuple
    padding: tuple | None = None

    @property
    def spacing(self):
        """Millimetres from one voxel to the next, along each axis of `values`."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def orientation(self):
        """Where the axes of `values` point, e.g. `"RAS"`: right, anterior, superior."""
        import nibabel

        return "".join(nibabel.aff2axcodes(self.affine))

    @property
    def range(self):
        """The values that become black and white where no window is given, see `intensity.display_range`."""
        body = self.values if self.padding is None else self.values[~self._padded(self.values)]
        return display_range(body if body.size else self.values)

    def reorient(self, codes="RAS"):
        """The same voxels with the axes in the order and direction that come closest to `codes`.

        Raises:
            ValueError: not one letter each of RL, AP and SI.
        """
        affine = _turned(self.affine, self.values.shape, codes)
        return replace(self, values=_permuted(self.values, self.affine, codes), affine=affine)

    def resample(self, spacing):
        """The volume with another distance between voxels, by linear interpolation; what gets coarser is smoothed.

        Args:
            spacing: millimetres along each axis of `values`, or one number.
        """
        from scipy.ndimage import gaussian_filter

        wanted = np.broadcast_to(np.asarray(spacing, "float64"), 3)
        if not (wanted > 0).all():
            raise ValueError(f"{self.path}: spacing={spacing}; expected millimetres above 0.")
        ratio = wanted / self.spacing
        if np.allclose(ratio, 1, atol=1e-6):
            return self
        shape = np.maximum(1, np.round(np.array(self.values.shape) / ratio)).astype(int)
        if np.prod(shape, dtype="float64") > MOST:
            raise ValueError(f"{self.path}: spacing={spacing} gives {tuple(shape)} voxels; that is too many.")
        affine = self.affine @ np.diag([*ratio, 1.0])
        first = (np.array(self.values.shape) - 1) / 2 - ratio * (shape - 1) / 2  # the middles stay together
        affine[:3, 3] = (self.affine @ [*first, 1.0])[:3]
        smooth = gaussian_filter(self.values, np.sqrt(np.maximum(0, ratio**2 - 1)) / 2, mode="nearest")
        values = resample_to((tuple(shape), affine), smooth, self.affine)
        return replace(self, values=values, affine=affine)

    def slice(self, index, axis="axial"):
        """One slice as a radiologist sees it, float32 `(H, W)`: up is up (or forward), the patient's right is left.

        Args:
            index: 0 to the number of slices - 1, from right, back or below.
            axis: `"axial"`, `"coronal"` or `"sagittal"`.
        """
        self._check(axis)
        count = self.values.shape[AXES[axis]]
        if not 0 <= index < count:
            raise ImageError(f"{self.path}: slice {index}; there are {count} along {axis}, from 0.")
        return np.take(self.values, index, axis=AXES[axis])[::-1, ::-1].T

    def slices(self, axis="axial"):
        """The values of all slices along an axis, each as `slice` gives it, `(N, H, W)`."""
        self._check(axis)
        return np.moveaxis(self.values, AXES[axis], 0)[:, ::-1, ::-1].transpose(0, 2, 1)

    def images(self, axis="axial", window=None, size=None):
        """All slices along an axis, float32 `(N, H, W, 1)` in [0, 1]; a model of volumes takes them as one volume.

        Args:
            axis: see `slice`.
            window: see `read_image`; by default from the 0.5th to the 99.5th percentile of the volume (of a sparse one
                see `intensity.display_range`).
            size: `(height, width)` or one number, see `resize`.
        """
        grey = self.normalize(self.slices(axis), window)[..., None]
        return grey if size is None else center_crop_resize(grey, size)

    def normalize(self, values, window=None):
        """Values of this volume to [0, 1], see `images`."""
        low, high = self.range if window is None else (0, 0)
        if window is not None:
            grey = apply_window(values, *resolve_window(window))
        elif low == high:
            grey = np.zeros(np.shape(values), "float32")
        else:
            grey = np.clip((values - low) / (high - low), 0, 1).astype("float32")
        return grey if self.padding is None else np.where(self._padded(values), np.float32(0), grey)

    def _padded(self, values):
        least, most = self.padding
        return (values >= least) & (values <= most)

    def save(self, images, path, axis="axial", overwrite=False):
        """Writes what a model made of `images(axis)` as a NIfTI file on the grid of the file it was made from.

        Args:
            images: `(N, H, W, 1)` or `(N, H, W)` of the same slices, in their own size. Integers are taken for labels:
                where the grids differ, the nearest voxel's is written. The file's type holds them all: int16, int32 or
                int64; of floats float32 or float64.
            path: .nii or .nii.gz; must not exist, unless `overwrite`.

        Raises:
            FileExistsError: there is such a file.
            ValueError: slices of another size, numbers that no type of the file holds, or another ending of `path`.
        """
        import nibabel

        self._check(axis)
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: exists; choose another name.")
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            raise ValueError(f"{path}: expected a name that ends in .nii or .nii.gz.")
        slices = _storable(path, np.asarray(images))
        slices = slices[..., 0] if slices.ndim == 4 and slices.shape[-1] == 1 else slices
        if slices.ndim != 3:
            raise ValueError(f"{path}: array of shape {slices.shape}; expected slices (N, H, W) or (N, H, W, 1).")
        values = np.moveaxis(slices.transpose(0, 2, 1)[:, ::-1, ::-1], 0, AXES[axis])
        if values.shape != self.values.shape:
            raise ValueError(f"{path}: {values.shape} voxels; {self.path} has {self.values.shape}.")
        file = nibabel.Nifti1Image(resample_to(self.grid, values, self.affine), self.grid[1], dtype=values.dtype)
        file.header.set_xyzt_units("mm")
        data = file.to_bytes()
        write_whole(path, gzip.compress(data, 6) if path.suffix.lower() == ".gz" else data)

    def _check(self, axis):
        if axis not in AXES:
            raise ValueError(f"axis={axis!r}; expected one of {', '.join(AXES)}.")
        if self.orientation != "RAS":
            raise ValueError(f"{self.path}: slices are cut from volumes of orientation RAS, not {self.orientation}.")


def _storable(path, values):
    """Values in the smallest type of NIfTI files that holds them all: int16 or more for integers, float32 or float64.

    Raises:
        ValueError: values that none of these types holds; names the file to be written.
    """
    if values.dtype.kind == "f":
        return without_loss(values)
    if values.dtype.kind not in "biu":
        raise ValueError(f"{path}: array of {values.dtype}; expected integers (labels) or real numbers.")
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in ("int16", "int32", "int64"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    raise ValueError(f"{path}: labels from {low} to {high}; expected at most {np.iinfo('int64').max}.")


def center_crop_or_pad(values, size):
    """The middle of an array, or the array amid zeros, so that its first axes have the lengths `size`."""
    for axis, want in enumerate(size):
        have = values.shape[axis]
        start = max(0, (have - want) // 2)
        values = np.take(values, range(start, start + min(have, want)), axis=axis)
        before = (want - values.shape[axis]) // 2
        margin = [(before, want - values.shape[axis] - before) if i == axis else (0, 0) for i in range(values.ndim)]
        values = np.pad(values, margin)
    return values


def paste_center(values, part):
    """The values, and in their middle what `center_crop_or_pad` took from there, changed."""
    theirs, ours = [], []
    for have, want in zip(values.shape, part.shape, strict=True):
        size, before = min(have, want), max(0, (want - have) // 2)
        start = max(0, (have - want) // 2)
        theirs.append(slice(start, start + size))
        ours.append(slice(before, before + size))
    result = values.copy()
    result[tuple(theirs)] = part[tuple(ours)]
    return result


def apply_to_volume(function, volume, model, rest):
    """What a function of a model of volumes makes of a volume of any size, `(D, H, W, ...)`.

    Args:
        function: of a batch, and for a model that takes any size of `tile`: see `Autoencoder.reconstruct`.
        volume: `(D, H, W, 1)`; beyond 128 voxels a side it goes in tiles.
        model: of one size, it sees the middle only.
        rest: what stands where it does not see.
    """
    from medzoo.models.tiles import padded, tile_for  # with Keras: files are read without it

    own = model.image_shape[:-1]
    if own[0]:
        return paste_center(rest, function(center_crop_or_pad(volume, own)[None])[0])
    x = padded(volume[None], model)
    return function(x, tile=tile_for(x))[0][tuple(slice(side) for side in volume.shape[:3])]


def resample_to(grid, values, affine):
    """Values on another grid `(shape, affine)`: the same voxels in another order if these are, else interpolated.

    Linearly, or of integers the nearest; what lies outside is 0 for integers, else the smallest value.
    """
    import nibabel
    from nibabel.processing import resample_from_to

    shape, wanted = grid
    codes = "".join(nibabel.aff2axcodes(wanted))
    turned = _permuted(values, affine, codes)
    if turned.shape == tuple(shape) and one_grid(_turned(affine, values.shape, codes), wanted, 1e-4):
        return turned
    labels = values.dtype.kind in "iu"
    image = nibabel.Nifti1Image(values, affine, dtype=values.dtype)
    lowest = 0 if labels else float(values.min())
    moved = resample_from_to(image, (tuple(shape), wanted), order=0 if labels else 1, mode="constant", cval=lowest)
    return np.asarray(moved.dataobj).astype(values.dtype)


def one_grid(affine, other, tolerance=0.01):
    """Whether two affines place voxels alike: each of their numbers within a share of the smallest voxel's side."""
    near = tolerance * np.linalg.norm(other[:3, :3], axis=0).min()
    gap, rounding = abs(affine - other), 1e-6 * abs(other[:3, 3]).max()  # headers keep places as float32
    return bool((gap[:3, :3] <= near).all() and (gap[:3, 3] <= near + rounding).all())


def _way(affine, codes):
    from nibabel import orientations

    axes = [next((pair for pair in ("RL", "AP", "SI") if code in pair), None) for code in codes]
    if len(axes) != 3 or len(set(axes) - {None}) != 3:
        raise ValueError(f"orientation {codes!r}; expected one letter each of RL, AP and SI, e.g. 'RAS'.")
    return orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(codes))


def _permuted(values, affine, codes):
    from nibabel import orientations

    return np.ascontiguousarray(orientations.apply_orientation(values, _way(affine, codes)))


def _turned(affine, shape, codes):
    from nibabel import orientations

    return affine @ orientations.inv_ornt_aff(_way(affine, codes), shape)
