"""Rules for arguments: each class and function states its own in a table, and all of them refuse in the same words."""

import logging
import math
import numbers
from typing import NamedTuple

import keras
import numpy as np

log = logging.getLogger(__name__)

SHOWN = 80  # characters of a wrong value in a message


class Rule(NamedTuple):
    """What an argument may be.

    Attributes:
        holds: function of the value that returns whether it is allowed.
        expected: what is allowed, as the end of a message.
    """

    holds: object
    expected: str


def checked(owner, rules, **values):
    """Return arguments in the order in which they are given, once each of them follows its rule.

    Args:
        owner: name of the class or function whose arguments these are, the beginning of the message.
        rules: dict of argument names to rules.
        **values: the arguments.

    Returns:
        Tuple of the values, NumPy scalars as Python numbers and lists as tuples; one argument comes without the tuple.

    Raises:
        ValueError: If an argument breaks its rule.
    """
    for name, value in values.items():
        if not rules[name].holds(value):
            shown = repr(value)
            shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
            raise ValueError(f"{owner}: {name}={shown}; expected {rules[name].expected}.")
    plain = tuple(_plain(value) for value in values.values())
    return plain if len(plain) > 1 else plain[0]


def _plain(value):
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def whole(low=None, high=None):
    """Rule for an integer from `low` to `high`."""

    def holds(value):
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and _within(value, low, high)

    return Rule(holds, f"an integer{_range(low, high)}")


def real(low=None, high=None, above=None, below=None):
    """Rule for a finite number from `low` to `high`, or greater than `above` and less than `below`."""

    def holds(value):
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return _within(value, low, high) and (above is None or value > above) and (below is None or value < below)

    limits = [_range(low, high)] if low is not None or high is not None else []
    limits += [] if above is None else [f" greater than {above:g}"]
    limits += [] if below is None else [f" less than {below:g}"]
    return Rule(holds, "a finite number" + " and".join(limits))


def choice(*options):
    """Rule for one of some values."""
    return Rule(
        lambda value: isinstance(value, str | None) and value in options, f"one of {', '.join(map(repr, options))}"
    )


def either(*rules):
    """Rule that holds where one of several does."""
    return Rule(lambda value: any(rule.holds(value) for rule in rules), " or ".join(rule.expected for rule in rules))


def several(rule, least=1, most=None, ascending=False):
    """Rule for a tuple or list of `least` to `most` entries that follow one rule."""

    def holds(value):
        if not isinstance(value, (tuple, list)) or not _within(len(value), least, most):
            return False
        return all(map(rule.holds, value)) and (not ascending or list(value) == sorted(set(value)))

    count = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    return Rule(holds, f"a tuple of {count}{' ascending' if ascending else ''} entries, each {rule.expected}")


def interval(rule):
    """Rule for a pair `(low, high)` in that order, whose ends follow one rule."""

    def holds(value):
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(rule.holds, value)) and _ordered(value)

    return Rule(holds, f"a pair (low, high) with low <= high, each {rule.expected}")


def _ordered(pair):
    return pair[0] <= pair[1]


def _within(value, low, high):
    return (low is None or value >= low) and (high is None or value <= high)


def _range(low, high):
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    return f" of at least {low:g}" if low is not None else f" of at most {high:g}" if high is not None else ""


NONE = Rule(lambda value: value is None, "None")
SEED = either(whole(0, 2**32 - 1), NONE)
FLAG = Rule(lambda value: isinstance(value, (bool, np.bool_)), "True or False")
COUNT = whole(1)  # of images, layers, channels ...
WIDTHS = several(COUNT)  # of the stages of a network
SIDES = several(COUNT, 2, 3)  # of an image or a volume
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def policy(owner, dtype=None):
    """Return the dtype policy of a model whose weights, latents and images are float32.

    Args:
        owner: name of the class.
        dtype: its `dtype` argument. `None`: the policy that is set in Keras or, where that is another one than models
            of medzoo know (`keras.config.set_floatx("float64")`), float32, with a warning in the log.

    Returns:
        `keras.DTypePolicy`.

    Raises:
        ValueError: If `dtype` is none of `POLICIES`.
    """
    found = keras.dtype_policies.get(keras.config.dtype_policy() if dtype is None else dtype)
    if found.name in POLICIES:
        return found
    if dtype is None:
        log.warning("%s: the floatx or dtype policy of Keras is %s; computes in float32", owner, found.name)
        return keras.dtype_policies.get("float32")
    raise ValueError(f"{owner}: dtype={found.name!r}; expected one of {', '.join(POLICIES)}.")
