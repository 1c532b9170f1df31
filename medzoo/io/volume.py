"""Volumes: voxel values with an affine, slicing, reorientation, resampling and saving on the original grid."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.intensity import apply_window, center_crop_resize, display_range, resolve_window, to_lossless_float
from medzoo.utils.files import write_atomically

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
MAX_VOXELS = 2**29  # voxels, 2 GiB as float32; larger shapes indicate a damaged or malicious header


@dataclass(frozen=True)
class Volume:
    """Volume with its position and orientation in space, as returned by `medzoo.read_volume`.

    Attributes:
        values: array `(i, j, k)` in the units of the file (Hounsfield units for CT): float32, or float64 where float32
            is not exact, such as labels above 2**24.
        affine: array `(4, 4)`, maps voxel indices to millimeters in RAS+ coordinates (x right, y anterior, z superior).
        path: path of the file or folder.
        grid: `(shape, affine)` as stored in the file; `save` resamples to it.
        padding: `(minimum, maximum)` value of the voxels that the file marks as padding, if these are far from all
            other values; else `None`. Such voxels are excluded from the display range and shown black.
    """

    values: np.ndarray
    affine: np.ndarray
    path: Path
    grid: tuple
    padding: tuple | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel spacing in millimeters along each axis of `values`."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def orientation(self) -> str:
        """Axis codes of `values`, e.g. `"RAS"` (right, anterior, superior)."""
        import nibabel

        return "".join(nibabel.aff2axcodes(self.affine))

    @property
    def display_range(self) -> tuple[float, float]:
        """Values shown black and white if no window is given, see `intensity.display_range`."""
        body = self.values if self.padding is None else self.values[~self._padded(self.values)]
        return display_range(body if body.size else self.values)

    def reorient(self, codes: str = "RAS") -> "Volume":
        """Return the volume with its axes permuted and flipped to the given orientation.

        Args:
            codes: axis codes, one letter each of RL, AP and SI, default `"RAS"`. Oblique axes get the closest code.

        Returns:
            A `Volume` with the same voxels.

        Raises:
            ValueError: If `codes` are not one letter each of RL, AP and SI.
        """
        affine = _reoriented_affine(self.affine, self.values.shape, codes)
        return replace(self, values=_permuted(self.values, self.affine, codes), affine=affine)

    def resample(self, spacing: float | Sequence[float]) -> "Volume":
        """Resample the volume to another voxel spacing by linear interpolation.

        Axes that get coarser are smoothed with a Gaussian filter before interpolation.

        Args:
            spacing: voxel spacing in millimeters along each axis of `values`, or one number for all axes.

        Returns:
            A `Volume` with the new spacing and the same center.

        Raises:
            ValueError: If a spacing is not positive, or the result would have too many voxels.
        """
        from scipy.ndimage import gaussian_filter

        wanted = np.broadcast_to(np.asarray(spacing, "float64"), 3)
        if not (wanted > 0).all():
            raise ValueError(f"{self.path}: spacing={spacing}. Expected positive millimeters.")
        ratio = wanted / self.spacing
        if np.allclose(ratio, 1, atol=1e-6):
            return self
        shape = np.maximum(1, np.round(np.array(self.values.shape) / ratio)).astype(int)
        if np.prod(shape, dtype="float64") > MAX_VOXELS:
            raise ValueError(
                f"{self.path}: spacing={spacing} gives {tuple(shape)} voxels. Expected at most {MAX_VOXELS}."
            )
        affine = self.affine @ np.diag([*ratio, 1.0])
        first = (np.array(self.values.shape) - 1) / 2 - ratio * (shape - 1) / 2  # the centers stay aligned
        affine[:3, 3] = (self.affine @ [*first, 1.0])[:3]
        smooth = gaussian_filter(self.values, np.sqrt(np.maximum(0, ratio**2 - 1)) / 2, mode="nearest")
        values = resample_to((tuple(shape), affine), smooth, self.affine)
        return replace(self, values=values, affine=affine)

    def slice(self, index: int, axis: str = "axial") -> np.ndarray:
        """Return one slice in radiological orientation.

        Superior (axial: anterior) is at the top; the patient's right is on the left.

        Args:
            index: int, 0 to the number of slices - 1, counted from the left, posterior or inferior end.
            axis: `"axial"` (default), `"coronal"` or `"sagittal"`.

        Returns:
            Array `(H, W)` in the units of the file.

        Raises:
            ImageError: If the index is out of range.
            ValueError: If the axis is unknown, or the orientation of the volume is not RAS.
        """
        self._check(axis)
        count = self.values.shape[AXES[axis]]
        if not 0 <= index < count:
            raise ImageError(f"{self.path}: slice {index}. Expected 0 to {count - 1} along {axis}.")
        return np.take(self.values, index, axis=AXES[axis])[::-1, ::-1].T

    def slices(self, axis: str = "axial") -> np.ndarray:
        """Return all slices along an axis, each as returned by `slice`.

        Args:
            axis: `"axial"` (default), `"coronal"` or `"sagittal"`.

        Returns:
            Array `(N, H, W)` in the units of the file.
        """
        self._check(axis)
        return np.moveaxis(self.values, AXES[axis], 0)[:, ::-1, ::-1].transpose(0, 2, 1)

    def to_images(
        self,
        axis: str = "axial",
        window: tuple[float, float] | str | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Return all slices along an axis as normalized images.

        The result is a batch for a 2D model, or one volume `(D, H, W, 1)` for a 3D model.

        Args:
            axis: `"axial"` (default), `"coronal"` or `"sagittal"`.
            window: see `read_image`. By default the 0.5th and the 99.5th percentile of the volume are mapped to 0 and 1
                (for sparse volumes see `intensity.display_range`).
            size: `(height, width)` in pixels or one int, see `center_crop_resize`; `None` (default) keeps the size.

        Returns:
            float32 array `(N, H, W, 1)` in [0, 1].
        """
        gray = self.normalize(self.slices(axis), window)[..., None]
        return gray if size is None else center_crop_resize(gray, size)

    def normalize(self, values: np.ndarray, window: tuple[float, float] | str | None = None) -> np.ndarray:
        """Map values of this volume to [0, 1].

        Args:
            values: array of any shape in the units of the file.
            window: see `to_images`.

        Returns:
            float32 array of the same shape.
        """
        low, high = self.display_range if window is None else (0, 0)
        if window is not None:
            gray = apply_window(values, *resolve_window(window))
        elif low == high:
            gray = np.zeros(np.shape(values), "float32")
        else:
            gray = np.clip((values - low) / (high - low), 0, 1).astype("float32")
        return gray if self.padding is None else np.where(self._padded(values), np.float32(0), gray)

    def _padded(self, values):
        """Return the mask of padding values."""
        minimum, maximum = self.padding
        return (values >= minimum) & (values <= maximum)

    def save(self, images: np.ndarray, path: str | Path, axis: str = "axial", overwrite: bool = False) -> None:
        """Write slices, such as a model output, as NIfTI on the grid of the original file.

        Args:
            images: array `(N, H, W, 1)` or `(N, H, W)` of the slices returned by `to_images(axis)` at their original
                size. Integers are treated as labels: they are resampled by nearest-neighbor interpolation and stored as
                int16, int32 or int64. Floats are interpolated linearly and stored as float32 or float64.
            path: path of the new file; must end in .nii or .nii.gz.
            axis: `"axial"` (default), `"coronal"` or `"sagittal"`.
            overwrite: bool. Whether to replace an existing file, default `False`.

        Raises:
            FileExistsError: If the file exists and `overwrite` is `False`.
            ValueError: If the slices have another size, the values exceed every NIfTI data type, or `path` has another
                suffix.
        """
        import nibabel

        self._check(axis)
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: the file exists. Choose another name or pass overwrite=True.")
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
        write_atomically(path, gzip.compress(data, 6) if path.suffix.lower() == ".gz" else data)

    def _check(self, axis):
        """Check the axis and the orientation."""
        if axis not in AXES:
            raise ValueError(f"axis={axis!r}; expected one of {', '.join(AXES)}.")
        if self.orientation != "RAS":
            raise ValueError(
                f"{self.path}: slices require orientation RAS, got {self.orientation}. Call reorient('RAS')."
            )


