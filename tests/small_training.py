"""A small training for test_faults.py: `python tests/small_training.py DATA OUT [kill STEP | term STEP]`."""

import os
import signal
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

from conftest import SMALL

import medzoo
from medzoo.recipes import checkpoint, training
from medzoo.recipes.declaration import Part, Recipe

BUILD = {
    "vqvae": lambda **own: medzoo.VQVAE((32, 32, 1), latent_dim=4, codebook_size=16, **{**SMALL, **own}),
    "vae": lambda **own: medzoo.VAE((32, 32, 1), latent_dim=6, beta_warmup_steps=12, **{**SMALL, **own}),
    "ae": lambda **own: medzoo.ConvAutoencoder((32, 32, 1), latent_dim=6, **{**SMALL, **own}),
}


def small(family, **changes):
    facts = {"modality": "X-ray", "subject": "", "use": "", "epochs": 2, "batch_size": 8}
    return Recipe(name=family, model=BUILD[family], data=(Part({"file": "films.npz"}),), **{**facts, **changes})


training._xla = lambda model: False  # compiling would take longer than the training

if __name__ == "__main__":
    data, out, *fault = sys.argv[1:]
    seen, end = [0], checkpoint.Checkpoints.on_train_batch_end

    def fail(self, batch, logs=None):
        end(self, batch, logs)
        seen[0] += 1
        if fault and seen[0] == int(fault[1]):
            os.kill(os.getpid(), signal.SIGKILL if fault[0] == "kill" else signal.SIGTERM)

    checkpoint.Checkpoints.on_train_batch_end = fail
    checkpoint.Checkpoints.__init__.__defaults__ = (3, *checkpoint.Checkpoints.__init__.__defaults__[1:])  # every
    small("vqvae").train(Path(data), Path(out))
