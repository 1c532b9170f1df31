"""Model cards in the format of the Hugging Face Hub, generated from the JSON files of a preset."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo import visualization as plots
from medzoo.evaluation.markdown import baseline_name, images_word, sections
from medzoo.io.intensity import center_crop_resize
from medzoo.models import VAE
from medzoo.recipes import recipe
from medzoo.recipes.datasets import PRETRAINED, source_of
from medzoo.tasks.reconstruct import input_and_reconstruction
from medzoo.zoo.presets import load

if TYPE_CHECKING:
    from medzoo.training.recipe import Recipe

SAMPLES = "Images generated with the learned prior. Generated images do not depict real patients."
PHANTOMS = "Top: synthetic phantoms (no patient data). Bottom: their reconstructions."
MASKED = "Top: synthetic phantoms (no patient data) with 60% of the blocks masked. Bottom: their reconstructions."
SMALL = 128  # pixels; in images up to this size, small findings are not visible
LICENSES = ("apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "other")  # from permissive to restrictive
FAMILIES = {
    "ConvAutoencoder": "Convolutional autoencoder",
    "VAE": "Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) with a learned decoder variance "
    "(Rybkin et al. 2021, arXiv:2006.13202)",
    "VQVAE": "Vector-quantized autoencoder (VQ-VAE; van den Oord et al. 2017, arXiv:1711.00937)",
    "MaskedAutoencoder": "Masked autoencoder (He et al. 2022, arXiv:2111.06377)",
    "Codec": "Learned image codec, trained for rate and distortion (Ballé et al. 2017, arXiv:1611.01704)",
}
TASKS = {
    "reconstruct": "reconstruction",
    "classify": "image classification",
    "anomaly": "anomaly detection",
    "segment": "segmentation",
    "generate": "image generation",
    "encode": "training on latents",
    "retrieve": "feature extraction and image retrieval",
    "compress": "image compression",
    "denoise": "denoising",
}


def read_json(folder: str | os.PathLike, name: str) -> dict:
    """Return the content of a JSON file in a preset folder."""
    return json.loads((Path(folder) / name).read_text(encoding="utf-8"))


def write_card(folder: str | os.PathLike) -> bool:
    """Write `README.md` and `samples.png` of a preset folder.

    Args:
        folder: A preset folder.

    Returns:
        `False` if the preset was not evaluated yet and nothing was written.
    """
    folder = Path(folder)
    if not (folder / "metrics.json").is_file():
        return False
    (folder / "README.md").write_text(render_card(folder), encoding="utf-8")
    _write_samples(folder)
    return True


def render_card(folder: str | os.PathLike) -> str:
    """Return the text of a model card.

    Args:
        folder: A preset folder with `config.json`, `metrics.json` and `training.json`.

    Returns:
        Markdown text with the metadata of the Hugging Face Hub.
    """
    folder = Path(folder)
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    name = trained["recipe"]
    own, sources = recipe(name), [source_of(data) for data in trained["data"]]
    pretrained = PRETRAINED.get(trained.get("initial_weights", ""))
    family, network = config["model"]["class_name"], config["model"]["config"]
    shape = network["image_shape"]
    data = "\n\n".join(f"{source['text']}\n\nLicense of the data: {source['license']}." for source in sources)
    data += f"\n\n{pretrained['text']}" if pretrained else ""
    cited = [*sources, pretrained] if pretrained else sources
    citation = "\n".join(dict.fromkeys(line for source in cited for line in source["citation"].split("\n")))
    if own.probe and "probe" in measured:
        citation += f"\n\nDataset of the linear probe:\n\n{own.probe['citation']}"
    generates = family == "VAE" and (None not in shape or network.get("prior"))
    caption = SAMPLES if generates else MASKED if family == "MaskedAutoencoder" else PHANTOMS
    example = {3: '"image.png")  # or .dcm, .jpg, .npy', 4: '"scan.nii.gz")  # or a DICOM folder'}[len(shape)]
    held_out = f"Evaluated on the held-out {measured['split']} split."
    top_k = network.get("top_k")
    sparse = f", k-sparse (Makhzani & Frey 2013, arXiv:1312.5663; {top_k} latents per image)," if top_k else ""
    return f"""---
license: {strictest_license(sources)}
library_name: keras
tags: [medzoo, autoencoder, medical-imaging, {family.lower()}]
---

# {name}

## Model description

{FAMILIES[family]}{sparse} for {own.domain}. {own.description}

- Input: {_input(shape, own, measured)}, one channel, values in [0, 1].
- Latent shape: {"×".join(map(str, measured["latent_shape"]))} at {size_of(measured)}, {_compression(measured)}.
- Parameters: {measured["parameters"]:,}; weights {config["weights"]["size"] / 2**20:.1f} MiB. Storing the weights as \
float16 costs {trained["float16_cost_db"]:.4f} dB PSNR.

## Usage

```python
import medzoo

model = medzoo.load("{name}")
x = model.preprocess({example}, or an array
z = model.encode(x)  # shape {(1, *measured["latent_shape"])}
y = model.decode(z)  # the reconstruction, equal to model(x)
```

