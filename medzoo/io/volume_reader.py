"""One function that reads a volume, wherever it is."""

from pathlib import Path

from medzoo.errors import ImageError
from medzoo.io.dicom_series import read_series
from medzoo.io.listing import holds_dicom, is_pixelless
from medzoo.io.nifti import PAIRS, is_nifti, read_nifti
from medzoo.io.walk import files_below


def list_volumes(folder):
    """What `read_volume` may take below a folder: each NIfTI file, and each folder that holds DICOM images; sorted.

    DICOM objects without pixels (reports, presentation states, the index of a medium) make no volume.

    Raises:
        FileNotFoundError: no such folder, or nothing of that kind in it.
    """
    files, series = files_below(folder), set()
    for path in files:
        if path.parent not in series and not is_nifti(path) and holds_dicom(path) and not is_pixelless(path):
            series.add(path.parent)
    found = sorted([*(path for path in files if is_nifti(path)), *series])
    if not found:
        raise FileNotFoundError(f"{folder}: no NIfTI and no DICOM files below it.")
    return found


def read_volume(path, orient="RAS", spacing=None, time=None, series=None, units=None, nan=None):
    """Reads a volume: a NIfTI file, or a DICOM series.

    Nothing is guessed: a series is refused where slices are missing, doubled or unevenly spaced, of unlike size or
    orientation, or shifted by a tilted gantry, and where it is a localizer. Objects without pixels beside the slices
    (reports, presentation states) and copies of a slice are left out; two images of one SOPInstanceUID are refused.

    Lengths are in millimeters, whatever the unit of a NIfTI file (meters, micrometers). Values are float32, or float64
    where float32 would not hold them, such as numbers of regions beyond 2**24. Voxels that a DICOM
    file marks as padding, with a value far from all others, keep it, but `images` shows them black.

    Args:
        path: NIfTI file (.nii, .nii.gz); or of a series the folder (other files in it are let be), the list of files,
            or one enhanced multi-frame file. Siemens mosaics are taken apart (by nibabel).
        orient: which way the axes of the values shall point, or come closest to, e.g. `"RAS"`; `None`: as stored.
        spacing: millimetres from one voxel to the next to resample to, one number or three; `None`: the file's own.
        time: which volume, from 0, where there are several (time points, echoes).
        series: UID, number or description of the series, where the folder holds several.
        units: `"suv"` for standardised uptake values of PET, see `read_values`.
        nan: number, the value that voxels of a NIfTI file take that are NaN, in the file's own units (as `nan` of
            `numpy.nan_to_num`); `None`: a file with NaN is refused.

    Returns: `medzoo.io.volume.Volume`.

    Raises:
        FileNotFoundError: no such file or folder.
        ImageError: a file that cannot be used, or one of the above; names it.
    """
    if isinstance(path, (list, tuple)) or not is_nifti(path):
        if not isinstance(path, (list, tuple)) and not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such file or folder.")
        if not isinstance(path, (list, tuple)) and Path(path).is_file() and str(path).lower().endswith(PAIRS):
            raise ImageError(
                f"{path}: a volume in two files (NIfTI pair or Analyze); expected one, .nii or .nii.gz. Convert it: "
                "nibabel.save(nibabel.load(NAME.img), NAME.nii); Analyze stores no left and right: check them."
            )
        volume = read_series(path, series, time, units)
    else:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        if series is not None or units is not None:
            option = f"series={series!r}" if series is not None else f"units={units!r}"
            raise ImageError(f"{path}: {option} is for DICOM series; this is a NIfTI file. Leave it out.")
        volume = read_nifti(Path(path), time, nan)
    volume = volume if orient is None else volume.reorient(orient)
    return volume if spacing is None else volume.resample(spacing)
