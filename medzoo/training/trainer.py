"""The training loop of recipes: initialization, augmentation, fitting, resuming, the best epoch and the preset."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from medzoo import metrics
from medzoo.data.augmentation import AugmentedDataset
from medzoo.data.npz import to_float
from medzoo.errors import TrainingError
from medzoo.io.intensity import center_crop_resize
from medzoo.training.checkpoint import Checkpoints, begin
from medzoo.training.distribution import distribution_scope
from medzoo.utils.files import check_settings, write_json
from medzoo.utils.parallel import cores
from medzoo.utils.schedules import cosine_schedule
from medzoo.zoo.presets import load, save_preset

if TYPE_CHECKING:
    from medzoo.data.image_dataset import ImageDataset
    from medzoo.models.base import Autoencoder
    from medzoo.training.recipe import Recipe

log = logging.getLogger("medzoo")
CLIP = 1000.0  # maximum global norm of the gradients of a loss in nats per image
MAX_FLOAT16_COST = 0.05  # dB of PSNR that storing weights as float16 may cost
MAX_PCA_IMAGES = 10_000  # images that the PCA initialization is fitted to
MIN_PCA_IMAGES = 1000  # with fewer images the PCA is fitted to augmented images, to avoid overfitting
MAX_VALIDATION_IMAGES = 300  # of 256×256 pixels, where several datasets are mixed; fewer of larger ones
MAX_REFERENCE_IMAGES = 400  # over all datasets; OOD scores of new images are compared with theirs


def training_schedule(peak: float, steps: int, warmup: int = 300) -> "keras.optimizers.schedules.CosineDecay":
    """Return the learning-rate schedule of recipes: linear warm-up, then cosine decay to 1% of the peak.

    Args:
        peak: float. Learning rate after the warm-up.
        steps: int. Number of training steps.
        warmup: int. Number of warm-up steps, at most 10% of `steps`. Default: 300.

    Returns:
        A Keras learning-rate schedule.
    """
    return cosine_schedule(peak, steps, min(warmup, steps // 10), final=0.01)


def run(recipe: "Recipe", data, out: Path, epochs: int, seed: int, strategy: str) -> Path:
    """Train a recipe and write the preset, see `Recipe.train`."""
    work = begin(out)
    datasets, weights = zip(*recipe.open_datasets(data), strict=True)
    size = None if recipe.size is None else (recipe.size, recipe.size)
    train = [resize_images(dataset.images("train"), size) for dataset in datasets]
    validation = validation_images(recipe, datasets)
    work.mkdir(parents=True, exist_ok=True)
    settings = _settings(recipe, datasets, weights, epochs, seed)
    with distribution_scope(strategy) as context:
        if recipe.batch_size % context.replicas:
            raise ValueError(
                f"{recipe.name}: a batch of {recipe.batch_size} images cannot be divided among {context.replicas} "
                "devices. Expected a multiple."
            )
        if context.first and check_settings(work / "settings.json", settings):
            log.info("resuming the training in %s", out)
        progress = _fit_in_memory(recipe, train, validation, work, settings, context)
        if recipe.prior_epochs:
            progress = _fit_in_memory(recipe, train, validation, work / "prior", settings, context, progress)
    if not context.first:
        return out
    model = recipe.model(name=recipe.name, seed=seed)  # a new model: one of several hosts needs all of them to save
    progress.load_best(model)
    model.fit_reference(*reference_images(recipe, datasets))
    save_preset(model, out, preprocessing=recipe.preprocessing, overwrite=True)
    cost = _psnr(model, validation) - _psnr(load(out), validation)
    if cost > MAX_FLOAT16_COST:
        save_preset(model, out, preprocessing=recipe.preprocessing, overwrite=True, dtype="float32")
    losses = [row["val_loss"] for row in progress.history]
    results = {
        **settings,
        "train_images": [len(images) for images in train],
        "splits": [dataset.describe_splits() for dataset in datasets],
        "validation_images": len(validation),
        "best_epoch": losses.index(min(losses)) + 1,
        "final_20_percent": final_20_percent(progress.history),
        "seconds": round(progress.seconds),
        "seconds_per_epoch": round(progress.seconds / (epochs + settings.get("prior_epochs", 0)), 1),
        "device": device_name(),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "float16_cost_db": round(float(cost), 4),
        "command": f"medzoo train {recipe.name} {' '.join(f'--data {d.name}' for d in datasets)} --out {out.name} "
        f"--epochs {epochs} --seed {seed}",
    }
    write_json(out / "training.json", results)
    shutil.rmtree(work)
    return out


def _settings(recipe, datasets, weights, epochs, seed):
    """Settings that a resumed training must share with the interrupted one."""
    settings = {
        "recipe": recipe.name,
        "initial_weights": getattr(recipe.initial_weights, "__name__", recipe.initial_weights),
        "data": [dataset.name for dataset in datasets],
        "sampling_weights": list(weights),
        "seed": seed,
        "epochs": epochs,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
    }
    if recipe.prior_epochs:
        settings["prior_epochs"] = -(-recipe.prior_epochs * epochs // recipe.epochs)
    return settings


def reference_images(recipe: "Recipe", datasets: "Sequence[ImageDataset]") -> list[np.ndarray]:
    """Return validation images of each dataset for `model.fit_reference`, about the same number of each.

    Args:
        recipe: The recipe of the model.
        datasets: The recipe's training datasets.

    Returns:
        List of float32 arrays of shape `(N, height, width, channels)` with values in [0, 1], one per dataset.
    """
    limit = min(MAX_VALIDATION_IMAGES, MAX_REFERENCE_IMAGES // len(datasets))
    size = None if recipe.size is None else (recipe.size, recipe.size)
    resized = (resize_images(dataset.images("val"), size) for dataset in datasets if "val" in dataset.splits)
    return [to_float(images[:: -(-len(images) // limit)]) for images in resized]


def resize_images(images: np.ndarray, size: Sequence[int] | None) -> np.ndarray:
    """Center-crop and resize images; return them unchanged if they have the size or `size` is `None`.

    Args:
        images: uint8 array of shape `(N, height, width, channels)`.
        size: `(height, width)` in pixels, or `None`.

    Returns:
        uint8 array of shape `(N, *size, channels)`.
    """
    if size is None or images.shape[1:-1] == tuple(size):
        return images
    return np.round(255 * center_crop_resize(to_float(images), tuple(size))).astype("uint8")


def final_20_percent(history: list[dict]) -> dict[str, float]:
    """Return the improvement on validation images over the final 20% of the epochs.

    Args:
        history: List of Keras logs, one per epoch.

    Returns:
        Dict with `"psnr"`, the increase in dB, and `"loss"`, the decrease relative to the loss before.
    """
    last = max(1, len(history) // 5)
    before, after = history[max(0, len(history) - 1 - last)], history[-1]
    lost = (before["val_loss"] - after["val_loss"]) / abs(before["val_loss"])
    return {"psnr": round(after["val_psnr"] - before["val_psnr"], 4), "loss": round(lost, 5)}


def _fit_in_memory(recipe, train, validation, work, settings, context, before=None):
    """`_fit`; if memory does not suffice, with smaller batches whose gradients are accumulated to the same step."""
    accumulation = 1
    while True:
        try:
            return _fit(recipe, train, validation, work, settings, context, accumulation, before)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).split("\n")[0][:200]
        accumulation *= 2
        if recipe.batch_size % (accumulation * context.replicas):
            raise TrainingError(f"{work}: out of memory even with the smallest batches ({reason}).")
        log.warning(
            "out of memory (%s); continuing with batches of %d images and gradients accumulated over %d batches, still "
            "%d images per step",
            *(reason, recipe.batch_size // accumulation, accumulation, recipe.batch_size),
        )


def _fit(recipe, train, validation, work, settings, context, accumulation, before):
    """Train to the end and return the `Checkpoints`; `before`: those of the stage before `prior_epochs`."""
    flush_denormals()
    seed, batch_size = settings["seed"], recipe.batch_size // accumulation
    epochs = settings["prior_epochs" if before else "epochs"]
    whole = context.replicas > 1 or accumulation > 1  # devices and accumulated gradients need batches of one size
    shared = {"drop_remainder": whole, "group": accumulation, "shard": context.shard}
    mixed = {} if len(train) == 1 else {"sampling_weights": settings["sampling_weights"]}
    batches = AugmentedDataset(train, batch_size, seed, steps=recipe.steps, **recipe.augment, **shared, **mixed)
    if whole:
        index, count = context.shard
        validation = validation[: len(validation) // context.replicas * context.replicas][index::count]
    keras.utils.set_random_seed(seed)
    # Keras counts every batch as a step here, also those whose gradients are only accumulated.
    rate = training_schedule(recipe.learning_rate, epochs * len(batches), warmup=300 * accumulation)
    gradients = accumulation if accumulation > 1 else None
    with context.scope():
        model = recipe.model(name=recipe.name, seed=seed)
        model.initialize_from_pca(_pca_images(train, batches))
        if callable(recipe.initial_weights):
            recipe.initial_weights(model)
        elif recipe.initial_weights:
            start_from(model, load(recipe.initial_weights))
        if before:
            before.load_best(model)
            model.train_entropy_model_only()
        optimizer = keras.optimizers.Adam(
            rate, beta_2=0.99, global_clipnorm=CLIP, gradient_accumulation_steps=gradients, name="adam"
        )
        model.compile(optimizer, jit_compile=_jit_compile(model))
        optimizer.build(model.trainable_variables)
    work.mkdir(exist_ok=True)
    first = settings["epochs"] if before else 0
    progress = Checkpoints(work, batches, accumulation=accumulation, context=context, first=first)
    progress.seconds = before.seconds if before else 0.0
    progress.restore(model)
    size = batch_size // context.shard[1]
    progress.fit(model, epochs, validation_data=(validation,), validation_batch_size=size)
    return progress


def _out_of_memory(error):
    kinds = ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
    return type(error).__name__ in kinds or "RESOURCE_EXHAUSTED" in str(error)


def flush_denormals() -> None:
    """Let PyTorch round subnormal numbers to 0; computing with them is about ten times slower."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


