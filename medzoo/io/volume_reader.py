"""Reading of volumes from NIfTI files and DICOM series."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from medzoo.errors import ImageError
from medzoo.io.dicom_series import read_series
from medzoo.io.listing import holds_dicom, is_pixelless
from medzoo.io.nifti import PAIRS, is_nifti, read_nifti
from medzoo.io.volume import Volume
from medzoo.io.walk import files_below


def list_volumes(folder: str | Path) -> list[Path]:
    """List the paths below a folder that `read_volume` accepts.

    These are all NIfTI files and all folders that contain DICOM images. DICOM objects without pixel data (structured
    reports, presentation states, DICOMDIR) are ignored.

    Args:
        folder: folder that is searched recursively.

    Returns:
        Sorted list of paths.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no such files.
    """
    files, series = files_below(folder), set()
    for path in files:
        if path.parent not in series and not is_nifti(path) and holds_dicom(path) and not is_pixelless(path):
            series.add(path.parent)
    found = sorted([*(path for path in files if is_nifti(path)), *series])
    if not found:
        raise FileNotFoundError(f"{folder}: no NIfTI and no DICOM files below it.")
    return found


def read_volume(
    path: str | Path | Sequence[str | Path],
    orient: str | None = "RAS",
    spacing: float | Sequence[float] | None = None,
    time: int | None = None,
    series: str | int | None = None,
    units: str | None = None,
    nan: float | None = None,
) -> Volume:
    """Read a volume from a NIfTI file or a DICOM series.

    A DICOM series raises an error if slices are missing, duplicated or unevenly spaced, differ in size or orientation,
    or are sheared by a tilted gantry, and if it is a localizer. Objects without pixel data (structured reports,
    presentation states) and byte-identical copies of a slice are ignored; two different images with the same
    SOPInstanceUID raise an error.

    Lengths are in millimeters, whatever the unit of a NIfTI file (meters, micrometers). Values are float32, or float64
    where float32 is not exact, such as labels above 2**24. Voxels that a DICOM file marks as padding with a value far
    from all others keep this value; `Volume.to_images` shows them black.

    Args:
        path: NIfTI file (.nii, .nii.gz); or for a DICOM series its folder (other files in it are ignored), its list of
            files, or one enhanced multi-frame file. Siemens mosaics are split into slices (by nibabel).
        orient: axis codes to reorient to, default `"RAS"`. `None` keeps the stored orientation.
        spacing: target voxel spacing in millimeters, one number or three; `None` (default) keeps the stored one.
        time: int. Index of the volume, from 0, if there are several (time points, echoes).
        series: SeriesInstanceUID, number or description of the series, if the folder contains several.
        units: `"suv"` for standardized uptake values of PET, see `read_values`; `None` (default) for the stored units.
        nan: value in the units of the file that replaces NaN voxels of a NIfTI file. With `None` (default), a file that
            contains NaN raises an error.

    Returns:
        A `Volume`.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ImageError: If the file or series is invalid, see above; the message names it.
    """
    file = cast("str | Path", path)  # used below only if it is one
    if isinstance(path, (list, tuple)) or not is_nifti(file):
        if not isinstance(path, (list, tuple)) and not Path(file).exists():
            raise FileNotFoundError(f"{path}: no such file or folder.")
        if not isinstance(path, (list, tuple)) and Path(file).is_file() and str(path).lower().endswith(PAIRS):
            raise ImageError(
                f"{path}: a volume in two files (NIfTI pair or Analyze); expected one, .nii or .nii.gz. Convert it "
                "with nibabel.save(nibabel.load(NAME.img), NAME.nii). Analyze does not store left/right: verify it."
            )
        volume = read_series(path, series, time, units)
    else:
        if not Path(file).is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        if series is not None or units is not None:
            option = f"series={series!r}" if series is not None else f"units={units!r}"
            raise ImageError(f"{path}: {option} applies to DICOM series only; this is a NIfTI file. Omit it.")
        volume = read_nifti(Path(file), time, nan)
    volume = volume if orient is None else volume.reorient(orient)
    return volume if spacing is None else volume.resample(spacing)
