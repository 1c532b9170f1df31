"""NIfTI files (nibabel) as volumes."""

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.volume import MOST, Volume
from medzoo.images.walk import files_below

SUFFIXES = (".nii", ".nii.gz")
RATIO = 1100  # gzip reaches 1032 at most


def is_nifti(path):
    return str(path).lower().endswith(SUFFIXES)


def list_nifti(folder):
    """The NIfTI files below a folder, as paths relative to it, sorted.

    Raises:
        FileNotFoundError: there are none.
    """
    files = [path.relative_to(folder) for path in files_below(folder) if is_nifti(path)]
    if not files:
        raise FileNotFoundError(f"{folder}: no NIfTI files below it; expected volumes ({', '.join(SUFFIXES)}).")
    return files


def read_nifti(path, time=None):
    """The volume of a NIfTI file (.nii, .nii.gz), on the grid that it is stored on.

    Args:
        path: the file.
        time: which volume, from 0, where there are several.

    Raises:
        ImageError: not a NIfTI file, damaged, not of three axes, or of several volumes and no `time`.
    """
    import nibabel

    try:
        stored = nibabel.load(path)
        shape = stored.shape
        voxels = np.prod(shape, dtype="float64")
        bytes_there = path.stat().st_size * (RATIO if path.suffix.lower() == ".gz" else 1)
        if not 0 < voxels <= MOST or voxels * stored.get_data_dtype().itemsize > bytes_there:
            raise ValueError(f"{shape} voxels announced by {path.stat().st_size:,} bytes")
        while len(shape) > 3 and shape[-1] == 1:
            stored, shape = stored.slicer[..., 0], shape[:-1]
        if len(shape) == 4:
            stored, shape = stored.slicer[..., which(path, shape[3], time)], shape[:3]
        elif time not in (None, 0):
            which(path, 1, time)
        if len(shape) != 3:
            raise ImageError(f"{path}: {shape} voxels; expected a volume of three axes.")
        values = np.asarray(stored.dataobj, "float32")
    except ImageError:
        raise
    except Exception as error:  # nibabel, gzip, zlib and NumPy raise many kinds on broken files
        raise ImageError(f"{path}: not readable as NIfTI ({type(error).__name__}: {error}).") from error
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds NaN or infinity.")
    if not np.isfinite(stored.affine).all() or abs(np.linalg.det(stored.affine[:3, :3])) < 1e-12:
        raise ImageError(f"{path}: an affine that places no voxel:\n{stored.affine}.")
    return Volume(values, stored.affine, path, (values.shape, stored.affine))


def which(path, count, time, what=""):
    """`time` if it is one of so many volumes, else an error that says how many there are."""
    if time is None and count > 1:
        raise ImageError(f"{path}: holds {count} volumes{what}; say which with time=0 to {count - 1}.")
    time = 0 if time is None else time
    if not 0 <= time < count:
        raise ImageError(f"{path}: time={time}; there {'is' if count == 1 else 'are'} {count}, from 0.")
    return time
