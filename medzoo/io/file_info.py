"""What a file is, technically: nothing that could tell whose image it is."""

from pathlib import Path

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, parse
from medzoo.io.nifti import is_nifti, millimeters
from medzoo.io.pictures import orientation_of

SAFE_DICOM_TAGS = (  # a list of what is shown, not of what is hidden: private and unknown tags stay unseen
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

OF_PIXELS = {  # of these, what the pixels and the class of a file say by themselves
    "SOPClassUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PixelRepresentation",
}


def file_info(path):
    """Technical facts of an image file, JSON-ready; of DICOM files the tags in SAFE_DICOM_TAGS only.

    Raises:
        FileNotFoundError, ImageError: no such file, or none that can be opened.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    facts = {"bytes": path.stat().st_size}
    if is_dicom(path):
        return {"format": "DICOM", **facts, **_dicom(path)}
    if is_nifti(path):
        return {"format": "NIfTI", **facts, **_nifti(path)}
    if path.suffix.lower() == ".npy":
        return {"format": "npy", **facts, **_npy(path)}
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # As it is shown; of TIFF Pillow gives the turned size by itself.
            if picture.format != "TIFF" and "exif" in picture.info and orientation_of(picture) >= 5:
                width, height = height, width
            shape = {"width": width, "height": height, "mode": picture.mode}
            return {"format": picture.format, **facts, **shape, "frames": getattr(picture, "n_frames", 1)}
    except Exception as error:
        raise ImageError(f"{path}: no image that medzoo knows ({type(error).__name__}).") from error


def _dicom(path):
    def said(dataset):
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        facts = {"TransferSyntax": syntax.name if syntax else None}
        for tag in SAFE_DICOM_TAGS:
            if tag in dataset:
                element = dataset[tag]
                facts[tag] = element.value.name if tag == "SOPClassUID" else str(element.value)
        return facts

    return from_tags(path, SAFE_DICOM_TAGS, said)


def from_tags(path, tags, function):
    """A function of a DICOM file's data set, of which only these tags are read.

    Raises:
        ImageError: a file or a tag that cannot be read.
    """
    dataset = parse(path, stop_before_pixels=True, specific_tags=list(tags))
    try:
        return function(dataset)
    except Exception as error:
        raise ImageError(f"{path}: not readable as DICOM ({type(error).__name__}: {error}).") from error


def _nifti(path):
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
    import numpy as np

    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ImageError(f"{path}: not readable as npy ({type(error).__name__}: {error}).") from error
    return {"shape": list(values.shape), "type": str(values.dtype)}
