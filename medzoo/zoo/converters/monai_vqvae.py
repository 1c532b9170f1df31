"""MONAI's `VQVAE`, and that of MONAI GenerativeModels."""

import numpy as np

from medzoo.errors import CheckpointError
from medzoo.layers.vq_networks import VQResidualBlock
from medzoo.zoo.converters.table import Table, build, required

CODEBOOK = "quantizer.quantizer"
DOWN, UP = (
    "(stride, kernel, dilation, padding) per level",
    "(stride, kernel, dilation, padding, output_padding) per level",
)


def convert(arrays, where, config=None, **options):
    """Return a `StridedVQVAE` with the weights of MONAI's VQVAE, and its preprocessing.

    Args:
        arrays: dict of names to arrays.
        where: str. The file, for errors.
        config: dict. Arguments of MONAI's constructor. Without it `downsample_parameters`, `upsample_parameters` and
            `output_activation` must be among the options.
        **options: Arguments of `StridedVQVAE`.
    """
    from medzoo.models import StridedVQVAE

    table = Table(arrays, where)
    found = arguments_of(table)
    if config is None:
        asked = {
            "downsample_parameters": DOWN,
            "upsample_parameters": UP,
            "output_activation": '"none", "sigmoid", ...',
        }
        required(where, options, **asked)
    else:
        found |= _of_config(config, len(found["filters"]), where)
    model = build(StridedVQVAE, {**found, **options}, table)
    _assign(table, model.encoder, "encoder")
    _assign(table, model.decoder, "decoder")
    quantizer = model.quantizer
    entries = table.take(f"{CODEBOOK}.embedding.weight")
    table.put(quantizer.entries, entries, f"{CODEBOOK}.embedding.weight")
    if f"{CODEBOOK}.ema_w" in table and f"{CODEBOOK}.ema_cluster_size" in table:  # what goes on training starts from
        table.put(quantizer.usage, table.take(f"{CODEBOOK}.ema_cluster_size"), f"{CODEBOOK}.ema_cluster_size")
        table.put(quantizer.sums, table.take(f"{CODEBOOK}.ema_w"), f"{CODEBOOK}.ema_w")
    elif entries is not None:
        quantizer.usage.assign(np.ones(len(entries), "float32"))
        quantizer.sums.assign(entries)
    quantizer.started.assign(1.0)
    table.finish()
    return model, {"intensity": "file"}


def arguments_of(table):
    """Return the arguments of `StridedVQVAE` that names and shapes tell; not strides, paddings and the activation."""
    indices = table.indices("encoder.blocks")
    filters, hidden, blocks = [], [], []
    for i in indices[:-1]:
        key = f"encoder.blocks.{i}"
        if f"{key}.conv1.conv.weight" in table and blocks:
            blocks[-1] += 1
            hidden[-1] = table.width(f"{key}.conv1.conv.weight")
        else:
            filters.append(table.width(f"{key}.conv.weight"))
            blocks.append(0)
            hidden.append(filters[-1])
    if not blocks or len(set(blocks)) > 1 or f"{CODEBOOK}.embedding.weight" not in table:
        raise CheckpointError(f"{table.where}: has {blocks} residual blocks in its levels: tensors are missing.")
    shape = table.shapes["encoder.blocks.0.conv.weight"]
    size, width = table.shapes[f"{CODEBOOK}.embedding.weight"]
    out = table.shapes[f"decoder.blocks.{max(table.indices('decoder.blocks'))}.conv.weight"][1]
    return {
        "image_shape": [*[None] * (len(shape) - 2), int(shape[1])],
        "out_channels": None if out == shape[1] else int(out),
        "latent_dim": int(width),
        "codebook_size": int(size),
        "filters": filters,
        "blocks_per_stage": blocks[0],
        "hidden": hidden,
    }


def _of_config(config, levels, where):
    act = config.get("act", "RELU")
    if str(act[0] if isinstance(act, (list, tuple)) else act).upper() != "RELU":
        raise CheckpointError(f"{where}: activation {act!r}. Expected RELU.")

    def per_level(name, default):
        value = config.get(name) or default
        return [list(value)] * levels if all(isinstance(n, int) for n in value) else [list(n) for n in value]

    output = config.get("output_act")
    return {
        "downsample_parameters": per_level("downsample_parameters", (2, 4, 1, 1)),
        "upsample_parameters": per_level("upsample_parameters", (2, 4, 1, 1, 0)),
        "output_activation": "none" if output is None else str(output).lower(),
        "commitment_cost": config.get("commitment_cost", 0.25),
        "decay": config.get("decay", 0.5),
    }


def _assign(table, network, side):
    for i, layer in enumerate(network.steps):
        key = f"{side}.blocks.{i}"
        if isinstance(layer, VQResidualBlock):
            table.convolution(layer.conv1, f"{key}.conv1.conv")
            table.convolution(layer.conv2, f"{key}.conv2.conv")
        else:
            table.convolution(getattr(layer, "conv", layer), f"{key}.conv")
