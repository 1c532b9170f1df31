"""Presets compute the values that were stored when their weights were added.

`python tests/test_preset_values.py` stores the values again; do so only for presets that were retrained.
"""

from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom, head_volume
from medzoo.zoo.manifest import manifest

STORED = Path(__file__).parent / "fixtures" / "preset_values.npz"
STRIDE = 8  # every 8th pixel along each axis is stored


def values_of(name):
    """Return a subset of the pixels of a reconstruction and a sample, and of the latents, of one preset."""
    model = medzoo.load(name)
    sides = model.image_shape[:-1]
    if len(sides) == 3:
        image = head_volume([side or 32 for side in sides], seed=0)
    else:
        image = chest_phantom(sides[0] or 128, seed=0)
    values = {"reconstruction": model.reconstruct(image[None]), "latents": model.encode(image[None])}
    if hasattr(model, "sample") and model.can_sample:
        values["sample"] = model.sample(1, seed=0, num_steps=4)
    subset = slice(None, None, STRIDE)
    return {key: array[(slice(None), *(subset,) * (array.ndim - 2))] for key, array in values.items()}


@pytest.mark.parametrize("name", sorted(manifest()))
def test_preset_values_equal_the_stored_values(name):
    stored = np.load(STORED)
    for key, array in values_of(name).items():
        expected = stored[f"{name}/{key}"]
        if expected.dtype.kind == "i":
            assert np.array_equal(array, expected)
        else:
            assert np.allclose(array, expected, atol=2e-5, rtol=1e-4)


if __name__ == "__main__":
    computed = {f"{name}/{key}": array for name in manifest() for key, array in values_of(name).items()}
    np.savez_compressed(STORED, **computed)
