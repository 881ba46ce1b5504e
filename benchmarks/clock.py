"""Timing `fit` without what comes after its last step."""

import time

import keras


class Clock(keras.callbacks.Callback):
    """Measures the seconds from the start of a `fit` to the end of its last batch.

    After that, `fit` at times waits for tf.data's tuning thread, which sleeps for
    10, 20, 40, ... milliseconds and does not always hear that it should end: on one
    core, trainings of 7 seconds took 10.23 every second time.
    """

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds = time.perf_counter() - self.start


def seconds(model, data, steps):
    """Trains for some steps; returns their seconds."""
    clock = Clock()
    model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[clock])
    return clock.seconds
