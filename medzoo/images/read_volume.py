"""One function that reads a volume, wherever it is."""

from pathlib import Path

from medzoo.images.listing import holds_dicom
from medzoo.images.nifti import is_nifti, read_nifti
from medzoo.images.series import read_series
from medzoo.images.walk import files_below


def list_volumes(folder):
    """What `read_volume` may take below a folder: each NIfTI file, and each folder that holds DICOM files; sorted.

    Raises:
        FileNotFoundError: no such folder, or nothing of that kind in it.
    """
    files = files_below(folder)
    series = {path.parent for path in files if not is_nifti(path) and holds_dicom(path)}
    found = sorted([*(path for path in files if is_nifti(path)), *series])
    if not found:
        raise FileNotFoundError(f"{folder}: no NIfTI and no DICOM files below it.")
    return found


def read_volume(path, orient="RAS", spacing=None, time=None, series=None, units=None):
    """Reads a volume: a NIfTI file, or a DICOM series.

    Nothing is guessed: a series is refused where slices are missing, doubled or unevenly spaced, of unlike size or
    orientation, or shifted by a tilted gantry, and where it is a localizer.

    Args:
        path: NIfTI file (.nii, .nii.gz); or of a series the folder (other files in it are let be), the list of files,
            or one enhanced multi-frame file. Siemens mosaics are taken apart (by nibabel).
        orient: which way the axes of the values shall point, or come closest to, e.g. `"RAS"`; `None`: as stored.
        spacing: millimetres from one voxel to the next to resample to, one number or three; `None`: the file's own.
        time: which volume, from 0, where there are several (time points, echoes).
        series: UID, number or description of the series, where the folder holds several.
        units: `"suv"` for standardised uptake values of PET, see `read_values`.

    Returns: `medzoo.images.volume.Volume`.

    Raises:
        FileNotFoundError: no such file or folder.
        ImageError: a file that cannot be used, or one of the above; names it.
    """
    if isinstance(path, (list, tuple)) or not is_nifti(path):
        if not isinstance(path, (list, tuple)) and not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such file or folder.")
        volume = read_series(path, series, time, units)
    else:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        volume = read_nifti(Path(path), time)
    volume = volume if orient is None else volume.oriented(orient)
    return volume if spacing is None else volume.resampled(spacing)
