"""A source's weights by name, each to be used once, and the layers that they go into."""

import numpy as np

from medzoo.errors import CheckpointError

SHOWN = 12  # names that an error lists


class Table:
    """Weights of another library's network.

    Args:
        arrays: dict of names to arrays; those in the network's names only.
        where: str. File that they come from, for errors.

    Attributes:
        shapes: dict of names to shapes.
    """

    def __init__(self, arrays, where):
        self.arrays, self.where = dict(arrays), str(where)
        self.used, self.missing = set(), []

    def __contains__(self, name):
        return name in self.arrays

    @property
    def shapes(self):
        return {name: np.shape(value) for name, value in self.arrays.items()}

    def width(self, name):
        """Number of output channels of the weight of a name."""
        if name not in self.arrays:
            raise CheckpointError(f"{self.where}: has no {name}, which the network of this source begins with.")
        return int(np.shape(self.arrays[name])[0])

    def indices(self, prefix):
        """Sorted numbers n for which there are names `{prefix}.{n}.…`."""
        parts = (name[len(prefix) + 1 :].split(".") for name in self.arrays if name.startswith(prefix + "."))
        return sorted({int(part[0]) for part in parts if len(part) > 1 and part[0].isdigit()})

    def take(self, name):
        """The values of a name as float32, or `None`, and the name is reported by `finish`."""
        if name not in self.arrays:
            self.missing.append(name)
            return None
        self.used.add(name)
        return np.asarray(self.arrays[name], "float32")

    def ignore(self, names):
        """Mark names as known and not needed."""
        self.used.update(name for name in names if name in self.arrays)

    def put(self, variable, values, name):
        """Set a variable, once the shape is right.

        Args:
            variable: Keras variable.
            values: array in Keras' order of axes, or `None`.
            name: str. What the source calls it, for errors.
        """
        if values is None:
            return
        if tuple(variable.shape) != values.shape:
            raise CheckpointError(
                f"{self.where}: {name} has shape {np.shape(self.arrays.get(name, values))}, in Keras' order "
                f"{values.shape}. Expected {tuple(variable.shape)}; the configuration belongs to another network."
            )
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self.where}: {name} holds NaN or infinity.")
        variable.assign(values)

    def convolution(self, layer, key):
        """Weights of a convolution, transposed or not, or of a dense layer: `key.weight` and `key.bias`."""
        kernel = self.take(f"{key}.weight")
        rank = len(layer.kernel.shape)
        if kernel is not None:
            kernel = kernel.reshape(*kernel.shape, *[1] * (rank - kernel.ndim))  # a linear layer as a convolution of 1
            if rank == 2 and kernel.ndim > 2 and set(kernel.shape[2:]) == {1}:
                kernel = kernel.reshape(kernel.shape[:2])
            kernel = np.moveaxis(kernel, (0, 1), (-1, -2))
        self.put(layer.kernel, kernel, f"{key}.weight")
        if layer.use_bias:
            self.put(layer.bias, self.take(f"{key}.bias"), f"{key}.bias")

    def norm(self, layer, key):
        """Weights of a group normalization."""
        self.put(layer.gamma, self.take(f"{key}.weight"), f"{key}.weight")
        self.put(layer.beta, self.take(f"{key}.bias"), f"{key}.bias")

    def finish(self):
        """Check that every weight was used and none is missing.

        Raises:
            CheckpointError: If not; the message lists the names.
        """
        left = [name for name in self.arrays if name not in self.used]
        problems = []
        if self.missing:
            problems.append(f"missing: {_listed(self.missing)}")
        if left:
            problems.append(f"left over: {_listed(left)}")
        if problems:
            raise CheckpointError(
                f"{self.where}: the weights do not belong to the network that the configuration or the names describe; "
                f"{'; '.join(problems)}."
            )


def build(family, arguments, table):
    """Return a model of a family, once it is known not to have far more weights than the table.

    Raises:
        CheckpointError: If it has, or if the arguments do not fit together.
    """
    from medzoo.zoo.validation import check_arguments, check_count

    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    size = sum(int(np.size(value)) for value in table.arrays.values())
    try:
        check_arguments(arguments, family, table.where)
        check_count(family, arguments, 4 * size + 10_000, table.where)
        return family(**arguments)
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{table.where}: the weights do not make a network ({error}).") from error


def _listed(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def required(where, options, **descriptions):
    """Check that what cannot be read off a file was given.

    Args:
        where: str. The file, for errors.
        options: dict of what is known.
        **descriptions: What each required option is, with an example.

    Raises:
        CheckpointError: If options are missing; the message names them all.
    """
    missing = {name: text for name, text in descriptions.items() if options.get(name) is None}
    if missing:
        asked = ", ".join(f"{name} ({text})" for name, text in missing.items())
        raise CheckpointError(
            f"{where}: has no configuration, and its tensors do not tell {asked}. Pass "
            f"{', '.join(f'{name}=...' for name in missing)}, or config= with the source's configuration."
        )
