"""What `layer.trainable` does to a training, and what callbacks put back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import DKS, FRSKD, MeanTeacher, SelfDistillationModel, Supervised
from tests import toys

BACKBONE = ("down2", "conv2", "bn2", "down3", "conv3", "bn3")


@pytest.fixture(autouse=True)
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def data(seed=0):
    # Far from what the moving averages of a fresh BatchNorm say.
    images, labels = toys.class_data(16, seed=seed)
    return tf.data.Dataset.from_tensor_slices((images + 3, labels)).batch(8)


def compiled(model, rate=0.05):
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=0.01)
    model.compile(optimizer, toys.cross_entropy(), metrics=["accuracy"])
    return model


def fit(model, epochs=1, **options):
    return model.fit(data(), epochs=epochs, shuffle=False, verbose=0, **options)


def set_trainable(student, trainable, layers=BACKBONE):
    for name in layers:
        student.get_layer(name).trainable = trainable


def values(student, layers=BACKBONE):
    return [v.numpy() for name in layers for v in student.get_layer(name).variables]


def equal(ours, theirs):
    return [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]


class Scores(keras.callbacks.Callback):
    """Stands in for a validation: each epoch has the score that it is given."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = scores
        self.weights = []

    def on_epoch_end(self, epoch, logs):
        logs["score"] = self.scores[epoch]
        self.weights.append(self.model.get_weights())


METHODS = {
    "supervised": Supervised,
    "frskd": lambda: FRSKD(channels=4, depth=1),
    "dks": lambda: DKS(copied_branches=True),
    "meanteacher": lambda: MeanTeacher(start=0.0),
}


@pytest.mark.filterwarnings("ignore:No layer before the taps:UserWarning")
@pytest.mark.parametrize("name", METHODS)
def test_frozen_layers_stay_bit_for_bit_and_move_once_they_are_not(name):
    student = toys.classifier(stages=toys.FEW_STAGES)
    set_trainable(student, False)
    model = compiled(SelfDistillationModel(student, METHODS[name]()))
    before, head = values(student), values(student, ["logits"])
    fit(model)
    assert all(equal(values(student), before))
    assert not any(equal(values(student, ["logits"]), head))
    set_trainable(student, True)
    compiled(model, 0.005)
    fit(model)
    assert not any(equal(values(student), before))


def test_frozen_batch_norm_says_in_training_what_it_says_in_inference():
    student = toys.classifier(stages=toys.FEW_STAGES)
    set_trainable(student, False)
    model = SelfDistillationModel(student, Supervised())
    images, _ = next(iter(data()))
    training = model.outputs_of(images, training=True).logits
    np.testing.assert_array_equal(training, student(images))
    set_trainable(student, True)
    training = model.outputs_of(images, training=True).logits
    assert not np.allclose(training, student(images))


def test_a_change_takes_effect_when_the_model_is_compiled_again():
    """As in Keras: the traced step goes on with what was trainable at `compile`."""
    tf.config.run_functions_eagerly(False)
    student = toys.classifier(stages=toys.FEW_STAGES)
    kernels = ("down2", "conv2", "down3", "conv3")
    set_trainable(student, False)
    model = compiled(SelfDistillationModel(student, Supervised()))
    before = values(student, kernels)
    fit(model)
    set_trainable(student, True)
    fit(model)
    assert all(equal(values(student, kernels), before))
    assert len(model.optimizer._trainable_variables) == 2  # The head's.
    compiled(model)
    fit(model)
    assert not any(equal(values(student, kernels), before))
    assert len(model.optimizer._trainable_variables) == len(student.trainable_weights)


def test_a_frozen_stage_of_a_method_equals_keras_own_training_of_the_head():
    def students_weights(wrap):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        student = toys.classifier(stages=toys.FEW_STAGES)
        set_trainable(student, False)
        fit(compiled(wrap(student)))
        return student.get_weights()

    ours = students_weights(lambda one: SelfDistillationModel(one, Supervised()))
    theirs = students_weights(lambda one: one)
    assert all(equal(ours, theirs))


def test_early_stopping_puts_the_best_weights_back():
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = compiled(SelfDistillationModel(student, METHODS["frskd"]()))
    scores = Scores(0.1, 0.9, 0.5, 0.5)
    stop = keras.callbacks.EarlyStopping(
        "score", mode="max", patience=1, restore_best_weights=True
    )
    fit(model, epochs=4, callbacks=[scores, stop])
    _, best, last = scores.weights
    assert all(equal(model.get_weights(), best))
    assert not all(equal(last, best))


def test_the_best_checkpoint_is_the_whole_training_and_holds_the_student(tmp_path):
    student = toys.classifier(stages=toys.FEW_STAGES)
    set_trainable(student, False, BACKBONE[:3])
    model = compiled(SelfDistillationModel(student, METHODS["frskd"]()))
    path = tmp_path / "best.keras"
    scores = Scores(0.1, 0.9, 0.5)
    keep = keras.callbacks.ModelCheckpoint(
        path, "score", mode="max", save_best_only=True
    )
    fit(model, epochs=3, callbacks=[scores, keep])
    loaded = keras.saving.load_model(path)
    assert all(equal(loaded.get_weights(), scores.weights[1]))
    assert not loaded.student.get_layer("bn2").trainable
    before = values(loaded.student)
    fit(loaded)
    same = equal(values(loaded.student), before)
    frozen = len(values(student, BACKBONE[:3]))
    assert all(same[:frozen])
    assert not any(same[frozen:])


def test_the_learning_rate_falls_on_a_plateau():
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = compiled(SelfDistillationModel(student, METHODS["frskd"]()), 0.008)
    fall = keras.callbacks.ReduceLROnPlateau(
        "score", mode="max", patience=1, factor=0.5
    )
    fit(model, epochs=3, callbacks=[Scores(0.9, 0.5, 0.5), fall])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.002)
