import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, Checkpoints, SelfDistillationModel
from tests import toys
from tests.processes import workers

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")
FILES = ["model.weights.h5", "callbacks.npz", "callbacks.json", "SHA256SUMS"]
X, Y = np.ones((4, 3)), np.ones((4, 2))


def small_model():
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def dropping_model():
    """A student with Dropout and BatchNorm, so that seeds and statistics count."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu")(images)
    x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.5)(x))
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    student = keras.Model(images, keras.layers.Dense(3)(x))
    model = SelfDistillationModel(student, FRSKD(channels=4))
    model.compile(keras.optimizers.Adam(0.01), toys.cross_entropy())
    return model


def train(model, path, epochs, callbacks=(), data=(X, Y)):
    """Fits from where the checkpoints are; returns them, and the epochs fitted."""
    checkpoints = Checkpoints(path)
    seen = checkpoints.restore(model)
    history = model.fit(
        *data,
        batch_size=4,
        shuffle=False,
        initial_epoch=seen,
        epochs=seen if checkpoints.stopped else epochs,
        callbacks=checkpoints.after(callbacks),
        verbose=0,
    )
    return checkpoints, history.epoch


def assert_same_variables(model, expected):
    every = [
        zip(model.variables, expected.variables, strict=True),
        zip(model.optimizer.variables, expected.optimizer.variables, strict=True),
    ]
    for ours, theirs in itertools.chain(*every):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=theirs.path)


def test_goes_on_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 8, 8, 1)), rng.integers(3, size=8)
    expected = dropping_model()
    train(expected, tmp_path / "whole", 4, data=data)
    _, first = train(dropping_model(), tmp_path / "parts", 2, data=data)
    resumed = dropping_model()
    _, rest = train(resumed, tmp_path / "parts", 4, data=data)
    assert (first, rest) == ([0, 1], [2, 3])
    assert_same_variables(resumed, expected)


def test_without_checkpoints_nothing_changes(tmp_path):
    model = small_model()
    before = model.get_weights()
    checkpoints = Checkpoints(tmp_path / "none")
    assert (checkpoints.restore(model), checkpoints.last_epoch) == (0, 0)
    for expected, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_last_two_are_kept(tmp_path):
    checkpoints, _ = train(small_model(), tmp_path, 11)
    names = sorted(folder.name for folder in tmp_path.iterdir())
    assert names == ["epoch-00010", "epoch-00011"]
    assert checkpoints.last_epoch == 11


def callbacks_of(path):
    stopping = keras.callbacks.EarlyStopping(
        "loss", patience=3, start_from_epoch=1, restore_best_weights=True
    )
    best = keras.callbacks.ModelCheckpoint(
        path, "loss", save_best_only=True, save_weights_only=True
    )
    slower = keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=1.0)
    return [stopping, best, slower]


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 4:
            raise KeyboardInterrupt


def test_other_callbacks_go_on_with_what_they_have_counted(tmp_path):
    """The loss rises after epoch 2: the resumed training knows the best before it."""

    def worse_after(epoch, rate):
        return rate if epoch < 2 else -0.01

    schedule = keras.callbacks.LearningRateScheduler(worse_after)
    expected = small_model()
    callbacks = callbacks_of(tmp_path / "whole.weights.h5")
    _, epochs = train(expected, tmp_path / "whole", 9, [schedule, *callbacks])
    assert len(epochs) < 9

    checkpoints, model = Checkpoints(tmp_path / "parts"), small_model()
    every = [schedule, *callbacks_of(tmp_path / "parts.weights.h5")]
    every = [*checkpoints.after(every), Interrupt()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=9, shuffle=False, verbose=0, callbacks=every)
    resumed, again = small_model(), callbacks_of(tmp_path / "parts.weights.h5")
    written = (tmp_path / "parts.weights.h5").stat().st_mtime_ns
    _, rest = train(resumed, tmp_path / "parts", 9, [schedule, *again])
    assert rest == epochs[4:]
    for ours, theirs in zip(again, callbacks, strict=True):
        for name in ("best", "wait", "stopped_epoch", "best_epoch", "cooldown_counter"):
            assert getattr(ours, name, None) == getattr(theirs, name, None), name
    assert (tmp_path / "parts.weights.h5").stat().st_mtime_ns == written
    assert_same_variables(resumed, expected)


def test_a_training_that_a_callback_ended_is_not_prolonged(tmp_path):
    def stopping():
        return keras.callbacks.EarlyStopping(
            "loss", patience=1, min_delta=9.0, restore_best_weights=True
        )

    expected = small_model()
    _, epochs = train(expected, tmp_path, 9, [stopping()])
    assert len(epochs) == 2
    again = small_model()
    checkpoints, rest = train(again, tmp_path, 9, [stopping()])
    assert checkpoints.stopped
    assert rest == []
    for ours, theirs in zip(again.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garble(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [cut, pathlib.Path.unlink, garble])
def test_a_spoiled_checkpoint_falls_back_to_the_one_before(tmp_path, spoil, name):
    expected = small_model()
    train(expected, tmp_path, 3)
    spoil(tmp_path / "epoch-00003" / name)
    resumed = small_model()
    with pytest.warns(UserWarning, match="epoch-00003 is left out"):
        assert Checkpoints(tmp_path).restore(resumed) == 2
    resumed.fit(X, Y, shuffle=False, initial_epoch=2, epochs=3, verbose=0)
    assert_same_variables(resumed, expected)


def test_error_no_checkpoint_is_whole(tmp_path):
    train(small_model(), tmp_path, 2)
    for folder in tmp_path.iterdir():
        cut(folder / "model.weights.h5")
    with (
        pytest.warns(UserWarning, match="is left out: its files"),
        pytest.raises(ValueError, match=r"whole: \['epoch-00001'.*Delete them"),
    ):
        Checkpoints(tmp_path).restore(small_model())


def test_what_improves_is_the_same_after_restoring(tmp_path):
    """Keras turns the sign of `min_delta` when it first compares."""

    def stopping():
        return keras.callbacks.EarlyStopping("loss", min_delta=0.5, patience=9)

    first, second = stopping(), stopping()
    train(small_model(), tmp_path, 2, [first])
    train(small_model(), tmp_path, 3, [second])
    assert first.min_delta == second.min_delta == -0.5


class StopInEpoch(keras.callbacks.Callback):
    """As one that hears that the machine is taken away."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def test_an_epoch_that_was_cut_short_does_not_count(tmp_path):
    train(small_model(), tmp_path, 1)
    model, checkpoints = small_model(), Checkpoints(tmp_path)
    seen = checkpoints.restore(model)
    every = [StopInEpoch(), checkpoints]
    x, y = np.ones((8, 3)), np.ones((8, 2))
    model.fit(x, y, 4, initial_epoch=seen, epochs=3, callbacks=every, verbose=0)
    again = Checkpoints(tmp_path)
    assert (again.restore(small_model()), again.stopped) == (1, False)


