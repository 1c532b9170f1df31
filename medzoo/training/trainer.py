"""How recipes train: start from PCA or a preset, augmentation, fit, resume, the best epoch, the preset."""

import logging
import shutil

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
from medzoo.zoo.presets import load, save_preset

log = logging.getLogger("medzoo")
CLIP = 1000.0  # norm that gradients of a loss in nats per image are cut to
FLOAT16_COST = 0.05  # dB of PSNR that storing weights as float16 may cost at most
FOR_PCA = 10_000  # images at most that the PCA start is fitted to
FEW = 1000  # images below which their PCA would know them by heart
FOR_VALIDATION = 300  # images at most, where several archives are mixed
FOR_REFERENCE = 400  # images at most, over all archives, whose scores new images are ranked among


def schedule(peak, steps, warmup=300):
    """Learning rate: linear warm-up to `peak`, then a cosine down to a hundredth of it."""
    warmup = min(warmup, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
    )


def run(recipe, data, out, epochs, seed, strategy):
    """See `Recipe.train`."""
    work = begin(out)
    collections, shares = zip(*recipe.collections(data), strict=True)
    size = recipe.size and (recipe.size, recipe.size)
    train = [brought_to(size, c.images("train")) for c in collections]
    validation = validation_of(recipe, collections)
    work.mkdir(parents=True, exist_ok=True)
    settings = _settings(recipe, collections, shares, epochs, seed)
    with distribution_scope(strategy) as place:
        if recipe.batch_size % place.replicas:
            raise ValueError(
                f"{recipe.name}: batches of {recipe.batch_size} cannot be shared by {place.replicas} devices."
            )
        if place.first and check_settings(work / "settings.json", settings):
            log.info("going on with the training in %s", out)
        progress = _fit_in_memory(recipe, train, validation, work, settings, place)
        if recipe.prior_epochs:
            progress = _fit_in_memory(recipe, train, validation, work / "prior", settings, place, progress)
    if not place.first:
        return out
    model = recipe.model(name=recipe.name, seed=seed)  # anew: that of several hosts does nothing without all of them
    progress.load_best(model)
    model.fit_reference(*usual_images(recipe, collections))
    save_preset(model, out, overwrite=True)
    cost = _psnr(model, validation) - _psnr(load(out), validation)
    if cost > FLOAT16_COST:
        save_preset(model, out, overwrite=True, dtype="float32")
    losses = [row["val_loss"] for row in progress.history]
    facts = {
        **settings,
        "train_images": [len(images) for images in train],
        "splits": [collection.describe_splits() for collection in collections],
        "validation_images": len(validation),
        "best_epoch": losses.index(min(losses)) + 1,
        "last_fifth": last_fifth(progress.history),
        "seconds": round(progress.seconds),
        "seconds_per_epoch": round(progress.seconds / (epochs + settings.get("prior_epochs", 0)), 1),
        "device": device_name(),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "float16_cost_db": round(float(cost), 4),
        "command": f"medzoo train {recipe.name} {' '.join(f'--data {c.name}' for c in collections)} --out {out.name} "
        f"--epochs {epochs} --seed {seed}",
    }
    write_json(out / "training.json", facts)
    shutil.rmtree(work)
    return out


