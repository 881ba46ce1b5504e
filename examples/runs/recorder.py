"""What is kept and said of every epoch of a training."""

import time

import keras
import numpy as np


class DivergedError(SystemExit):
    """The loss is not finite any more: ends a runner, with what it says."""


class Recorder(keras.callbacks.Callback):
    """Records each epoch in a run, and ends the program when the loss diverges.

    Args:
        run: `examples.runs.run.Run`.
        method: Name of the method.
        lines: Whether to print a line an epoch. Defaults to `False`.

    Attributes:
        seconds: Those of all epochs, which a checkpoint keeps; the history has none, so
            that equal runs have equal histories.
    """

    def __init__(self, run, method, lines=False):
        super().__init__()
        self.run = run
        self.method = method
        self.lines = lines
        self.seconds = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch, unless its loss is not finite."""
        terms = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
        if not np.isfinite(logs["loss"]):
            raise DivergedError(
                f"Training with {self.method} diverged in epoch {epoch + 1} ({terms}). "
                "Lower --learning_rate or raise --warmup_epochs."
            )
        seconds = time.perf_counter() - self.start
        self.seconds += seconds
        self.run.record(self.method, epoch + 1, logs)
        if self.lines:
            last = self.params["epochs"]
            print(f"Epoch {epoch + 1}/{last}: {seconds:.1f} s, {terms}", flush=True)
