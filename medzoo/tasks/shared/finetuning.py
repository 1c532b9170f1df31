"""The training that heads on an encoder share: a rate that falls as a cosine, and the best epoch kept."""

import keras

from medzoo.utils.schedules import cosine_schedule


def fit_best(model, x, y=None, *, validation_data, epochs, steps, learning_rate, loss=None, batch_size=None, **options):
    """Compiles with Adam, whose rate falls to a fiftieth along a cosine, fits, and keeps the epoch of least `val_loss`.

    Args:
        model: an `EncoderModel`.
        x, y, validation_data, epochs, batch_size: as in `keras.Model.fit`.
        steps: batches an epoch.
        learning_rate: at the start.
        loss: by default the model's own.
        options: further ones of `fit`.
    """
    rate = cosine_schedule(learning_rate, epochs * steps, final=0.02)
    model.compile(keras.optimizers.Adam(rate), **({} if loss is None else {"loss": loss}))
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    callbacks = [best, *options.pop("callbacks", ())]
    return model.fit(
        x, y, validation_data=validation_data, epochs=epochs, batch_size=batch_size, callbacks=callbacks, **options
    )
