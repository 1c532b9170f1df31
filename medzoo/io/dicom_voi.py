"""Modality and VOI transforms of DICOM images (PS3.3 C.11.1 and C.11.2): stored values, units, gray values."""

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.errors import ImageError
from medzoo.io import notices
from medzoo.io.dicom_lut import read_table, scale_table
from medzoo.io.dicom_pixels import find_padding, is_lossy, stored_span
from medzoo.io.intensity import apply_window, check_window, min_max_normalize, resolve_window
from medzoo.io.suv import SUV_WINDOW, suv_factor

if TYPE_CHECKING:
    import pydicom

AIR = -1024  # value of padding in images in Hounsfield units; most scanners use it for air
INSTEAD = "Pass window=(center, width)"
RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}  # defaults of missing tags


@dataclass(frozen=True)
class Frame:
    """Decoded DICOM frame.

    Attributes:
        path: path of the file.
        dataset: pydicom dataset with the tags of this frame at the top level.
        values: array of stored values `(H, W)`, or `(H, W, 3)` for color.
        words: array of the words as stored in the file, if known.
    """

    path: Path
    dataset: Any
    values: np.ndarray
    words: np.ndarray

    @cached_property
    def padding(self) -> np.ndarray | None:
        """Boolean mask of padding, or `None`.

        Lossy compression alters padding values, so that a mask would be inexact; padding is then ignored.
        """
        found = find_padding(self.dataset, self.values, self.words)
        if found is None or not is_lossy(self.dataset):
            return found
        kind = "padding (PixelPaddingValue) in lossy compressed pixels"
        notices.warn(kind, self.path, f"{kind} is inexact and treated as gray values. {INSTEAD}.")
        return None

    @property
    def span(self) -> tuple[float, float]:
        """`(minimum, maximum)` possible stored value."""
        if self.values.dtype.kind == "f":
            return float(np.nanmin(self.values)), float(np.nanmax(self.values))
        return stored_span(self.dataset)

    @property
    def little(self) -> bool:
        """Whether the file is little endian."""
        return bool(self.dataset.original_encoding[1])


def as_units(frame: Frame, units: str | None = None) -> np.ndarray:
    """Apply the rescale or modality LUT to a frame; for padding see `read_values`.

    Args:
        frame: decoded frame.
        units: `None` (default) or `"suv"`.

    Returns:
        Array `(H, W)` in physical units.

    Raises:
        ImageError: If the rescale, the modality LUT or the tags for SUV are invalid.
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
            _warn_incomplete_rescale(frame.path, dataset)
            if slope is not None:
                values = values.astype("float64") * slope + intercept
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ImageError(f"{frame.path}: invalid rescale or modality LUT ({error}).") from error
    if units == "suv":
        values = values * suv_factor(frame.path, dataset)
    if padding is not None:
        values = _without_padding(frame, values, padding)
    if not np.isfinite(values).all():  # they would be undetectable after scaling to gray values
        raise ImageError(f"{frame.path}: the pixels contain NaN or infinity.")
    return values.astype("float32") if values.dtype.kind == "f" else values


def _without_padding(frame, values, padding):
    """Values with padding replaced by air in CT, else clipped to the range between 0 and the minimum of the others."""
    hounsfield = frame.dataset.get("Modality") == "CT" and units_of(frame.dataset) in ("HU", "HU_MOD")
    if hounsfield and values.dtype.kind == "f":  # a modality LUT has no values below 0
        return np.where(padding, AIR, values)
    zero = values.dtype.type(0)
    lowest = values[~padding].min() if not padding.all() else zero
    own = np.nan_to_num(values, nan=lowest) if values.dtype.kind == "f" else values
    return np.where(padding, np.clip(own, min(lowest, zero), max(lowest, zero)), values)


def rescale_of(dataset: "pydicom.Dataset") -> tuple[float | None, float | None]:
    """Return the rescale `(slope, intercept)`.

    Args:
        dataset: pydicom dataset.

    Returns:
        Both values, `(None, None)` if both tags are missing. A single missing tag defaults to slope 1 or intercept 0.

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


