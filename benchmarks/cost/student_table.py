"""Default taps and the self-teacher's size for every supported student.

    python -m benchmarks.cost.student_table

writes benchmarks/cost/students.md, and the same table between the markers of
docs/supported_students.md.
Parameters and multiply-adds are those of FRSKD's self-teacher relative to the
student's, counted from the graphs, with the paper's width 2 and with 64 channels.
"""

import math
import pathlib
import warnings

import keras
from absl import app

from benchmarks.reports import write_between_markers, write_text
from examples.students.by_name import build_student
from keras_selfkd import FRSKD
from keras_selfkd.graph import run_layers
from keras_selfkd.taps import Tapped

STUDENTS = {
    "plain_cnn": 32,
    "sequential_cnn": 32,
    "resnet18": 32,
    "wide_resnet16_2": 32,
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "EfficientNetB0": 96,
    "EfficientNetV2B0": 96,
    "ResNet50": 96,
    "ResNet50V2": 96,
    "DenseNet121": 96,
    "ConvNeXtTiny": 96,
    "InceptionV3": 139,
    "keras_hub:ResNetBackbone": 96,
    "keras_hub:EfficientNetBackbone": 96,
    "keras_cv:ResNetV2Backbone": 96,
    "keras_cv:MobileNetV3Backbone": 96,
}
HEADER = """\
| student | input | taps: size x channels | parameters, width 2 | 64 channels \
| multiply-adds, width 2 | 64 channels |
|---|---|---|---|---|---|---|
"""


def multiply_adds(model, shapes):
    """Multiplications of all kernels for one image; each weight acts at each output.

    Args:
        model: Functional Keras model.
        shapes: List of the input shapes without batch.
    """
    calls = []
    inputs = [keras.Input(shape) for shape in shapes]
    run_layers(model, inputs if len(inputs) > 1 else inputs[0], calls)
    total = 0
    for call in calls:
        kernels = [w for w in getattr(call.layer, "weights", ()) if len(w.shape) > 1]
        positions = math.prod(call.output.shape[1:-1]) if kernels else 0
        total += positions * sum(math.prod(kernel.shape) for kernel in kernels)
    return total


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def relative_cost(student, tapped, method):
    """The self-teacher's trainable parameters and multiply-adds over the student's."""
    with warnings.catch_warnings():
        # The table says how large it is.
        warnings.filterwarnings("ignore", "The self-teacher has")
        method.attach(student, tapped.symbolic)
    teacher = method.self_teacher
    maps = [tap.shape[1:] for tap in tapped.symbolic.features]
    parameters = trainable(teacher) / trainable(student)
    image = tuple(student.inputs[0].shape[1:])
    return parameters, multiply_adds(teacher, maps) / multiply_adds(student, [image])


def row(name, size):
    keras.utils.clear_session()
    student = build_student(name, (size, size, 3), 100)
    tapped = Tapped(student, None, FRSKD.minimum_taps)
    maps = [tap.shape for tap in tapped.symbolic.features]
    taps = ", ".join(f"{height}x{channels}" for _, height, _, channels in maps)
    wide = relative_cost(student, tapped, FRSKD())
    narrow = relative_cost(student, tapped, FRSKD(channels=64))
    costs = f"{wide[0]:.2f} | {narrow[0]:.2f} | {wide[1]:.2f} | {narrow[1]:.2f}"
    return f"| {name} | {size} | {taps} | {costs} |\n"


def main(_):
    table = HEADER
    for name, size in STUDENTS.items():
        line = row(name, size)
        print(line, end="", flush=True)
        table += line
    note = "Written by `python -m benchmarks.cost.student_table`.\n\n"
    write_text(
        pathlib.Path("benchmarks/cost/students.md"), f"# Students\n\n{note}{table}"
    )
    write_between_markers("docs/supported_students.md", "students", table)


if __name__ == "__main__":
    app.run(main)
