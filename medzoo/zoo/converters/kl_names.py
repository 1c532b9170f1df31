"""What each source calls the layers of `AutoencoderKL`, and how weights go from the names into the layers."""

from collections.abc import Callable
from dataclasses import dataclass

from medzoo.layers.kl_blocks import Downsample, GroupNorm, NormalizedResidualBlock, SpatialAttention, Upsample

QKV = ("query", "key", "value")


@dataclass(frozen=True)
class Naming:
    """Names of a source.

    Fields:
        step: function of `(side, step, network)` that returns the source's name of a layer; side is "encoder" or
            "decoder", step the layer's name in `medzoo.layers.kl_networks`.
        suffix: str. What stands between a layer's name and `.weight` of a convolution in a residual block.
        shortcut: str. Name of a residual block's shortcut.
        norm: str. Name of an attention block's normalization.
        attention: names of the query, key, value and output projections; a tuple of such tuples, the first that is in
            the file is taken.
        combined: str or None. Name of one layer for query, key and value together.
        resample: dict of layer kind (`"down"`, `"nearest"`, ...) to the name of its convolution.
        moments: names of the convolutions that give mean and log-variance; one for both together, or two.
        post_quantization: str. Name of the decoder's first convolution of kernel size 1.
    """

    step: Callable
    suffix: str = ""
    shortcut: str = "nin_shortcut"
    norm: str = "norm"
    attention: tuple = (("q", "k", "v", "proj_out"),)
    combined: str | None = None
    resample: dict | None = None
    moments: tuple = ("quant_conv",)
    post_quantization: str = "post_quant_conv"


def assign(model, table, naming):
    """Set all weights of an `AutoencoderKL` from a table.

    Raises:
        CheckpointError: If weights are missing or left over, or have other shapes.
    """
    for side, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        for step, index in network.index.items():
            layer = network.steps[index]
            if step == "quantization":
                _quantization(table, layer, naming, side)
            else:
                _layer(table, layer, naming.step(side, step, network), naming)
    if model.projections:
        names = ("channel_ds.0", "channel_ds.2", "channel_ds.4", "channel_proj")
        for layer, name in zip(model.projections, names, strict=True):
            table.convolution(layer, name)
    table.finish()


def _layer(table, layer, key, naming):
    if isinstance(layer, GroupNorm):
        table.norm(layer, key)
    elif isinstance(layer, NormalizedResidualBlock):
        table.norm(layer.norm1, f"{key}.norm1")
        table.convolution(layer.conv1, f"{key}.conv1{naming.suffix}")
        table.norm(layer.norm2, f"{key}.norm2")
        table.convolution(layer.conv2, f"{key}.conv2{naming.suffix}")
        if layer.shortcut is not None:
            table.convolution(layer.shortcut, f"{key}.{naming.shortcut}{naming.suffix}")
    elif isinstance(layer, SpatialAttention):
        _attention(table, layer, key, naming)
    elif isinstance(layer, (Downsample, Upsample)):
        kind = "down" if isinstance(layer, Downsample) else layer.mode
        if getattr(layer.conv, "kernel", None) is not None:
            table.convolution(layer.conv, f"{key}.{naming.resample[kind]}")
    else:
        table.convolution(layer, key)


def _attention(table, layer, key, naming):
    table.norm(layer.norm, f"{key}.{naming.norm}")
    names = next((n for n in naming.attention if f"{key}.{n[0]}.weight" in table), naming.attention[0])
    if naming.combined and f"{key}.{naming.combined}.weight" in table:
        for part in ("weight", "bias"):  # one layer for all three: queries, keys and values, one below the other
            whole = table.take(f"{key}.{naming.combined}.{part}")
            for n, rows in zip(names[:3], _thirds(whole), strict=True):
                table.arrays[f"{key}.{n}.{part}"] = rows
    for attribute, name in zip(QKV, names[:3], strict=True):
        table.convolution(getattr(layer, attribute), f"{key}.{name}")
    if layer.output_projection is not None:
        table.convolution(layer.output_projection, f"{key}.{names[3]}")


def _thirds(values):
    if values is None or len(values) % 3:
        return (None,) * 3
    third = len(values) // 3
    return [values[i * third : (i + 1) * third] for i in range(3)]


def _quantization(table, layer, naming, side):
    if side == "decoder":
        table.convolution(layer, naming.post_quantization)
    elif len(naming.moments) == 1:
        table.convolution(layer, naming.moments[0])
    else:  # two convolutions beside each other are one with twice the filters
        import numpy as np

        for part, variable, axis in (("weight", layer.kernel, 0), ("bias", layer.bias, 0)):
            both = [table.take(f"{name}.{part}") for name in naming.moments]
            if any(values is None for values in both):
                continue
            joined = np.concatenate(both, axis=axis)
            values = np.moveaxis(joined, (0, 1), (-1, -2)) if joined.ndim > 1 else joined
            table.put(variable, values, f"{naming.moments[0]}.{part}")
