"""Model cards in the hub's format, written from a preset's own JSON files."""

import json
from pathlib import Path

import numpy as np

from medzoo import visualization as plots
from medzoo.evaluation.markdown import baseline_name, sections
from medzoo.io.intensity import center_crop_resize
from medzoo.models import VAE
from medzoo.recipes import recipe
from medzoo.recipes.datasets import STARTS, source_of
from medzoo.tasks.reconstruct import input_and_reconstruction
from medzoo.zoo.presets import load

PRIOR = "Drawn from the prior: none of these patients exists."
PHANTOMS = "Above, drawn phantoms (no patients); below, their reconstructions."
HIDDEN = "Above, drawn phantoms (no patients), six in ten of their blocks hidden; below, what these are filled with."
SMALL = 128  # pixels, up to which images show shapes only
LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "other")  # from the freest to the strictest
FAMILIES = {
    "ConvAutoencoder": "Convolutional autoencoder",
    "VAE": "Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) with a learned decoder variance "
    "(Rybkin et al. 2021, arXiv:2006.13202)",
    "VQVAE": "Vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937)",
    "MaskedAutoencoder": "Masked autoencoder (He et al. 2022, arXiv:2111.06377)",
    "Codec": "Autoencoder for compression, trained for rate and distortion (Ballé et al. 2017, arXiv:1611.01704)",
}


def read_json(folder, name):
    """A JSON file of a preset folder."""
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


def write_card(folder):
    """Writes `README.md` and `samples.png` of a preset folder; not of one that was never measured, and says so."""
    folder = Path(folder)
    if not (folder / "metrics.json").is_file():
        return False
    (folder / "README.md").write_text(card(folder), encoding="utf-8")
    _write_samples(folder)
    return True


def card(folder):
    """The text of the card."""
    folder = Path(folder)
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    name = trained["recipe"]
    sources = [source_of(data) for data in trained["data"]]
    begun = STARTS.get(trained.get("start"))
    family = config["model"]["class_name"]
    shape = config["model"]["config"]["image_shape"]
    net = config["model"]["config"]
    noise = ", with noise added" if max(*net.get("noise_std", (0, 0))) > 0 else ""
    active = net.get("active")
    sparse = f", k-sparse (Makhzani & Frey 2013, arXiv:1312.5663; {active} latents an image)," if active else ""
    crop = recipe(name).augment.get("crop")
    how = (
        f"crops of {crop}×{crop} pixels at different scales and exposures"
        if crop
        else "images shifted, turned, scaled and exposed a little differently each time"
    )
    probe = recipe(name).probe
    probed = f"\n\nThe features were measured on:\n\n{probe['cite']}" if probe and "probe" in measured else ""
    minutes = trained["seconds"] / 60
    flat = convergence_note(trained)
    alone = trained.get("prior_epochs")
    epochs = f"{trained['best_epoch']} of {alone or trained['epochs']}"
    epochs += f" of the prior alone, after {trained['epochs']} of the whole" if alone else ""
    start = f"the weights of `{trained['start']}`" if trained.get("start") else "the PCA of the training images"
    backend = "" if trained["backend"] == "tensorflow" else f"KERAS_BACKEND={trained['backend']} "
    drawn = family == "VAE" and (None not in shape or net.get("prior"))
    caption = PRIOR if drawn else HIDDEN if family == "MaskedAutoencoder" else PHANTOMS
    if None in shape:
        f = measured["image_size"][0] // measured["latent_shape"][0]
        sides = "any height and width" if len(shape) == 3 else "any depth, height and width"
        size = f"{sides} that are multiples of {f} (made for {training_size(recipe(name), measured)})"
    else:
        size = size_of(measured)
    example = {3: '"film.png")  # or .dcm, .jpg, .npy', 4: '"scan.nii.gz")  # or a folder of DICOM'}[len(shape)]
    data = "\n\n".join(f"{source['text']}\n\nLicence of the data: {source['licence']}." for source in sources)
    data += f"\n\n{begun['text']}" if begun else ""
    cited = [*sources, begun] if begun else sources
    cite = "\n".join(dict.fromkeys(line for source in cited for line in source["cite"].split("\n")))
    return f"""---
license: {strictest(sources)}
library_name: keras
tags: [medzoo, autoencoder, medical-imaging, {family.lower()}]
---

# {name}

{FAMILIES[family]}{sparse} for {recipe(name).domain}, {size}, one channel, values in [0, 1].

For: {recipe(name).description}

```python
import medzoo

model = medzoo.load("{name}")
x = model.preprocess({example}, or an array
z = model.encode(x)  # shape {(1, *measured["latent_shape"])}
model.decode(z)  # the reconstruction, equal to model(x)
```

![samples](samples.png)

{caption}

## Measured

On images that the training did not see. {pca_comparison(measured, family, net)}
{sections(measured)}

Weights: {config["weights"]["size"] / 2**20:.1f} MiB for {measured["parameters"]:,} parameters; storing them as \
float16 cost {trained["float16_cost_db"]:.4f} dB.

## Training

{training_data_note(trained)} ({trained["validation_images"]} more for choosing the epoch: \
{epochs}), {minutes:.0f} minutes on a machine with {trained["device"]} \
(Keras {trained["keras"]}, {trained["backend"]} backend), seed {trained["seed"]}, Adam, batch {trained["batch_size"]}, \
learning rate {trained["learning_rate"]:g} with warm-up and cosine decay, started from {start}; {how}{noise}.{flat}

Command: `{backend}{trained["command"]}`
{prior_section(folder)}
## Data

{data}

## Limits

- For research. Not a medical device, not for diagnosis or treatment.
{limits(recipe(name), measured, None in shape)}
- A reconstruction shows what is usual in the training data: small or rare findings may vanish, and structures may \
appear that the patient does not have. Never read a reconstruction in place of the image.
- Only images like those of the training data are meant: other views, ages, devices or hospitals reconstruct worse.

## Cite

{cite}{probed}
"""