def _storable(path, values):
    """Convert to the smallest NIfTI data type that represents all values: int16 or larger, float32 or float64."""
    if values.dtype.kind == "f":
        return to_lossless_float(values)
    if values.dtype.kind not in "biu":
        raise ValueError(f"{path}: array of {values.dtype}; expected integers (labels) or real numbers.")
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in ("int16", "int32", "int64"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    raise ValueError(f"{path}: labels from {low} to {high}; expected at most {np.iinfo('int64').max}.")


def center_crop_or_pad(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Crop or zero-pad the leading axes of an array centrally.

    Args:
        values: array with at least `len(size)` axes.
        size: target length of each leading axis.

    Returns:
        Array whose first axes have the lengths `size`.
    """
    for axis, target in enumerate(size):
        current = values.shape[axis]
        start = max(0, (current - target) // 2)
        values = np.take(values, range(start, start + min(current, target)), axis=axis)
        before = (target - values.shape[axis]) // 2
        margin = [(before, target - values.shape[axis] - before) if i == axis else (0, 0) for i in range(values.ndim)]
        values = np.pad(values, margin)
    return values


def paste_center(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Insert a central crop back into an array, the inverse of `center_crop_or_pad`.

    Args:
        values: array to insert into; it is copied.
        part: array with the same number of axes, of the size of the crop.

    Returns:
        Array of the shape of `values`.
    """
    inside, source = [], []
    for full, cropped in zip(values.shape, part.shape, strict=True):
        size, before = min(full, cropped), max(0, (cropped - full) // 2)
        start = max(0, (full - cropped) // 2)
        inside.append(slice(start, start + size))
        source.append(slice(before, before + size))
    result = values.copy()
    result[tuple(inside)] = part[tuple(source)]
    return result


def resample_to(grid: tuple, values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Resample values to another grid.

    If the grids differ only in the order and direction of their axes, the voxels are permuted. Otherwise floats are
    interpolated linearly and integers by nearest neighbor.

    Args:
        grid: `(shape, affine)` of the target grid.
        values: array `(i, j, k)`.
        affine: array `(4, 4)`, affine of `values`.

    Returns:
        Array of shape `grid[0]` and the type of `values`. Voxels outside `values` are 0 for integers, else the minimum.
    """
    import nibabel
    from nibabel.processing import resample_from_to

    shape, wanted = grid
    codes = "".join(nibabel.aff2axcodes(wanted))
    reoriented = _permuted(values, affine, codes)
    if reoriented.shape == tuple(shape) and is_same_grid(_reoriented_affine(affine, values.shape, codes), wanted, 1e-4):
        return reoriented
    labels = values.dtype.kind in "iu"
    image = nibabel.Nifti1Image(values, affine, dtype=values.dtype)
    lowest = 0 if labels else float(values.min())
    resampled = resample_from_to(image, (tuple(shape), wanted), order=0 if labels else 1, mode="constant", cval=lowest)
    return np.asarray(resampled.dataobj).astype(values.dtype)


def is_same_grid(affine: np.ndarray, other: np.ndarray, tolerance: float = 0.01) -> bool:
    """Return whether two affines are equal up to rounding.

    Args:
        affine: array `(4, 4)`.
        other: array `(4, 4)`.
        tolerance: largest difference of an element, as a fraction of the smallest voxel spacing, default 0.01.
    """
    near = tolerance * np.linalg.norm(other[:3, :3], axis=0).min()
    gap, rounding = abs(affine - other), 1e-6 * abs(other[:3, 3]).max()  # headers store positions as float32
    return bool((gap[:3, :3] <= near).all() and (gap[:3, 3] <= near + rounding).all())


def _transform(affine, codes):
    """Orientation transform of nibabel from an affine to axis codes."""
    from nibabel import orientations

    axes = [next((pair for pair in ("RL", "AP", "SI") if code in pair), None) for code in codes]
    if len(axes) != 3 or len(set(axes) - {None}) != 3:
        raise ValueError(f"orientation {codes!r}; expected one letter each of RL, AP and SI, e.g. 'RAS'.")
    return orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(codes))


def _permuted(values, affine, codes):
    """Array with its axes permuted and flipped to codes."""
    from nibabel import orientations

    return np.ascontiguousarray(orientations.apply_orientation(values, _transform(affine, codes)))


def _reoriented_affine(affine, shape, codes):
    """Affine of an array whose axes were reoriented to codes."""
    from nibabel import orientations

    return affine @ orientations.inv_ornt_aff(_transform(affine, codes), shape)
