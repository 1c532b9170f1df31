"""The training procedure of task heads: cosine learning-rate decay, keeping the best epoch."""

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from medzoo.tasks.shared.encoder_model import EncoderModel


def fit_best(
    model: "EncoderModel",
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    epochs: int,
    steps: int,
    learning_rate: float,
    loss: Any = None,
    batch_size: int | None = None,
    **options: Any,
) -> keras.callbacks.History:
    """Compile with Adam, fit, and restore the weights of the epoch with the lowest `val_loss`.

    The learning rate decays along a cosine to 2% of its initial value.

    Args:
        model: An `EncoderModel`.
        x: Images or batches, see `keras.Model.fit`.
        y: Targets, see `keras.Model.fit`.
        validation_data: See `keras.Model.fit`.
        epochs: int. Number of epochs.
        steps: int. Number of batches per epoch.
        learning_rate: float. Initial learning rate.
        loss: A Keras loss; by default that of the model.
        batch_size: See `keras.Model.fit`.
        options: Further options of `keras.Model.fit`.

    Returns:
        The history of `keras.Model.fit`.
    """
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps, alpha=0.02)
    model.compile(keras.optimizers.Adam(rate), **({} if loss is None else {"loss": loss}))
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    callbacks = [best, *options.pop("callbacks", ())]
    return model.fit(
        x, y, validation_data=validation_data, epochs=epochs, batch_size=batch_size, callbacks=callbacks, **options
    )
