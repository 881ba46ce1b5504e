import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import TFD, SelfDistillationModel
from keras_selfkd.methods import tfd
from keras_selfkd.pixels import pooled_like
from tests import toys
from tests.methods.batches import terms_of

SIZES = ((8, 4), (4, 6), (2, 5))  # Height and width, channels: fine to coarse.


def maps(dtype="float32"):
    random = np.random.default_rng(0)
    return [random.normal(size=(3, s, s, c)).astype(dtype) for s, c in SIZES]


def cells(values, size):
    """The means of square cells, by hand."""
    batch, height, width, channels = values.shape
    shape = (batch, size, height // size, size, width // size, channels)
    return values.reshape(shape).mean((2, 4))


def neighbours(values, count):
    """Means of neighbouring channels; a channel on an edge counts for both sides."""
    own = values.shape[-1]
    found = []
    for i in range(count):
        low, high = i * own / count, (i + 1) * own / count
        shares = [max(0.0, min(high, c + 1) - max(low, c)) for c in range(own)]
        found.append(values @ (np.array(shares) / sum(shares)))
    return np.stack(found, -1)


@pytest.mark.parametrize("channels", ["first", "mean"])
def test_between_stages_is_the_formula(channels):
    features, total = maps("float64"), 0.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        fine, coarse = cells(features[i], SIZES[j][0]), features[j]
        count = min(fine.shape[-1], coarse.shape[-1])
        if channels == "first":
            fine, coarse = fine[..., :count], coarse[..., :count]
        else:
            fine, coarse = neighbours(fine, count), neighbours(coarse, count)
        total = total + ((fine - coarse) ** 2).mean((1, 2, 3)) / 3
    found = tfd.between_stages([tf.constant(f) for f in features], channels)
    np.testing.assert_allclose(found, total, rtol=1e-6)


def test_within_stages_is_the_formula():
    features, total = maps("float64"), 0.0
    for f in features:
        norm = np.sqrt((f**2).sum((1, 2, 3), keepdims=True))
        order = np.argsort(-(f / norm).sum((0, 1, 2)), kind="stable")
        half = f.shape[-1] // 2
        top, bottom = f[..., order[:half]], f[..., order[-half:]]
        total = total + ((top - bottom) ** 2).mean((1, 2, 3)) / 3
    found = tfd.within_stages([tf.constant(f) for f in features])
    np.testing.assert_allclose(found, total, rtol=1e-6)


@pytest.mark.parametrize(
    "term",
    [lambda f: tfd.between_stages(f, "mean"), tfd.within_stages],
    ids=["between", "within"],
)
def test_gradients_are_those_of_finite_differences(term):
    fine, coarse = (tf.constant(f[:1]) for f in maps("float64")[1:])
    theirs, ours = tf.test.compute_gradient(lambda f: term([f, coarse]), [fine])
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)


def test_void_pixels_count_nowhere():
    features = maps()
    valid = np.ones((3, 8, 8), bool)
    valid[:, :4] = False
    other = [f.copy() for f in features]
    for f in other:
        f[:, : f.shape[1] // 2] = 99.0
    one, two = (tfd.between_stages(f, "first", valid) for f in (features, other))
    np.testing.assert_allclose(one, two, rtol=1e-5)
    one, two = (tfd.within_stages(f, valid) for f in (features, other))
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_both_rise_from_0_in_the_first_part_of_the_training():
    model = SelfDistillationModel(toys.classifier(), TFD(warm_up=0.5))
    data = toys.class_data()
    terms = [
        terms_of(model, *data, progress=np.float32(progress))[1]
        for progress in (0.0, 0.25, 0.5, 1.0)
    ]
    for name in ("inter", "intra"):
        none, half, whole, end = (np.array(term[name]) for term in terms)
        np.testing.assert_array_equal(none, 0 * whole)
        np.testing.assert_allclose(half, whole / 2, rtol=1e-5)
        np.testing.assert_array_equal(end, whole)
    assert terms_of(SelfDistillationModel(toys.classifier(), TFD(warm_up=0)), *data)


@pytest.mark.usefixtures("double")
def test_warming_up_in_float64():
    model = SelfDistillationModel(toys.classifier(), TFD())
    images, labels = toys.class_data()
    _, terms = terms_of(model, images.astype("float64"), labels, progress=0.05)
    assert all(tf.as_dtype(term.dtype) == tf.float64 for term in terms.values())


def test_error_a_tap_of_one_channel():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(1, 3, strides=2, name="thin")(images)
    y = keras.layers.Conv2D(4, 3, strides=2, name="wide")(x)
    logits = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(y))
    student, taps = keras.Model(images, logits), ["thin", "wide"]
    with pytest.raises(ValueError, match=r"Received: a tap with shape .* 1\)"):
        SelfDistillationModel(student, TFD(), taps)
    assert SelfDistillationModel(student, TFD(intra_weight=0), taps)


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (4, 8)])
def test_pooled_cells_are_means_over_what_they_cover(size):
    fine = np.random.default_rng(0).normal(size=(2, 4, 8, 3)).astype("float32")
    found = pooled_like(tf.constant(fine), tf.zeros((2, *size, 1)))
    by_hand = neighbours(np.moveaxis(fine, 1, -1), size[0])  # Rows.
    by_hand = neighbours(np.moveaxis(by_hand, 1, -1), size[1])
    np.testing.assert_allclose(found, np.moveaxis(by_hand, 1, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel_mapping": "last"}, "Expected channel_mapping to be 'first' or"),
        ({"inter_weight": -1}, "inter_weight"),
        ({"warm_up": -0.1}, "warm_up"),
    ],
)
def test_error_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TFD(**arguments)
