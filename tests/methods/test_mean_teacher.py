import keras
import numpy as np
import pytest

from keras_selfkd import Late, MeanTeacher, SelfDistillationModel
from keras_selfkd.losses import soft_label
from tests import toys
from tests.methods.batches import batch_of, gradients_of, terms_of


def model_with(method, rate=0.1):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(toys.classifier(), method)
    model.compile(keras.optimizers.SGD(rate), toys.cross_entropy())
    return model


def weights_of(model):
    return [variable.numpy() for variable in model.student.weights]


class EachStep(keras.callbacks.Callback):
    """The student's weights after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(weights_of(self.model))


def test_the_average_is_that_of_the_steps_since_it_began():
    method, steps = MeanTeacher(start=0.5, decay=0.2), EachStep()
    model = model_with(method)
    history = model.fit(
        *toys.class_data(), batch_size=4, epochs=2, callbacks=[steps], verbose=0
    ).history
    expected = steps.weights[4]  # Of the first step there is nothing to average.
    for n, weights in enumerate(steps.weights[5:], start=1):
        kept = min(n / (n + 9), 0.2)
        pairs = zip(expected, weights, strict=True)
        expected = [kept * average + (1 - kept) * weight for average, weight in pairs]
    for average, value in zip(method.averages, expected, strict=True):
        np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-6)
    assert history["soft_label_loss"][0] == 0.0
    assert history["soft_label_loss"][1] > 0.0


def test_the_averaged_student_teaches_and_can_be_shipped():
    method = MeanTeacher(start=0.0, temperature=3.0)
    model = model_with(method)
    images, labels = toys.class_data()
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0)
    averaged = model.averaged_student
    assert not np.array_equal(averaged.get_weights()[0], weights_of(model)[0])
    teacher = averaged(images, training=False)
    student, terms = terms_of(model, images, labels)
    expected = soft_label(teacher, student.logits, 3.0)
    np.testing.assert_allclose(terms["soft_label"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("double")
def test_gradients_are_those_of_finite_differences():
    method = MeanTeacher(start=0.0)
    model_with(method)
    method.begin_epoch(0, 1)
    random = np.random.default_rng(0)
    images, labels = toys.class_data(4)
    batch = method.prepare(batch_of(images.astype("float64"), labels))
    ours, theirs = gradients_of(method, random.normal(size=(4, toys.CLASSES)), batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_average_is_right_whatever_is_frozen_later():
    model = model_with(MeanTeacher(start=0.0, decay=0.0))  # It follows at once.
    model.student.get_layer("bn1").trainable = False
    model.student.get_layer("conv2").trainable = False
    model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
    model.fit(*toys.class_data(), batch_size=4, epochs=1, verbose=0)
    pairs = zip(model.averaged_student.weights, model.student.weights, strict=True)
    for average, weight in pairs:
        np.testing.assert_array_equal(average, weight, err_msg=weight.path)


def test_a_new_training_starts_from_the_weights_that_it_finds():
    model, data = model_with(MeanTeacher(start=0.5)), toys.class_data()
    model.fit(*data, epochs=2, verbose=0)
    assert float(model.method.updates)
    for epoch in range(2):
        model.method.begin_epoch(epoch, 2)
        assert not float(model.method.updates)
    pairs = zip(model.method.averages, model.student.weights, strict=True)
    assert all(np.array_equal(average, weight) for average, weight in pairs)


def test_an_averaged_student_normalises_as_it_learned_to():
    images, labels = toys.class_data()
    normalise = keras.layers.Normalization()
    normalise.adapt(images * 5.0 + 3.0)
    inputs = keras.Input((16, 16, 3))
    student = keras.Model(inputs, toys.classifier()(normalise(inputs)))
    model = SelfDistillationModel(student, MeanTeacher(start=0.0, decay=0.0))
    model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
    model.fit(images, labels, verbose=0)
    expected = model.student(images, training=False)
    found = model.averaged_student(images, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_it_goes_on_after_a_reload_with_its_averages(tmp_path):
    model = model_with(MeanTeacher(start=0.0))
    data = toys.class_data()
    model.fit(*data, batch_size=8, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    for resumed in (model, loaded):
        resumed.fit(*data, epochs=2, initial_epoch=1, **options)
    pairs = zip(model.method.averages, loaded.method.averages, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert float(loaded.method.updates) == 4


def test_late_ships_its_methods_average():
    model = model_with(Late(MeanTeacher(start=0.0), start=0.5))
    model.fit(*toys.class_data(), batch_size=4, epochs=2, verbose=0)
    first, average = model.averaged_student.weights[0], model.method.method.averages[0]
    np.testing.assert_array_equal(first, average)


def test_error_no_average_yet():
    model = model_with(MeanTeacher())
    with pytest.raises(ValueError, match="keeps no averages of"):
        _ = model.averaged_student


@pytest.mark.parametrize("name", ["decay", "start"])
def test_error_arguments(name):
    with pytest.raises(ValueError, match=f"Expected {name} to be"):
        MeanTeacher(**{name: 1.0})
