import numpy as np
import tensorflow as tf

from keras_selfkd.losses import attention_transfer, fitnet_hint, normalized_mse
from keras_selfkd.methods.distillation import feature_distance
from keras_selfkd.networks.projections import projections


def maps(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def test_the_levels_add_up_each_with_its_mask():
    targets = [maps(2, 8, 8, 3), maps(2, 4, 4, 5)]
    taps = [maps(2, 8, 8, 3, seed=1), maps(2, 4, 4, 5, seed=2)]
    valid = np.zeros((2, 16, 16), bool)
    valid[:, :8] = True
    layers = projections(normalized_mse, targets, taps)
    found = feature_distance(normalized_mse, targets, taps, layers, valid)
    expected = sum(
        normalized_mse(target[:, : size // 2], tap[:, : size // 2])
        for target, tap, size in zip(targets, taps, (8, 4), strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_target_of_another_size_is_resized_bilinearly():
    target, tap = maps(2, 6, 10, 3), maps(2, 3, 4, 3, seed=1)
    layers = projections(attention_transfer, [target], [tap])
    found = feature_distance(attention_transfer, [target], [tap], layers, None)
    resized = tf.image.resize(target, (3, 4))
    np.testing.assert_allclose(found, attention_transfer(resized, tap), rtol=1e-5)


def test_projections_only_where_the_loss_needs_equal_channels():
    target, tap = maps(1, 4, 4, 6), maps(1, 4, 4, 2)
    assert not projections(attention_transfer, [target], [tap])[0].variables
    (projection,) = projections(normalized_mse, [target], [tap])
    (kernel,) = projection.variables
    assert kernel.shape == (1, 1, 2, 6)


def test_a_regressor_on_every_level_normalises_by_the_batch():
    """The BatchNorm is in training mode: the map's scale and mean do not matter."""
    target, tap = maps(4, 4, 4, 6), maps(4, 4, 4, 6, seed=1)
    (regressor,) = projections(fitnet_hint, [target], [tap])
    assert len(regressor.trainable_variables) == 3
    found, scaled = (
        feature_distance(fitnet_hint, [target], [values], [regressor], None)
        for values in (tap, 100.0 * tap)
    )
    np.testing.assert_allclose(found, scaled, rtol=1e-3)
    moving_mean = regressor.non_trainable_variables[0]
    assert np.any(moving_mean.numpy())