def _warn_incomplete_rescale(path, dataset):
    """Log a warning if only one of slope and intercept is given."""
    given = [name for name in RESCALE if dataset.get(name) is not None]
    if len(given) == 1:
        (missing,) = set(RESCALE) - set(given)
        text = (
            f"{given[0]} {float(dataset[given[0]].value):g} without {missing}; {RESCALE[missing]:g} is assumed for it."
        )
        notices.warn("incomplete rescale", path, text)


def units_of(dataset: "pydicom.Dataset") -> str | None:
    """Return the units of the rescaled values, e.g. `"HU"`; `None` without rescale."""
    if tables := dataset.get("ModalityLUTSequence"):
        return str(tables[0].get("ModalityLUTType") or "unspecified").strip().upper()
    if dataset.get("RescaleIntercept") is None:
        return None
    return str(dataset.get("RescaleType") or "").strip().upper() or "HU"


def checked_window(path: str | Path, window: Any) -> tuple[float, float] | str | int | None:
    """Validate the argument `window` of `read_dicom`.

    Args:
        path: path of the file, for error messages.
        window: `None`, a name, an index, or `(center, width)`.

    Returns:
        The window in one of these forms.

    Raises:
        ImageError: If the window is invalid.
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
            f"{path}: invalid window={window!r} ({error}). Expected (center, width), a name or an index."
        ) from error
    return window if isinstance(window, str) else (float(center), float(width))


def as_gray(frame: Frame, window: tuple[float, float] | str | int | None = None) -> np.ndarray:
    """Return the gray values of a frame before the inversion of MONOCHROME1.

    Args:
        frame: decoded frame.
        window: see `read_dicom`.

    Returns:
        float32 array `(H, W)` in [0, 1].

    Raises:
        ImageError: If the window is not applicable, or the lookup table or window of the file is invalid.
    """
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
        more = ", or window=0 for the window of the file" if _windows(dataset) else ""
        raise ImageError(f"{path}: invalid VOI LUT ({error}). {INSTEAD}{more}.") from error
    chosen = _window_in_file(path, dataset, window)
    if chosen is not None:
        return apply_window(values, *chosen)
    if dataset.get("BitsAllocated") == 1:
        return values.astype("float32")
    return min_max_normalize(values, None if padding is None else ~padding)


def _span_of_units(frame):
    """`(minimum, maximum)` possible value after the rescale or modality LUT."""
    if frame.dataset.get("ModalityLUTSequence"):
        return 0, 2**16 - 1
    slope, intercept = rescale_of(frame.dataset)
    if slope is None:
        return frame.span
    return tuple(sorted(end * slope + intercept for end in frame.span))


def _windows(dataset):
    """List of `(center, width)` of the windows of a file."""
    elements = [dataset[name].value for name in ("WindowCenter", "WindowWidth") if name in dataset]
    if len(elements) < 2 or any(value is None for value in elements):
        return []
    return list(zip(*(np.ravel(value).tolist() for value in elements), strict=False))


def _window_in_file(path, dataset, index):
    """`(center, width, function)` of the selected or first window of a file; `None` if it has no windows."""
    windows = _windows(dataset)
    if index is not None and not 0 <= index < len(windows):
        raise ImageError(f"{path}: window={index}; the file has {len(windows)} windows, counted from 0.")
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
        other = f", or window={usable[0]} for another window of the file" if usable else ""
        center, width = windows[index or 0]
        raise ImageError(
            f"{path}: WindowCenter {center!s}, WindowWidth {width!s}: invalid window ({error}). {INSTEAD}{other}."
        )
    return (*map(float, windows[index or 0]), function)


def _check_hounsfield(path, dataset, window):
    """Check that a named window is applied to CT in Hounsfield units."""
    if dataset.get("Modality") != "CT":
        raise ImageError(f"{path}: window={window!r} requires CT; modality {dataset.get('Modality', 'unknown')}.")
    kind = units_of(dataset)
    if kind not in ("HU", "HU_MOD"):
        raise ImageError(
            f"{path}: window={window!r} requires Hounsfield units; the file has "
            + (f"values of type {kind}." if kind else "no rescale slope and intercept.")
        )
