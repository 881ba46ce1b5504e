import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_selfkd.metrics import (
    ExpectedCalibrationError,
    PixelAccuracy,
    confidence_interval,
)


def softmax(logits):
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def calibration_error(labels, probabilities, weight=None, bins=15):
    """Guo et al., equations 3 to 5, one bin after the other, in float64."""
    labels, predicted = labels.ravel(), probabilities.argmax(-1).ravel()
    confidence = probabilities.max(-1).ravel()
    weight = np.ones(len(labels)) if weight is None else np.ravel(weight)
    error = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if weight[inside].sum() > 0:
            accuracy = np.average((predicted == labels)[inside], weights=weight[inside])
            mean = np.average(confidence[inside], weights=weight[inside])
            error += weight[inside].sum() / weight.sum() * abs(accuracy - mean)
    return error


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, *shape, classes=10):
    logits = 3 * rng.standard_normal((*shape, classes)).astype("float32")
    likely = logits + 4 * rng.gumbel(size=logits.shape)
    return likely.argmax(-1), logits


def test_by_hand():
    # Two bins. (0.5, 1]: three predictions of confidence 0.6, 0.8, 1.0, two right:
    # |2/3 - 0.8|. (0, 0.5]: one of confidence 0.4, right: |1 - 0.4|.
    probabilities = [[0.6, 0.4, 0], [0.1, 0.8, 0.1], [1, 0, 0], [0.3, 0.3, 0.4]]
    metric = ExpectedCalibrationError(bins=2, from_logits=False)
    metric.update_state([0, 1, 2, 2], probabilities)
    expected = 3 / 4 * (0.8 - 2 / 3) + 1 / 4 * 0.6
    assert float(metric.result()) == pytest.approx(expected)


def test_bins_are_open_below_and_closed_above():
    # 0.5 belongs to (0, 0.5]: with 0.75 in another bin the gaps can't cancel.
    metric = ExpectedCalibrationError(bins=2, from_logits=False)
    metric.update_state([0, 1], [[0.5, 0.5], [0.75, 0.25]])
    assert float(metric.result()) == pytest.approx((0.5 + 0.75) / 2)
    np.testing.assert_array_equal(metric.weight, [1, 1])


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_restated_in_numpy_over_several_batches(rng, bins):
    labels, logits = drawn(rng, 500)
    metric = ExpectedCalibrationError(bins=bins)
    assert float(metric.result()) == 0.0
    for start in range(0, 500, 64):
        metric.update_state(labels[start : start + 64], logits[start : start + 64])
    expected = calibration_error(labels, softmax(logits.astype("float64")), bins=bins)
    assert expected > 0.1
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0.0


@pytest.mark.parametrize("form", ["sparse", "column", "one-hot", "float"])
def test_forms_of_labels(rng, form):
    labels, logits = drawn(rng, 100)
    expected = calibration_error(labels, softmax(logits))
    labels = {
        "sparse": labels,
        "column": labels[:, None],
        "one-hot": np.eye(10)[labels],
        "float": labels.astype("float32"),
    }[form]
    metric = ExpectedCalibrationError()
    metric.update_state(labels, logits)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_probabilities_and_logits_agree(rng):
    labels, logits = drawn(rng, 100)
    metric = ExpectedCalibrationError(from_logits=False)
    metric.update_state(labels, softmax(logits))
    expected = calibration_error(labels, softmax(logits))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("column", [True, False])
def test_one_output_stands_for_two_classes(rng, from_logits, column):
    labels, logits = drawn(rng, 200, classes=2)
    logits[:, 0] = 0
    z = logits[:, 1:]
    outputs = z if from_logits else 1 / (1 + np.exp(-z))
    metric = ExpectedCalibrationError(from_logits=from_logits)
    metric.update_state(labels[:, None] if column else labels, outputs)
    expected = calibration_error(labels, softmax(logits))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(64,), (4, 3, 5)])
def test_several_labels_are_binary_predictions_each(rng, shape):
    logits = 2 * rng.standard_normal((*shape, 3)).astype("float32")
    labels = (logits + rng.logistic(size=logits.shape) > 0).astype("float32")
    weight = rng.random(shape)
    metric = ExpectedCalibrationError(multi_label=True)
    metric.update_state(labels, logits, sample_weight=weight)
    present = 1 / (1 + np.exp(-logits.astype("float64")))
    both = np.stack([1 - present, present], -1)
    weights = np.repeat(weight.ravel(), 3)
    expected = calibration_error(labels, both, weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)


