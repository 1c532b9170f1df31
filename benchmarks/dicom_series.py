"""DICOM series read as volumes, compared with the NIfTI files of dcm2niix.

    python benchmarks/dicom_series.py --data DIR --out benchmarks/dicom_series

DIR contains folders of one DICOM series each and, next to each folder, the NIfTI file of the same name
(neurolabusc/dcm_qa_nih: a GE series of several time points and Siemens mosaics). Both are read by `medzoo.read_volume`
in RAS orientation. The table compares all values of all time points and the affines. "Stored" is the orientation of the
axes in the files.
"""

from pathlib import Path

import click
import nibabel
import numpy as np
from common import bar_chart, write_page

import medzoo


def compare(folder):
    """Yield one row per time point."""
    file = folder.with_suffix(".nii")
    shape = nibabel.load(file).shape
    for time in range(shape[3] if len(shape) > 3 else 1):
        ours, theirs = (medzoo.read_volume(path, time=time) for path in (folder, file))
        yield {
            "series": folder.name,
            "time": time,
            "voxels": "×".join(map(str, ours.values.shape)),
            "values_that_differ": int((ours.values != theirs.values).sum()),
            "affine_mm": float(np.abs(ours.affine - theirs.affine).max()),
            "stored_dicom": medzoo.read_volume(folder, time=time, orient=None).orientation,
            "stored_nifti": medzoo.read_volume(file, time=time, orient=None).orientation,
        }


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    folders = sorted(path for path in data.iterdir() if path.is_dir() and path.with_suffix(".nii").is_file())
    rows = [row for folder in folders for row in compare(folder)]
    header = ["Series", "time", "voxels", "values that differ", "largest difference of the affines (mm)"]
    header += ["DICOM, stored", "NIfTI, stored"]
    cells = [[f"{v:.1e}" if isinstance(v, float) else v for v in row.values()] for row in rows]
    equal = [
        100 * (1 - row["values_that_differ"] / np.prod([int(n) for n in row["voxels"].split("×")])) for row in rows
    ]
    bar_chart(out, [f"{row['series']}, {row['time']}" for row in rows], equal, "Voxels with equal values (%)")
    write_page(out, "DICOM series", [("", header, cells)], {"results": rows})


if __name__ == "__main__":
    main()
