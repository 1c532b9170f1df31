"""Tiny autoencoders: diffusers' `AutoencoderTiny`, and the original pairs `taesd_encoder.pth`, `taesd_decoder.pth`.

Both number their layers in one list; the original decoder begins with the limit on the latents, diffusers' without.
"""

from medzoo.errors import CheckpointError
from medzoo.layers.tiny_networks import TinyBlock
from medzoo.zoo.converters.table import Table, build

NAMES = ("encoder", "decoder")


def convert(arrays, where, config=None, **options):
    """Return a `TinyAutoencoder` with the weights of a tiny autoencoder, and its preprocessing.

    The network works in [0, 1] inside; diffusers' conversion from [-1, 1] cancels out.

    Args:
        arrays: dict of diffusers' names to arrays, or list of two dicts, the encoder's and the decoder's.
        where: str. The file, for errors.
        config: dict. `config.json`, for what the tensors do not tell: the scaling.
        **options: Arguments of `TinyAutoencoder` that replace what is read off.
    """
    from medzoo.models import TinyAutoencoder

    if isinstance(arrays, list):
        shifts = (0, -1)  # the decoder's list begins with a layer without weights
        arrays = {
            f"{side}.layers.{_moved(name, shift)}": value
            for side, part, shift in zip(NAMES, arrays, shifts, strict=True)
            for name, value in part.items()
        }
    table = Table(arrays, where)
    config = config or {}
    if config.get("act_fn", "relu") != "relu" or config.get("upsampling_scaling_factor", 2) != 2:
        raise CheckpointError(f"{where}: activation {config.get('act_fn')!r}. Expected relu and factors of 2.")
    scale = {"scaling_factor": config.get("scaling_factor", 1.0), "shift_factor": config.get("shift_factor") or 0.0}
    found = {**arguments_of(table), **scale}
    model = build(TinyAutoencoder, {**found, **options}, table)
    _assign(table, "encoder", model.encoder.steps)
    _assign(table, "decoder", _with_gaps(model.decoder))
    table.finish()
    return model, {"intensity": "file"}


def _moved(name, shift):
    index, _, rest = name.partition(".")
    if not index.isdigit():
        raise CheckpointError(f"{name}: no number of a layer. Expected names as in taesd_encoder.pth.")
    return f"{int(index) + shift}.{rest}"


def arguments_of(table):
    """Return the arguments of `TinyAutoencoder` that names and shapes tell."""
    found = {}
    for side in NAMES:
        indices = table.indices(f"{side}.layers")
        widths, blocks = [], []
        for i in indices[:-1]:
            key = f"{side}.layers.{i}"
            if f"{key}.conv.0.weight" in table:
                blocks[-1] += 1
            else:
                widths.append(table.width(f"{key}.weight"))
                blocks.append(0)
        found[side] = (widths, blocks) if side == "encoder" else (widths[::-1], blocks[::-1])
    if not found["encoder"][0] or len(found["encoder"][0]) != len(found["decoder"][0]):
        raise CheckpointError(f"{table.where}: encoder and decoder have different numbers of levels.")
    last = max(table.indices("encoder.layers"))
    channels = table.shapes["encoder.layers.0.weight"][1] if "encoder.layers.0.weight" in table else None
    if channels is None:
        raise CheckpointError(f"{table.where}: has no encoder.layers.0.weight.")
    return {
        "image_shape": [None, None, int(channels)],
        "latent_dim": table.width(f"encoder.layers.{last}.weight"),
        "filters": found["encoder"][0],
        "blocks_per_stage": found["encoder"][1],
        "decoder_filters": found["decoder"][0],
        "decoder_blocks": found["decoder"][1],
        "pooled": any(".pool." in name for name in table.arrays),
    }


def _with_gaps(decoder):
    """The decoder's layers in the source's list, which counts ReLU and upsampling too (`None` here)."""
    listed = []
    for step in decoder.steps:
        listed += [None, step] if step.name.endswith("_up") else [step]
        listed += [None] if step.name == "stem" else []
    return listed


def _assign(table, side, listed):
    for i, layer in enumerate(listed):
        key = f"{side}.layers.{i}"
        if isinstance(layer, TinyBlock):
            for j, convolution in enumerate(layer.convolutions):
                table.convolution(convolution, f"{key}.conv.{2 * j}")
            if layer.pool:
                table.convolution(layer.pool[0], f"{key}.pool.0")
                table.norm(layer.pool[1], f"{key}.pool.1")
                table.convolution(layer.pool[2], f"{key}.pool.3")
        elif layer is not None:
            table.convolution(layer, key)
