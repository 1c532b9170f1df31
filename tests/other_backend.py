"""Train and run models without TensorFlow; run by test_package.py under KERAS_BACKEND=jax or torch.

    python tests/other_backend.py FOLDER PRESET ...

One family is trained per named preset, and the reconstructions of the presets are written.
"""

import sys
from pathlib import Path

sys.modules["tensorflow"] = None  # as on a machine with one framework only
folder, names = Path(sys.argv[1]), sys.argv[2:]

import keras  # noqa: E402
import numpy as np  # noqa: E402

import medzoo  # noqa: E402

x = np.load(folder / "phantoms.npy")
small = {"filters": (8, 16), "blocks_per_stage": 1, "seed": 0}
models = (
    medzoo.VAE((64, 64, 1), latent_dim=6, beta_warmup_steps=4, free_bits=0.01, **small),
    medzoo.VQVAE(codebook_size=16, **small),
    medzoo.ConvAutoencoder((64, 64, 1), latent_dim=6, noise_std=(0, 0.1), sparsity_weight=0.01, **small),
    medzoo.VQVAE(codebook_size=16, codebook_update="gradient", **small),
    medzoo.MaskedAutoencoder(latent_dim=6, **small),
)
for model in models[: len(names)]:
    keras.utils.set_random_seed(0)
    model.compile("adam", metrics=[medzoo.metrics.image.SSIM()])
    history = model.fit(x, validation_data=(x,), epochs=6, batch_size=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0], history
    assert np.isfinite(history["val_ssim"]).all(), history
    assert np.allclose(model.decode(model.encode(x)), model.predict(x, verbose=0), atol=1e-4)
    if isinstance(model, medzoo.VAE):
        total = np.array(history["val_reconstruction_loss"]) + history["val_kl"]
        assert (np.array(history["val_loss"]) >= total - 1e-2 * np.abs(total)).all()
        assert abs(float(model.variance) - 0.05) > 1e-4  # updated on this backend too
    if isinstance(model, medzoo.VQVAE):
        assert float(keras.ops.convert_to_numpy(model.quantizer.started)) == 1.0
        assert history["usage"][-1] > 0.3, history
np.savez(folder / "other.npz", **{name: medzoo.load(name).reconstruct(x) for name in names})
