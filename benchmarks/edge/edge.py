"""What is deployed: size, latency, memory and accuracy of a student's files.

    python -m benchmarks.edge.edge --data_dir=...

trains a few students (digits, CIFAR-100's first 100 images of each class, scenes of
digits), exports each as LiteRT (float32, float16, dynamic, int8) and ONNX, and rates
the files on up to 2,000 test images. Two of them are trained plainly, by FRSKD and by
`keras.distillation` (whose teacher is the plainly trained student): their files must
have the same operators and size and take the same time. A student that loses more than
a point by int8 is calibrated on fewer images, too, and exported as int16x8. Latencies
are of one image, all files of a student in turns; peak memory is that of a fresh
process each. Writes benchmarks/edge/edge.md and edge.png. Trained students and what was
measured of their files stay in --files_dir, so that it goes on where it was; nothing
else may run beside the latencies. About 40 minutes on 2 CPU cores.
"""

import functools
import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

import keras
from absl import app, flags

from benchmarks.edge import edge_report
from examples.data import inputs
from examples.data.prepared import load_data
from examples.data.segmentation_data import load_masked_data
from examples.results import latency
from examples.runs.optimizers import learning_rate_schedule
from examples.students import trained
from examples.students.by_name import build_segmenter, build_student
from keras_selfkd import (
    FRSKD,
    SelfDistillationModel,
    SigmoidRampUp,
    Supervised,
    export_onnx,
    export_student,
)
from keras_selfkd.export.deployment import all_layers
from keras_selfkd.export.litert import predict_tflite
from keras_selfkd.export.onnx import predict_onnx
from keras_selfkd.files import staging, write_json
from keras_selfkd.optimizers import SGDWithL2

FLAGS = flags.FLAGS
flags.DEFINE_string("files_dir", "benchmarks/edge/edge_files", "Where files are kept.")
flags.DEFINE_string("output", "benchmarks/edge/edge", "Table and picture, no suffix.")
flags.DEFINE_bool("latency", True, "Measure latencies and write the report.")

PRECISIONS = ("float32", "float16", "dynamic", "int8")
TEST_IMAGES = 2_000  # At most; int16x8 files are slow.


class Case(NamedTuple):
    """A student and what it is trained on.

    Attributes:
        student: Name of the student.
        data: Function that loads the data.
        epochs: Number of epochs.
        rate: Highest learning rate.
        legs: How it is trained, one after another.
        dense: Whether it is a segmenter.
    """

    student: str
    data: object
    epochs: int
    rate: float = 0.1
    legs: tuple = ("plain",)
    dense: bool = False


def cifar100(image_size=None):
    return load_data(
        "cifar100",
        data_dir=inputs.DATA_DIR.value,
        download=False,
        train_per_class=100,
        batch_size=64,
        image_size=image_size,
    )


ALL_LEGS = ("plain", "FRSKD", "keras.distillation")
CASES = {
    "digits": Case(
        "small_resnet", functools.partial(load_data, batch_size=32), 40, legs=ALL_LEGS
    ),
    "CIFAR-100": Case("thin_resnet18", cifar100, 12, legs=ALL_LEGS),
    "CIFAR-100, hard-swish": Case(
        "MobileNetV3Small", functools.partial(cifar100, (64, 64)), 12, 0.05
    ),
    "CIFAR-100, swish": Case(
        "EfficientNetB0", functools.partial(cifar100, (48, 48)), 8, 0.05
    ),
    "scenes of digits": Case("thin_unet", load_masked_data, 200, 0.05, dense=True),
}


def method_of(leg, steps):
    if leg != "FRSKD":
        return Supervised()
    return FRSKD(
        soft_label_weight=SigmoidRampUp(0, steps, 2.0),
        feature_weight=SigmoidRampUp(0, steps, 100.0),
        width=1,
    )


