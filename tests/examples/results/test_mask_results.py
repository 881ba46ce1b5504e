import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.results.mask_results import (
    class_table,
    masks_of,
    predict_masks,
    rate,
    report,
    score_masks,
)


def test_scores_by_hand():
    truth = np.array([[0, 0, 1, 1], [2, 2, 9, 9]])
    predicted = np.array([[0, 1, 1, 1], [2, 0, 0, 3]])
    score = score_masks(predicted, truth, classes=5, void=9)
    # Class 0: 1 right of {0, 0} and predicted {0, 0'}; 1: 2 of 3; 2: 1 of 2.
    assert score["iou"] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.5, None, None]
    assert score["mean_iou"] == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert score["pixel_accuracy"] == pytest.approx(4 / 6)


def test_mean_iou_is_keras():
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 7, (2, 5, 16, 16))
    truth[:, :3] = 255
    metric = keras.metrics.MeanIoU(7, ignore_class=255)
    metric.update_state(truth, predicted)
    found = score_masks(predicted, truth, 7, 255)["mean_iou"]
    assert found == pytest.approx(float(metric.result()), rel=1e-6)


def test_logits_are_resized_to_the_masks():
    logits = np.random.default_rng(0).normal(size=(5, 4, 6, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((logits, np.zeros((5, 8, 12)))).batch(2)
    inputs = keras.Input((4, 6, 3))
    student = keras.Model(inputs, keras.layers.Identity()(inputs))
    found = predict_masks(student, data)
    expected = np.argmax(tf.image.resize(logits, (8, 12)), -1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("classes", [1, 2])
def test_void_pixels_count_in_no_score(classes):
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 4, 4, classes)).astype("float32")
    masks = random.integers(0, 2, (3, 4, 4)).astype("int32")
    masks[:, :2] = 9
    inputs = keras.Input((4, 4, classes))
    student = keras.Model(inputs, keras.layers.Identity()(inputs))
    data = tf.data.Dataset.from_tensor_slices((logits, masks)).batch(2)
    rating = rate(student, data, masks, classes=2, void=9)
    both = logits if classes == 2 else np.concatenate([0 * logits, logits], -1)
    p = np.exp(both) / np.exp(both).sum(-1, keepdims=True)
    known = masks != 9
    of_truth = np.take_along_axis(p[known], masks[known][:, None], -1)
    assert rating.score["nll"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)
    right = (np.argmax(both, -1) == masks)[known]
    assert rating.score["pixel_accuracy"] == right.mean()
    assert rating.bins["weight"].numpy().sum() == known.sum()
    assert rating.bins["correct"].numpy().sum() == right.sum()


def test_one_logit_above_0_is_class_1():
    logits = np.array([[-1.0, 3.0], [-3.0, 0.5]], "float32")[None, ..., None]
    expected = tf.image.resize(logits, (4, 4)).numpy()[..., 0] > 0
    found = masks_of(logits, (4, 4))
    np.testing.assert_array_equal(found, expected.astype("int32"))
    assert 0 < found.mean() < 1


def test_tables_and_report(tmp_path):
    score = {"mean_iou": 0.5, "pixel_accuracy": 0.75, "iou": [0.25, 0.75, None]}
    score |= {"parameters": 1000, "seconds": 3.0, "bytes": 4000}
    better = {**score, "mean_iou": 0.52}
    result = {
        "scores": {"supervised": score, "frskd": better},
        "labels": ["sky", "road", "car"],
        "litert": {"mean_iou": 0.52, "agreeing": 0.99999, "images": 12},
        "note": "",
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    text = report(tmp_path)
    assert "frskd: +2.00 points of mean IoU against supervised" in text
    assert "99.999 % of the pixels of 12 images agree" in text
    lines = class_table(result["scores"], result["labels"]).splitlines()
    assert [line.split() for line in lines] == [
        ["IoU,", "%", "supervised", "frskd"],
        ["sky", "25.0", "25.0"],
        ["road", "75.0", "75.0"],
        ["car", "-", "-"],
    ]
