"""Early exits: accuracy, size and latency of each, from one training.

    python -m benchmarks.edge.exits --method=byot --epochs=20 --data_dir=...

trains a ResNet-18 by a method with branches on CIFAR-100's first 100 images of each
class, exports every exit as a LiteRT file (float32 and int8), rates the files on 2,000
test images and times one image, all files in turns. Writes benchmarks/edge/exits.md and
exits.png. The training's checkpoints stay in --files_dir, so that it goes on where it
was; nothing else may run beside the latencies.
"""

import pathlib

import keras
import numpy as np
from absl import app, flags

from benchmarks import reports
from examples.data import inputs
from examples.data.prepared import load_data
from examples.results import latency
from examples.runs import recipe
from examples.runs.methods import METHOD, build_method
from examples.runs.optimizers import learning_rate_schedule
from examples.students import trained
from examples.students.by_name import build_student
from keras_selfkd import Checkpoints, SelfDistillationModel, SGDWithL2, export_student
from keras_selfkd.export.litert import predict_tflite
from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS, new_figure, save

FLAGS = flags.FLAGS
flags.DEFINE_string("network", "resnet18", "The student.")
flags.DEFINE_string("files_dir", "benchmarks/edge/exits_files", "Where files are kept.")
flags.DEFINE_string("output", "benchmarks/edge/exits", "Table and picture, no suffix.")
flags.DEFINE_bool("latency", True, "Measure latencies and write the report.")

TEST_IMAGES = 2_000
PRECISIONS = ("float32", "int8")


def exits(data, folder):
    """The trained exits, the shallowest first; trains what is left to train."""
    keras.utils.set_random_seed(0)
    student = build_student(FLAGS.network, data.image_shape, data.classes)
    model = SelfDistillationModel(student, build_method(METHOD.value))
    steps = recipe.EPOCHS.value * data.steps_per_epoch
    model.compile(
        SGDWithL2(learning_rate_schedule("cosine", 0.1, steps), momentum=0.9, l2=5e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    checkpoints = Checkpoints(folder / "checkpoints")
    seen = checkpoints.restore(model)
    model.fit(
        data.train(seen),
        steps_per_epoch=data.steps_per_epoch,
        initial_epoch=seen,
        epochs=recipe.EPOCHS.value,
        shuffle=False,
        callbacks=checkpoints.after([]),
        verbose=2,
    )
    return model.exits()


def files_of(network, number, data, folder):
    """Writes and rates an exit's files; a dict from precision to facts."""
    source = trained.from_data(network, data, TEST_IMAGES)
    found = {}
    for precision in PRECISIONS:
        path = folder / f"exit{number}-{precision}.tflite"
        report = export_student(
            network,
            path,
            None if precision == "float32" else precision,
            source.calibration,
            preprocess=source.preprocess,
        )
        score = source.score(predict_tflite(path, source.test[0]))
        found[precision] = {"path": path, "bytes": report.bytes, "score": score}
    return found


def write(found, parameters, path):
    """Writes the table and the picture."""
    lines = [
        "| exit | parameters | accuracy, % | bytes | ms | int8: accuracy, % | bytes "
        "| ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, (files, count) in enumerate(zip(found, parameters, strict=True)):
        name = "student" if number == len(found) - 1 else f"exit {number}"
        cells = [name, f"{count:,}"]
        for facts in files.values():
            times = latency.summary(facts["milliseconds"])
            cells += [f"{100 * facts['score']:.2f}", f"{facts['bytes']:,}", times]
        lines.append(f"| {' | '.join(cells)} |")
    text = (
        f"# Early exits\n\n`{reports.command()}`, {reports.machine()}. "
        f"{FLAGS.network}, {METHOD.value}, {recipe.EPOCHS.value} epochs of CIFAR-100's "
        f"first 100 images of each class, seed 0; {TEST_IMAGES:,} test images. ms: one "
        "image, 1 thread, median (95th percentile) of 200 calls, all files in turns."
        "\n\n" + "\n".join(lines) + f"\n\n![Accuracy and latency]({path.name}.png)\n"
    )
    reports.write_text(path.with_suffix(".md"), text)
    draw(found, path.with_suffix(".png"))
    print(text)


def draw(found, path):
    figure = new_figure(6.5, 4.0)
    axes = figure.subplots()
    for color, precision in zip(COLORS, PRECISIONS, strict=False):
        points = [
            (np.median(files[precision]["milliseconds"]), files[precision]["score"])
            for files in found
        ]
        times, scores = np.array(points).T
        axes.plot(times, 100 * scores, "o-", color=color, label=precision)
        for number, (time, score) in enumerate(points):
            name = "student" if number == len(points) - 1 else f"exit {number}"
            place = {"xytext": (5, -12), "textcoords": "offset points"}
            axes.annotate(name, (time, 100 * score), fontsize="small", **place)
    axes.set(xlabel="milliseconds of one image, 1 thread", ylabel="accuracy, %")
    axes.margins(x=0.12)  # For the names.
    axes.set_xlim(left=0)
    axes.set(title=f"{FLAGS.network}, {METHOD.value}: early exits")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    save(figure, path)


def main(_):
    data = load_data(
        "cifar100",
        data_dir=inputs.DATA_DIR.value,
        download=False,
        train_per_class=100,
        batch_size=64,
    )
    folder = pathlib.Path(FLAGS.files_dir) / f"{FLAGS.network}-{METHOD.value}"
    networks = exits(data, folder)
    if not FLAGS.latency:
        return
    with staging(folder / "files") as staged:
        staged.mkdir(parents=True)
        found = [files_of(n, i, data, staged) for i, n in enumerate(networks)]
        every = [facts for files in found for facts in files.values()]
        taken = latency.milliseconds([latency.runner(f["path"], 1) for f in every])
    for facts, row in zip(every, taken, strict=True):
        facts["milliseconds"] = row
    parameters = [network.count_params() for network in networks]
    write(found, parameters, pathlib.Path(FLAGS.output))


if __name__ == "__main__":
    app.run(main)
