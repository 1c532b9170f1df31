"""A pydicom decoder of 12-bit JPEG (JPEG Extended, process 4), which its own plugins leave out: imagecodecs."""

from importlib.util import find_spec
from threading import Lock

from pydicom import uid

_lock = Lock()  # folders are read by several threads, and pydicom's add_plugin is not made for that
DECODER_DEPENDENCIES = {uid.JPEGExtended12Bit: ("imagecodecs>=2024.1",)}


def register():
    """Makes the decoder known to pydicom, once."""
    from pydicom.pixels.decoders import JPEGExtended12BitDecoder as decoder

    with _lock:
        if "medzoo" not in decoder.available_plugins and is_available(decoder.UID):
            decoder.add_plugin("medzoo", (__name__, "_decode_frame"))


def is_available(syntax):
    return syntax in DECODER_DEPENDENCIES and find_spec("imagecodecs") is not None


def _decode_frame(source, runner):
    """Bytes of one frame, as pydicom's plugins give them."""
    from imagecodecs import jpeg_decode

    values = jpeg_decode(source)
    if values.shape[:2] != (runner.rows, runner.columns) or values.ndim - 2 != (runner.samples_per_pixel > 1):
        raise ValueError(f"the JPEG stream holds {values.shape}, the tags say {runner.rows}x{runner.columns}")
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    # What overshoots is white; pydicom would cut the bits beyond BitsStored off, and make it black.
    values = values.clip(0, 2**runner.bits_stored - 1)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
