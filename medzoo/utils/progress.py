"""Progress bars on stderr; stdout is for results."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar() -> "Progress":
    """Return a `rich.progress.Progress` on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True))


def track(items: Collection, what: str, fewest: int = 0) -> Iterator:
    """Yield the items with a progress bar.

    Args:
        items: Sequence, or another collection.
        what: str. Description next to the bar.
        fewest: int. No bar is shown for fewer items.
    """
    if len(items) < fewest:
        yield from items
        return
    with progress_bar() as progress:
        yield from progress.track(items, description=what)


@contextmanager
def fit_progress(steps: int, what: str) -> Iterator:
    """Yield a Keras callback that shows a progress bar of training batches.

    Args:
        steps: int. Number of batches.
        what: str. Description next to the bar.
    """
    import keras

    with progress_bar() as progress:
        task = progress.add_task(what, total=steps)
        yield keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress.advance(task))