def train(name, leg, path):
    """Trains a student and writes it to `path`."""
    case = CASES[name]
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    data = case.data()
    steps = case.epochs * data.steps_per_epoch
    create = build_segmenter if case.dense else build_student
    student = create(case.student, data.image_shape, data.classes)
    for layer in all_layers(student):
        if isinstance(layer, keras.layers.BatchNormalization):
            # MobileNetV3's 0.999 wants thousands of steps before its averages hold.
            layer.momentum = min(layer.momentum, 0.99)
    if leg == "keras.distillation":
        teacher = keras.models.load_model(path_of(name, "plain"))
        # Its default, the string, takes logits for probabilities (Keras 3.15).
        loss = keras.losses.KLDivergence()
        model = keras.distillation.Distiller(
            teacher, student, keras.distillation.LogitsDistillation(loss=loss)
        )
    else:
        model = SelfDistillationModel(student, method_of(leg, steps))
    model.compile(
        SGDWithL2(
            learning_rate_schedule("cosine", case.rate, steps), momentum=0.9, l2=5e-4
        ),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=data.void
        ),
    )
    model.fit(
        data.train(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=case.epochs,
        shuffle=False,
        verbose=2,
    )
    with staging(path) as staged:
        student.save(staged)


def path_of(name, leg, suffix=".keras"):
    case = CASES[name]
    key = f"{name}-{leg}-{case.student}-{case.epochs}-{case.rate}"
    slug = "".join(c if c.isalnum() else "_" for c in key)
    return pathlib.Path(FLAGS.files_dir) / f"{slug}{suffix}"


def export(name, leg):
    """Writes and rates all files of a student; returns facts by kind of file."""
    student = keras.models.load_model(path_of(name, leg))
    source = trained.from_data(student, CASES[name].data(), TEST_IMAGES)
    facts = {
        kind: litert(source, path_of(name, leg, f"-{kind}.tflite"), kind)
        for kind in PRECISIONS
    }
    drop = 100 * (facts["float32"]["score"] - facts["int8"]["score"])
    if drop > edge_report.ALLOWED_DROP:
        for precision, count in (("int8", 32), ("int8", 128), ("int16x8", 256)):
            path = path_of(name, leg, f"-{precision}-{count}.tflite")
            kind = f"{precision}, calibrated on {count}"
            facts[kind] = litert(source, path, precision, count)
    path = path_of(name, leg, ".onnx")
    report = export_onnx(
        student, path, source.calibration, preprocess=source.preprocess
    )
    score = source.score(predict_onnx(path, source.test[0]))
    return facts | {"ONNX": known(report, path, score)}


def litert(source, path, precision, count=None):
    """Writes and rates a LiteRT file, calibrated on the first `count` images."""
    report = export_student(
        source.student,
        path,
        None if precision == "float32" else precision,
        source.calibration[:count],
        preprocess=source.preprocess,
    )
    return known(report, path, source.score(predict_tflite(path, source.test[0])))


def known(report, path, score):
    """What is known of a file, its peak memory in a fresh process among it."""
    command = [sys.executable, "-m", "benchmarks.edge.edge_memory", str(path)]
    memory = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    facts = {"score": score, "memory": float(memory.stdout), "path": path.name}
    return report._asdict() | facts


def measured(name, leg):
    """What is known of a student's files, from disk where it is there."""
    path = path_of(name, leg, ".json")
    if not path_of(name, leg).exists():
        print(f"Training: {name}, {leg}", flush=True)
        train(name, leg, path_of(name, leg))
    endings = [*(f"-{kind}.tflite" for kind in PRECISIONS), ".onnx", ".json"]
    if not all(path_of(name, leg, ending).exists() for ending in endings):
        write_json(path, export(name, leg))
    return json.loads(path.read_text(encoding="utf-8"))


def add_latencies(name, found):
    """Times all files of a student, of all legs, in turns; adds rows of milliseconds.

    Args:
        name: Name of the case.
        found: Dict from leg to what is known of its files.
    """
    entries = [facts for leg in found.values() for facts in leg.values()]
    for threads in (1, 2):
        paths = [pathlib.Path(FLAGS.files_dir) / facts["path"] for facts in entries]
        taken = latency.milliseconds([latency.runner(p, threads) for p in paths])
        for facts, row in zip(entries, taken, strict=True):
            facts[f"milliseconds_{threads}"] = row
    print(f"Timed: {name}", flush=True)


def main(_):
    found = {
        name: {leg: measured(name, leg) for leg in case.legs}
        for name, case in CASES.items()
    }
    if not FLAGS.latency:
        return
    for name, legs in found.items():
        add_latencies(name, legs)
    students = {name: case.student for name, case in CASES.items()}
    edge_report.write(pathlib.Path(FLAGS.output), found, students)


if __name__ == "__main__":
    app.run(main)
