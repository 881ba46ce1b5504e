import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import DLB, SelfDistillationModel, overlapping
from tests import toys
from tests.methods.batches import batch_of, gradients_of, terms_of
from tests.methods.distances import kl


def model_of(largest_batch=8, **options):
    student = toys.classifier(stages=toys.FEW_STAGES)
    method = DLB(largest_batch=largest_batch, **options)
    model = SelfDistillationModel(student, method)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), toys.cross_entropy())
    return model


def data(batch_size=8):
    examples = tf.data.Dataset.from_tensor_slices(toys.class_data(24))
    return overlapping(examples.repeat(), batch_size)


def test_the_term_is_the_formula():
    model = model_of(temperature=3.0)
    before = np.random.default_rng(0).normal(size=(8, toys.CLASSES))
    model.method.memory.rows.assign(before)
    model.method.labels.rows.assign(np.arange(8.0)[:, None] % 4 + 1)
    images, labels = toys.class_data(4)
    # The third was another class when last seen, the fourth is new.
    previous = np.array([4, 1, 3, -1])
    x = {"image": images, "previous": previous}
    student, terms = terms_of(model, x, labels)
    expected = 2 * kl(before[previous], student.logits, 3.0)
    np.testing.assert_allclose(terms["soft_label"][:2], expected[:2], 1e-4)
    np.testing.assert_array_equal(terms["soft_label"][2:], [0, 0])


@pytest.mark.usefixtures("double")
def test_the_gradient_by_finite_differences():
    model = model_of()
    random = np.random.default_rng(0)
    model.method.memory.rows.assign(random.normal(size=(8, toys.CLASSES)))
    model.method.labels.rows.assign(np.arange(8.0)[:, None] % 4 + 1)
    x = {"image": np.zeros((3, 1)), "previous": np.array([0, 5, -1])}
    batch = model.method.prepare(batch_of(x, np.arange(3)))
    ours, theirs = gradients_of(
        model.method, random.normal(size=(3, toys.CLASSES)), batch
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_it_remembers_what_was_said_in_the_last_batch():
    model = model_of()
    for number, (x, labels) in enumerate(data().take(3)):
        said = model.outputs_of(x["image"], training=True).logits
        if number:  # The first half has been seen.
            assert np.all(x["previous"][:4] == np.arange(4, 8))
        model.train_on_batch(x, labels)
        np.testing.assert_allclose(model.method.memory.rows, said, 1e-4, 1e-5)


def test_what_was_never_said_teaches_nothing():
    """Such as after steps that something else has trained."""
    images, labels = toys.class_data(4)
    x = {"image": images, "previous": np.array([0, 1, 2, 3])}
    _, terms = terms_of(model_of(), x, labels)
    np.testing.assert_array_equal(terms["soft_label"], np.zeros(4))


def test_goes_on_across_a_resume(tmp_path):
    whole, first = model_of(), model_of()
    first.set_weights(whole.get_weights())
    options = {"steps_per_epoch": 3, "verbose": 0, "shuffle": False}
    whole.fit(data(), epochs=2, **options)
    first.fit(data(), epochs=1, **options)
    first.save(tmp_path / "model.keras")
    second = keras.models.load_model(tmp_path / "model.keras")
    second.fit(data().skip(3), epochs=2, initial_epoch=1, **options)
    for ours, theirs in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_a_new_training_forgets():
    model = model_of()
    model.fit(data(), steps_per_epoch=2, shuffle=False, verbose=0)
    assert np.any(model.method.memory.rows)
    model.method.begin_epoch(0, 1)
    assert not np.any(model.method.memory.rows)


def test_error_larger_batches():
    model = model_of(largest_batch=6)
    error = tf.errors.InvalidArgumentError
    with pytest.raises(error, match=r"(?s)at most 6 images.*largest_batch"):
        model.fit(data(), steps_per_epoch=1, shuffle=False, verbose=0)


def test_error_largest_batch():
    with pytest.raises(ValueError, match="largest_batch"):
        DLB(largest_batch=0)
