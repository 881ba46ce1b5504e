"""Semantic segmentation on CamVid: plain training, FRSKD and NFD, over seeds.

    python -m benchmarks.accuracy.camvid --data_dir=...

trains a thin U-Net (490 thousand parameters, logits at half the images' size) from
scratch on CamVid's 367 training images, here 120x90 pixels so that 160 epochs take
minutes, 11 classes: plainly, with FRSKD, with NFD from a self-teacher, with NFD from a
trained, larger U-Net, and with a self-teacher that learns but does not teach. One
recipe for all: batch 8, SGD with momentum 0.9 and L2 5e-4, cosine, random scale, crop
and mirror, last-epoch weights.

First the learning rate and the weights of the terms are chosen on the 101 validation
images, in trainings of 40 epochs and with a seed of their own; then every leg
is trained with the chosen ones and rated on the 233 test images. The plan is printed
with its cost before it starts. Finished runs are kept in --run_dir, so that an
interrupted benchmark goes on where it was; runs of other sizes that lie there are
listed at the end of the table.
"""

import functools
import pathlib
import time

import keras
from absl import app, flags

from benchmarks import kept_runs
from benchmarks.accuracy import camvid_report
from examples.data.segmentation_data import load_masked_data
from examples.results.mask_results import predict_masks, score_masks
from examples.runs.optimizers import learning_rate_schedule
from examples.students.segmenters import thin_unet, unet
from keras_selfkd import FRSKD, NFD, Ramp, SelfDistillationModel, Supervised, Taught
from keras_selfkd.optimizers import SGDWithL2

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Directory of the prepared TFDS data set camvid.")
flags.DEFINE_integer("seeds", 3, "Seeds of a leg, NFD's fewer.", lower_bound=1)
flags.DEFINE_integer("epochs", 160, "Epochs of every final run.", lower_bound=2)
flags.DEFINE_integer("tuning_epochs", 40, "Epochs of a run on the validation images.")
flags.DEFINE_integer("height", 90, "Height of the images.", lower_bound=32)
flags.DEFINE_integer("width", 120, "Width of the images.", lower_bound=32)
flags.DEFINE_string(
    "run_dir", "benchmarks/accuracy/camvid_runs", "Where finished runs are kept."
)
flags.DEFINE_string(
    "output", "benchmarks/accuracy/camvid", "Table and picture, no suffix."
)
flags.DEFINE_float(
    "hours", 3.0, "Start no run after so many hours of training, all runs together."
)

VOID, BATCH, TUNING_SEED = 11, 8, 100
# Without the finest level, on which the self-teacher would cost twice as much.
TAPS = ["up2_2_out", "up3_2_out", "down4_2_out"]
LAST_MAP = ["up1_2_out"]


def ramped(feature, start=0.0):
    return Ramp(feature, start=start) if feature else 0.0


def frskd(soft, feature, start=0.0):
    return FRSKD(
        soft_label_weight=ramped(soft, start),
        feature_weight=ramped(feature, start),
        temperature=1.0,
        channels=32,
    )


# Candidates of each leg: name to the arguments that its training gets.
PLAIN = {f"learning rate {rate}": {"rate": rate} for rate in (0.02, 0.05, 0.1, 0.2)}
PAPER = {"soft": 1.0, "feature": 50.0, "start": 2 / 3}
FRSKD_OPTIONS = {
    "paper (1, 50, off for two thirds), rate 0.05": {**PAPER, "rate": 0.05},
    "paper, rate 0.02": {**PAPER, "rate": 0.02},
    "paper, rate 0.1": {**PAPER, "rate": 0.1},
    "paper, rate 0.2": {**PAPER, "rate": 0.2},
    "1, 50, ramped from the start, rate 0.02": {
        "soft": 1.0,
        "feature": 50.0,
        "rate": 0.02,
    },
}
# What the second head's loss does alone, at FRSKD's rate.
HEAD_OPTIONS = {"0, 0, rate 0.1": {"soft": 0.0, "feature": 0.0, "rate": 0.1}}
SELF_OPTIONS = {
    "0.1, ramped, rate 0.1": {"feature": 0.1, "rate": 0.1},
    "1.0, ramped, rate 0.1": {"feature": 1.0, "rate": 0.1},
    "1.0, off for two thirds, rate 0.1": {"feature": 1.0, "start": 2 / 3, "rate": 0.1},
}
TEACHER_OPTIONS = {
    f"{weight}, ramped": {"feature": weight} for weight in (0.1, 1.0, 10.0)
}
LEGS = {
    "plain": PLAIN,
    "FRSKD": FRSKD_OPTIONS,
    "NFD (self)": SELF_OPTIONS,
    "NFD (teacher)": TEACHER_OPTIONS,
    "FRSKD without distillation": HEAD_OPTIONS,
}


# NFD gets fewer seeds, within the hours.
FEWER = {"NFD (self)": 1, "NFD (teacher)": 2}


def large_unet(input_shape, classes):
    return unet(input_shape, classes, (24, 48, 96, 192), stride=2, name="large_unet")


def method_of(leg, options):
    """The method of a leg, and the student's taps."""
    if leg in ("plain", "teacher"):
        return Supervised(), None
    if leg.startswith("FRSKD"):
        return frskd(**options), TAPS
    weight = ramped(**options)
    if leg == "NFD (self)":
        return NFD(feature_weight=weight, channels=32), TAPS
    teacher = keras.models.load_model(teacher_path())
    options = {"feature_weight": weight, "soft_label_weight": 0}
    return Taught(teacher, teacher_taps=LAST_MAP, **options), LAST_MAP


