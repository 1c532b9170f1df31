"""Model cards in the hub's format, written from a preset's own JSON files."""

import json
from pathlib import Path

import numpy as np

from medzoo.evaluate import plots
from medzoo.images.intensity import resize
from medzoo.images.phantom import chest_phantom
from medzoo.models import VAE
from medzoo.recipes import recipe
from medzoo.zoo.presets import load

PHANTOMS = "Above, drawn phantoms of chest films (no patients); below, their reconstructions."
FAMILIES = {
    "ConvAutoencoder": "Convolutional autoencoder",
    "VAE": "Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) with a learned decoder variance "
    "(Rybkin et al. 2021, arXiv:2006.13202)",
    "VQVAE": "Vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937)",
}


def read_json(folder, name):
    """A JSON file of a preset folder."""
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


def interval(value, digits=2):
    """`27.46 (27.31 to 27.60)` from a mean with its interval."""
    low, high = value["interval"]
    return f"{value['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def write_card(folder):
    """Writes `README.md` and `samples.png` of a preset folder."""
    folder = Path(folder)
    (folder / "README.md").write_text(card(folder), encoding="utf-8")
    _write_samples(folder)


def card(folder):
    """The text of the card."""
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    name = trained["recipe"]
    source = recipe(name).source
    family = config["model"]["class_name"]
    shape = config["model"]["config"]["image_shape"]
    rows = [f"| model | {interval(measured['psnr'])} | {interval(measured['ssim'], 4)} |"]
    verdict = ""
    if "pca" in measured:
        pca = measured["pca"]
        rows.append(f"| PCA, {pca['components']} components | {interval(pca['psnr'])} | {interval(pca['ssim'], 4)} |")
        gain = measured["psnr"]["mean"] - pca["psnr"]["mean"]
        what = "the posterior mean" if family == "VAE" else "the model"
        verdict = (
            f"\nWith as many numbers, {what} reconstructs {abs(gain):.2f} dB {'better' if gain >= 0 else 'worse'} "
            "than a PCA fitted to the same training images.\n"
        )
    terms = ", ".join(f"{k.replace('_', ' ')} {v:,.1f}" for k, v in measured["loss_terms"].items())
    unit = " (nats per image)" if family == "VAE" else ""
    minutes = trained["seconds"] / 60
    backend = "" if trained["backend"] == "tensorflow" else f"KERAS_BACKEND={trained['backend']} "
    caption = "Drawn from the prior: none of these patients exists." if family == "VAE" else PHANTOMS
    return f"""---
license: {source["weights_licence"]}
library_name: keras
tags: [medzoo, autoencoder, medical-imaging, {family.lower()}]
---

# {name}

{FAMILIES[family]} for {recipe(name).subject}, {shape[0]}×{shape[1]} pixels, one channel, values in [0, 1].

```python
import medzoo

model = medzoo.load("{name}")
x = model.preprocess("film.png")  # or .dcm, .jpg, .npy, or an array
z = model.encode(x)  # shape {(1, *measured["latent_shape"])}
model.decode(z)  # the reconstruction, equal to model(x)
```

![samples](samples.png)

{caption}

## Measured

{measured["images"]} images of the {measured["split"]} split of `{measured["data"]}` \
(classes: {", ".join(measured["classes"])}), which the training did not see; \
mean per image and 95% bootstrap interval.

| | PSNR, dB | SSIM |
|---|---|---|
{chr(10).join(rows)}
{verdict}
Loss terms on the same images{unit}: {terms}. Parameters: {measured["parameters"]:,}. Weights: \
{config["weights"]["size"] / 2**20:.1f} MiB; storing them as float16 cost {trained["float16_cost_db"]:.4f} dB.

Command: `{measured["command"]}`

## Training

{trained["train_images"]:,} images ({trained["validation_images"]} more for choosing the epoch: \
{trained["best_epoch"]} of {trained["epochs"]}), {minutes:.0f} minutes on a machine with {trained["device"]} \
(Keras {trained["keras"]}, {trained["backend"]} backend), seed {trained["seed"]}, Adam, batch {trained["batch_size"]}, \
learning rate {trained["learning_rate"]:g} with warm-up and cosine decay, started from the PCA of the training images; \
images shifted, turned, scaled and exposed a little differently each time.

Command: `{backend}{trained["command"]}`

## Data

{source["text"]}

Licence of the data: {source["licence"]}.

## Limits

- For research. Not a medical device, not for diagnosis or treatment.
- {recipe(name).limits}
- A reconstruction shows what is usual in the training data: small or rare findings may vanish, and structures may \
appear that the patient does not have. Never read a reconstruction in place of the image.
- Only images like those of the training data are meant: other views, ages, devices or hospitals reconstruct worse.

## Cite

{source["cite"]}
"""


def _write_samples(folder):
    model = load(folder)
    if isinstance(model, VAE):
        images, title = model.sample(32, seed=0), f"{model.name}: samples, seed 0"
    else:  # no prior to draw from, and no patient's image goes into a card
        size = tuple(side or 256 for side in model.image_shape[:2])
        films = resize(np.stack([chest_phantom(256, seed) for seed in range(8)]), size)
        images, title = np.concatenate([films, model.reconstruct(films)]), model.name
    plots.save_grid(folder / "samples.png", images, title=title)