def _settings(recipe, collections, shares, epochs, seed):
    """What a training that goes on must have in common with the one before."""
    settings = {
        "recipe": recipe.name,
        "start": getattr(recipe.initial_weights, "__name__", recipe.initial_weights),
        "data": [collection.name for collection in collections],
        "shares": list(shares),
        "seed": seed,
        "epochs": epochs,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
    }
    if recipe.prior_epochs:
        settings["prior_epochs"] = -(-recipe.prior_epochs * epochs // recipe.epochs)
    return settings


def usual_images(recipe, collections):
    """Some validation images of each collection, whole, for `fit_reference`: about as many of each."""
    most = min(FOR_VALIDATION, FOR_REFERENCE // len(collections))
    size = recipe.size and (recipe.size, recipe.size)
    every = (brought_to(size, c.images("val")) for c in collections)
    return [to_float(images[:: -(-len(images) // most)]) for images in every]


def brought_to(size, images):
    """Images `(N, H, W, C)` as uint8 of `(height, width)` pixels; as they are if they have them or `size` is `None`."""
    if size is None or images.shape[1:-1] == tuple(size):
        return images
    return np.round(255 * center_crop_resize(to_float(images), tuple(size))).astype("uint8")


def last_fifth(history):
    """What the last fifth of the epochs gained on validation images: PSNR in dB, and how much of the loss went."""
    last = max(1, len(history) // 5)
    before, after = history[max(0, len(history) - 1 - last)], history[-1]
    lost = (before["val_loss"] - after["val_loss"]) / abs(before["val_loss"])
    return {"psnr": round(after["val_psnr"] - before["val_psnr"], 4), "loss": round(lost, 5)}


def _fit_in_memory(recipe, train, validation, work, settings, place, before=None):
    """`_fit`; where memory does not suffice, in smaller batches whose gradients are added up to the same step."""
    accumulation = 1
    while True:
        try:
            return _fit(recipe, train, validation, work, settings, place, accumulation, before)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).split("\n")[0][:200]
        accumulation *= 2
        if recipe.batch_size % (accumulation * place.replicas):
            raise TrainingError(f"{work}: out of memory even with the smallest batches ({reason}).")
        log.warning(
            "out of memory (%s); going on with batches of %d, gradients added up over %d of them: the same %d images a "
            "step",
            *(reason, recipe.batch_size // accumulation, accumulation, recipe.batch_size),
        )


def _fit(recipe, train, validation, work, settings, place, accumulation, before):
    """Trains to the end; gives the `Checkpoints`. `before`: those of a training that a codec's prior goes on after."""
    flush_denormals()
    seed, batch_size = settings["seed"], recipe.batch_size // accumulation
    epochs = settings["prior_epochs" if before else "epochs"]
    whole = place.replicas > 1 or accumulation > 1  # devices and gradients share batches of one size
    shared = {"drop_remainder": whole, "group": accumulation, "shard": place.share}
    mixed = {} if len(train) == 1 else {"sampling_weights": settings["shares"]}
    batches = AugmentedDataset(train, batch_size, seed, steps=recipe.steps, **recipe.augment, **shared, **mixed)
    if whole:
        index, count = place.share
        validation = validation[: len(validation) // place.replicas * place.replicas][index::count]
    keras.utils.set_random_seed(seed)
    # Keras counts every batch here, also those whose gradients are only added up.
    rate = schedule(recipe.learning_rate, epochs * len(batches), warmup=300 * accumulation)
    gradients = accumulation if accumulation > 1 else None
    with place.scope():
        model = recipe.model(name=recipe.name, seed=seed)
        model.initialize_from_pca(_for_pca(train, batches))
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
        model.compile(optimizer, jit_compile=_xla(model))
        optimizer.build(model.trainable_variables)
    work.mkdir(exist_ok=True)
    first = settings["epochs"] if before else 0
    progress = Checkpoints(work, batches, accumulation=accumulation, place=place, first=first)
    progress.seconds = before.seconds if before else 0.0
    progress.restore(model)
    size = batch_size // place.share[1]
    progress.fit(model, epochs, validation_data=(validation,), validation_batch_size=size)
    return progress


def _out_of_memory(error):
    kinds = ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
    return type(error).__name__ in kinds or "RESOURCE_EXHAUSTED" in str(error)


def flush_denormals():
    """PyTorch computes with numbers too small to matter at a tenth of the speed unless told to take them for 0."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


def _xla(model):
    """Keras leaves XLA off on CPUs, where residual nets of images are quicker with it, and volumes and depthwise
    convolutions many times slower; with tf.distribute it must stay off."""
    if keras.backend.backend() != "tensorflow" or model.spatial_dims == 3 or model.backbone != "residual":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.distribute.has_strategy() else True


def start_from(model, other):
    """Gives encoder and decoder the weights of another's of the same widths.

    A model of the same form gives all it has. An AE takes the means of a VAE's means and variances. A VQ-VAE's
    quantizer treats all latents alike, so each is scaled to what it moves in the picture. With more or fewer latents
    only the stages are taken, and the ends stay as the PCA left them.
    """
    from medzoo.models import VQVAE

    if type(model) is type(other) and [v.shape for v in model.weights] == [v.shape for v in other.weights]:
        model.set_weights(other.get_weights())
        return
    alike = model.latent_dim == other.latent_dim
    for part in ("encoder", "decoder"):
        ours, theirs = getattr(model, part).weights, getattr(other, part).weights
        for variable, value in zip(ours, theirs, strict=True):
            if alike or variable.shape == value.shape:
                variable.assign(keras.ops.convert_to_numpy(value)[..., : variable.shape[-1]])
    if alike and isinstance(model, VQVAE) and not isinstance(other, VQVAE):
        encoder, decoder = model.encoder, model.decoder
        kernel = keras.ops.convert_to_numpy(decoder.linear.kernel) * decoder.linear_gain
        moved = np.linalg.norm(kernel, axis=1)
        for variable in (*encoder.linear.weights, *encoder.head.weights):
            variable.assign(variable * moved)
        for variable in (decoder.linear.kernel, decoder.stages[0].kernel):
            variable.assign(variable / moved[:, None])


def _for_pca(train, batches):
    """Images that the PCA start is fitted to: the training's own, or batches of a mixture or of few images, moved."""
    if len(train) == 1 and (len(train[0]) >= FEW or batches.crop):
        return to_float(train[0][:: -(-len(train[0]) // FOR_PCA)])
    return np.concatenate([batches[i] for i in range(min(len(batches), 128))])


def validation_of(recipe, collections):
    """Validation images as one array; of a mixture as many of each, cut to the size of the smallest."""
    size = recipe.size and (recipe.size, recipe.size)
    parts = [brought_to(size, c.images("val")) for c in collections]
    if len(parts) == 1:
        return to_float(parts[0])
    most = FOR_VALIDATION // len(parts)
    height, width = (min(images.shape[axis] for images in parts) for axis in (1, 2))
    cut = []
    for images in parts:
        top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
        some = images[:: -(-len(images) // most)]
        cut.append(some[:, top : top + height, left : left + width])
    return to_float(np.concatenate(cut))


def _psnr(model, images):
    return float(np.mean(keras.ops.convert_to_numpy(metrics.psnr(images, model.reconstruct(images)))))


def device_name():
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
