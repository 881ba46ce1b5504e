"""Checkpoints from which an interrupted training goes on as if it never stopped."""

import hashlib
import json
import math
import os
import pathlib
import shutil
import tempfile
import warnings

import keras
import numpy as np

from keras_selfkd.callback_state import lists_of_arrays, plain_values
from keras_selfkd.files import staging

_WEIGHTS, _ARRAYS, _STATE = "model.weights.h5", "callbacks.npz", "callbacks.json"
_SUMS = "SHA256SUMS"  # As `sha256sum --check` reads it.


class Checkpoints(keras.callbacks.Callback):
    """Writes the whole state of a training after every epoch, and goes on from it.

    A checkpoint holds weights, optimizer, memories, for a `SelfDistillationModel` the
    seeds, and what other callbacks have counted so far (early stopping's patience, the
    best score): their attributes that are numbers, strings, or lists of these or of
    arrays. It appears under its name only when it is complete, with checksums; a
    spoiled one is left out on restoring, and the one before taken.

    An epoch that was cut short is trained again from its start, so the data must be a
    function of the epoch, as in the example. Then, on one CPU, the final weights are to
    the last bit those of a training that was never interrupted; on a GPU, with
    `tf.config.experimental.enable_op_determinism()`.
    `keras.callbacks.BackupAndRestore` writes weights and epoch in two steps and knows
    nothing of other callbacks or of the data.

    Args:
        path: Path of a directory that is for this training's checkpoints alone. All of
            several workers must see it; the first one writes it.
        keep: Integer, how many checkpoints to keep. Defaults to `2`.

    Attributes:
        stopped: Boolean, whether the training that was restored had been ended by a
            callback.

    Example:

    >>> import keras, numpy as np, tensorflow as tf
    >>> from keras_selfkd import Checkpoints
    >>> images, labels = np.ones((8, 4), "float32"), np.ones((8, 1))
    >>> def batches(first_epoch):
    ...     def of_epoch(epoch):
    ...         rows = tf.random.experimental.stateless_shuffle(
    ...             tf.range(8), seed=tf.stack([tf.constant(0, tf.int64), epoch])
    ...         )
    ...         data = tf.gather(images, rows), tf.gather(labels, rows)
    ...         return tf.data.Dataset.from_tensor_slices(data).batch(4)
    ...     epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    ...     return epochs.flat_map(of_epoch)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(folder)
    ...     seen = checkpoints.restore(model)  # 0 at first, 3 after the third epoch.
    ...     history = model.fit(
    ...         batches(seen),
    ...         steps_per_epoch=2,
    ...         initial_epoch=seen,
    ...         epochs=seen if checkpoints.stopped else 3,
    ...         shuffle=False,
    ...         callbacks=checkpoints.after([keras.callbacks.EarlyStopping("loss")]),
    ...         verbose=0,
    ...     )
    ...     Checkpoints(folder).restore(model)
    3
    """

    def __init__(self, path, keep=2):
        super().__init__()
        if keep < 1:
            raise ValueError(f"Expected keep to be at least 1. Received: keep={keep}")
        self.path = pathlib.Path(path)
        self.keep = keep
        self.stopped = False
        self._others, self._at_start, self._restored = [], None, None
        self._cut_short, self._is_own, self._scratch = False, False, None

    @property
    def last_epoch(self):
        """Epochs that the newest checkpoint has seen, be it whole or not; 0 without."""
        found = self._found()
        return _epoch_of(found[-1]) if found else 0

    def after(self, callbacks):
        """Returns callbacks for `fit`: those given, whose state is kept, and this."""
        self._others, self._at_start = list(callbacks), None
        return [*self._others, self]

    def restore(self, model):
        """Loads the newest checkpoint that is whole, if there is one.

        Args:
            model: Built and compiled `keras.Model`, made as the one that was saved.

        Returns:
            Number of epochs that the weights have seen, 0 without a checkpoint.

        Raises:
            ValueError: If there are checkpoints, but none is whole.
        """
        found, self._is_own = self._found(), True
        for folder in reversed(found):
            try:
                self._restored = _read_state(folder)
            except (OSError, ValueError) as error:
                warnings.warn(f"{folder} is left out: {error}", stacklevel=2)
                continue
            # An optimizer without variables would not take its momentum from the file.
            if not model.optimizer.built:
                with model.distribute_strategy.scope():
                    model.optimizer.build(model.trainable_variables)
            model.load_weights(folder / _WEIGHTS)
            self.stopped = self._restored["stopped"]
            return _epoch_of(folder)
        if found:
            raise ValueError(
                f"None of the checkpoints in {self.path} is whole: "
                f"{[folder.name for folder in found]}. Delete them to start from the "
                "beginning."
            )
        return 0

    def on_train_begin(self, logs=None):
        if self.model.distribute_strategy.extended.should_checkpoint:
            for unfinished in self.path.glob(".epoch-*"):
                shutil.rmtree(unfinished)
        if self._found() and not self._is_own:
            raise ValueError(
                f"{self.path} holds checkpoints. Call `restore(model)` before `fit` to "
                "go on from them, or delete them."
            )
        self._is_own, self._cut_short = True, False
        if self._at_start is None:
            self._at_start = [plain_values(other) for other in self._others]
        if self._restored is None:
            return
        kinds = [type(other).__name__ for other in self._others]
        if kinds != [state["kind"] for state in self._restored["callbacks"]]:
            raise ValueError(
                "Expected the callbacks that were there when the checkpoint was "
                f"written, given to `after`: {self._restored['callbacks']}. Received: "
                f"{kinds}"
            )
        for other, state in zip(self._others, self._restored["callbacks"], strict=True):
            vars(other).update(state["values"])
        self._restored = None

    def on_train_batch_end(self, batch, logs=None):
        self._cut_short = self.model.stop_training

    def on_epoch_end(self, epoch, logs=None):
        if self._cut_short:
            return  # It is trained again from its start.
        folder = self._target() / f"epoch-{epoch + 1:05}"
        try:
            with staging(folder) as staged:
                staged.mkdir()
                _check_room(staged, self.model)
                self._write(staged)
        except OSError as error:
            raise OSError(
                f"The checkpoint {folder} could not be written; those before it are as "
                f"they were. Make room and start again. The cause: {error}"
            ) from error
        written = sorted(folder.parent.glob("epoch-*"), key=_epoch_of)
        for older in written[: -self.keep]:
            shutil.rmtree(older)

    def on_train_end(self, logs=None):
        if self._scratch:
            self._scratch.cleanup()
            self._scratch = None

    def _write(self, folder):
        self.model.save_weights(folder / _WEIGHTS)
        states, arrays = [], {}
        for i, (other, at_start) in enumerate(
            zip(self._others, self._at_start, strict=True)
        ):
            now = plain_values(other)
            new = {name: v for name, v in now.items() if at_start.get(name, ...) != v}
            states.append({"kind": type(other).__name__, "values": new})
            for name, values in lists_of_arrays(other).items():
                arrays |= {f"{i}/{name}/{j}": v for j, v in enumerate(values)}
        np.savez(folder / _ARRAYS, **arrays)
        state = {"stopped": bool(self.model.stop_training), "callbacks": states}
        (folder / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        (folder / _SUMS).write_text(_sums(folder), encoding="utf-8")

    def _target(self):
        """The directory to write to; other workers than the first have their own."""
        if self.model.distribute_strategy.extended.should_checkpoint:
            return self.path
        # It goes with this object or the process, also where another worker dies.
        self._scratch = self._scratch or tempfile.TemporaryDirectory()
        return pathlib.Path(self._scratch.name)

    def _found(self):
        return sorted(self.path.glob("epoch-*"), key=_epoch_of)


def _epoch_of(folder):
    return int(folder.name.rpartition("-")[2])


def _read_state(folder):
    """What was written beside the weights, once all of it is known to be whole."""
    if (folder / _SUMS).read_text(encoding="utf-8") != _sums(folder):
        raise ValueError("its files are not what was written")
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    with np.load(folder / _ARRAYS) as arrays:
        for key in arrays:
            index, name, _ = key.split("/")
            values = state["callbacks"][int(index)]["values"]
            values.setdefault(name, []).append(arrays[key])
    return state


def _check_room(folder, model):
    """Raises an `OSError` unless there is room for the weights.

    HDF5 ends the process by a segmentation fault when it runs out of room itself.
    """
    variables = [*model.variables, *model.optimizer.variables]
    size = sum(4096 + 8 * math.prod(v.shape) for v in variables)  # Generously.
    trial = folder / "room"
    if hasattr(os, "posix_fallocate"):  # Not on macOS and Windows.
        with trial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        trial.unlink()


def _sums(folder):
    lines = []
    for name in (_WEIGHTS, _ARRAYS, _STATE):
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}")
    return "\n".join([*lines, ""])
