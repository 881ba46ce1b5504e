import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.pixels import fit_weight, mask_at, resized_like


def maps(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


@pytest.mark.parametrize("maps_shape", [(2, 7), (2, 4, 4, 3)])
def test_nothing_is_resized_without_need(maps_shape):
    values = maps(*maps_shape)
    assert resized_like(values, maps(2, 4, 4)) is values


def test_a_map_position_is_valid_where_most_of_it_is():
    valid = np.ones((1, 4, 4), bool)
    valid[0, :2, :2] = False
    valid[0, 2, 2] = False
    expected = [[[False, True], [True, True]]]
    np.testing.assert_array_equal(mask_at(valid, maps(1, 2, 2, 1)), expected)
    assert mask_at(None, maps(1, 2, 2, 1)) is None


@pytest.mark.parametrize("cells", [(2, 2), (3, 5), (16, 12)])
def test_a_cells_share_of_valid_pixels_restated_in_numpy(cells):
    """By enlarging each pixel until cells and pixels have common borders."""
    valid = np.random.default_rng(0).random((2, 16, 12)) < 0.5
    large = valid.repeat(cells[0], 1).repeat(cells[1], 2)
    shares = large.reshape(2, cells[0], 16, cells[1], 12).mean((2, 4))
    found = mask_at(valid, maps(1, *cells, 1))
    clear = np.abs(shares - 0.5) > 1e-3
    np.testing.assert_array_equal(np.array(found)[clear], (shares > 0.5)[clear])
    assert clear.mean() > 0.7


def test_sample_weights_of_any_fitting_shape():
    per_pixel = tf.reshape(tf.range(8.0), (2, 2, 2))
    np.testing.assert_array_equal(fit_weight(per_pixel, 1), [1.5, 5.5])
    assert fit_weight(tf.ones((2, 1)), 1).shape == (2,)
    assert fit_weight(tf.ones((2,)), 3).shape == (2, 1, 1)
    assert fit_weight(per_pixel[..., None], 3).shape == (2, 2, 2)
    with pytest.raises(
        ValueError, match=r"Received: sample_weight with shape \(2, 3\)"
    ):
        fit_weight(tf.ones((2, 3)), 1)
