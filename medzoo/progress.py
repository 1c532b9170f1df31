"""How far a long piece of work is, said on stderr: stdout is for results."""


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
