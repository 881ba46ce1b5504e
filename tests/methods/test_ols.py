import keras
import numpy as np
import pytest

from keras_selfkd import OLS, Late, Mixup, SelfDistillationModel
from tests import toys
from tests.methods.batches import batch_of, gradients_of, terms_of


def softmax(values):
    values = np.asarray(values, "float64")
    e = np.exp(values - values.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def model_with(method, student, **loss):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(student(batch_norm=False), method)
    model.compile(keras.optimizers.SGD(0.0), toys.cross_entropy(**loss))
    return model


def test_the_loss_is_the_formula_and_the_first_epoch_plain():
    method = OLS(share=0.4)
    model = model_with(method, toys.classifier)
    images, labels = toys.class_data()
    student, terms = terms_of(model, images, labels)
    log_p = np.log(softmax(student.logits))
    plain = -log_p[np.arange(16), labels]
    np.testing.assert_allclose(terms["task"], plain, rtol=1e-5)
    assert not np.any(terms["class_label"])
    soft = softmax(np.random.default_rng(0).normal(size=(4, 4)))
    method.soft_labels.assign(soft)
    _, terms = terms_of(model, images, labels)
    expected = 0.6 * plain - 0.4 * (soft[labels] * log_p).sum(-1)
    np.testing.assert_allclose(
        terms["task"] + terms["class_label"], expected, rtol=1e-5
    )


@pytest.mark.usefixtures("double")
def test_gradients_are_those_of_finite_differences():
    method = OLS()
    model_with(method, toys.classifier)
    random = np.random.default_rng(0)
    method.soft_labels.assign(softmax(random.normal(size=(4, 4))))
    batch = method.prepare(batch_of(*toys.class_data(4)))
    ours, theirs = gradients_of(method, random.normal(size=(4, 4)), batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["class", "one-hot", "pixel"])
def test_soft_labels_are_means_of_what_was_right(kind):
    pixels = kind == "pixel"
    method = OLS()
    if kind == "one-hot":
        model = model_with(method, toys.classifier)
        model.compile(
            keras.optimizers.SGD(0.0),
            keras.losses.CategoricalCrossentropy(from_logits=True),
        )
    else:
        ignore = {"ignore_class": 255} if pixels else {}
        create = toys.segmenter if pixels else toys.classifier
        model = model_with(method, create, **ignore)
    images, labels = (toys.pixel_data if pixels else toys.class_data)(21)
    if pixels:
        labels[:, :4] = 255
    given = np.eye(4, dtype="float32")[labels] if kind == "one-hot" else labels
    model.fit(images, given, batch_size=8, epochs=1, verbose=0)
    method.begin_epoch(1, 2)
    p, y = softmax(model.predict(images, verbose=0)).reshape(-1, 4), labels.ravel()
    right = p.argmax(-1) == y
    assert right.any()
    for label in range(4):
        of_class = p[right & (y == label)]
        expected = of_class.mean(0) if len(of_class) else np.full(4, 0.25)
        found = method.soft_labels.numpy()[label]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not np.any(method.said)


def test_a_class_that_the_loss_ignores_is_neither_learned_nor_taught():
    method = OLS()
    model = model_with(method, toys.classifier, ignore_class=1)
    images, labels = toys.class_data()
    model.fit(images, labels, epochs=2, verbose=0)
    ignored = labels == 1
    np.testing.assert_allclose(method.soft_labels.numpy()[1], 0.25)
    _, terms = terms_of(model, images, labels, labelled=~ignored)
    assert not np.any(np.array(terms["class_label"])[ignored])
    assert np.all(np.array(terms["class_label"])[~ignored])


def test_a_new_training_forgets():
    method = OLS()
    model = model_with(method, toys.classifier)
    model.fit(*toys.class_data(), epochs=2, verbose=0)
    assert np.any(method.soft_labels)
    method.begin_epoch(0, 2)
    assert not np.any(method.soft_labels)
    assert not np.any(method.said)


def test_late_begins_with_plain_training():
    model = model_with(Late(OLS(), start=0.5), toys.classifier)
    model.fit(*toys.class_data(), epochs=2, verbose=0)
    assert not np.any(model.method.method.soft_labels)


def test_error_mixing():
    with pytest.raises(ValueError, match="not from mixed ones"):
        OLS(mixing=Mixup())