![samples](samples.png)

{caption}

## Intended use

Intended tasks: {", ".join(TASKS[task] for task in own.tasks)}.

Research use only. The model is not a medical device and must not be used for diagnosis or treatment.

## Evaluation

{" ".join(filter(None, [held_out, pca_comparison(measured, family, network)]))}

{sections(measured)}

## Training

{_training(own, trained, network, images_word(measured["image_size"]))}

Command: `{_backend(trained)}{trained["command"]}`
{prior_section(folder)}
## Training data

{data}

## Limitations

{limitations(own, measured, None in shape)}
- Reconstructions are biased towards the training distribution: small or rare findings may be lost, and structures may \
appear that are not present in the patient. Do not interpret a reconstruction instead of the original image.
- Reconstruction quality decreases on views, age groups, scanners and populations outside the training data.

## Citation

{citation}
"""


def _input(shape, own, measured):
    """Size of the input images, in words."""
    if None not in shape:
        return size_of(measured)
    factor = measured["image_size"][0] // measured["latent_shape"][0]
    sides = "any height and width" if len(shape) == 3 else "any depth, height and width"
    return f"{sides} that are multiples of {factor} (recommended: {training_size(own, measured)})"


def _compression(measured):
    """Compression ratio; of a codec, the range of rates."""
    latents = measured["latents"]
    if "qualities" in latents:
        low, high = (latents["qualities"][i]["bits_per_pixel"] for i in (0, -1))
        return f"rate {low:.3f} to {high:.3f} bits per pixel"
    return f"compression ratio {latents['compression_ratio']:g}:1"


def _training(own, trained, network, things):
    """The paragraph on the training."""
    alone = trained.get("prior_epochs")
    epochs = f"epoch {trained['best_epoch']} of {alone or trained['epochs']}"
    epochs += f" that train the entropy model only, after {trained['epochs']} epochs of the full model" if alone else ""
    weights = trained.get("initial_weights")
    start = f"the weights of `{weights}`" if weights else "the PCA of the training images"
    noise = " Noise was added to the input images." if max(*network.get("noise_std", (0, 0))) > 0 else ""
    return (
        f"The model was trained on {training_data_note(trained, things)}; the weights with the lowest loss on "
        f"{trained['validation_images']} validation {things} were kept ({epochs}). Initialization: {start}. Optimizer: "
        f"Adam, batch size {trained['batch_size']}, peak learning rate {trained['learning_rate']:g} with linear "
        f"warm-up and cosine decay, seed {trained['seed']}. Augmentation: {_augmentation(own.augment)}.{noise} "
        f"Duration: {trained['seconds'] / 60:.0f} minutes on {trained['device']} (Keras {trained['keras']}, "
        f"{trained['backend']} backend).{convergence_note(trained)}"
    )


def _augmentation(augment):
    """The augmentation, in words."""
    if crop := augment.get("crop"):
        scaled = " at random scales" if augment.get("zoom", 2) != 1 else ""
        changes = [f"random crops of {crop}×{crop} pixels{scaled}"]
    else:
        changes = ["random translation, rotation and scaling"]
    changes += ["random contrast", *(["random horizontal flips"] if augment.get("flip") else [])]
    return ", ".join(changes)


def _backend(trained):
    return "" if trained["backend"] == "tensorflow" else f"KERAS_BACKEND={trained['backend']} "


def convergence_note(trained: dict) -> str:
    """Return a sentence on the improvement over the last steps, or an empty string if it was not recorded.

    Args:
        trained: Content of `training.json`.

    Returns:
        Text that starts with a space.
    """
    tenths = 2 if "final_20_percent" in trained else 1  # of the steps
    gained = trained.get("final_20_percent") or trained.get("extra_10_percent")
    if gained is None:
        return ""
    psnr, loss = 0.025 * tenths, 0.0025 * tenths
    converged = "converged" if gained["psnr"] < psnr or gained["loss"] < loss else "not fully converged"
    when = "Over the final 20% of the steps" if tenths == 2 else "With 10% additional steps"
    return (
        f" {when}, PSNR on the validation images changed by {gained['psnr']:+.3f} dB and the loss by "
        f"{0.0 - gained['loss']:+.2%}: {converged} (criterion: PSNR gain below {psnr:g} dB or loss reduction below "
        f"{100 * loss:g}%)."
    )


def prior_section(folder: str | os.PathLike) -> str:
    """Return the section on the training of the learned prior, or an empty string if there is none."""
    folder = Path(folder)
    if not (folder / "prior.json").is_file():
        return ""
    fitted = read_json(folder, "prior.json")
    losses = fitted["validation_loss_per_latent"]
    classes = [f"\n- {i}: {name}" for i, name in enumerate(fitted["classes"])]
    labels = f"\n\nLabels of the prior:\n{''.join(classes)}" if len(classes) > 1 else ""
    before = losses[-1 - len(losses) // 5]
    images, points = images_word(fitted["size"]), "voxels" if len(fitted["size"]) == 3 else "pixels"
    return f"""
