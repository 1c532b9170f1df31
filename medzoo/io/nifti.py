"""Reading of NIfTI files as volumes (with nibabel)."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.intensity import to_lossless_float
from medzoo.io.volume import MAX_VOXELS, Volume
from medzoo.io.walk import files_below

if TYPE_CHECKING:
    import nibabel

log = logging.getLogger("medzoo")
SUFFIXES = (".nii", ".nii.gz")
PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")  # NIfTI pairs and Analyze
MAX_GZIP_RATIO = 1100  # gzip compresses by a factor of at most 1032
MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by unit code: unknown, meter, millimeter, micrometer
EXACT = 2**24  # float32 represents all integers up to this value exactly
SKEW = 0.02  # cosine of the angle between two voxel axes above which a warning is logged


def is_nifti(path: str | Path) -> bool:
    """Return whether a path has the suffix of a NIfTI file, .nii or .nii.gz."""
    return str(path).lower().endswith(SUFFIXES)


def list_nifti(folder: str | Path) -> list[Path]:
    """List the NIfTI files below a folder as relative paths.

    Args:
        folder: folder that is searched recursively.

    Returns:
        Sorted list of paths relative to the folder.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no NIfTI files.
    """
    files = [path.relative_to(folder) for path in files_below(folder) if is_nifti(path)]
    if not files:
        raise FileNotFoundError(f"{folder}: no NIfTI files below it; expected volumes ({', '.join(SUFFIXES)}).")
    return files


def read_nifti(path: Path, time: int | None = None, nan: float | None = None) -> Volume:
    """Read a volume of a NIfTI file (.nii, .nii.gz) on its stored grid.

    Args:
        path: path of the file.
        time: int. Index of the volume, from 0, if the file contains several.
        nan: value in the units of the file that replaces NaN voxels. With `None` (default), NaN raises an error.

    Returns:
        A `Volume` in the stored orientation.

    Raises:
        ImageError: If the file is damaged, does not have three axes, is complex or in color; if it contains several
            volumes and `time` is `None`, NaN and `nan` is `None`, or infinity; or if the affine is singular.
    """
    import nibabel

    if nan is not None and not np.isfinite(nan):
        raise ValueError(f"{path}: nan={nan}; expected a finite replacement value for NaN voxels.")
    try:
        stored = nibabel.load(path)
        _check_type(path, stored.get_data_dtype())
        shape = stored.shape
        voxels = np.prod(shape, dtype="float64")
        available_bytes = path.stat().st_size * (MAX_GZIP_RATIO if path.suffix.lower() == ".gz" else 1)
        if not 0 < voxels <= MAX_VOXELS or voxels * stored.get_data_dtype().itemsize > available_bytes:
            raise ValueError(f"{shape} voxels in a file of {path.stat().st_size:,} bytes")
        while len(shape) > 3 and shape[-1] == 1:
            stored, shape = stored.slicer[..., 0], shape[:-1]
        if len(shape) == 4:
            stored, shape = stored.slicer[..., select_time(path, shape[3], time)], shape[:3]
        elif time not in (None, 0):
            select_time(path, 1, time)
        if len(shape) != 3:
            raise ImageError(
                f"{path}: {shape} voxels; expected a volume with 3 axes, or several volumes along a fourth axis. "
                "Save one volume as a separate file."
            )
        values, affine = _values(path, stored, nan), _affine(path, stored)
    except ImageError:
        raise
    except Exception as error:  # nibabel, gzip, zlib and NumPy raise many error types for damaged files
        raise ImageError(f"{path}: not readable as NIfTI ({type(error).__name__}: {error}).") from error
    return Volume(values, affine, path, (values.shape, affine))


def millimeters(header: "nibabel.Nifti1Header") -> float:
    """Return the length unit of a NIfTI header in millimeters.

    Args:
        header: NIfTI header; an unknown unit is treated as millimeters.
    """
    return MILLIMETERS.get(int(header["xyzt_units"]) & 7, 1.0)


def _check_type(path, kind):
    """Check that the data type is real and scalar."""
    if kind.kind == "c":
        raise ImageError(
            f"{path}: complex values ({kind}); expected real values. Save the magnitude (numpy.abs) or the phase "
            "(numpy.angle) as a separate file."
        )
    if kind.names:
        raise ImageError(f"{path}: in color ({', '.join(kind.names)}); expected one value per voxel.")


def _values(path, stored, nan):
    """Voxel values as float32, or float64 if float32 is not exact."""
    with np.errstate(over="ignore"):  # on overflow the values are read again
        values = np.asarray(stored.dataobj, "float32")
    if stored.get_data_dtype() != np.float32 and not _is_exact(values):
        values = np.asarray(stored.dataobj)
    missing, finite = np.isnan(values), np.isfinite(values)
    if not finite.all() and (nan is None or not (finite | missing).all()):
        count, kind = (missing.sum(), "NaN") if missing.any() else ((~finite).sum(), "infinity")
        advice = " Pass their replacement value, e.g. medzoo.read_volume(path, nan=0)." if missing.any() else ""
        raise ImageError(f"{path}: contains NaN or infinity ({count:,} of {values.size:,} voxels are {kind}).{advice}")
    if missing.any():
        values = np.where(missing, values.dtype.type(nan), values)
    try:
        return to_lossless_float(values)
    except ValueError as error:
        raise ImageError(f"{path}: {error}.") from error


def _is_exact(values):
    """Whether float32 represents the values of the file without loss of precision."""
    known = values[~np.isnan(values)]
    if not known.size:
        return True
    low, high = float(known.min()), float(known.max())
    return max(-low, high) < EXACT and max(-low, high) <= 1000 * (high - low)


def _affine(path, stored):
    """Return the affine in millimeters; a warning is logged if the header is ambiguous or the affine is sheared."""
    header, affine = stored.header, np.array(stored.affine, "float64")
    affine[:3] *= millimeters(header)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-6:
        raise ImageError(f"{path}: the affine is singular or not finite:\n{affine}.")
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        log.warning("%s: no orientation (qform_code and sform_code are 0); left and right are unknown.", path)
    elif codes[0] == codes[1]:
        other = _quaternion(header)
        if other is None or not np.allclose(other, affine[:3, :3], rtol=0, atol=0.02 * steps.max()):
            log.warning("%s: qform and sform with the same code (%d) disagree; the sform is used.", path, codes[0])
    axes = affine[:3, :3] / steps
    if abs(axes.T @ axes - np.eye(3)).max() > SKEW:
        log.warning(
            "%s: sheared affine; voxels are treated as rectangular. Resample the volume to an orthogonal grid.", path
        )
    return affine


def _quaternion(header):
    """Return the 3×3 part of the qform in millimeters, or `None` if it is invalid."""
    try:
        return millimeters(header) * header.get_qform()[:3, :3]
    except Exception:  # nibabel raises several error types
        return None


def select_time(path: Path, count: int, time: int | None, what: str = "") -> int:
    """Return the index of the selected volume.

    Args:
        path: path of the file, for error messages.
        count: int. Number of volumes.
        time: int or `None`. Selected index; `None` is valid for a single volume only.
        what: str. Description of the volumes, for error messages.

    Raises:
        ImageError: If no volume is selected or the index is out of range.
    """
    if time is None and count > 1:
        raise ImageError(f"{path}: contains {count} volumes{what}; select one with time=0 to {count - 1}.")
    time = 0 if time is None else time
    if not 0 <= time < count:
        raise ImageError(f"{path}: time={time}; expected 0 to {count - 1}.")
    return time
