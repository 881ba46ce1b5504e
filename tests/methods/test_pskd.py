import keras
import numpy as np
import pytest

from keras_selfkd import OLS, PSKD, Mixup, SelfDistillationModel
from keras_selfkd.mixing import Drawn
from tests import toys
from tests.methods.batches import batch_of, cross_entropy, gradients_of, terms_of


def softmax(values):
    e = np.exp(values - values.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def inputs(count=16):
    images, labels = toys.class_data(count)
    return {"image": images, "index": np.arange(count)}, labels


def model_with(method, rate=0.0):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(toys.classifier(batch_norm=False), method)
    model.compile(keras.optimizers.SGD(rate), toys.cross_entropy())
    return model


def test_the_loss_is_the_cross_entropy_with_the_mixed_target():
    method = PSKD(16, share=0.8)
    model = model_with(method)
    rows = softmax(np.random.default_rng(0).normal(size=(16, toys.CLASSES)))
    rows[3] = 0  # Not seen yet: its label alone.
    method.memory.rows.assign(rows)
    method.begin_epoch(4, 10)  # a_t = 0.8 * 5 / 10.
    images, labels = inputs()
    student, terms = terms_of(model, images, labels)
    target = 0.6 * np.eye(toys.CLASSES)[labels] + 0.4 * rows
    target[3] = np.eye(toys.CLASSES)[labels[3]]
    log_p = np.log(softmax(student.logits.numpy().astype("float64")))
    expected = -(target * log_p).sum(-1)
    np.testing.assert_allclose(terms["task"] + terms["past"], expected, rtol=1e-5)


@pytest.mark.usefixtures("double")
def test_gradients_are_those_of_finite_differences():
    method = PSKD(4, share=0.8)
    model_with(method)
    random = np.random.default_rng(0)
    method.memory.rows.assign(softmax(random.normal(size=(4, toys.CLASSES))))
    method.begin_epoch(1, 2)
    batch = method.prepare(batch_of(*inputs(4)))
    ours, theirs = gradients_of(method, random.normal(size=(4, toys.CLASSES)), batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_is_remembered_is_what_the_student_said_in_training():
    method = PSKD(16)
    model = model_with(method)  # Its weights stay, so that it says the same again.
    images, labels = inputs()
    logs = model.fit(images, labels, batch_size=8, epochs=1, verbose=0).history
    assert logs["past_loss"] == [0.0]  # The first epoch is plain training.
    said = softmax(model.predict(images["image"], verbose=0))
    np.testing.assert_allclose(method.memory.rows, said, rtol=1e-4, atol=1e-6)


def test_what_is_remembered_is_mixed_as_the_labels_are():
    class Fixed(Mixup):
        def draw(self, count):
            return Drawn([1, 2, 3, 0], 0.75)

    method = PSKD(4, mixing=Fixed())
    model_with(method)
    rows = softmax(np.random.default_rng(0).normal(size=(4, toys.CLASSES)))
    method.memory.rows.assign(rows)
    batch = method.prepare(batch_of(*inputs(4)))
    expected = 0.75 * rows + 0.25 * rows[[1, 2, 3, 0]]
    np.testing.assert_allclose(batch["past"], expected, rtol=1e-5)


def test_half_the_memory_and_a_limit():
    method = PSKD(16, memory_dtype="float16")
    model = model_with(method)
    assert keras.backend.standardize_dtype(method.memory.rows.dtype) == "float16"
    assert np.isfinite(model.fit(*inputs(), epochs=2, verbose=0).history["loss"]).all()
    student = toys.classifier(classes=1000)
    with pytest.raises(ValueError, match=r"5\.1 GB\. Take memory_dtype='float16'"):
        SelfDistillationModel(student, PSKD(1_281_167))


@pytest.mark.parametrize("method", [PSKD(16), OLS()], ids=["pskd", "ols"])
def test_error_labels_that_do_not_exclude_each_other(method):
    images, labels = inputs()
    model = SelfDistillationModel(toys.classifier(), method)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    several = np.eye(toys.CLASSES, dtype="float32")[labels]
    with pytest.raises(ValueError, match="labels that exclude each other"):
        model.fit(images, several, verbose=0)


def test_error_a_repeated_index():
    images, labels = inputs()
    images["index"][3] = 5
    with pytest.raises(Exception, match=r"each index once in a batch"):
        model_with(PSKD(16)).fit(images, labels, batch_size=16, verbose=0)


def test_error_memory_of_other_data():
    """As after a resume with other images, or images that are numbered in any order."""
    images, labels = inputs()
    model = model_with(PSKD(16))
    model.fit(images, labels, epochs=1, verbose=0)
    before, others = model.method.memory.rows.numpy(), np.roll(labels, 1)
    resumed = {"initial_epoch": 1, "epochs": 2, "verbose": 0}
    with pytest.raises(Exception, match=r"another label than when it was last seen"):
        model.fit(images, others, **resumed)
    np.testing.assert_array_equal(model.method.memory.rows, before)
    model.fit(images, others, epochs=1, verbose=0)  # A new training.
    np.testing.assert_array_equal(model.method.labels.rows[:, 0], others + 1)


def test_what_the_loss_ignores_is_never_remembered():
    images, labels = inputs()
    ignored = labels == 1
    model = model_with(PSKD(16))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    model.compile("sgd", loss)
    model.fit(images, labels, epochs=2, verbose=0)
    assert not np.any(model.method.memory.rows.numpy()[ignored])
    assert np.all(model.method.memory.rows.numpy()[~ignored].sum(-1) > 0.99)
    assert not np.any(model.method.labels.rows.numpy()[ignored])


def test_error_without_index_and_out_of_range():
    images, labels = inputs()
    model = model_with(PSKD(16))
    with pytest.raises(ValueError, match="with_index"):
        model.fit(images["image"], labels, verbose=0)
    images["index"] = images["index"] + 1
    with pytest.raises(Exception, match=r"each index to lie in \[0, 16\)"):
        model.fit(images, labels, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "examples to be an integer"),
        ({"examples": 4, "share": 1.0}, "share to be a finite number"),
        ({"examples": 4, "memory_dtype": "int8"}, "memory_dtype to be float32 or"),
    ],
)
def test_error_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PSKD(**arguments)


def test_cross_entropy_is_that_of_the_batch_without_a_past():
    model = model_with(PSKD(16))
    images, labels = inputs()
    student, terms = terms_of(model, images, labels)
    np.testing.assert_allclose(terms["task"], cross_entropy(labels, student.logits))
    assert not np.any(terms["past"])
