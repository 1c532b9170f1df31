"""`fit`, `evaluate` and `predict` with several workers, which Keras 3 does not support.

Under `tf.distribute.MultiWorkerMirroredStrategy`, Keras 3 fails twice (keras-team/keras issue 20585): it builds the
metrics of a model from a batch that is still distributed over the replicas, and it averages the logs of a step over an
axis that scalars do not have. This mixin corrects both for any model and any compiled loss and metrics:

    class MyModel(medzoo.MultiWorkerMixin, keras.Model): ...
"""

import keras


class MultiWorkerMixin(keras.Model):
    """Mixin for training with several workers; it precedes `keras.Model` in the bases.

    It changes nothing with one worker and on other backends.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self._on_several_workers():
            return super()._maybe_symbolic_build(iterator, data_batch)
        if iterator is not None:
            batches = next(iter(iterator))[2]
            data_batch = keras.tree.map_structure(self._of_this_worker, next(batches))
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function, **options):
        if not self._on_several_workers():
            return super()._make_function(step_function, **options)

        def step(data):
            return keras.tree.map_structure(lambda log: log[None], step_function(data))

        return super()._make_function(step, **options)

    def _on_several_workers(self):
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        strategy = self.distribute_strategy
        return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.num_replicas_in_sync > 1

    def _of_this_worker(self, value):
        return self.distribute_strategy.experimental_local_results(value)[0]
