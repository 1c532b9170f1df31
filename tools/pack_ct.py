"""Pack CT slices in Hounsfield units as the NPZ datasets that `medzoo train vae-ct` takes.

    python tools/pack_ct.py SOURCE_DIR OUTPUT_DIR

SOURCE_DIR contains one NPZ file per collection with int16 arrays `train`, `val`, `test` of shape `(N, 512, 512)` in
Hounsfield units and `train_group` ... with the patient of each slice. OUTPUT_DIR receives the datasets of
`medzoo.recipes.datasets` in the MedMNIST convention: uint16, 0 to 65535 for -1024 to 3071 HU, and the patients as
`train_groups` ...
"""

import sys
from pathlib import Path

import numpy as np

LOW, HIGH = -1024, 3071  # Hounsfield units
DATASETS = {  # dataset: split: collection
    "ct_lidc_512": {"train": "ct_lidc", "val": "ct_lidc", "test": "ct_lidc"},
    "ct_tcga_512": {"train": "ct_tcga_lung", "val": "ct_tcga_lung", "test": "ct_tcga_lung"},
    "ct_lung_512": {"train": "ct_lung_dx", "val": "ct_lung_fcp", "test": "ct_lung_dx"},
    "ct_body_512": {"train": "ct_whole_body", "test": "ct_abdomen_coad"},
}


def main(source, output):
    for name, splits in DATASETS.items():
        arrays = {}
        for split, collection in splits.items():
            with np.load(Path(source) / f"{collection}.npz") as stored:
                values = np.clip(stored[split], LOW, HIGH).astype("float32") - LOW
                arrays[f"{split}_images"] = np.round(values * (65535 / (HIGH - LOW))).astype("uint16")
                arrays[f"{split}_groups"] = stored[f"{split}_group"]
        np.savez(Path(output) / f"{name}.npz", **arrays)
        print(name, {key: array.shape for key, array in arrays.items() if key.endswith("images")})


if __name__ == "__main__":
    main(*sys.argv[1:])
