import keras
import numpy as np
import pytest
from keras import layers

from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.networks import FusionShares, bifpn, prediction_head
from keras_selfkd.networks.bifpn import upsample
from tests import toys
from tests.golden_arrays import GOLDEN, assert_parity, set_rule_weights


def taps_of(sizes_and_channels):
    return [keras.Input((h, w, c)) for (h, w), c in sizes_and_channels]


def self_teacher(features, channels, classes, **options):
    taps = [keras.Input(f.shape[1:]) for f in features]
    refined = bifpn(taps, channels, **options)
    logits = prediction_head(refined, keras.KerasTensor((None, classes)))
    return keras.Model(taps, [logits, *refined])


CASES = {
    "bifpnc": (2, {"depth": 2}),
    "bifpnc_w1_d1": (1, {"depth": 1}),
    "bifpn_r2": (None, {"depth": 2, "repeats": 2, "resample_conv": False}),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES)
def test_self_teacher_equals_the_authors(case, training, double):
    """In float64: `bifpn_r2` loses five digits, its BatchNorm sees tiny variances."""
    width, options = CASES[case]
    count = sum(key.startswith(f"{case}.feat") for key in GOLDEN)
    features = [GOLDEN[f"{case}.feat{i}"] for i in range(count)]
    channels = [width * f.shape[-1] if width else 24 for f in features]
    network = self_teacher(features, channels, 10, **options)
    set_rule_weights(network)
    assert network.count_params() - non_trainable(network) == GOLDEN[f"{case}.params"]
    logits, *refined = network(features, training=training)
    mode = "train" if training else "eval"
    assert_parity(logits, GOLDEN[f"{case}.{mode}.logits"])
    for i, actual in enumerate(refined):
        assert_parity(actual, GOLDEN[f"{case}.{mode}.out{i}"])


def test_self_teacher_in_float32_equals_the_authors():
    features = [GOLDEN[f"bifpnc.feat{i}"] for i in range(4)]
    network = self_teacher(features, [2 * f.shape[-1] for f in features], 10)
    set_rule_weights(network)
    logits, *_ = network([f.astype("float32") for f in features], training=True)
    assert_parity(logits, GOLDEN["bifpnc.train.logits"])


def non_trainable(network):
    return sum(np.prod(v.shape) for v in network.non_trainable_variables)


@pytest.mark.parametrize(
    ("student", "sizes", "channels"),
    [
        ("resnet18", (32, 16, 8, 4), (64, 128, 256, 512)),
        ("wrn16x2", (32, 16, 8), (32, 64, 128)),
    ],
)
def test_parameter_counts_are_the_papers(student, sizes, channels):
    features = [np.zeros((1, s, s, c)) for s, c in zip(sizes, channels, strict=True)]
    wide = self_teacher(features, [2 * c for c in channels], 100)
    fixed = self_teacher(features, [256] * len(channels), 100, resample_conv=False)
    for network, name in ((wide, "bifpnc_w2_d2"), (fixed, "bifpn256_d2")):
        trainable = network.count_params() - non_trainable(network)
        assert trainable == GOLDEN[f"count.{student}_cifar100.{name}"]


def test_shares_by_hand():
    fusion = FusionShares()
    maps = [np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))]
    np.testing.assert_allclose(fusion(maps), [1.0 / (2.0 + 1e-6)] * 2)
    fusion.fusion_weights.assign([3.0, -1.0])
    np.testing.assert_allclose(fusion(maps), [3.0 / (3.0 + 1e-6), 0.0])


def test_epsilon_of_shares_counts_when_the_weights_are_small():
    fusion = FusionShares()
    maps = [np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))]
    fusion(maps)
    fusion.fusion_weights.assign([1e-6, 1e-6])
    np.testing.assert_allclose(fusion(maps), [1.0 / 3.0] * 2, rtol=1e-6)


