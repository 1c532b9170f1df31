"""NIfTI files (nibabel) as volumes."""

import logging

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.intensity import without_loss
from medzoo.io.volume import MOST, Volume
from medzoo.io.walk import files_below

log = logging.getLogger("medzoo")
SUFFIXES = (".nii", ".nii.gz")
PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")  # NIfTI or Analyze in two files
RATIO = 1100  # gzip reaches 1032 at most
MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the code of the unit: none, meter, millimeter, micrometer
EXACT = 2**24  # float32 holds all integers up to here
SKEW = 0.02  # cosine of the angle between two axes of the voxels from which on they are no boxes


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


def read_nifti(path, time=None, nan=None):
    """The volume of a NIfTI file (.nii, .nii.gz), on the grid that it is stored on.

    Args:
        path: the file.
        time: which volume, from 0, where there are several.
        nan: the value of voxels that are NaN, in the file's own units; by default they are refused.

    Raises:
        ImageError: not a NIfTI file, damaged, not of three axes, complex or in color; several volumes and no `time`,
            NaN and no `nan`, infinity; an affine that places no voxel.
    """
    import nibabel

    if nan is not None and not np.isfinite(nan):
        raise ValueError(f"{path}: nan={nan}; expected a finite value for the voxels that are NaN.")
    try:
        stored = nibabel.load(path)
        _check_kind(path, stored.get_data_dtype())
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
            raise ImageError(
                f"{path}: {shape} voxels; expected a volume of three axes, or several along a fourth. Save one volume "
                "as a file of its own."
            )
        values, affine = _values(path, stored, nan), _affine(path, stored)
    except ImageError:
        raise
    except Exception as error:  # nibabel, gzip, zlib and NumPy raise many kinds on broken files
        raise ImageError(f"{path}: not readable as NIfTI ({type(error).__name__}: {error}).") from error
    return Volume(values, affine, path, (values.shape, affine))


def millimeters(header):
    """How many millimeters the unit of length of a NIfTI header is; no unit counts as millimeters."""
    return MILLIMETERS.get(int(header["xyzt_units"]) & 7, 1.0)


def _check_kind(path, kind):
    if kind.kind == "c":
        raise ImageError(
            f"{path}: complex numbers ({kind}); expected real ones. Save the magnitude (numpy.abs) or the phase "
            "(numpy.angle) as a file of its own."
        )
    if kind.names:
        raise ImageError(f"{path}: in color ({', '.join(kind.names)}); expected one number a voxel.")


def _values(path, stored, nan):
    """Values of the voxels: float32, or float64 where float32 does not hold them."""
    with np.errstate(over="ignore"):  # what overflows is read again
        values = np.asarray(stored.dataobj, "float32")
    if stored.get_data_dtype() != np.float32 and not _surely_held(values):
        values = np.asarray(stored.dataobj)
    missing, finite = np.isnan(values), np.isfinite(values)
    if not finite.all() and (nan is None or not (finite | missing).all()):
        count, kind = (missing.sum(), "NaN") if missing.any() else ((~finite).sum(), "infinity")
        advice = " Give these voxels a value: medzoo.read_volume(path, nan=0)." if missing.any() else ""
        raise ImageError(f"{path}: holds NaN or infinity ({count:,} of {values.size:,} voxels are {kind}).{advice}")
    if missing.any():
        values = np.where(missing, values.dtype.type(nan), values)
    try:
        return without_loss(values)
    except ValueError as error:
        raise ImageError(f"{path}: {error}.") from error


def _surely_held(values):
    """Whether float32 values are those of the file: none so large or so close together that digits may be lost."""
    there = values[~np.isnan(values)]
    if not there.size:
        return True
    low, high = float(there.min()), float(there.max())
    return max(-low, high) < EXACT and max(-low, high) <= 1000 * (high - low)


def _affine(path, stored):
    """The affine in millimeters, with a warning where the header leaves the place or the form of the voxels open."""
    header, affine = stored.header, np.array(stored.affine, "float64")
    affine[:3] *= millimeters(header)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-6:
        raise ImageError(f"{path}: an affine that places no voxel:\n{affine}.")
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        log.warning("%s: no orientation (qform_code and sform_code are 0); left and right are a guess.", path)
    elif codes[0] == codes[1]:
        other = _quaternion(header)
        if other is None or not np.allclose(other, affine[:3, :3], rtol=0, atol=0.02 * steps.max()):
            log.warning("%s: qform and sform of one code (%d) disagree; the sform is used.", path, codes[0])
    axes = affine[:3, :3] / steps
    if abs(axes.T @ axes - np.eye(3)).max() > SKEW:
        log.warning("%s: a sheared affine; the voxels are shown as boxes. Resample it to a grid of right angles.", path)
    return affine


def _quaternion(header):
    """The directions of the qform in millimeters, or `None` if its numbers make none."""
    try:
        return millimeters(header) * header.get_qform()[:3, :3]
    except Exception:  # nibabel raises several kinds
        return None


def which(path, count, time, what=""):
    """`time` if it is one of so many volumes, else an error that says how many there are."""
    if time is None and count > 1:
        raise ImageError(f"{path}: holds {count} volumes{what}; say which with time=0 to {count - 1}.")
    time = 0 if time is None else time
    if not 0 <= time < count:
        raise ImageError(f"{path}: time={time}; there {'is' if count == 1 else 'are'} {count}, from 0.")
    return time
