import keras
import numpy as np
import pytest

from examples.data.prepared import Data
from examples.runs.mask_objective import objective

FIELDS = dict.fromkeys(Data._fields)
DATA = Data(**FIELDS | {"classes": 2, "void": 9})


def judged(binary, logits, masks, weights=None):
    """Keras's own verdict on logits, as `evaluate` gives it."""
    inputs = keras.Input(logits.shape[1:])
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(**objective(DATA, binary))
    found = model.evaluate(
        logits, masks, sample_weight=weights, return_dict=True, verbose=0
    )
    return {name: pytest.approx(value, rel=1e-5) for name, value in found.items()}


def test_one_logit_is_judged_as_the_softmax_of_two():
    random = np.random.default_rng(0)
    z = random.normal(size=(2, 4, 6, 1)).astype("float32")
    masks = random.choice([0, 1, 9], (2, 4, 6))
    softmax = judged(False, np.concatenate([0 * z, z], -1), masks)
    known = masks != 9
    binary = judged(True, z, (masks * known)[..., None], known.astype("float32"))
    assert {name: value.expected for name, value in binary.items()} == softmax
    loss = np.log1p(np.exp(-z[..., 0] * (2 * masks - 1)))[known].mean()
    assert loss == binary["loss"]
    right = (z[..., 0] > 0) == masks
    assert right[known].mean() == binary["pixel_accuracy"]
    iou = [
        np.sum((masks == k) & right) / np.sum(known & ((masks == k) | ~right))
        for k in (0, 1)
    ]
    assert np.mean(iou) == binary["mean_iou"]
