"""Standardized uptake values (SUV) of PET images."""

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.errors import ImageError

if TYPE_CHECKING:
    import pydicom

SUV_WINDOW = (5, 10)  # center and width: 0 to 10


def suv_factor(path: str | Path, dataset: "pydicom.Dataset") -> float:
    """Return the factor that converts rescaled PET values to body-weight SUV.

    SUV = activity (Bq/ml) × weight (g) / injected dose (Bq), with the dose decayed to the reference time of the decay
    correction (Quantitative Imaging Biomarkers Alliance, "SUV vendor-neutral pseudo-code"; DICOM PS3.3 C.8.9.1).

    Args:
        path: path of the file, for error messages.
        dataset: pydicom dataset.

    Returns:
        float, in (g/ml) per unit of the rescaled values.

    Raises:
        ImageError: If the image is not a PET image, or required tags are missing or ambiguous; the message names them.
    """

    def refuse(why):
        return ImageError(f"{path}: no SUV: {why}.")

    if dataset.get("Modality") != "PT":
        raise refuse(f"modality {dataset.get('Modality', 'unknown')}, expected PT")
    units = dataset.get("Units")
    if units == "GML":
        if (kind := dataset.get("SUVType") or "BW") != "BW":
            raise refuse(f"SUVType {kind}, expected BW")
        return 1.0
    if units != "BQML":
        raise refuse(f"Units {units}, expected BQML or GML")
    corrections = dataset.get("CorrectedImage") or []
    corrections = [corrections] if isinstance(corrections, str) else list(corrections)
    if not {"ATTN", "DECY"} <= set(corrections):
        raise refuse(f"CorrectedImage {corrections}, expected ATTN and DECY")
    weight = float(dataset.get("PatientWeight") or 0)
    if not 0 < weight < 1000:
        raise refuse(f"PatientWeight {weight:g} kg")
    injections = dataset.get("RadiopharmaceuticalInformationSequence") or []
    if len(injections) != 1:
        raise refuse(f"{len(injections)} radiopharmaceuticals, expected 1")
    dose = float(injections[0].get("RadionuclideTotalDose") or 0)
    half_life = float(injections[0].get("RadionuclideHalfLife") or 0)
    if not 0 < dose < math.inf or not 0 < half_life < math.inf:
        raise refuse(f"RadionuclideTotalDose {dose:g} Bq, RadionuclideHalfLife {half_life:g} s")
    corrected_to = dataset.get("DecayCorrection")
    if corrected_to == "START":
        dose *= 2 ** (-_uptake_time(refuse, dataset, injections[0]) / half_life)
    elif corrected_to != "ADMIN":
        raise refuse(f"DecayCorrection {corrected_to}, expected START or ADMIN")
    return 1000 * weight / dose


def _uptake_time(refuse, dataset, injection):
    """Return the seconds from the injection to the start of the series."""
    start = _time(dataset.get("SeriesDate"), dataset.get("SeriesTime"))
    acquired = _time(dataset.get("AcquisitionDate"), dataset.get("AcquisitionTime"))
    if start is None or acquired is None or start > acquired:
        raise refuse(
            "SeriesTime missing or after AcquisitionTime (a derived series), so the start of the scan is unknown"
        )
    moment = str(injection.get("RadiopharmaceuticalStartDateTime") or "")
    injected = _time(moment[:8], moment[8:].split("+")[0].split("-")[0]) if moment else None
    injected = injected or _time(dataset.get("SeriesDate"), injection.get("RadiopharmaceuticalStartTime"))
    seconds = (start - injected).total_seconds() if injected else -1
    if not 0 <= seconds <= 86400:
        raise refuse("the injection time is missing, or not within 24 hours before the scan")
    return seconds


def _time(date, time):
    """Return a datetime from DICOM DA and TM values, or `None`."""
    date, (whole, _, fraction) = str(date or ""), str(time or "").partition(".")
    if not whole:
        return None
    try:
        return datetime.strptime(date + whole.ljust(6, "0") + (fraction or "0")[:6], "%Y%m%d%H%M%S%f")
    except ValueError:
        return None
