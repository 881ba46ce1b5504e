"""Timing `fit`, `evaluate` and `predict` without what comes after the last batch."""

import time

import keras


class Clock(keras.callbacks.Callback):
    """Measures the seconds from the start of a run to the end of its last batch.

    After that, `fit` at times waits for tf.data's tuning thread, which sleeps for
    10, 20, 40, ... milliseconds and does not always hear that it should end: on one
    core, trainings of 7 seconds took 10.23 every second time.
    """

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.end = time.perf_counter()
        self.seconds = self.end - self.start

    on_test_begin = on_predict_begin = on_train_begin
    on_test_batch_end = on_predict_batch_end = on_train_batch_end


def fit(model, data, steps):
    """Trains for some steps; returns the `Clock` of them."""
    clock = Clock()
    model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[clock])
    return clock


def seconds(model, data, steps):
    """Trains for some steps; returns their seconds."""
    return fit(model, data, steps).seconds


def in_turns(functions, rounds, name):
    """Seconds of each function in each round, there and back; says how far it is."""
    turns = []
    for turn in range(rounds):
        order = list(functions) if turn % 2 == 0 else list(functions)[::-1]
        turns.append({leg: functions[leg]() for leg in order})
        shown = ", ".join(f"{leg} {turns[-1][leg]:.2f}" for leg in functions)
        print(f"{name}, turn {turn + 1} of {rounds}: {shown} s", flush=True)
    return {leg: [turn[leg] for turn in turns] for leg in functions}