def test_a_second_fit_is_not_thrown_back_to_what_was_restored(tmp_path):
    train(small_model(), tmp_path, 2, [keras.callbacks.EarlyStopping("loss")])
    model, checkpoints = small_model(), Checkpoints(tmp_path)
    stopping = keras.callbacks.EarlyStopping("loss", patience=9)
    every = checkpoints.after([stopping])
    options = {"shuffle": False, "verbose": 0, "callbacks": every}
    model.fit(X, Y, initial_epoch=checkpoints.restore(model), epochs=4, **options)
    history = model.fit(X, Y, initial_epoch=4, epochs=5, **options).history
    assert stopping.best == history["loss"][0]
    assert checkpoints.last_epoch == 5


def test_error_checkpoints_that_were_not_restored(tmp_path):
    train(small_model(), tmp_path, 1)
    with pytest.raises(ValueError, match=r"Call `restore\(model\)` before `fit`"):
        small_model().fit(X, Y, verbose=0, callbacks=[Checkpoints(tmp_path)])


@pytest.mark.parametrize("keep", [0, -1])
def test_error_keeping_none(tmp_path, keep):
    with pytest.raises(ValueError, match=f"Received: keep={keep}"):
        Checkpoints(tmp_path, keep=keep)


def test_error_other_callbacks_than_before(tmp_path):
    train(small_model(), tmp_path, 1, [keras.callbacks.EarlyStopping("loss")])
    with pytest.raises(ValueError, match=r"EarlyStopping.*Received: \[\]"):
        train(small_model(), tmp_path, 2)


def test_error_another_model(tmp_path):
    train(small_model(), tmp_path, 1)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match="shape"):
        Checkpoints(tmp_path).restore(other)


FULL_DISK = """
import resource, sys
import keras
from tests.test_checkpoints import X, Y, Checkpoints, small_model

class Fill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

every = Checkpoints(sys.argv[1]).after([Fill()])
small_model().fit(X, Y, epochs=3, verbose=0, callbacks=every)
"""


@pytest.mark.slow
def test_error_the_disk_is_full(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path]
    done = subprocess.run(command, cwd=workers.ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "epoch-00002 could not be written; those before it are as" in done.stderr
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == ["epoch-00001"]
    assert Checkpoints(tmp_path).restore(small_model()) == 1


def test_what_a_killed_process_was_writing_is_cleared(tmp_path):
    (tmp_path / ".epoch-00001.x1").mkdir()
    train(small_model(), tmp_path, 1)
    assert [folder.name for folder in tmp_path.iterdir()] == ["epoch-00001"]


def test_a_worker_that_is_not_the_first_writes_elsewhere(tmp_path, monkeypatch):
    train(small_model(), tmp_path, 1)
    before = sorted(tmp_path.rglob("*"))
    model = small_model()
    extended = type(tf.distribute.get_strategy().extended)
    monkeypatch.setattr(extended, "should_checkpoint", False)
    train(model, tmp_path, 2)
    assert sorted(tmp_path.rglob("*")) == before
