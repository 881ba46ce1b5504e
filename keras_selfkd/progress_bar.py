"""A progress line of `fit` that fits the terminal, however many terms a method has."""

import shutil
import sys
import time

import keras

INTERVAL = 0.1  # Seconds between two looks of the line.


class ProgressLine(keras.callbacks.ProgbarLogger):
    """One line an epoch, never wider than the terminal.

    It shows the loss, then the metrics and, where all of them fit, the terms, of which
    the loss is the sum. Keras's own bar shows all of them, and a line that is wider
    than the terminal is printed again and again. Keras adds none beside it.
    """

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.begin = time.time()
        self.shown = 0.0
        self.width = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen = batch + 1
        if time.time() - self.shown >= INTERVAL:
            self._show(logs or {})

    def on_epoch_end(self, epoch, logs=None):
        self._show(logs or {}, end="\n")

    def _show(self, logs, end=""):
        self.shown = time.time()
        spent = self.shown - self.begin
        terms = {tracker.name for tracker in self.model.term_trackers}
        columns = shutil.get_terminal_size().columns - 1
        line = line_of(self.seen, self.target, spent, logs, terms, columns)
        sys.stdout.write(f"\r{line.ljust(self.width)}{end}")
        sys.stdout.flush()
        self.width = len(line)


def line_of(seen, target, seconds, logs, terms, columns):
    """The line after some steps.

    Args:
        seen: Integer, number of steps of the epoch.
        target: Integer, number of all its steps, or `None`.
        seconds: Seconds that they took.
        logs: Dict of numbers.
        terms: Set of the names in it that are terms of the loss, `<term>_loss`.
        columns: Integer, characters that there is room for.

    Example:

    >>> logs = {"accuracy": 0.5, "loss": 2.0, "task_loss": 1.5, "feature_loss": 0.5}
    >>> terms = {"task_loss", "feature_loss"}
    >>> line_of(4, 9, 2.0, logs, terms, columns=40)
    '4/9  2 s  loss 2.0000  accuracy 0.5000'
    >>> line_of(4, 9, 2.0, logs, terms, columns=80)
    '4/9  2 s  loss 2.0000 = task 1.5000 + feature 0.5000  accuracy 0.5000'
    """
    line = f"{seen}/{target or '?'}  {seconds:.0f} s"
    others = sorted(set(logs) - terms, key=lambda name: (name[:4] == "val_", name))
    others.sort(key=lambda name: name != "loss")  # It comes first.
    parts = [f"{name.removesuffix('_loss')} {number(logs[name])}" for name in logs]
    parts = [part for name, part in zip(logs, parts, strict=True) if name in terms]
    plain = [f"  {name} {number(logs[name])}" for name in others]
    sums = f" = {' + '.join(parts)}" if len(parts) > 1 else ""
    if plain and len(line) + len("".join(plain)) + len(sums) <= columns:
        plain[0] += sums
    for part in plain:
        if len(line) + len(part) > columns:
            break
        line += part
    return line[:columns]


def number(value):
    """A number in six characters or a few more."""
    value = float(value)
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def for_terminals(callbacks, verbose):
    """What `fit` takes as callbacks, with a `ProgressLine` where it prints to one."""
    if verbose not in ("auto", 1) or not sys.stdout.isatty():
        return callbacks
    if not isinstance(callbacks, list):  # Keras's list is whole already.
        return callbacks
    if any(isinstance(one, keras.callbacks.ProgbarLogger) for one in callbacks):
        return callbacks
    return [*callbacks, ProgressLine()]
