"""How far a long piece of work is, said on stderr: stdout is for results."""

from contextlib import contextmanager


def bar():
    """A `rich.progress.Progress`."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True))


def track(items, what, fewest=0):
    """The items, one after another, with a bar that says what is done with them; none for fewer than `fewest`."""
    if len(items) < fewest:
        yield from items
        return
    with bar() as progress:
        yield from progress.track(items, description=what)


@contextmanager
def fitting(steps, what):
    """A Keras callback that moves a bar for each of so many batches."""
    import keras

    with bar() as progress:
        task = progress.add_task(what, total=steps)
        yield keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress.advance(task))
