"""The technical tags of a DICOM file, and a DICOM file made of pixels and such tags: nothing that names anybody."""

from pathlib import Path

import numpy as np

from medzoo.io.file_info import OF_PIXELS, SAFE_DICOM_TAGS, from_tags
from medzoo.io.notices import warn
from medzoo.utils.files import written_whole

# What is kept, a list: everything else (names, dates, places, UIDs, private tags, free text) is left.
KEPT = (
    *(tag for tag in SAFE_DICOM_TAGS if tag not in OF_PIXELS),
    "ImageLaterality",
    "PatientOrientation",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
# What changes how the pixels look and is not kept: tables, and tags of single frames.
LEFT = ("ModalityLUTSequence", "VOILUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
GREY = ("MONOCHROME1", "MONOCHROME2")


def technical_tags(path):
    """The tags in `KEPT` that a DICOM file has, JSON-ready: `{keyword: str, or list of str}`.

    Logs a warning where the file has lookup tables or tags of single frames, which are not kept.
    """

    def said(dataset):
        if left := [tag for tag in LEFT if dataset.get(tag)]:
            warn("tags that are not kept", path, f"{', '.join(left)} not kept; the pixels will look different without.")
        elements = (dataset[tag] for tag in KEPT if dataset.get(tag) not in (None, ""))
        return {e.keyword: [str(v) for v in e.value] if e.VM > 1 else str(e.value) for e in elements}

    return from_tags(path, (*KEPT, *LEFT), said)


def write_secondary(path, pixels, tags, lossy=None):
    """Writes a DICOM file of the class Secondary Capture, with no patient and UIDs of its own, whole or not at all.

    Args:
        path: .dcm to write; its folder is made if it is not there.
        pixels: uint8, uint16 or int16 `(H, W)`, stored values.
        tags: from `technical_tags`; others than these are left out.
        lossy: `(ratio, method)` where compression changed the pixels, for the tags that must say so, else `None`.

    Raises:
        ValueError: tags that do not describe grey values, or that DICOM does not allow.
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
        for tag in KEPT:
            if tag in tags and tag in PADDING:
                new.add_new(tag, *_padding(tags[tag], pixels.dtype.kind == "i"))
            elif tag in tags:
                setattr(new, tag, int(tags[tag]) if tag == "BitsStored" else tags[tag])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: tags that DICOM does not allow ({error}).") from error
    if new.PhotometricInterpretation not in GREY or not 0 < new.BitsStored <= bits or pixels.ndim != 2:
        raise ValueError(
            f"{path}: {new.PhotometricInterpretation}, {new.BitsStored} bits for {pixels.dtype} {pixels.shape}; "
            f"expected grey values of at most {bits} bits."
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
    with written_whole(path) as part:
        new.save_as(part, enforce_file_format=True)


def _padding(value, signed):
    """VR and number of a padding value; files also write it without the sign of the pixels."""
    return ("SS", (int(value) + 2**15) % 2**16 - 2**15) if signed else ("US", int(value) % 2**16)


def _in_bits(pixels, bits, lossy):
    """`(pixels, bits stored)`: pixels that lossy compression moved beyond the bits of the original are moved back; of
    an original that uses more bits than it announces, all are stored."""
    signed = pixels.dtype.kind == "i"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if lossy or (pixels.min() >= low and pixels.max() <= high):
        return np.clip(pixels, low, high), bits
    return pixels, 8 * pixels.itemsize