def _jit_compile(model):
    """Whether to compile with XLA.

    Keras disables XLA on CPUs, where it speeds up residual networks of images and slows down volumes and depthwise
    convolutions many times; `tf.distribute` does not support it.
    """
    if keras.backend.backend() != "tensorflow" or model.spatial_dims == 3 or model.backbone != "residual":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.distribute.has_strategy() else True


def start_from(model: "Autoencoder", other: "Autoencoder") -> None:
    """Initialize encoder and decoder with the weights of another model of the same widths.

    A model of the same class and shapes takes all weights. An AE takes the part of a VAE's encoder that predicts the
    means. The quantizer of a VQ-VAE weights all latents equally, so each latent is scaled to its effect on the decoded
    image. If the numbers of latents differ, only the stages are taken, and input and output layers keep the PCA
    initialization.

    Args:
        model: The model to initialize.
        other: The model whose weights are taken.
    """
    from medzoo.models import VQVAE

    if type(model) is type(other) and [v.shape for v in model.weights] == [v.shape for v in other.weights]:
        model.set_weights(other.get_weights())
        return
    same_latents = model.latent_dim == other.latent_dim
    for part in ("encoder", "decoder"):
        ours, theirs = getattr(model, part).weights, getattr(other, part).weights
        for variable, value in zip(ours, theirs, strict=True):
            if same_latents or variable.shape == value.shape:
                variable.assign(keras.ops.convert_to_numpy(value)[..., : variable.shape[-1]])
    if same_latents and isinstance(model, VQVAE) and not isinstance(other, VQVAE):
        encoder, decoder = model.encoder, model.decoder
        kernel = keras.ops.convert_to_numpy(decoder.linear.kernel) * decoder.linear_gain
        effect = np.linalg.norm(kernel, axis=1)
        for variable in (*encoder.linear.weights, *encoder.head.weights):
            variable.assign(variable * effect)
        for variable in (decoder.linear.kernel, decoder.stages[0].kernel):
            variable.assign(variable / effect[:, None])


