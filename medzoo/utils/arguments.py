"""Validation of arguments by tables of rules, with uniform error messages."""

import logging
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

log = logging.getLogger(__name__)

MAX_SHOWN = 80  # characters of a wrong value in a message


class Rule(NamedTuple):
    """Rule for an argument.

    Attributes:
        holds: Function of the value that returns whether it is allowed.
        expected: str. Description of allowed values, as the end of an error message.
    """

    holds: Callable[[Any], bool]
    expected: str


def checked(owner: str, rules: dict[str, Rule], **values: Any) -> Any:
    """Return arguments in the given order after checking their rules.

    Args:
        owner: str. Name of the class or function with these arguments, the beginning of the message.
        rules: Dict of argument names to rules.
        **values: The arguments.

    Returns:
        Tuple of the values, with NumPy scalars as Python numbers and lists as tuples; a single argument is returned
        without the tuple.

    Raises:
        ValueError: If an argument breaks its rule.
    """
    for name, value in values.items():
        if not rules[name].holds(value):
            shown = repr(value)
            shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
            raise ValueError(f"{owner}: {name}={shown}; expected {rules[name].expected}.")
    plain = tuple(_plain(value) for value in values.values())
    return plain if len(plain) > 1 else plain[0]


def _plain(value):
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def whole(low: int | None = None, high: int | None = None) -> Rule:
    """Return a rule for an integer from `low` to `high`."""

    def holds(value):
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and _within(value, low, high)

    return Rule(holds, f"an integer{_range(low, high)}")


def real(
    low: float | None = None, high: float | None = None, above: float | None = None, below: float | None = None
) -> Rule:
    """Return a rule for a finite number.

    Args:
        low: float. Smallest allowed value.
        high: float. Largest allowed value.
        above: float. Exclusive lower limit.
        below: float. Exclusive upper limit.
    """

    def holds(value):
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return _within(value, low, high) and (above is None or value > above) and (below is None or value < below)

    limits = [_range(low, high)] if low is not None or high is not None else []
    limits += [] if above is None else [f" greater than {above:g}"]
    limits += [] if below is None else [f" less than {below:g}"]
    return Rule(holds, "a finite number" + " and".join(limits))


def choice(*options: str | None) -> Rule:
    """Return a rule for one of several values."""
    return Rule(
        lambda value: isinstance(value, str | None) and value in options, f"one of {', '.join(map(repr, options))}"
    )


def either(*rules: Rule) -> Rule:
    """Return a rule that holds if one of several rules does."""
    return Rule(lambda value: any(rule.holds(value) for rule in rules), " or ".join(rule.expected for rule in rules))


def several(rule: Rule, least: int = 1, most: int | None = None, ascending: bool = False) -> Rule:
    """Return a rule for a tuple or list of `least` to `most` entries that follow one rule."""

    def holds(value):
        if not isinstance(value, (tuple, list)) or not _within(len(value), least, most):
            return False
        return all(map(rule.holds, value)) and (not ascending or list(value) == sorted(set(value)))

    count = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    return Rule(holds, f"a tuple of {count}{' ascending' if ascending else ''} entries, each {rule.expected}")


def interval(rule: Rule) -> Rule:
    """Return a rule for a pair `(low, high)` with low <= high, whose ends follow one rule."""

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


def policy(owner: str, dtype: str | keras.DTypePolicy | None = None) -> keras.DTypePolicy:
    """Return the dtype policy of a model whose weights, latents and images are float32.

    Args:
        owner: str. Name of the class.
        dtype: `dtype` argument of the class. `None`: the policy that is set in Keras if medzoo supports it. Otherwise
            (e.g. `keras.config.set_floatx("float64")`) float32, with a warning in the log.

    Returns:
        `keras.DTypePolicy`.

    Raises:
        ValueError: If `dtype` is not one of `POLICIES`.
    """
    selected = keras.dtype_policies.get(keras.config.dtype_policy() if dtype is None else dtype)
    if selected.name in POLICIES:
        return selected
    if dtype is None:
        log.warning("%s: the floatx or dtype policy of Keras is %s; the model uses float32", owner, selected.name)
        return keras.dtype_policies.get("float32")
    raise ValueError(f"{owner}: dtype={selected.name!r}; expected one of {', '.join(POLICIES)}.")
