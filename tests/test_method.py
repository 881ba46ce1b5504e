import keras
import numpy as np
import pytest

from keras_selfkd import Method, Outputs, Supervised


def outputs(embedding):
    rows = np.arange(6.0).reshape(6, 1)
    features = [np.tile(rows[:, None, None], (1, 2, 2, 3)), rows[:, None, None]]
    return Outputs(rows, features, rows if embedding else None)


@pytest.mark.parametrize("embedding", [True, False])
def test_split_gives_the_views_in_order(embedding):
    views = outputs(embedding).split(3)
    assert len(views) == 3
    for i, view in enumerate(views):
        np.testing.assert_array_equal(view.logits, [[2 * i], [2 * i + 1]])
        assert [f.shape for f in view.features] == [(2, 2, 2, 3), (2, 1, 1, 1)]
        assert float(view.features[0][1, 0, 0, 0]) == 2 * i + 1
        assert (view.embedding is not None) == embedding


def test_pack_undoes_tensors():
    original = outputs(embedding=True)
    packed = original.pack(original.tensors())
    assert packed.logits is original.logits
    assert packed.features == original.features
    assert packed.embedding is original.embedding


def test_supervised_has_one_term():
    method = Supervised()
    assert method.loss_weights == {"task": 1.0}
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(method)
    )
    assert type(again) is Supervised


def test_error_hooks_left_out():
    with pytest.raises(NotImplementedError, match="Method must define `loss_weights`"):
        _ = Method().loss_weights
    with pytest.raises(NotImplementedError, match="Method must define `loss_terms`"):
        Method().loss_terms(None, {}, None)
