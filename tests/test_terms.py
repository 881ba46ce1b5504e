import keras
import pytest
import tensorflow as tf

from keras_selfkd import Supervised
from keras_selfkd.terms import Terms, checked_term
from tests import toys


def checked(shape, images=(4, 8, 8, 3), logits=(4, 6, 6, 2)):
    return checked_term("feature", tf.zeros(shape), tf.zeros(images), tf.zeros(logits))


@pytest.mark.parametrize("shape", [(), (4,), (4, 6, 6)])
def test_terms_of_a_batch_an_image_or_a_pixel(shape):
    assert checked(shape).shape == shape


@pytest.mark.parametrize("shape", [(8,), (4, 1), (4, 6, 6, 2), (4, 8, 8), (8, 6, 6)])
def test_error_terms_of_another_length(shape):
    with pytest.raises(ValueError, match=r"student.split\(views\).*feature with shape"):
        checked(shape)


def test_error_terms_of_pixels_for_a_classifier():
    with pytest.raises(ValueError, match="must be a scalar"):
        checked((4, 6, 6), logits=(4, 2))


def test_numbers_are_terms_and_nothing_is_none():
    images = tf.zeros((4, 8, 8, 3))
    assert float(checked_term("own", 1.5, images, tf.zeros((4, 2)))) == 1.5
    with pytest.raises(ValueError, match="own with shape None"):
        checked_term("own", None, images, tf.zeros((4, 2)))


@pytest.mark.parametrize("declared", ["attribute", "terms"])
def test_a_weight_of_0_leaves_out_a_term_however_it_is_declared(declared):
    class Own(Supervised):
        if declared == "terms":
            terms = ("task", "own")
            own_weight = 0.0
        else:
            loss_weights = {"task": 1.0, "own": 0.0}

    terms = Terms(Own())
    assert terms.weights == {"task": 1.0}
    images, logits = tf.zeros((4, 8, 8, 3)), tf.zeros((4, toys.CLASSES))
    both = {"task": keras.ops.ones(4), "own": keras.ops.ones(4)}
    assert terms.checked(both, images, logits).keys() == {"task"}
