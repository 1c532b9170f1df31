"""Decoder plugin of pydicom for 12-bit JPEG (JPEG Extended, process 4), based on imagecodecs."""

from importlib.util import find_spec
from threading import Lock

from pydicom import uid

_lock = Lock()  # several threads read files, and add_plugin is not thread-safe
DECODER_DEPENDENCIES = {uid.JPEGExtended12Bit: ("imagecodecs>=2024.1",)}


def register() -> None:
    """Register the decoder with pydicom once."""
    from pydicom.pixels.decoders import JPEGExtended12BitDecoder as decoder

    with _lock:
        if "medzoo" not in decoder.available_plugins and is_available(decoder.UID):
            decoder.add_plugin("medzoo", (__name__, "_decode_frame"))


def is_available(syntax: str) -> bool:
    """Return whether imagecodecs can decode a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES and find_spec("imagecodecs") is not None


def _decode_frame(source, runner):
    """Decode one frame to bytes, the interface of pydicom plugins."""
    from imagecodecs import jpeg_decode

    values = jpeg_decode(source)
    if values.shape[:2] != (runner.rows, runner.columns) or values.ndim - 2 != (runner.samples_per_pixel > 1):
        raise ValueError(f"the JPEG stream contains {values.shape}, the tags specify {runner.rows}x{runner.columns}")
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    # Clip overshoot to white; pydicom would drop the bits above BitsStored, which turns white into black.
    values = values.clip(0, 2**runner.bits_stored - 1)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
