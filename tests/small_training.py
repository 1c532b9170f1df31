"""A small training for test_faults.py: `python tests/small_training.py KIND DATA OUT [kill STEP | term STEP]`.

KIND is a family of `BUILD`, or "prior" for the prior of a VAE.
"""

import os
import signal
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
from conftest import SMALL

import medzoo
from medzoo.training import checkpoint, prior, trainer
from medzoo.training.recipe import Recipe, TrainingSource

BUILD = {
    "vqvae": lambda **own: medzoo.VQVAE((32, 32, 1), latent_dim=4, codebook_size=16, **{**SMALL, **own}),
    "vae": lambda **own: medzoo.VAE((32, 32, 1), latent_dim=6, beta_warmup_steps=12, **{**SMALL, **own}),
    "mae": lambda **own: medzoo.MaskedAutoencoder((32, 32, 1), latent_dim=3, **{**SMALL, **own}),
    "codec": lambda **own: medzoo.Codec((32, 32, 1), latent_dim=6, groups=(2, 4), hidden=8, **{**SMALL, **own}),
    "ae": lambda **own: medzoo.ConvAutoencoder((32, 32, 1), latent_dim=6, **{**SMALL, **own}),
}


def small(family, **changes):
    settings = {"modality": "X-ray", "domain": "", "description": "", "epochs": 2, "batch_size": 8}
    return Recipe(
        name=family, model=BUILD[family], data=(TrainingSource({"file": "images.npz"}),), **{**settings, **changes}
    )


def train(kind, data, out):
    if kind == "prior":
        keras.utils.set_random_seed(0)  # the same VAE in every process
        prior.train_prior(medzoo.VAE((32, 32, 1), latent_dim=6, **SMALL), data, out, epochs=2, batch_size=8)
    else:
        small(kind, prior_epochs=2 if kind == "codec" else 0).train(data, out)


prior.MIN_IMAGES = 0  # no augmented copies
trainer._jit_compile = lambda model: False  # compiling would take longer than the training

if __name__ == "__main__":
    kind, data, out, *fault = sys.argv[1:]
    finished, end = [0], checkpoint.Checkpoints.on_train_batch_end

    def fail(self, batch, logs=None):
        end(self, batch, logs)
        finished[0] += 1
        if fault and finished[0] == int(fault[1]):
            os.kill(os.getpid(), signal.SIGKILL if fault[0] == "kill" else signal.SIGTERM)

    checkpoint.Checkpoints.on_train_batch_end = fail
    checkpoint.Checkpoints.__init__.__defaults__ = (3, *checkpoint.Checkpoints.__init__.__defaults__[1:])  # every
    train(kind, Path(data), Path(out))
