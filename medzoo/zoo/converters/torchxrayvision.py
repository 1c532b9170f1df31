"""torchxrayvision's `ResNetAE101` and `ResNetAE50`: `layer1.0.conv1.weight`, `uplayer1.0.conv1.weight`."""

import numpy as np

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.table import Table, build

EPSILON = 1e-5  # of PyTorch's batch normalization
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def convert(arrays, where, config=None, **options):
    """Return a `ResNetAutoencoder` with torchxrayvision's weights, and its preprocessing.

    Images are in [-1024, 1024] inside the network: 0 is black and 1 is white here, as after
    `xrv.datasets.normalize(image, 255)`.

    Args:
        arrays: dict of names to arrays.
        where: str. The file, for errors.
        config: Not needed; the strides are constants of the code.
        **options: Arguments of `ResNetAutoencoder`.
    """
    from medzoo.models import ResNetAutoencoder

    table = Table({n: v for n, v in arrays.items() if not n.endswith("num_batches_tracked")}, where)
    blocks = [len(table.indices(f"layer{i}")) for i in (1, 2, 3, 4)]
    up = [len(table.indices(f"uplayer{i}")) for i in (4, 3, 2, 1)]
    if 0 in blocks or up != blocks:
        raise CheckpointError(
            f"{where}: has {blocks} blocks in the encoder and {up} in the decoder: tensors are missing."
        )
    model = build(ResNetAutoencoder, {"blocks_per_stage": blocks, **options}, table)
    _folded(table, model.encoder.steps[0].conv, "conv1", "bn1")
    names = [f"layer{level + 1}.{i}" for level, count in enumerate(blocks) for i in range(count)]
    for layer, key in zip(list(model.encoder.steps)[1:], names, strict=True):
        _bottleneck(table, layer, key, "downsample")
    names = [f"uplayer{level + 1}.{i}" for level, count in enumerate(blocks[::-1]) for i in range(count)]
    for layer, key in zip(list(model.decoder.steps)[:-1], [*names, "uplayer_top"], strict=True):
        _bottleneck(table, layer, key, "upsample")
    table.convolution(model.decoder.steps[-1], "conv1_1")
    table.finish()
    return model, {"size": [224, 224]}


def _bottleneck(table, layer, key, shortcut):
    _folded(table, layer.conv1, f"{key}.conv1", f"{key}.bn1")
    _folded(table, layer.conv2.conv, f"{key}.conv2", f"{key}.bn2")
    _folded(table, layer.conv3, f"{key}.conv3", f"{key}.bn3")
    if layer.shortcut is not None:
        _folded(table, layer.shortcut.conv, f"{key}.{shortcut}.0", f"{key}.{shortcut}.1")


def _folded(table, layer, key, norm):
    """Set a convolution's weights to those of the convolution and the batch normalization behind it."""
    kernel = table.take(f"{key}.weight")
    gamma, beta, mean, variance = (table.take(f"{norm}.{name}") for name in STATISTICS)
    if any(values is None for values in (kernel, gamma, beta, mean, variance)):
        return
    scale = gamma.astype("float64") / np.sqrt(variance.astype("float64") + EPSILON)
    transposed = type(layer).__name__.endswith("Transpose")
    if kernel.ndim != 4 or kernel.shape[1 if transposed else 0] != len(scale):
        raise CheckpointError(
            f"{table.where}: {key}.weight {kernel.shape} and {norm} {scale.shape} do not fit together."
        )
    kernel = kernel * scale.reshape((1, -1, 1, 1) if transposed else (-1, 1, 1, 1))
    table.put(layer.kernel, np.moveaxis(kernel, (0, 1), (-1, -2)).astype("float32"), f"{key}.weight")
    table.put(layer.bias, (beta - mean * scale).astype("float32"), f"{norm}.bias")
