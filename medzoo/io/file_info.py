"""Technical metadata of image files, without any patient information."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, parse
from medzoo.io.nifti import is_nifti, millimeters
from medzoo.io.raster import orientation_of

SAFE_DICOM_TAGS = (  # allow-list: private and unknown tags are never shown
    "SOPClassUID",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    "KVP",
    "ViewPosition",
    "BodyPartExamined",
    "LossyImageCompression",
)

PIXEL_TAGS = {  # the subset that is determined by the pixel array and the SOP class
    "SOPClassUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PixelRepresentation",
}


def file_info(path: str | Path) -> dict:
    """Return technical metadata of an image file.

    Of DICOM files, only the tags in `SAFE_DICOM_TAGS` are returned.

    Args:
        path: path of a PNG, JPEG, TIFF, NPY, DICOM or NIfTI file.

    Returns:
        JSON-serializable dict with the format, the size in bytes, and the shape or the tags.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is unreadable.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    info = {"bytes": path.stat().st_size}
    if is_dicom(path):
        return {"format": "DICOM", **info, **_dicom(path)}
    if is_nifti(path):
        return {"format": "NIfTI", **info, **_nifti(path)}
    if path.suffix.lower() == ".npy":
        return {"format": "npy", **info, **_npy(path)}
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            # The displayed size; for TIFF, Pillow already applies the orientation.
            if image.format != "TIFF" and "exif" in image.info and orientation_of(image) >= 5:
                width, height = height, width
            shape = {"width": width, "height": height, "mode": image.mode}
            return {"format": image.format, **info, **shape, "frames": getattr(image, "n_frames", 1)}
    except Exception as error:
        raise ImageError(f"{path}: unknown or damaged image format ({type(error).__name__}).") from error


def _dicom(path):
    """Transfer syntax and safe tags of a DICOM file."""

    def describe(dataset):
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        info = {"TransferSyntax": syntax.name if syntax else None}
        for tag in SAFE_DICOM_TAGS:
            if tag in dataset:
                element = dataset[tag]
                info[tag] = element.value.name if tag == "SOPClassUID" else str(element.value)
        return info

    return read_tags(path, SAFE_DICOM_TAGS, describe)


def read_tags(path: str | Path, tags: Sequence[str], function: Callable) -> Any:
    """Read selected tags of a DICOM file and apply a function to the dataset.

    Args:
        path: path of the file.
        tags: keywords of the tags to read.
        function: function of the pydicom dataset.

    Returns:
        The result of `function`.

    Raises:
        ImageError: If the file or a tag is unreadable.
    """
    dataset = parse(path, stop_before_pixels=True, specific_tags=list(tags))
    try:
        return function(dataset)
    except Exception as error:
        raise ImageError(f"{path}: not readable as DICOM ({type(error).__name__}: {error}).") from error


def _nifti(path):
    """Shape, voxel size and data type of a NIfTI file."""
    import nibabel

    try:
        header = nibabel.load(path).header
        return {
            "shape": [int(n) for n in header.get_data_shape()],
            "voxel_mm": [float(f"{millimeters(header) * n:.5g}") for n in header.get_zooms()[:3]],
            "type": str(header.get_data_dtype()),
        }
    except Exception as error:
        raise ImageError(f"{path}: not readable as NIfTI ({type(error).__name__}: {error}).") from error


def _npy(path):
    """Shape and data type of an NPY file."""
    import numpy as np

    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ImageError(f"{path}: not readable as npy ({type(error).__name__}: {error}).") from error
    return {"shape": list(values.shape), "type": str(values.dtype)}