@pytest.mark.parametrize("resample_conv", [True, False])
def test_each_share_weighs_its_own_map(resample_conv):
    """The sums of two fusions, put together from layers and shares that all differ."""
    taps = taps_of([((8, 8), 3), ((4, 4), 5), ((2, 2), 7)])
    refined = bifpn(taps, [4, 4, 4], resample_conv=resample_conv, depth=1)
    layer = keras.Model(taps, refined).get_layer

    def conv(x, name, needed=True):
        norm = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
        return layers.ReLU()(norm(layer(f"bifpn1_{name}")(x))) if needed else x

    fine, middle = (layer(f"bifpn1_top_down{i}").output for i in (0, 1))
    pooled = layers.MaxPooling2D(3, strides=2, padding="same")(fine)
    above = upsample(conv(middle, "up0", resample_conv), (8, 8))
    below = conv(pooled, "pool1", resample_conv)
    expected = [
        0.75 * conv(taps[0], "lateral0") + 0.25 * above,
        0.5 * conv(taps[1], "second_lateral1") + 0.125 * middle + 0.375 * below,
    ]
    sums = [layer(f"bifpn1_{n}_depthwise1").input for n in ("down0", "up_again1")]
    layer("bifpn1_down_fusion0").fusion_weights.assign([3.0, 1.0])
    layer("bifpn1_up_fusion1").fusion_weights.assign([4.0, 1.0, 3.0])
    random = np.random.default_rng(0)
    maps = [random.normal(size=(2, *t.shape[1:])).astype("float32") for t in taps]
    for training in (False, True):  # Training changes statistics of one of them twice.
        ours, by_hand = (
            keras.Model(taps, ends)(maps, training=training)
            for ends in (sums, expected)
        )
        for one, other in zip(ours, by_hand, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_first_lateral_feeds_top_down_and_second_feeds_bottom_up():
    """Swapping the two laterals leaves the golden arrays unchanged, but not these."""
    taps = taps_of([((8, 8), 3), ((4, 4), 3)])
    network = keras.Model(taps, bifpn(taps, [4, 4], resample_conv=False, depth=1))
    maps = [np.random.default_rng(0).random((2, *t.shape[1:])) for t in taps]
    first_level, _ = network(maps)
    network.get_layer("bifpn1_second_lateral1").kernel.assign(np.ones((1, 1, 3, 4)))
    unchanged, coarse = network(maps)
    np.testing.assert_array_equal(first_level, unchanged)
    network.get_layer("bifpn1_lateral1").kernel.assign(np.zeros((1, 1, 3, 4)))
    changed, coarse_after = network(maps)
    assert np.max(np.abs(changed - unchanged)) > 1e-3
    assert coarse.shape == coarse_after.shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    "sizes", [[(35, 35), (17, 17), (8, 8)], [(12, 20), (6, 10)], [(24, 18), (5, 7)]]
)
@pytest.mark.parametrize("resample_conv", [True, False])
def test_any_sizes(sizes, resample_conv):
    taps = taps_of([(size, 3 + i) for i, size in enumerate(sizes)])
    channels = [4] * len(taps)
    network = keras.Model(taps, bifpn(taps, channels, resample_conv=resample_conv))
    maps = [np.ones((2, *t.shape[1:]), "float32") for t in taps]
    assert [m.shape for m in network(maps)] == [(2, *s, 4) for s in sizes]


@pytest.mark.parametrize(
    ("size", "expected"), [(3, [0.0, 1.0, 2.0]), (4, [0.0, 0.0, 2.0, 2.0])]
)
def test_maps_are_enlarged_nearest_by_two_else_bilinear(size, expected):
    small = np.array([[0.0, 2.0], [0.0, 2.0]], "float32").reshape(1, 2, 2, 1)
    for row in np.array(upsample(small, (size, size)))[0, :, :, 0]:
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_dense_heads_read_the_finest_map_and_go_only_down():
    taps = taps_of([((8, 12), 3), ((4, 6), 5)])
    refined = bifpn(taps, [6, 10], bottom_up=False)
    logits = prediction_head(refined, keras.KerasTensor((None, 32, 48, 7)))
    network = keras.Model(taps, [logits, *refined])
    assert logits.shape == (None, 8, 12, 7)
    assert not any(isinstance(x, layers.MaxPooling2D) for x in network.layers)


def test_convolution_before_upsampling_is_the_papers_order_exactly():
    x = np.random.default_rng(1).normal(size=(4, 5, 6, 3)).astype("float32")
    conv = layers.Conv2D(7, 1, use_bias=False)
    norms = [layers.BatchNormalization(epsilon=1e-5, momentum=0.9) for _ in range(2)]
    up = layers.UpSampling2D(2)
    before = up(keras.ops.relu(norms[0](conv(x), training=True)))
    after = keras.ops.relu(norms[1](conv(up(x)), training=True))
    np.testing.assert_allclose(before, after, atol=1e-5)
    for ours, papers in zip(norms[0].weights, norms[1].weights, strict=True):
        np.testing.assert_allclose(ours, papers, atol=1e-6)


@pytest.mark.parametrize("taps", [["out2", "out1"], ["out1", "down1"]])
def test_error_taps_that_do_not_fall(taps):
    with pytest.raises(ValueError, match=r"fine to coarse, .* taps of \(\d, \d\)"):
        SelfDistillationModel(toys.classifier(), FRSKD(width=1), taps=taps)
