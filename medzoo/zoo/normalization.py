"""How other libraries bring the values of a file to the range that their networks were trained on.

A preset says which, as `intensity` of its preprocessing. The result is always in [0, 1]; the network converts to its
own range.

- `"file"`: as `medzoo.read_image` and `read_volume`.
- `"minmax"`: each channel from its own minimum and maximum (`ScaleIntensity` of MONAI, MedVAE).
- `"percentiles"`: from two percentiles, `limits=(0, 99.5)`, and clipped (`ScaleIntensityRangePercentiles`).
- `"range"`: from two values in the file's units, `limits=(-1000, 1000)` for Hounsfield units, and clipped.

Those libraries' networks take volumes as `(x, y, z)`, to the right, forward and up (RAS); so does a preset with an
`intensity`. Those of medzoo take axial slices from below, as `Volume.images`.
"""

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, read_values
from medzoo.io.image import RASTER_SUFFIXES, read_image, split_frame
from medzoo.io.intensity import unit_range
from medzoo.io.nifti import is_nifti
from medzoo.io.raster import read_raster
from medzoo.io.volume_reader import read_volume

KINDS = ("file", "minmax", "percentiles", "range")


def check_intensity(intensity, limits):
    """Raise ValueError for a kind that is unknown, or limits that do not go with it."""
    if intensity is not None and intensity not in KINDS:
        raise ValueError(f"Preprocessor: intensity={intensity!r}. Expected one of {', '.join(KINDS)}, or None.")
    if intensity in ("percentiles", "range"):
        if limits is None or len(limits) != 2 or not limits[0] < limits[1]:
            raise ValueError(f"Preprocessor: limits={limits} for intensity={intensity!r}. Expected (low, high).")
        if intensity == "percentiles" and not 0 <= limits[0] < limits[1] <= 100:
            raise ValueError(f"Preprocessor: limits={limits}. Expected percentiles from 0 to 100.")


def normalize(values, intensity, limits=None):
    """Return values in [0, 1].

    Args:
        values: array `(..., channels)` in a file's units.
        intensity: `"minmax"`, `"percentiles"` or `"range"`.
        limits: See the module.

    Returns:
        float32 array of the same shape.
    """
    values = np.asarray(values, "float64")
    low, high = bounds(values, intensity, limits)
    span = np.where(high - low > 0, high - low, 1.0)
    return np.clip((values - low) / span, 0.0, 1.0).astype("float32")


def bounds(values, intensity, limits=None):
    """Return the values that become 0 and 1, numbers or one per channel; see `normalize`."""
    if intensity == "minmax":
        axes = tuple(range(values.ndim - 1))
        return values.min(axis=axes), values.max(axis=axes)
    return tuple(np.percentile(values, limits)) if intensity == "percentiles" else tuple(limits)


def to_xyz(volumes):
    """Return axial slices from below, `(N, depth, height, width, channels)`, as volumes `(N, x, y, z, channels)`."""
    return np.ascontiguousarray(np.moveaxis(volumes.swapaxes(2, 3)[:, :, ::-1, ::-1], 1, 3))


def from_xyz(volumes):
    """The inverse of `to_xyz`."""
    return np.ascontiguousarray(np.moveaxis(volumes, 3, 1)[:, :, ::-1, ::-1].swapaxes(2, 3))


def volume_images(model, volume):
    """Return what a model takes of a volume, and how its reconstructions go back.

    Args:
        model: A medzoo model of images or volumes.
        volume: `medzoo.io.volume.Volume`.

    Returns:
        `(images, (low, high), function)`: axial slices `(N, height, width, channels)` in [0, 1], the values that are 0
        and 1, and `model.reconstruct`, for a preset of another library with the axes in that library's order.
    """
    intensity = model.preprocess and model.preprocess.intensity
    if model.spatial_dims == 2 or intensity is None:
        return volume.to_images(), volume.display_range, model.reconstruct
    limits, values = model.preprocess.limits, volume.slices()[..., None]
    if intensity == "file":
        images, ends = volume.to_images(), volume.display_range
    else:
        images = normalize(values, intensity, limits)
        ends = tuple(float(np.squeeze(end)) for end in bounds(values.astype("float64"), intensity, limits))

    def reconstruct(x, **options):
        channels = model.image_shape[-1]
        return channels_to_gray(from_xyz(model.reconstruct(to_xyz(gray_to_channels(x, channels)), **options)))

    return images, ends, reconstruct


def gray_to_channels(images, channels):
    """Return images of one channel with that channel repeated; others as they are."""
    return np.repeat(images, channels, axis=-1) if channels > 1 and images.shape[-1] == 1 else images


def channels_to_gray(images):
    """Return the mean over the channels, with a last axis of 1: the way back of `gray_to_channels`."""
    return np.asarray(images).mean(axis=-1, keepdims=True)


def read_normalized(path, axes, channels, intensity, limits=None, window=None, frame=None):
    """Read an image or a volume as a network of another library was trained on it.

    Args:
        path: The file, see `medzoo.read_image`, or of volumes `medzoo.read_volume`.
        axes: int. 2 for an image, 3 for a volume.
        channels: int. Those of the network: gray is repeated, color is averaged over the normalized channels.
        intensity: str. See the module.
        limits: See the module.
        window: `(center, width)` for `"file"`.
        frame: int. Frame of a file with several, or which volume of several.

    Returns:
        float32 array `(height, width, channels)` or `(x, y, z, channels)` in [0, 1].
    """
    if axes == 3:
        volume = read_volume(path, time=frame)
        if intensity in (None, "file"):
            images = volume.to_images(window=window)
        else:
            images = normalize(volume.slices()[..., None], intensity, limits)
        images = images if intensity is None else to_xyz(images[None])[0]
        return gray_to_channels(images, channels)
    if intensity in (None, "file"):
        image = _color(path, frame) if channels == 3 and window is None else None
        image = unit_range(image, str(path)) if image is not None else read_image(path, window=window, frame=frame)
    else:
        image = normalize(_values(path, frame, intensity), intensity, limits)
        if channels != image.shape[-1]:
            image = channels_to_gray(image)
    return gray_to_channels(np.asarray(image, "float32"), channels)


def _values(path, frame, intensity):
    """An image's values in the file's units, `(height, width, channels)`."""
    path, named = split_frame(path)
    frame = named if frame is None else frame
    if is_dicom(path):
        return read_values(path, frame)[..., None]
    if intensity == "range":
        raise ImageError(f"{path}: intensity='range' is in Hounsfield units. Expected a CT image in DICOM.")
    if not is_nifti(path) and path.suffix.lower() in RASTER_SUFFIXES:
        values = _color(path, frame)
        if values is not None:
            return values
    return read_image(path, frame=frame)


def _color(path, frame=None):
    """The channels of an RGB image, integers `(height, width, 3)`; `None` for gray and for other kinds of files."""
    path, named = split_frame(path)
    if path.suffix.lower() not in RASTER_SUFFIXES or is_dicom(path):
        return None
    raster = read_raster(path, named if frame is None else frame)
    values = raster.values
    if values.ndim == 2 or raster.transparent:  # read_image refuses transparent pixels
        return None
    return None if (values == values[..., :1]).all() else values
