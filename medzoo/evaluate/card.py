"""Model cards in the hub's format, written from a preset's own JSON files."""

import json
from pathlib import Path

import numpy as np

from medzoo.evaluate import plots
from medzoo.evaluate.markdown import baseline_name, sections
from medzoo.images.intensity import resize
from medzoo.models import VAE
from medzoo.recipes import recipe
from medzoo.zoo.presets import load

PRIOR = "Drawn from the prior: none of these patients exists."
PHANTOMS = "Above, drawn phantoms (no patients); below, their reconstructions."
FAMILIES = {
    "ConvAutoencoder": "Convolutional autoencoder",
    "VAE": "Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) with a learned decoder variance "
    "(Rybkin et al. 2021, arXiv:2006.13202)",
    "VQVAE": "Vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937)",
    "Codec": "Autoencoder for compression, trained for rate and distortion (Ballé et al. 2017, arXiv:1611.01704)",
}


def read_json(folder, name):
    """A JSON file of a preset folder."""
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


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
    noise = ", with noise added" if max(*config["model"]["config"].get("noise_std", (0, 0))) > 0 else ""
    active = config["model"]["config"].get("active")
    sparse = f", k-sparse (Makhzani & Frey 2013, arXiv:1312.5663; {active} latents an image)," if active else ""
    verdict = ""
    if "pca" in measured:
        pca = measured["pca"]
        gain = measured["psnr"]["mean"] - pca["psnr"]["mean"]
        what = "the posterior mean" if family == "VAE" else "the model"
        verdict = (
            f"With as many numbers, {what} reconstructs {abs(gain):.2f} dB {'better' if gain >= 0 else 'worse'} "
            f"than a {baseline_name(pca)}, fitted to the same training images.\n"
        )
        if active:
            verdict += f"The PCA uses all of its numbers for each image, the model {active}.\n"
    if noise:
        verdict += "It was trained to remove noise: see the noisy rows under other exposures.\n"
    crop = recipe(name).augment.get("crop")
    how = (
        f"crops of {crop}×{crop} pixels at different scales and exposures"
        if crop
        else "images shifted, turned, scaled and exposed a little differently each time"
    )
    probe = recipe(name).probe
    probed = f"\n\nThe features were measured on:\n\n{probe['cite']}" if probe and "probe" in measured else ""
    minutes = trained["seconds"] / 60
    backend = "" if trained["backend"] == "tensorflow" else f"KERAS_BACKEND={trained['backend']} "
    caption = PRIOR if family == "VAE" and None not in shape else PHANTOMS
    if None in shape:
        f = measured["image_size"][0] // measured["latent_shape"][0]
        size = f"any height and width that are multiples of {f} (made for {size_of(measured)})"
    else:
        size = size_of(measured)
    return f"""---
license: {source["weights_licence"]}
library_name: keras
tags: [medzoo, autoencoder, medical-imaging, {family.lower()}]
---

# {name}

{FAMILIES[family]}{sparse} for {recipe(name).subject}, {size}, one channel, values in [0, 1].

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

On images that the training did not see. {verdict}
{sections(measured)}

Weights: {config["weights"]["size"] / 2**20:.1f} MiB for {measured["parameters"]:,} parameters; storing them as \
float16 cost {trained["float16_cost_db"]:.4f} dB.

## Training

{trained["train_images"]:,} images ({trained["validation_images"]} more for choosing the epoch: \
{trained["best_epoch"]} of {trained["epochs"]}), {minutes:.0f} minutes on a machine with {trained["device"]} \
(Keras {trained["keras"]}, {trained["backend"]} backend), seed {trained["seed"]}, Adam, batch {trained["batch_size"]}, \
learning rate {trained["learning_rate"]:g} with warm-up and cosine decay, started from the PCA of the training images; \
{how}{noise}.

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

{source["cite"]}{probed}
"""


def size_of(measured):
    """`64×64 pixels`."""
    return "×".join(map(str, measured["image_size"])) + " pixels"


def _write_samples(folder):
    model = load(folder)
    if isinstance(model, VAE) and model.bottleneck == "vector":
        images, title = model.sample(32, seed=0), f"{model.name}: samples, seed 0"
    else:  # no prior to draw from, and no patient's image goes into a card
        size = tuple(side or 256 for side in model.image_shape[:2])
        draw = recipe(read_json(folder, "training.json")["recipe"]).phantoms
        drawn = np.stack([draw[i % len(draw)](256, i) for i in range(8)])
        drawn = resize(drawn, size)
        images, title = np.concatenate([drawn, model.reconstruct(drawn)]), model.name
    plots.save_grid(folder / "samples.png", images, title=title)
