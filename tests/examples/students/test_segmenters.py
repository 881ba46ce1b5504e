import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.students.by_name import build_segmenter, segmenter_builders
from examples.students.segmenters import (
    EFFICIENTNET_BIFPN_TAPS,
    efficientnet_bifpn,
    mobilenet_v3_fpn,
    thin_unet,
    unet,
)
from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.taps import Tapped

TAPS = {
    "thin_unet": ["up1_2_out", "up2_2_out", "up3_2_out", "down4_2_out"],
    "mobilenet_v3_fpn": [f"pyramid{level}_out" for level in (2, 3, 4, 5)],
    "efficientnet_bifpn": EFFICIENTNET_BIFPN_TAPS[-4:],
    "keras_hub:DeepLabV3ImageSegmenter": [
        "deep_lab_v3_backbone/backbone_output_upsampling",
        "deep_lab_v3_backbone/segmentation_head_relu",
        "deep_lab_v3_backbone/spatial_pyramid_pooling",
    ],
    "keras_cv:DeepLabV3Plus": ["head/head_relu", "spatial_pyramid_pooling"],
}


@pytest.mark.parametrize("size", [(45, 61, 3), (64, 64, 1)])
def test_a_unet_takes_any_size(size):
    student = unet(size, classes=5, channels=(4, 6, 8, 10))
    assert tuple(student.output.shape[1:]) == (*size[:2], 5)
    half = thin_unet(size, classes=5)
    expected = -(-size[0] // 2), -(-size[1] // 2)
    assert tuple(half.output.shape[1:3]) == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")
@pytest.mark.parametrize("name", TAPS)
def test_every_segmenter_trains_on_its_default_taps(name):
    keras.utils.clear_session(free_memory=False)
    student = build_segmenter(name, (192, 256, 3), classes=5)
    model = SelfDistillationModel(student, FRSKD(channels=8, depth=1))
    assert model.taps == TAPS[name]
    assert list(TAPS) == [n for n in segmenter_builders() if n != "unet"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=9)
    model.compile(keras.optimizers.SGD(0.01), loss)
    images = np.random.default_rng(0).normal(size=(2, 192, 256, 3)).astype("float32")
    masks = np.random.default_rng(1).integers(0, 5, (2, 192, 256))
    masks[:, :50] = 9
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(images, masks, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert np.any(old != weight.numpy()), weight.path


@pytest.mark.slow
def test_the_papers_layout_has_no_dead_branch():
    """Six levels of 64 channels, self-teacher of two layers, the last top-down."""
    student = efficientnet_bifpn((192, 256, 3), classes=5)
    method = FRSKD(repeats=2, channels=64, depth=1)
    model = SelfDistillationModel(student, method, taps=EFFICIENTNET_BIFPN_TAPS)
    sizes = [tuple(tap.shape[1:]) for tap in method.self_teacher.inputs]
    assert sizes == [
        (size[0], size[1], 64)
        for size in [(48, 64), (24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    ]
    head = method.self_teacher.get_layer("head")
    assert head.kernel.shape == (3, 3, 64, 256)
    images = tf.random.stateless_normal((1, 192, 256, 3), (0, 0))
    weights = [weight.value for weight in model.trainable_weights]
    with tf.GradientTape() as tape:
        outputs = model.outputs_of(images, training=True)
        logits, *_ = method.self_teacher(outputs.features, training=True)
        total = sum(tf.reduce_sum(x**2) for x in (outputs.logits, logits))
    gradients = tape.gradient(total, weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path


def test_a_pyramids_taps_do_not_depend_on_the_order_of_its_laterals():
    """Laterals that Keras sorts between the levels are skips, not part of a cut."""
    student = mobilenet_v3_fpn((64, 96, 3), classes=4, channels=8)
    assert Tapped(student, minimum=2).names == TAPS["mobilenet_v3_fpn"]


def test_error_unknown_segmenter():
    with pytest.raises(ValueError, match=r"\['thin_unet'\]|'thin_unet'"):
        build_segmenter("thinunets", (64, 64, 3), classes=2)