def _pca_images(train, batches):
    """Images that the PCA initialization is fitted to: the training images, or augmented batches of a mixture or of few
    images."""
    if len(train) == 1 and (len(train[0]) >= MIN_PCA_IMAGES or batches.crop):
        return to_float(train[0][:: -(-len(train[0]) // MAX_PCA_IMAGES)])
    return np.concatenate([batches[i] for i in range(min(len(batches), 128))])


def validation_images(recipe: "Recipe", datasets: "Sequence[ImageDataset]") -> np.ndarray:
    """Return the validation images as one array.

    Args:
        recipe: The recipe of the model.
        datasets: The recipe's training datasets. Of several, the same number of images is taken from each, and all are
            center-cropped to the smallest size.

    Returns:
        float32 array of shape `(N, height, width, channels)` with values in [0, 1].
    """
    size = None if recipe.size is None else (recipe.size, recipe.size)
    parts = [resize_images(dataset.images("val"), size) for dataset in datasets if "val" in dataset.splits]
    if len(parts) == 1:
        return to_float(parts[0])
    height, width = (min(images.shape[axis] for images in parts) for axis in (1, 2))
    limit = max(1, int(MAX_VALIDATION_IMAGES * min(1, 256**2 / (height * width))) // len(parts))
    cropped = []
    for images in parts:
        top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
        subset = images[:: -(-len(images) // limit)]
        cropped.append(subset[:, top : top + height, left : left + width])
    return to_float(np.concatenate(cropped))


def _psnr(model, images):
    return float(np.mean(keras.ops.convert_to_numpy(metrics.psnr(images, model.reconstruct(images)))))


def device_name() -> str:
    """Return the name of the accelerator that Keras uses, or the number of CPU cores."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return f"{len(gpus)} x {tf.config.experimental.get_device_details(gpus[0]).get('device_name', 'GPU')}"
    elif keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return str(jax.devices()[0].device_kind)
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0)
    count = cores()
    return f"{count} CPU core{'s' * (count > 1)}"
