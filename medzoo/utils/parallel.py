"""Work shared by the processor's cores."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from threadpoolctl import ThreadpoolController


def cores():
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def in_order(function, items):
    """Yields what a function gives for each item, in the items' order, worked on by a thread a core; items are drawn
    only a few ahead."""
    waiting = deque()
    with ThreadPoolExecutor(cores()) as threads:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def in_pieces(function, pieces):
    """What a function of NumPy's arrays gives for each of a few pieces, as a list; quick enough for milliseconds."""
    pieces = list(pieces)
    return list(map(function, pieces) if len(pieces) == 1 else _threads().map(function, pieces))


@cache
def _threads():
    return ThreadPoolExecutor(cores())


def one_thread_a_product():
    """Within it NumPy computes each matrix product on one core: many small ones are quicker side by side.

    with one_thread_a_product():
        ...
    """
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries():
    return ThreadpoolController()
