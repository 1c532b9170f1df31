"""Every preset computes what it computed when its values were stored.

`python tests/test_preset_values.py` stores them anew; do that only for presets that were trained again.
"""

from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom, head_volume
from medzoo.zoo.manifest import manifest

STORED = Path(__file__).parent / "fixtures" / "preset_values.npz"
EVERY = 8  # a pixel of so many, along each axis, is stored


def values_of(name):
    """Some pixels of a reconstruction and of a sample, and some latents or codes, of one preset."""
    model = medzoo.load(name)
    sides = model.image_shape[:-1]
    if len(sides) == 3:
        image = head_volume([side or 32 for side in sides], seed=0)
    else:
        image = chest_phantom(sides[0] or 128, seed=0)
    values = {"reconstruction": model.reconstruct(image[None]), "latents": model.encode(image[None])}
    if hasattr(model, "sample") and model.can_sample:
        values["sample"] = model.sample(1, seed=0, num_steps=4)
    thin = slice(None, None, EVERY)
    return {key: array[(slice(None), *(thin,) * (array.ndim - 2))] for key, array in values.items()}


@pytest.mark.parametrize("name", sorted(manifest()))
def test_a_preset_computes_what_it_always_did(name):
    stored = np.load(STORED)
    for key, array in values_of(name).items():
        expected = stored[f"{name}/{key}"]
        if expected.dtype.kind == "i":
            assert np.array_equal(array, expected)
        else:
            assert np.allclose(array, expected, atol=2e-5, rtol=1e-4)


if __name__ == "__main__":
    found = {f"{name}/{key}": array for name in manifest() for key, array in values_of(name).items()}
    np.savez_compressed(STORED, **found)