def compiled(data, leg, steps, rate, **weights):
    create = large_unet if leg == "teacher" else thin_unet
    student = create(data.image_shape, data.classes)
    method, taps = method_of(leg, weights)
    model = SelfDistillationModel(student, method, taps=taps)
    model.compile(
        SGDWithL2(learning_rate_schedule("cosine", rate, steps), momentum=0.9, l2=5e-4),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=data.void
        ),
    )
    return model


def load(seed):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    return load_masked_data(
        "camvid",
        data_dir=FLAGS.data_dir,
        download=False,
        label_names=camvid_report.CLASSES,
        void=VOID,
        image_size=(FLAGS.height, FLAGS.width),
        batch_size=BATCH,
        seed=seed,
    )


def trained(leg, options, seed, epochs, split):
    """Scores of the last epoch's weights, and the history."""
    data = load(seed)
    steps = epochs * data.steps_per_epoch
    model = compiled(data, leg, steps, **options)
    start = time.time()
    history = model.fit(
        data.train(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=epochs,
        shuffle=False,
        verbose=2,
    ).history
    result = {"epochs": epochs, "seconds": time.time() - start, "history": history}
    scores = rate_student(model.student, data, split)
    if leg == "teacher":
        scores = {"test": rate_student(model.student, data, "test"), **scores}
        model.student.save(teacher_path())
    return result | scores


def rate_student(student, data, split):
    dataset = getattr(data, split)
    masks = keras.ops.concatenate([masks for _, masks in dataset])
    predicted = predict_masks(student, dataset)
    return score_masks(predicted, masks.numpy(), data.classes, data.void)


def run_dir():
    return pathlib.Path(FLAGS.run_dir) / f"{FLAGS.height}x{FLAGS.width}"


def teacher_path():
    return run_dir() / "teacher.keras"


def run(leg, name, options, seed, epochs, split, spent):
    """Result of a run, trained unless it is there; `None` after the last hour."""
    slug = "".join(c if c.isalnum() or c == "." else "_" for c in f"{leg}-{name}")
    path = run_dir() / f"{split}-{slug}-{epochs}-{seed}.json"
    if leg == "teacher" and not teacher_path().exists():
        path.unlink(missing_ok=True)  # Its scores are of no use without the network.
    if not path.exists():
        if sum(spent) > 3600 * FLAGS.hours:
            return None
        print(f"{leg}, {name}, seed {seed}, {epochs} epochs", flush=True)
    train = functools.partial(trained, leg, options, seed, epochs, split)
    result = kept_runs.kept(
        kept_runs.Run(leg, seed, path, train, {"options": options, "split": split})
    )
    spent.append(result["seconds"])
    return result


def choose(leg, rate, spent):
    """Trains a leg's candidates; returns their scores on the validation images."""
    found = {}
    for name, options in LEGS[leg].items():
        options = {"rate": rate, **options}
        result = run(
            leg,
            name,
            options,
            TUNING_SEED,
            FLAGS.tuning_epochs,
            "validation",
            spent,
        )
        if result:
            found[name] = result["mean_iou"]
    return found


def plan():
    """Prints what is going to be trained, and what it costs on this machine."""
    data = load(0)
    total = 0.0
    for leg, candidates in LEGS.items():
        if leg == "NFD (teacher)":
            continue  # Its teacher is not there yet; it costs less than NFD (self).
        options = next(iter(candidates.values()))
        model = compiled(data, leg, 1000, **{"rate": 0.05, **options})
        batches = data.train()
        model.fit(batches, steps_per_epoch=2, verbose=0)
        start = time.time()
        model.fit(batches, steps_per_epoch=5, verbose=0)
        seconds = (time.time() - start) / 5
        epochs = len(candidates) * FLAGS.tuning_epochs + seeds_of(leg) * FLAGS.epochs
        cost = epochs * data.steps_per_epoch * seconds / 3600
        total += cost
        print(f"{leg}: {epochs} epochs, {seconds:.2f} s a step, {cost:.2f} hours")
    print(f"Planned: about {total:.1f} hours and NFD (teacher); --hours={FLAGS.hours}")


def order():
    """Legs and seeds in the order of training, the main comparison first."""
    first = [(leg, s) for s in range(FLAGS.seeds) for leg in ("plain", "FRSKD")]
    every = [(leg, s) for leg in LEGS for s in range(seeds_of(leg))]
    return first + [run for run in every if run not in first]


def seeds_of(leg):
    return min(FEWER.get(leg, FLAGS.seeds), FLAGS.seeds)


def main(_):
    plan()
    spent, tuning, results, teacher = [], {}, {}, None
    for leg, seed in order():
        rate = PLAIN[results["plain"][0]]["rate"] if results else None
        if leg not in results:
            if leg == "NFD (teacher)":
                args = {"rate": rate}, 0, FLAGS.epochs, "validation", spent
                teacher = run("teacher", "plain", *args)
                if not teacher:
                    break
            tuning[leg] = choose(leg, rate, spent)
            found = tuning[leg]
            results[leg] = max(found, key=found.get, default=None), []
        name, runs = results[leg]
        if not name:
            break
        options = {"rate": rate, **LEGS[leg][name]}
        result = run(leg, name, options, seed, FLAGS.epochs, "test", spent)
        if not result:
            break
        runs.append(result)
        camvid_report.write(
            pathlib.Path(f"{FLAGS.output}.md"),
            results,
            tuning,
            teacher,
            planned=len(order()),
            hours=sum(spent) / 3600,
            runs=run_dir(),
        )


if __name__ == "__main__":
    app.run(main)
