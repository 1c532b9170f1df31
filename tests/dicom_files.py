"""Small DICOM files with arbitrary tags for tests."""

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian


def element(vr, value):
    """Element with an explicit VR, which may differ from the one that pydicom would choose."""
    return (vr, value)


def words(entries, big=False):
    return np.asarray(entries).astype(">u2" if big else "<u2").tobytes()


def item(entries, first, bits, vr="OW", descriptor="US", data=None, count=None, big=False, **tags):
    """Item of a sequence of lookup tables.

    Args:
        entries: entries of the table.
        first: input value of the first entry.
        bits: bits per entry in the descriptor.
        vr: VR of the entries.
        descriptor: VR of the descriptor.
        data: bytes of the entries; by default one word per entry.
        count: number of entries in the descriptor.
        big: whether the words are big endian.
        **tags: further elements of the item.
    """
    new = pydicom.Dataset()
    count = len(entries) if count is None else count
    first = (first + 2**15) % 2**16 - 2**15 if descriptor == "SS" else first % 2**16
    new.add_new("LUTDescriptor", descriptor, [count, first, bits])
    value = words(entries, big) if data is None else data
    new.add_new("LUTData", vr, np.asarray(entries).tolist() if vr in ("US", "SS") else value)
    for name, tag in tags.items():
        setattr(new, name, tag)
    return new


def write_dicom(path, pixels, implicit=False, big=False, **tags):
    """Write a CT image: gray `(H, W)` or `(N, H, W)`, or color `(H, W, 3)`; `tags` override the defaults."""
    new, meta = pydicom.Dataset(), pydicom.dataset.FileMetaDataset()
    new.SOPClassUID = meta.MediaStorageSOPClassUID = CTImageStorage
    new.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    little = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big else little
    new.Modality, new.file_meta, bits = "CT", meta, 8 * pixels.itemsize
    color = pixels.ndim == 3 and pixels.shape[-1] == 3
    new.Rows, new.Columns = pixels.shape[:2] if color else pixels.shape[-2:]
    new.SamplesPerPixel, new.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        new.PlanarConfiguration = 0
    new.BitsAllocated = bits
    if pixels.dtype.kind != "f":
        new.BitsStored, new.HighBit, new.PixelRepresentation = bits, bits - 1, int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        if isinstance(value, tuple):
            new.add_new(name, *value)
        else:
            setattr(new, name, value)
        new[name].is_undefined_length = implicit and new[name].VR == "SQ"
    data = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    name = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}.get(pixels.dtype.str[1:], "PixelData")
    setattr(new, name, data + b"\0" * (len(data) % 2))
    if name == "PixelData":
        new["PixelData"].VR = "OB" if big and pixels.itemsize == 1 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    new.save_as(path, enforce_file_format=True)
    return path
