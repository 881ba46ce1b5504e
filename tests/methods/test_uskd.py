import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import USKD, SelfDistillationModel
from keras_selfkd.methods import uskd
from tests import toys
from tests.methods.batches import terms_of

CLASSES = 5
LABELS = np.array([0, 3, 1, 4])
TARGET = np.eye(CLASSES, dtype=bool)[LABELS]


def logits():
    random = np.random.default_rng(0)
    return random.normal(size=(4, CLASSES)), random.normal(size=(4, CLASSES))


def log_softmax(values):
    values = values - values.max(-1, keepdims=True)
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def test_the_targets_loss_is_the_formula():
    z, _ = logits()
    s_t = np.exp(log_softmax(z))[np.arange(4), LABELS]
    expected = -(1 + s_t**2 - (s_t**2).mean()) * np.log(s_t)
    found = uskd.target_loss(tf.constant(log_softmax(z)), TARGET)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    known = np.array([True, True, False, True])
    expected = -(1 + s_t**2 - (s_t[known] ** 2).mean()) * np.log(s_t)
    found = uskd.target_loss(tf.constant(log_softmax(z)), TARGET, known)
    np.testing.assert_allclose(np.array(found)[known], expected[known], rtol=1e-6)


@pytest.mark.parametrize("weak", [True, False])
def test_the_others_loss_is_the_formula(weak):
    z, w = logits()
    expected = []
    for own, other, label in zip(z, w, LABELS, strict=True):
        s, w_p = np.exp(log_softmax(own)), np.exp(log_softmax(other))
        scores = s / (1 - s[label]) + weak * w_p / (1 - w_p[label])
        order = [c for c in np.argsort(-scores) if c != label]
        zeta = np.zeros(CLASSES)
        zeta[order] = 1 / np.arange(1, CLASSES)
        others = np.arange(CLASSES) != label
        expected.append(-(zeta[others] / zeta.sum() * log_softmax(own[others])).sum())
    log_w = tf.constant(log_softmax(w)) if weak else None
    found = uskd.non_target_loss(tf.constant(log_softmax(z)), log_w, TARGET)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_weak_logits_learn_smoothed_labels():
    _, w = logits()
    smooth = 0.9 * TARGET + 0.1 / CLASSES
    expected = -(smooth * log_softmax(w)).sum(-1)
    found = uskd.smoothed_cross_entropy(tf.constant(log_softmax(w)), TARGET)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("term", ["target", "non_target", "weak"])
def test_gradients_are_those_of_finite_differences(term):
    z, w = logits()
    s_t = np.exp(log_softmax(z))[np.arange(4), LABELS]
    p_t = 1 + s_t**2 - (s_t**2).mean()  # No gradient flows into it.
    terms = {
        "target": lambda z: -p_t * tf.boolean_mask(tf.nn.log_softmax(z), TARGET),
        "non_target": lambda z: uskd.non_target_loss(
            tf.nn.log_softmax(z), tf.constant(log_softmax(w)), TARGET
        ),
        "weak": lambda z: uskd.smoothed_cross_entropy(tf.nn.log_softmax(z), TARGET),
    }
    z = tf.constant(z)
    theirs, _ = tf.test.compute_gradient(terms[term], [z])
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_z = tf.nn.log_softmax(z)
        ours = uskd.target_loss(log_z, TARGET) if term == "target" else terms[term](z)
    found = tf.convert_to_tensor(tape.gradient(ours, z))
    expected = theirs[0].reshape(4, 4, CLASSES).sum(0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_weak_logits_no_network_is_added():
    model = SelfDistillationModel(toys.classifier(), USKD(weak_weight=0))
    assert not model.method.weights
    _, terms = terms_of(model, *toys.class_data())
    assert set(terms) == {"task", "target", "non_target"}


def test_weak_logits_are_of_the_tap_before_the_last():
    model = SelfDistillationModel(toys.classifier(), USKD())
    kernel, bias = model.method.weak_head.get_weights()
    student, terms = terms_of(model, *toys.class_data())
    w = student.features[-2].numpy().mean((1, 2)) @ kernel + bias
    target = np.eye(toys.CLASSES, dtype=bool)[toys.class_data()[1]]
    expected = uskd.smoothed_cross_entropy(tf.constant(log_softmax(w)), target)
    np.testing.assert_allclose(terms["weak"], expected, rtol=1e-4)


def test_error_two_classes():
    with pytest.raises(ValueError, match="at least three classes"):
        SelfDistillationModel(toys.classifier(classes=2), USKD())
