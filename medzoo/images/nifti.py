"""NIfTI volumes (nibabel), slice by slice along a named axis, with the affine kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.intensity import apply_window, resize, window_of

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SUFFIXES = (".nii", ".nii.gz")
MOST = 2**29  # voxels, 2 GiB as float32; more is a damaged header, or a trap
RATIO = 1100  # gzip reaches 1032 at most


def is_nifti(path):
    return str(path).lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Volume:
    """A volume in the closest orientation to RAS+ (x to the patient's right, y forward, z up).

    Fields:
        values: float32 `(x, y, z)`, slope and intercept of the file applied (Hounsfield units for CT).
        affine: `(4, 4)`, from indices of `values` to millimetres.
        path: of the file.
    """

    values: np.ndarray
    affine: np.ndarray
    path: Path

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

    def images(self, axis="axial", window=None, size=None):
        """All slices along an axis, float32 `(N, H, W, 1)` in [0, 1].

        Args:
            axis: see `slice`.
            window: see `read_image`; by default from the 0.5th to the 99.5th percentile of the volume.
            size: `(height, width)` or one number, see `resize`.
        """
        self._check(axis)
        slices = np.stack([self.slice(i, axis) for i in range(self.values.shape[AXES[axis]])])
        grey = self.grey(slices, window)[..., None]
        return grey if size is None else resize(grey, size)

    def grey(self, values, window=None):
        """Values of this volume to [0, 1], see `images`."""
        if window is not None:
            return apply_window(values, *window_of(window))
        low, high = np.percentile(self.values, (0.5, 99.5))
        return np.clip((values - low) / max(high - low, 1e-12), 0, 1).astype("float32")

    def save(self, images, path, axis="axial"):
        """Writes what a model made of `images(axis)` as a NIfTI file in this volume's place in space.

        Args:
            images: `(N, H, W, 1)` or `(N, H, W)` of the same slices, in their own size.
            path: must not exist.
        """
        import nibabel

        self._check(axis)
        if Path(path).exists():
            raise FileExistsError(f"{path}: exists; choose another name.")
        slices = np.asarray(images, "float32").reshape(len(images), *np.shape(images)[1:3])
        values = np.moveaxis(slices.transpose(0, 2, 1)[:, ::-1, ::-1], 0, AXES[axis])
        if values.shape != self.values.shape:
            raise ValueError(f"{path}: {values.shape} voxels; {self.path} has {self.values.shape}.")
        nibabel.save(nibabel.Nifti1Image(values, self.affine), path)

    def _check(self, axis):
        if axis not in AXES:
            raise ValueError(f"axis={axis!r}; expected one of {', '.join(AXES)}.")


def read_volume(path):
    """Reads a NIfTI file (.nii, .nii.gz).

    Raises:
        FileNotFoundError: no such file.
        ImageError: not a NIfTI file, damaged, or not of three axes; names the file.
    """
    import nibabel

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        stored = nibabel.load(path)
        shape = stored.shape
        voxels = np.prod(shape, dtype="float64")
        bytes_there = path.stat().st_size * (RATIO if path.suffix.lower() == ".gz" else 1)
        if not 0 < voxels <= MOST or voxels * stored.get_data_dtype().itemsize > bytes_there:
            raise ValueError(f"{shape} voxels announced by {path.stat().st_size:,} bytes")
        while len(shape) > 3 and shape[-1] == 1:
            stored, shape = stored.slicer[..., 0], shape[:-1]
        if len(shape) != 3:
            raise ImageError(f"{path}: {shape} voxels; expected a volume of three axes.")
        stored = nibabel.as_closest_canonical(stored)
        values = np.asarray(stored.dataobj, "float32")
    except ImageError:
        raise
    except Exception as error:  # nibabel, gzip, zlib and NumPy raise many kinds on broken files
        raise ImageError(f"{path}: not readable as NIfTI ({type(error).__name__}: {error}).") from error
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds NaN or infinity.")
    return Volume(values, stored.affine, path)