def test_a_label_that_nobody_knows_is_left_out():
    metric = ExpectedCalibrationError(multi_label=True, ignore_class=-1)
    metric.update_state([[1, -1], [0, -1]], [[math.log(3), 9.0], [math.log(3), -9.0]])
    assert float(metric.result()) == pytest.approx(0.25)  # |1/2 - 3/4|


@pytest.mark.parametrize("shape", [(4,), (4, 5, 6), (4, 5, 6, 1)])
def test_pixels_with_weights_and_void(rng, shape):
    labels, logits = drawn(rng, 4, 5, 6)
    labels[:, 0] = 255
    weight = rng.random(shape)
    metric = ExpectedCalibrationError(ignore_class=255)
    metric.update_state(labels[..., None], logits, sample_weight=weight)
    whole = np.broadcast_to(
        weight.reshape(*shape[:3], *(1,) * (3 - len(shape))), labels.shape
    )
    expected = calibration_error(labels, softmax(logits), whole * (labels != 255))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(100,), (100, 1)])
def test_weights_of_examples(rng, shape):
    labels, logits = drawn(rng, 100)
    weight = rng.integers(0, 3, shape)
    metric = ExpectedCalibrationError()
    metric.update_state(labels, logits, sample_weight=weight)
    weight = weight.ravel()
    repeated = np.repeat(labels, weight), np.repeat(logits, weight, axis=0)
    expected = calibration_error(repeated[0], softmax(repeated[1]))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_all_ignored_is_zero():
    metric = ExpectedCalibrationError(ignore_class=3)
    metric.update_state([3, 3], np.eye(4)[:2])
    assert float(metric.result()) == 0.0


def test_nan_logits_show():
    metric = ExpectedCalibrationError()
    metric.update_state([0, 1], [[np.nan, 0.0], [1.0, 0.0]])
    assert math.isnan(float(metric.result()))


def test_half_precision_logits_are_computed_in_float32(rng):
    labels, logits = drawn(rng, 4096)
    half = logits.astype("float16")
    metric = ExpectedCalibrationError()
    metric.update_state(labels, half)
    expected = calibration_error(labels, softmax(half.astype("float64")))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)


def identity(**kwargs):
    """A model that returns its input and never learns."""
    dense = keras.layers.Dense(10, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((10,)), dense])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, **kwargs)
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_compile_and_evaluate(rng, jit_compile):
    labels, logits = drawn(rng, 100)
    metric = ExpectedCalibrationError(name="ece")
    model = identity(metrics=[metric], jit_compile=jit_compile)
    logs = model.evaluate(logits, labels, batch_size=32, verbose=0, return_dict=True)
    expected = calibration_error(labels, softmax(logits))
    assert logs["ece"] == pytest.approx(expected, rel=1e-5)


def test_weighted_metrics_see_sample_weight(rng):
    labels, logits = drawn(rng, 100)
    weight = rng.random(100)
    metric = ExpectedCalibrationError(name="ece")
    model = identity(weighted_metrics=[metric])
    logs = model.evaluate(logits, labels, 32, 0, weight, return_dict=True)
    expected = calibration_error(labels, softmax(logits), weight)
    assert logs["ece"] == pytest.approx(expected, rel=1e-5)


def test_replicas_are_added_up(rng, two_replicas):
    labels, logits = drawn(rng, 90)
    with two_replicas.scope():
        metric = ExpectedCalibrationError(name="ece")
        model = identity(metrics=[metric])
    # The last batch, of 26, leaves the replicas with 13 examples each.
    logs = model.evaluate(logits, labels, batch_size=32, verbose=0, return_dict=True)
    expected = calibration_error(labels, softmax(logits))
    assert logs["ece"] == pytest.approx(expected, rel=1e-5)


def test_callbacks_seek_its_minimum(rng):
    labels, logits = drawn(rng, 100)
    metric = ExpectedCalibrationError(name="ece")
    model = identity(metrics=[metric])
    stop = keras.callbacks.EarlyStopping(monitor="ece", patience=1)
    history = model.fit(logits, labels, epochs=5, callbacks=[stop], verbose=0)
    assert len(history.history["ece"]) == 2  # It stays the same.


