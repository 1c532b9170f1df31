"""From stored values of a DICOM image to its units, and from these to gray values: PS3.3 C.11.1 and C.11.2."""

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import ImageError
from medzoo.io import notices
from medzoo.io.dicom_lut import read_table, scale_table
from medzoo.io.dicom_pixels import find_padding, is_lossy, stored_span
from medzoo.io.intensity import apply_window, check_window, min_max_normalize, resolve_window
from medzoo.io.suv import SUV_WINDOW, suv_factor

AIR = -1024  # what padding becomes in an image in Hounsfield units: what most scanners write for air
INSTEAD = "Pass window=(center, width)"
RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}  # and what stands for a missing one


@dataclass(frozen=True)
class Frame:
    """One decoded image.

    Attributes:
        path: the file.
        dataset: pydicom data set, with the tags of this frame on top.
        values: stored values, `(H, W)`, or `(H, W, 3)` in color.
        words: the same as they lie in the file, where that is known.
    """

    path: Path
    dataset: Any
    values: np.ndarray
    words: np.ndarray

    @cached_property
    def padding(self):
        """Boolean array of what is padding and no gray value, or `None`.

        Lossy compression changes padding, so that some of it and some gray values would be found: none is then.
        """
        found = find_padding(self.dataset, self.values, self.words)
        if found is None or not is_lossy(self.dataset):
            return found
        kind = "padding (PixelPaddingValue) in lossy compressed pixels"
        notices.warn(kind, self.path, f"{kind} is inexact and counts as gray values. {INSTEAD}.")
        return None

    @property
    def span(self):
        """`(lowest, highest)` stored value that there can be."""
        if self.values.dtype.kind == "f":
            return float(np.nanmin(self.values)), float(np.nanmax(self.values))
        return stored_span(self.dataset)

    @property
    def little(self):
        """Whether the file is little endian."""
        return bool(self.dataset.original_encoding[1])


def as_units(frame, units=None):
    """Return the values of a frame in its units, after the rescale or modality LUT; padding as `read_values` says.

    Raises:
        ImageError: If the rescale, the modality LUT or the tags for SUV cannot be used.
    """
    if units not in (None, "suv"):
        raise ValueError(f"units={units!r}; expected None or 'suv'.")
    dataset, padding = frame.dataset, frame.padding
    values = frame.values
    try:
        if dataset.get("ModalityLUTSequence"):
            table = read_table(frame.path, dataset.ModalityLUTSequence[0], frame.span, frame.little)
            if table.entries.min() == table.entries.max():
                raise ValueError(f"all {len(table.entries)} entries are {table.entries[0]}")
            values = table.map(values)
        else:
            slope, intercept = rescale_of(dataset)
            _warn_of_half_a_rescale(frame.path, dataset)
            if slope is not None:
                values = values.astype("float64") * slope + intercept
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ImageError(f"{frame.path}: rescale or modality LUT that cannot be used ({error}).") from error
    if units == "suv":
        values = values * suv_factor(frame.path, dataset)
    if padding is not None:
        values = _without_padding(frame, values, padding)
    if not np.isfinite(values).all():  # scaled to gray values they would not be noticed
        raise ImageError(f"{frame.path}: pixels hold NaN or infinity.")
    return values.astype("float32") if values.dtype.kind == "f" else values


def _without_padding(frame, values, padding):
    """The values with air instead of padding in CT; else with the padding's own value cut off to the range from 0 to
    the smallest other value."""
    hounsfield = frame.dataset.get("Modality") == "CT" and units_of(frame.dataset) in ("HU", "HU_MOD")
    if hounsfield and values.dtype.kind == "f":  # a modality LUT has no values below 0
        return np.where(padding, AIR, values)
    nothing = values.dtype.type(0)
    lowest = values[~padding].min() if not padding.all() else nothing
    own = np.nan_to_num(values, nan=lowest) if values.dtype.kind == "f" else values
    return np.where(padding, np.clip(own, min(lowest, nothing), max(lowest, nothing)), values)


def rescale_of(dataset):
    """Return `(slope, intercept)`, both `None` where the file has none; one that is missing is 1 or 0.

    Raises:
        ValueError: If they are not finite, or the slope is 0.
    """
    found = {name: dataset.get(name) for name in RESCALE}
    if all(value is None for value in found.values()):
        return None, None
    slope, intercept = (RESCALE[name] if value is None else float(value) for name, value in found.items())
    if not math.isfinite(slope) or not math.isfinite(intercept) or slope == 0:
        raise ValueError(
            f"RescaleSlope {slope}, RescaleIntercept {intercept}; expected finite numbers and a slope other than 0"
        )
    return slope, intercept


