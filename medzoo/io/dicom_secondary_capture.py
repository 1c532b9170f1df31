"""DICOM Secondary Capture files with pixels and technical tags, without any patient information."""

from pathlib import Path

import numpy as np

from medzoo.io.file_info import PIXEL_TAGS, SAFE_DICOM_TAGS, read_tags
from medzoo.io.notices import warn
from medzoo.utils.files import atomic_write

# Allow-list of retained tags. All others (names, dates, institutions, UIDs, private tags, free text) are removed.
RETAINED_TAGS = (
    *(tag for tag in SAFE_DICOM_TAGS if tag not in PIXEL_TAGS),
    "ImageLaterality",
    "PatientOrientation",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
# Tags that change the displayed pixels but are not retained: lookup tables and per-frame tags.
DROPPED_TAGS = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
GRAY = ("MONOCHROME1", "MONOCHROME2")


def technical_tags(path: str | Path) -> dict[str, str | list[str]]:
    """Return the tags in `RETAINED_TAGS` that a DICOM file contains.

    A warning is logged if the file has lookup tables or per-frame tags, which are not retained.

    Args:
        path: path of a DICOM file.

    Returns:
        JSON-serializable dict `{keyword: str or list of str}`.

    Raises:
        ImageError: If the file is unreadable.
    """

    def retained(dataset):
        if dropped := [tag for tag in DROPPED_TAGS if dataset.get(tag)]:
            text = f"{', '.join(dropped)} not retained; viewers will display the pixels differently."
            warn("tags that are not retained", path, text)
        elements = (dataset[tag] for tag in RETAINED_TAGS if dataset.get(tag) not in (None, ""))
        return {e.keyword: [str(v) for v in e.value] if e.VM > 1 else str(e.value) for e in elements}

    return read_tags(path, (*RETAINED_TAGS, *DROPPED_TAGS), retained)


def write_secondary(path: str | Path, pixels: np.ndarray, tags: dict, lossy: tuple[float, str] | None = None) -> None:
    """Write a DICOM Secondary Capture file with empty patient tags and new UIDs atomically.

    Args:
        path: path of the file; its folder is created if it does not exist.
        pixels: uint8, uint16 or int16 array `(H, W)` of stored values.
        tags: dict as returned by `technical_tags`; tags outside `RETAINED_TAGS` are ignored.
        lossy: `(ratio, method)` of lossy compression, stored in the tags for it; `None` (default) for lossless pixels.

    Raises:
        ValueError: If the tags do not describe grayscale pixels, or are invalid in DICOM.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    new, meta = Dataset(), FileMetaDataset()
    new.SOPClassUID = meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    new.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for empty in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(new, empty, "")
    new.ReferringPhysicianName = new.AccessionNumber = new.PatientOrientation = ""
    new.StudyInstanceUID, new.SeriesInstanceUID = generate_uid(), generate_uid()
    new.SeriesNumber, new.InstanceNumber, new.Modality, new.ConversionType = "1", "1", "OT", "WSD"
    new.PhotometricInterpretation, bits = "MONOCHROME2", 8 * pixels.itemsize
    new.BitsStored = bits
    try:
        for tag in RETAINED_TAGS:
            if tag in tags and tag in PADDING:
                new.add_new(tag, *_padding(tags[tag], pixels.dtype.kind == "i"))
            elif tag in tags:
                setattr(new, tag, int(tags[tag]) if tag == "BitsStored" else tags[tag])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: invalid DICOM tags ({error}).") from error
    if new.PhotometricInterpretation not in GRAY or not 0 < new.BitsStored <= bits or pixels.ndim != 2:
        raise ValueError(
            f"{path}: {new.PhotometricInterpretation}, {new.BitsStored} bits for {pixels.dtype} {pixels.shape}; "
            f"expected grayscale pixels of at most {bits} bits."
        )
    pixels, new.BitsStored = _in_bits(pixels, new.BitsStored, lossy is not None)
    if lossy is not None:
        ratio, method = lossy
        new.LossyImageCompression = "01"
        new.LossyImageCompressionRatio, new.LossyImageCompressionMethod = f"{ratio:.4g}", method
    new.Rows, new.Columns = pixels.shape
    new.SamplesPerPixel, new.PixelRepresentation = 1, int(pixels.dtype.kind == "i")
    new.BitsAllocated, new.HighBit = bits, new.BitsStored - 1
    data = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()
    new.PixelData = data + b"\0" * (len(data) % 2)
    new["PixelData"].VR = "OW"
    new.file_meta = meta
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        new.save_as(part, enforce_file_format=True)


def _padding(value, signed):
    """VR and value of PixelPaddingValue; some files store it unsigned although the pixels are signed."""
    return ("SS", (int(value) + 2**15) % 2**16 - 2**15) if signed else ("US", int(value) % 2**16)


def _in_bits(pixels, bits, lossy):
    """Return `(pixels, bits stored)`.

    Values that lossy compression moved out of the range of BitsStored are clipped. If the original already exceeds
    BitsStored, all allocated bits are declared as stored.
    """
    signed = pixels.dtype.kind == "i"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if lossy or (pixels.min() >= low and pixels.max() <= high):
        return np.clip(pixels, low, high), bits
    return pixels, 8 * pixels.itemsize
