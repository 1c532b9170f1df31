"""Datasets with different data in each epoch that continue over several calls of `fit`."""

import keras


class EpochDataset(keras.utils.PyDataset):
    """`keras.utils.PyDataset` that samples new data in each epoch.

    Keras numbers the epochs of every `fit` from 0. This dataset counts its own epochs, so that a second `fit`, e.g. the
    second stage of fine-tuning, continues where the first ended.

    Attributes:
        epoch: int. Epoch of the next batch; part of the seed of all random numbers.
        begun: int. Number of epochs that `counted` has begun.
    """

    epoch = begun = 0

    def counted(self) -> keras.callbacks.Callback:
        """Return a callback for `fit` that counts epochs exactly, from 0, on every backend."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self._begin())

    def _begin(self):
        self.epoch, self.begun = self.begun, self.begun + 1

    def on_epoch_end(self) -> None:
        """Count an epoch if the callback of `counted` is not used."""
        # Keras may call this once before the first epoch: a number is then skipped, but none is repeated.
        self.epoch += 1
