"""Learning-rate schedules."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def cosine_schedule(
    peak: float, steps: int, warmup: int = 0, final: float = 0.0
) -> "keras.optimizers.schedules.CosineDecay":
    """Return a learning-rate schedule: linear warm-up from 0 to `peak`, then cosine decay.

    Cosine decay follows Loshchilov & Hutter (2017, arXiv:1608.03983), without restarts.

    Args:
        peak: float. Learning rate at the end of the warm-up; without warm-up, the initial learning rate.
        steps: int. Number of training steps, warm-up included.
        warmup: int. Number of warm-up steps. Default: 0.
        final: float. Learning rate at the end, as a fraction of `peak`. Default: 0.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.
    """
    import keras

    if not warmup:
        return keras.optimizers.schedules.CosineDecay(peak, max(1, steps), alpha=final)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=final, warmup_target=peak, warmup_steps=warmup
    )