def test_round_trip():
    metric = ExpectedCalibrationError(7, False, 255, True, name="ece")
    config = keras.saving.serialize_keras_object(metric)
    assert config["registered_name"] == "keras_selfkd>ExpectedCalibrationError"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == metric.get_config()
    assert (copy.bins, copy.from_logits, copy.ignore_class) == (7, False, 255)
    assert copy.multi_label


@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_refuses_bins(bins):
    with pytest.raises(ValueError, match=f"positive integer. Received: bins={bins}"):
        ExpectedCalibrationError(bins=bins)


def test_refuses_labels_of_another_rank():
    metric = ExpectedCalibrationError()
    with pytest.raises(ValueError, match=r"y_true.shape=\(4,\), y_pred.shape=\(4, 8"):
        metric.update_state(ops.zeros(4), ops.zeros((4, 8, 8, 3)))


def test_interval_by_hand():
    # Half of 100 right, 1.96 standard deviations: (0.5 + 3.8416/200 -+ 1.96 *
    # sqrt(0.25/100 + 3.8416/40000)) / 1.038416 = 0.5 -+ 0.09617.
    low, high = confidence_interval(50, 100)
    assert low == pytest.approx(0.40383, abs=1e-4)
    assert high == pytest.approx(0.59617, abs=1e-4)


@pytest.mark.parametrize("correct", [0, 3, 50, 99, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_interval_ends_where_the_share_is_just_plausible(correct, level):
    """Wilson's definition: |share - p| = z * sqrt(p (1 - p) / n) at both ends."""
    z = {0.5: 0.674490, 0.95: 1.959964, 0.99: 2.575829}[level]
    low, high = confidence_interval(correct, 100, level)
    assert 0 <= low <= correct / 100 + 1e-12
    assert correct / 100 - 1e-12 <= high <= 1
    for end in (low, high):
        expected = z * math.sqrt(end * (1 - end) / 100)
        assert abs(correct / 100 - end) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_interval_narrows_with_more_examples():
    widths = [np.diff(confidence_interval(9 * n, 10 * n))[0] for n in (1, 10, 100)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize(
    "arguments", [(1, 0), (-1, 10), (11, 10), (5, 10, 0.0), (5, 10, 1.0), (5, 10, 95)]
)
def test_refuses_counts_and_levels_out_of_range(arguments):
    with pytest.raises(ValueError, match=r"Expected 0 <= correct <= total.*Received"):
        confidence_interval(*arguments)


def test_pixel_accuracy_leaves_out_void_pixels_and_weighs():
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 5, 4, 6)).astype("float32")
    labels = random.integers(0, 6, (3, 5, 4))
    labels[1, 2:] = 255
    right = (logits.argmax(-1) == labels) & (labels != 255)
    for weight in (None, random.random(3), random.random((3, 5, 4))):
        metric = PixelAccuracy(ignore_class=255)
        metric.update_state(labels, logits, sample_weight=weight)
        counted = (labels != 255).astype(float)
        if weight is not None:
            counted *= weight if weight.ndim == 3 else weight[:, None, None]
        expected = (right * counted).sum() / counted.sum()
        assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_pixel_accuracy_of_masks_with_a_last_axis():
    logits = [[[[0.0, 1.0], [1.0, 0.0]]]]
    metric = PixelAccuracy()
    metric.update_state(np.array([[[[1], [1]]]]), logits, np.array([[[[3.0], [1.0]]]]))
    assert float(metric.result()) == 0.75


def test_pixel_accuracy_of_void_alone_is_zero():
    metric = PixelAccuracy(ignore_class=255)
    metric.update_state(np.full((1, 2, 2), 255), np.zeros((1, 2, 2, 3)))
    assert float(metric.result()) == 0.0


def test_pixel_accuracy_can_be_saved():
    metric = PixelAccuracy(ignore_class=11, name="right")
    config = keras.saving.serialize_keras_object(metric)
    loaded = keras.saving.deserialize_keras_object(config)
    assert (loaded.ignore_class, loaded.name) == (11, "right")