def _warn_of_half_a_rescale(path, dataset):
    given = [name for name in RESCALE if dataset.get(name) is not None]
    if len(given) == 1:
        (missing,) = set(RESCALE) - set(given)
        text = (
            f"{given[0]} {float(dataset[given[0]].value):g} without {missing}, which is taken for {RESCALE[missing]:g}."
        )
        notices.warn("rescale that is not complete", path, text)


def units_of(dataset):
    """Return the type of the values after the rescale, e.g. `"HU"`; `None` where there is no rescale."""
    if tables := dataset.get("ModalityLUTSequence"):
        return str(tables[0].get("ModalityLUTType") or "unspecified").strip().upper()
    if dataset.get("RescaleIntercept") is None:
        return None
    return str(dataset.get("RescaleType") or "").strip().upper() or "HU"


def checked_window(path, window):
    """Return the argument `window` in one of its forms: `None`, a name, an index, or `(center, width)`.

    Raises:
        ImageError: If it has none of these.
    """
    try:
        if window is None or window == "suv":
            return window
        if not isinstance(window, (str, bool)) and hasattr(window, "__index__") and np.ndim(window) == 0:
            return operator.index(window)
        center, width = resolve_window(window)
        check_window(float(center), float(width))
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: window={window!r} cannot be used ({error}). Expected (center, width), a name or an index."
        ) from error
    return window if isinstance(window, str) else (float(center), float(width))


def as_gray(frame, window=None):
    """Return the gray values of a frame in [0, 1], dark to bright, before the inversion of MONOCHROME1."""
    path, dataset, padding = frame.path, frame.dataset, frame.padding
    values = as_units(frame, "suv" if window == "suv" else None)
    if window == "suv":
        return apply_window(values, *SUV_WINDOW, "LINEAR_EXACT")
    if isinstance(window, str):
        _check_hounsfield(path, dataset, window)
    if window is not None and not isinstance(window, int):
        return apply_window(values, *resolve_window(window))
    try:
        tables = dataset.get("VOILUTSequence")
        if tables and window is None:
            table = read_table(path, tables[0], _span_of_units(frame), frame.little)
            gray = scale_table(path, table)
            return table._replace(entries=gray).map(values).astype("float32")
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        more = ", or window=0 for the file's own window" if _windows(dataset) else ""
        raise ImageError(f"{path}: a VOI LUT that cannot be used ({error}). {INSTEAD}{more}.") from error
    chosen = _window_in_file(path, dataset, window)
    if chosen is not None:
        return apply_window(values, *chosen)
    if dataset.get("BitsAllocated") == 1:
        return values.astype("float32")
    return min_max_normalize(values, None if padding is None else ~padding)


def _span_of_units(frame):
    """`(lowest, highest)` value that there can be after the rescale or modality LUT."""
    if frame.dataset.get("ModalityLUTSequence"):
        return 0, 2**16 - 1
    slope, intercept = rescale_of(frame.dataset)
    if slope is None:
        return frame.span
    return tuple(sorted(end * slope + intercept for end in frame.span))


def _windows(dataset):
    """The `(center, width)` of a file as they stand there."""
    elements = [dataset[name].value for name in ("WindowCenter", "WindowWidth") if name in dataset]
    if len(elements) < 2 or any(value is None for value in elements):
        return []
    return list(zip(*(np.ravel(value).tolist() for value in elements), strict=False))


def _window_in_file(path, dataset, index):
    """`(center, width, function)` of the file's window with an index, or of the first; `None` where it has none.

    Raises:
        ImageError: If there is no window of the index, or it cannot be used.
    """
    windows = _windows(dataset)
    if index is not None and not 0 <= index < len(windows):
        raise ImageError(f"{path}: window={index}; the file has {len(windows)} windows, from 0.")
    if not windows:
        return None
    function = str(dataset.get("VOILUTFunction") or "").strip().upper().replace(" ", "_") or "LINEAR"

    def problem(window):
        try:
            check_window(*map(float, window), function)
        except (TypeError, ValueError) as error:
            return error

    if error := problem(windows[index or 0]):
        usable = [i for i, window in enumerate(windows) if not problem(window)]
        other = f", or window={usable[0]} for another one of the file" if usable else ""
        center, width = windows[index or 0]
        raise ImageError(
            f"{path}: WindowCenter {center!s}, WindowWidth {width!s}: a window that cannot be used ({error}). "
            f"{INSTEAD}{other}."
        )
    return (*map(float, windows[index or 0]), function)


def _check_hounsfield(path, dataset, window):
    if dataset.get("Modality") != "CT":
        raise ImageError(f"{path}: window={window!r} is for CT; modality {dataset.get('Modality', 'unknown')}.")
    kind = units_of(dataset)
    if kind not in ("HU", "HU_MOD"):
        raise ImageError(
            f"{path}: window={window!r} needs Hounsfield units; the file has "
            + (f"values of type {kind}." if kind else "no rescale slope and intercept.")
        )