### Learned prior

`model.sample(n{", label=..." if labels else ""})` samples from a prior with {fitted["parameters"]:,} parameters over \
the latents of {images} of {"×".join(map(str, fitted["size"]))} {points} (flow matching, Lipman et al. 2023, \
arXiv:2210.02747). The prior was trained on {sum(fitted["images"]):,} {images} in {fitted["steps"]:,} steps with batch \
size {fitted["batch_size"]}, {fitted["seconds"] / 60:.1f} minutes on {fitted["device"]} ({fitted["backend"]} backend). \
Validation loss per latent element: {losses[-1]:.4f}; 20% of the training earlier: {before:.4f}.{labels}
"""


def pca_comparison(measured: dict, family: str, network: dict) -> str:
    """Return a comparison of the model with PCA at equal latent size.

    Args:
        measured: Content of `metrics.json`.
        family: Class name of the model.
        network: Configuration of the model.

    Returns:
        One or more sentences, or an empty string for models without a PCA baseline.
    """
    sentences = []
    if "pca" in measured:
        pca = measured["pca"]
        gain = measured["psnr"]["mean"] - pca["psnr"]["mean"]
        what = "the PSNR of the posterior-mean reconstruction" if family == "VAE" else "the PSNR of the reconstruction"
        sentences.append(
            f"At equal latent size, {what} is {abs(gain):.2f} dB {'higher' if gain >= 0 else 'lower'} than that of "
            f"{baseline_name(pca)} fitted to the same training images."
        )
        if network.get("top_k"):
            sentences.append(f"The PCA uses all components for each image, the model {network['top_k']} latents.")
    if max(*network.get("noise_std", (0, 0))) > 0:
        sentences.append("The model was trained for denoising; results on noisy images are given under Robustness.")
    return " ".join(sentences)


def limitations(recipe: "Recipe", measured: dict, any_size: bool) -> str:
    """Return the limitations of a preset as a Markdown list.

    Args:
        recipe: The preset's recipe.
        measured: Content of `metrics.json`.
        any_size: Whether the model accepts images of any size.

    Returns:
        Markdown list: the limitations of the recipe, and those that follow from the size of the training images.
    """
    lines = [recipe.limitations] if recipe.limitations else []
    things = images_word(measured["image_size"])
    if any_size:
        lines.append(
            f"The model was trained on {things} of {training_size(recipe, measured)}. It accepts larger {things}, but "
            "their noise texture at full resolution was not part of the training data."
        )
    if max(measured["image_size"]) <= SMALL:
        lines.append(f"At {size_of(measured)} small findings are not visible.")
    return "\n".join(f"- {line}" for line in lines)


def strictest_license(sources: Sequence[dict]) -> str:
    """Return the license of weights trained on several datasets, as an identifier of the Hugging Face Hub.

    Args:
        sources: Descriptions of the datasets, see `medzoo.recipes.datasets`.

    Returns:
        The most restrictive of their `"weights_license"`.
    """
    return max((source["weights_license"] for source in sources), key=LICENSES.index)


def training_data_note(trained: dict, things: str = "images") -> str:
    """Return the numbers of training images per dataset, in words.

    Args:
        trained: Content of `training.json`.
        things: `"images"` or `"volumes"`.

    Returns:
        E.g. `7,999 images`, or the number of images and percentage of the batches of each dataset.
    """
    counts = trained["train_images"]
    if len(counts) == 1:
        return f"{counts[0]:,} {things}"
    named = zip(counts, trained["data"], trained["sampling_weights"], strict=True)
    total = sum(trained["sampling_weights"])
    parts = ", ".join(f"`{data}` ({n:,} {things}, {weight / total:.0%} of the batches)" for n, data, weight in named)
    return f"{sum(counts):,} {things}: {parts}"


def size_of(measured: dict) -> str:
    """Return the size of the evaluated images, e.g. `64×64 pixels`."""
    sides = measured["image_size"]
    return "×".join(map(str, sides)) + (" pixels" if len(sides) == 2 else " voxels")


def training_size(recipe: "Recipe", measured: dict) -> str:
    """Return the size of the training images, e.g. `256×256 pixels`."""
    return f"{recipe.size}×{recipe.size} pixels" if recipe.size else size_of(measured)


def _write_samples(folder):
    model = load(folder)
    if isinstance(model, VAE) and model.can_sample:
        images, title = model.sample(32, seed=0), f"{model.name}: generated images, seed 0"
    else:  # without a prior: synthetic phantoms, since no patient's image is part of a card
        phantoms = recipe(read_json(folder, "training.json")["recipe"]).example_images
        examples = np.stack([phantoms[i % len(phantoms)](256, i) for i in range(8)])
        if model.spatial_dims == 2:
            examples = center_crop_resize(examples, tuple(side or 256 for side in model.image_shape[:2]))
        images, title = np.concatenate(input_and_reconstruction(model, examples)), model.name
    if images.ndim == 5:
        images = plots.three_planes(images[:16])
    plots.save_grid(folder / "samples.png", images, title=title)
