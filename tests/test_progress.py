import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import Ramp, SelfDistillationModel, SigmoidRampUp, Supervised
from tests import toys


def test_ramp_by_hand():
    ramp = Ramp(50.0, start=0.5, end=0.75)
    progress = [0, 0.499, 0.5, 0.625, 0.75, 1]
    expected = [0, 0, 50 * np.exp(-5), 50 * np.exp(-1.25), 50, 50]
    np.testing.assert_allclose([float(ramp(p)) for p in progress], expected, rtol=1e-6)


def test_ramp_survives_serialization():
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(Ramp(2.0, start=0.1, end=0.9))
    )
    assert type(again) is Ramp
    assert again.get_config() == {"peak": 2.0, "start": 0.1, "end": 0.9}


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.5), (0.0, 1.1)])
def test_error_order(start, end):
    with pytest.raises(ValueError, match=f"Received: start={start}, end={end}"):
        Ramp(1.0, start=start, end=end)


class Tell(Supervised):
    """Logs the progress of each step as a term."""

    terms = ("task", "progress")

    def loss_terms(self, student, batch, supervise):
        task = supervise(batch["y"], student.logits)
        return {"task": task, "progress": batch["progress"]}


class Steps(keras.callbacks.Callback):
    """The progress of each step, from the running means that Keras logs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.means = epoch, []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["progress_loss"])

    def on_epoch_end(self, epoch, logs=None):
        sums = np.array(self.means) * np.arange(1, len(self.means) + 1)
        self.params.setdefault("seen", []).append(np.diff(sums, prepend=0))


def progress_of(data, strategy=None, compile_options=None, **fit_options):
    with (strategy or tf.distribute.get_strategy()).scope():
        model = SelfDistillationModel(toys.classifier(batch_norm=False), Tell())
        model.compile("sgd", toys.cross_entropy(), **(compile_options or {}))
    steps = Steps()
    model.fit(data, verbose=0, shuffle=False, callbacks=[steps], **fit_options)
    return np.array(steps.params["seen"])


def batches(count=4):
    return tf.data.Dataset.from_tensor_slices(toys.class_data(4 * count)).batch(4)


QUARTERS = np.arange(8).reshape(2, 4) / 8


@pytest.mark.parametrize("eagerly", [False, True], ids=["graph", "eager"])
def test_goes_from_0_towards_1(eagerly):
    seen = progress_of(batches(), epochs=2, compile_options={"run_eagerly": eagerly})
    np.testing.assert_allclose(seen, QUARTERS, atol=1e-6)


def test_on_replicas(two_replicas):
    seen = progress_of(batches(), two_replicas, epochs=2)
    np.testing.assert_allclose(seen, QUARTERS, atol=1e-6)


def test_is_the_same_after_a_resume():
    seen = progress_of(batches(), epochs=2, initial_epoch=1)
    np.testing.assert_allclose(seen, QUARTERS[1:], atol=1e-6)


def test_knows_steps_per_epoch():
    seen = progress_of(batches().repeat(), epochs=2, steps_per_epoch=4)
    np.testing.assert_allclose(seen, QUARTERS, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_is_that_of_the_epoch_where_the_number_of_steps_is_unknown():
    data = batches().filter(lambda image, label: True)
    seen = progress_of(data, epochs=2)
    np.testing.assert_allclose(seen, [[0] * 4, [0.5] * 4], atol=1e-6)


def test_with_a_list_of_callbacks_of_keras():
    model = SelfDistillationModel(toys.classifier(batch_norm=False), Tell())
    model.compile("sgd", toys.cross_entropy())
    steps = Steps()
    callbacks = keras.callbacks.CallbackList(
        [steps], add_history=True, model=model, epochs=2, steps=4
    )
    model.fit(batches(), epochs=2, shuffle=False, callbacks=callbacks)
    np.testing.assert_allclose(steps.params["seen"], QUARTERS, atol=1e-6)


def test_ramped_weights_follow_it():
    class Ramped(Tell):
        progress_weight = Ramp(8.0)

        def loss_terms(self, student, batch, supervise):
            terms = super().loss_terms(student, batch, supervise)
            return {**terms, "progress": 1.0}

    model = SelfDistillationModel(toys.classifier(batch_norm=False), Ramped())
    model.compile("sgd", toys.cross_entropy())
    history = model.fit(batches(), epochs=2, shuffle=False, verbose=0).history
    logged = history["progress_loss"]
    expected = 8 * np.exp(-5 * (1 - QUARTERS) ** 2)
    np.testing.assert_allclose(logged, expected.mean(1), rtol=1e-5)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("weight", [Ramp(8.0), SigmoidRampUp(0, 8, 8.0)])
def test_weights_that_vary_also_in_float64(weight):
    class Ramped(Supervised):
        task_weight = weight

    model = SelfDistillationModel(toys.classifier(batch_norm=False), Ramped())
    model.compile(keras.optimizers.SGD(0.0), toys.cross_entropy())
    logged = model.fit(batches(), epochs=2, shuffle=False, verbose=0).history["loss"]
    loss = model.evaluate(batches(), verbose=0)
    weights = 8 * np.exp(-5 * (1 - QUARTERS) ** 2)
    # Each batch has each class once, but not the same images.
    np.testing.assert_allclose(logged, loss * weights.mean(1), rtol=0.05)
