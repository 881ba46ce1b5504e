"""Every kind of student, with its default taps: a step of FRSKD, MixSKD's branches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.students.by_name import build_student
from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.networks.branches import branches, last_tap, part_after
from keras_selfkd.taps import Tapped
from tests import toys

EFFICIENTNET = ["block2b_add", "block3b_add", "block5c_add", "top_activation"]
CONVNEXT = (
    "convnext_tiny_downsampling_block_{0}/convnext_tiny_downsampling_layernorm_{0}"
)
# Numbered names are those of the first model of a session.
SMALL = {
    "plain_cnn": (32, ["stage1_out", "stage2_out", "stage3_out"]),
    "sequential_cnn": (32, ["stage1_out", "stage2_out", "stage3_out"]),
    "thin_resnet18": (32, [f"stage{i}_block2_out" for i in (1, 2, 3, 4)]),
    "wide_resnet16_2": (
        32,
        ["stage2_block1_relu1", "stage3_block1_relu1", "last_out"],
    ),
    "MobileNetV3Small": (
        96,
        [
            "expanded_conv_squeeze_excite_mul",
            "expanded_conv_2_add",
            "expanded_conv_7_add",
            "activation_17",
        ],
    ),
}
LARGE = {
    "resnet18": (32, [f"stage{i}_block2_out" for i in (1, 2, 3, 4)]),
    "MobileNetV2": (96, ["block_2_add", "block_5_add", "block_12_add", "out_relu"]),
    "EfficientNetB0": (64, EFFICIENTNET),
    "EfficientNetV2B0": (
        64,
        ["block2b_add", "block3b_add", "block5e_add", "top_activation"],
    ),
    "ResNet50": (
        64,
        [f"conv{i}_out" for i in ("2_block3", "3_block4", "4_block6", "5_block3")],
    ),
    "ResNet50V2": (
        64,
        ["conv2_block2_out", "conv3_block3_out", "conv4_block5_out", "post_relu"],
    ),
    "DenseNet121": (64, ["pool2_relu", "pool3_relu", "pool4_relu", "relu"]),
    "ConvNeXtTiny": (64, [CONVNEXT.format(i) for i in range(3)] + ["add_17"]),
    "InceptionV3": (139, ["activation_4", "mixed2", "mixed7", "mixed10"]),
    "keras_hub:ResNetBackbone": (
        64,
        [f"res_net_backbone/stack{i}_block1_out" for i in range(4)],
    ),
    "keras_hub:EfficientNetBackbone": (
        64,
        [f"efficient_net_backbone/{name}" for name in EFFICIENTNET],
    ),
    "keras_cv:ResNetV2Backbone": (
        64,
        [f"res_net_v2_backbone/v2_stack_{i}_block1_out" for i in (1, 2, 3)]
        + ["res_net_v2_backbone/post_relu"],
    ),
    "keras_cv:MobileNetV3Backbone": (
        64,
        [
            f"mobile_net_v3_backbone/{name}"
            for name in ("re_lu_4", "multiply_2", "multiply_22", "multiply_34")
        ],
    ),
}
ROWS = [
    *((name, *row) for name, row in SMALL.items()),
    *(
        pytest.param(name, *row, marks=pytest.mark.slow, id=name)
        for name, row in LARGE.items()
    ),
]
pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def tap_gradients(model, images):
    """Norms of the distillation terms' and the teacher's gradients at each tap."""
    with tf.GradientTape() as tape:
        student = model.outputs_of(images, training=True)
        for feature in student.features:
            tape.watch(feature)
        terms = model.method.loss_terms(
            student,
            {"y": np.zeros(len(images), int), "valid": None},
            toys.cross_entropy(reduction=None),
        )
        total = sum(tf.reduce_mean(terms[name]) for name in ("teacher_task", "feature"))
    gradients = tape.gradient(total, student.features)
    return [float(tf.norm(tf.cast(gradient, "float32"))) for gradient in gradients]


@pytest.mark.parametrize(("name", "size", "taps"), ROWS)
def test_a_step_trains_student_and_self_teacher(name, size, taps):
    student = build_student(name, (size, size, 3), 5)
    model = SelfDistillationModel(student, FRSKD(channels=8, depth=1))
    assert model.taps == taps
    images = np.random.default_rng(0).normal(size=(4, size, size, 3)).astype("float32")
    assert all(norm > 0.0 for norm in tap_gradients(model, images))
    # A large graph takes longer to trace than its step to run.
    eagerly = name in LARGE
    model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy(), run_eagerly=eagerly)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    logs = model.train_on_batch(images, np.arange(4), return_dict=True)
    assert np.isfinite(logs["loss"])
    # A gamma of 1 moves by a gradient above 1e-6 only, less than which reaches those
    # behind ConvNeXt's layer scale; others may be too small for it in a few places.
    unchanged = [
        weight.path
        for weight in model.trainable_weights
        if weight.name != "gamma" and np.array_equal(before[weight.path], weight)
    ]
    assert len(unchanged) <= 0.05 * len(before), unchanged
    assert not [path for path in unchanged if path.startswith("bifpn")]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_mixskds_branches_repeat_the_students_layers(name):
    size, _ = (SMALL | LARGE)[name]
    student = build_student(name, (size, size, 3), 5)
    outputs = Tapped(student, None, 2).symbolic
    last = last_tap(outputs)
    built = branches(outputs, last)  # A chain in place of a copy would warn.
    taps = [tap for i, tap in enumerate(outputs.features) if i != last]
    assert len(built) == len(taps) >= 2
    for branch, tap in zip(built, taps, strict=True):
        own = part_after(tap, [outputs.features[last], outputs.logits])
        assert branch.count_params() == own.count_params() > 0
        assert not {id(v) for v in branch.variables} & {id(v) for v in own.variables}


@pytest.mark.slow
def test_relative_costs_are_the_papers():
    """The paper: 0.57 of ResNet-18's parameters; 0.57 of its multiply-adds remain."""
    from benchmarks.cost.student_table import relative_cost

    student = build_student("resnet18", (32, 32, 3), 100)
    parameters, multiply_adds = relative_cost(
        student, Tapped(student, None, 2), FRSKD()
    )
    assert round(parameters, 2) == 0.57
    assert round(multiply_adds, 2) == 0.57
