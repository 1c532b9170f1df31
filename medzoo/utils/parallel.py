"""Parallel work on the processor's cores."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable, items: Iterable) -> Iterator:
    """Yield the function's value of each item, in order, computed with one thread per core.

    Args:
        function: Function of one item.
        items: Iterable; only a few items are read ahead.
    """
    waiting = deque()
    with ThreadPoolExecutor(cores()) as threads:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def map_pieces(function: Callable, pieces: Iterable) -> list:
    """Return the function's value of each piece, computed with a shared thread pool.

    It has little overhead, so that NumPy functions of a few milliseconds profit.
    """
    pieces = list(pieces)
    return list(map(function, pieces) if len(pieces) == 1 else _threads().map(function, pieces))


@cache
def _threads():
    return ThreadPoolExecutor(cores())


def single_threaded_blas() -> AbstractContextManager:
    """Return a context in which NumPy computes each matrix product on one core.

        with single_threaded_blas():
            ...

    Many small products are faster in parallel threads than with parallel BLAS.
    """
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries():
    return ThreadpoolController()
