"""Data sets whose epochs differ, and go on over several calls of `fit`."""

import keras


class EpochDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` that draws something new in each epoch.

    Keras numbers the epochs of every `fit` from 0. This data set counts its own instead, so that a second `fit`, e.g.
    the second stage of a fine-tuning, goes on where the first ended.

    Attributes:
        epoch: int. The epoch that the next batch is of; part of the seed of whatever is drawn.
        begun: int. Number of epochs that `counted` has begun.
    """

    epoch = begun = 0

    def counted(self):
        """A callback for `fit` under which epochs are counted exactly: the first one is 0, whatever the backend."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self._begin())

    def _begin(self):
        self.epoch, self.begun = self.begun, self.begun + 1

    def on_epoch_end(self):
        # Without `counted`. Keras may call this once more before the first epoch: a number is skipped, none repeated.
        self.epoch += 1