def convergence_note(trained):
    """Whether the training went on until little more was to be had."""
    share = 2 if "last_fifth" in trained else 1  # tenths of the steps
    gained = trained.get("last_fifth") or trained.get("a_tenth_more")
    if gained is None:
        return ""
    flat = gained["psnr"] < 0.025 * share or gained["loss"] < 0.0025 * share
    when = "In the last fifth of the steps it gained" if share == 2 else "Trained on for a tenth of the steps it gains"
    return (
        f" {when} {gained['psnr']:.3f} dB and {gained['loss']:.2%} of the loss on validation images: "
        f"{'flat' if flat else 'not flat yet'} (less than {0.025 * share:g} dB or {0.25 * share:g}% is)."
    )


def prior_section(folder):
    """How the prior was fitted, if there is one."""
    if not (folder / "prior.json").is_file():
        return ""
    fitted = read_json(folder, "prior.json")
    losses = fitted["validation_loss_per_latent"]
    classes = [f"\n- {i}: {name}" for i, name in enumerate(fitted["classes"])]
    labels = f" Labels:\n{''.join(classes)}" if len(classes) > 1 else ""
    before = losses[-1 - len(losses) // 5]
    things, points = ("volumes", "voxels") if len(fitted["size"]) == 3 else ("images", "pixels")
    return f"""
## Prior

`model.sample(n{", label=..." if labels else ""})` draws from a prior of {fitted["parameters"]:,} parameters over the \
latents of {things} of {"×".join(map(str, fitted["size"]))} {points} (flow matching, Lipman et al. 2023, \
arXiv:2210.02747), fitted to {sum(fitted["images"]):,} {things} in {fitted["steps"]:,} steps of \
{fitted["batch_size"]}, {fitted["seconds"] / 60:.1f} minutes on a machine with {fitted["device"]} \
({fitted["backend"]} backend). Its loss on validation images is {losses[-1]:.4f} for each latent, \
{before:.4f} a fifth of the training before.{labels}
"""


def pca_comparison(measured, family, net):
    """How the model stands beside a PCA, in words."""
    text = ""
    if "pca" in measured:
        pca = measured["pca"]
        gain = measured["psnr"]["mean"] - pca["psnr"]["mean"]
        what = "the posterior mean" if family == "VAE" else "the model"
        text = (
            f"With as many numbers, {what} reconstructs {abs(gain):.2f} dB {'better' if gain >= 0 else 'worse'} "
            f"than a {baseline_name(pca)}, fitted to the same training images.\n"
        )
        if net.get("active"):
            text += f"The PCA uses all of its numbers for each image, the model {net['active']}.\n"
    if max(*net.get("noise_std", (0, 0))) > 0:
        text += "It was trained to remove noise: see the noisy rows under other exposures.\n"
    return text


def limits(recipe, measured, any_size):
    """What a model cannot do because of the size it was trained at, and what its recipe knows besides, as a list."""
    lines = [recipe.limits] if recipe.limits else []
    if any_size:
        lines.append(
            f"It was trained on images of {training_size(recipe, measured)}; it takes larger ones, but has not seen the "
            "grain of an image at its full resolution."
        )
    if max(measured["image_size"]) <= SMALL:
        lines.append(f"At {size_of(measured)} shapes can be seen, small findings cannot.")
    return "\n".join(f"- {line}" for line in lines)


def strictest(sources):
    """The licence of weights that learned from all of these data, as the hub writes it."""
    return max((source["weights_licence"] for source in sources), key=LICENCES.index)


def training_data_note(trained):
    """How many images of what, in words."""
    counts = trained["train_images"]
    if len(counts) == 1:
        return f"{counts[0]:,} images"
    named = zip(counts, trained["data"], trained["shares"], strict=True)
    parts = ", ".join(
        f"{n:,} of `{data}` ({share / sum(trained['shares']):.0%} of the batches)" for n, data, share in named
    )
    return f"{sum(counts):,} images, {parts}"


def size_of(measured):
    """`64×64 pixels`."""
    sides = measured["image_size"]
    return "×".join(map(str, sides)) + (" pixels" if len(sides) == 2 else " voxels")


def training_size(recipe, measured):
    """Size of the training images: the one they were brought to, or that of the images it was measured on."""
    return f"{recipe.size}×{recipe.size} pixels" if recipe.size else size_of(measured)


def _write_samples(folder):
    model = load(folder)
    if isinstance(model, VAE) and model.can_sample:
        images, title = model.sample(32, seed=0), f"{model.name}: samples, seed 0"
    else:  # no prior to draw from, and no patient's image goes into a card
        draw = recipe(read_json(folder, "training.json")["recipe"]).example_images
        drawn = np.stack([draw[i % len(draw)](256, i) for i in range(8)])
        drawn = (
            drawn
            if model.spatial_dims == 3
            else center_crop_resize(drawn, tuple(side or 256 for side in model.image_shape[:2]))
        )
        images, title = np.concatenate(input_and_reconstruction(model, drawn)), model.name
    if images.ndim == 5:
        images = plots.three_planes(images[:16])
    plots.save_grid(folder / "samples.png", images, title=title)
