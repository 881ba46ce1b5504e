import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SAD, SelfDistillationModel
from keras_selfkd.methods import sad
from tests import toys
from tests.methods.batches import terms_of


def maps():
    random = np.random.default_rng(0)
    shapes = ((2, 8, 8, 4), (2, 4, 4, 6), (2, 2, 2, 3))
    return [random.normal(size=shape) for shape in shapes]


def softmax(values):
    e = np.exp(values - values.max((1, 2), keepdims=True))
    return e / e.sum((1, 2), keepdims=True)


def test_the_term_is_the_formula():
    features, total = maps(), 0.0
    for fine, coarse in ((0, 1), (1, 2)):
        own = (features[fine] ** 2).mean(-1)
        target = (features[coarse] ** 2).mean(-1)[..., None]
        target = tf.image.resize(target, own.shape[1:3]).numpy()[..., 0]
        total = total + ((softmax(own) - softmax(target)) ** 2).mean((1, 2))
    found = sad.attention_distance([tf.constant(f) for f in features])
    np.testing.assert_allclose(found, total, rtol=1e-5)


def test_the_deeper_stage_is_not_trained_by_it():
    fine, coarse, _ = (tf.constant(f) for f in maps())
    with tf.GradientTape() as tape:
        tape.watch([fine, coarse])
        distance = sad.attention_distance([fine, coarse])
    ours, none = tape.gradient(distance, [fine, coarse])
    assert none is None or not np.any(none)
    theirs, _ = tf.test.compute_gradient(
        lambda f: 1000 * sad.attention_distance([f, coarse]), [fine]
    )
    theirs = theirs[0].sum(0).reshape(fine.shape)
    np.testing.assert_allclose(1000 * ours, theirs, rtol=1e-3, atol=1e-4)


def test_it_begins_late():
    model = SelfDistillationModel(toys.classifier(), SAD())
    for progress, begun in ((0.0, False), (0.66, False), (0.67, True)):
        _, terms = terms_of(model, *toys.class_data(), progress=np.float32(progress))
        assert np.any(terms["attention"]) == begun


def test_error_start():
    with pytest.raises(ValueError, match="start to be a finite number"):
        SAD(start=1)
