"""Trains a small image classifier plainly and by self-distillation, and ships it.

  python -m examples.train_classifier

reads scikit-learn's 1,797 handwritten digits, which come with the package, trains a
small ResNet on 300 of them, first plainly and then with CSKD, by one recipe and from
the same first weights, and compares the two on 1,297 test images. It takes about two
minutes on 2 CPU cores. A step of CSKD takes 1.39 times as long here; with
--baseline_epochs=56, as in `make demo`, plain training has the same time: seeds 0, 1
and 2 gave 96.84, 97.46 and 96.99 % plainly, 98.23, 97.53 and 97.84 % with CSKD (AMD
EPYC, 2026-11-27). docs/which_method.md says where it does not win.

Weights are those of the last epoch: nothing is chosen on test images. Unlike in the
FRSKD paper --method=frskd has a self-teacher as wide as the student (--width=1, not 2),
and its distillation weights rise over the training (--feature_ramp=sigmoid, not none).

Everything goes to runs/<name>/: student.keras, saved_model/ and student.tflite hold the
student alone, without its self-teacher; baseline.keras and baseline.tflite the plainly
trained one; history.csv, flags.cfg, result.json and pictures say how it went.

More data and students:

  CIFAR-100 (TFDS downloads it), the first 100 images of each class:
    python -m examples.train_classifier --dataset=cifar100 --train_per_class=100
      --student=thin_resnet18 --batch_size=64 --epochs=30
  your photographs, in folders named after their classes (see below):
    python -m examples.train_classifier --dataset=folder --data_dir=photos
      --image_size=96 --student=MobileNetV3Small --method=frskd --channels=64
  20 classes by a network that was trained on the other 80 (docs/fine_tuning.md):
    python -m examples.train_classifier --dataset=cifar100 --classes=80:100
      --train_per_class=10 --student=thin_resnet18 --weights=runs/eighty
      --freeze_until=stage2_block2_out --backbone_rate=0.1 --learning_rate=0.02
  the recipe of the FRSKD paper for CIFAR-100:
    python -m examples.train_classifier --dataset=cifar100 --student=resnet18
      --method=frskd --width=2 --feature_ramp=none --batch_size=128 --epochs=200
      --schedule=step --weight_decay=1e-4
  an earlier run once more:
    python -m examples.train_classifier --flagfile=runs/x/flags.cfg --run_dir=runs/y

Folders of photographs lie as class/image or as split/class/image, the splits named
train, validation (or val) and test. Without a folder train, of each class a tenth is
set aside to validate on and a tenth to test on, the same images in every run
(--validation_share, --test_share); without one test, the validation images are tested
on. Validation images are watched, test images are looked at once; neither chooses
weights. Images that are all of one size, up to 512x512 pixels, keep it; others are
trained at 224x224, or at --image_size, and what sticks out of that shape is cut off
evenly. A photograph's EXIF orientation is heeded. Training images are mirrored at
random (--nomirror). What was chosen is printed at the start.

Averages of BatchNorm span a tenth of the training at most, so that they fit the weights
after few steps, too.
"""

import re

import numpy as np
from absl import flags

from examples.data import inputs
from examples.data.prepared import load_data
from examples.results import class_results
from examples.results.pictures import draw
from examples.runs import methods, recipe, training
from examples.runs.task import Task, carry_out
from examples.students.by_name import build_student
from keras_selfkd.export.litert import predict_tflite
from keras_selfkd.losses.label_smoothing import SmoothedCrossEntropy

flags.adopt_module_key_flags(inputs)
flags.adopt_module_key_flags(recipe)
flags.adopt_module_key_flags(methods)

_TRAIN_PER_CLASS = flags.DEFINE_integer(
    "train_per_class", None, "First images of each class to train on; by default all."
)
_VALIDATION_PER_CLASS = flags.DEFINE_integer(
    "validation_per_class", 0, "Training images of each class to validate on instead."
)
_LABEL_KEY = flags.DEFINE_string(
    "label_key", None, "TFDS feature of the labels; by default label."
)
_CLASSES = flags.DEFINE_string(
    "classes", None, "first:end, some of the classes: 0:80 for the first 80 of them."
)
_MIRROR = flags.DEFINE_bool(
    "mirror",
    None,
    "Mirror training images at random; by default all but written characters.",
)
_LABEL_SMOOTHING = flags.DEFINE_float(
    "label_smoothing",
    0.0,
    "Share of each label that goes to all classes alike.",
    lower_bound=0.0,
    upper_bound=0.99,
)

flags.register_validator(
    _CLASSES.name,
    lambda text: text is None or re.fullmatch(r"\d+:\d+", text),
    "Expected numbers of classes, the first and the one after the last: 0:80.",
)


def load():
    """Reads the data that the flags name."""
    return load_data(
        inputs.DATASET.value or "digits",
        data_dir=inputs.DATA_DIR.value,
        train_per_class=_TRAIN_PER_CLASS.value,
        validation_per_class=_VALIDATION_PER_CLASS.value,
        batch_size=recipe.BATCH_SIZE.value,
        image_size=inputs.image_size(),
        seed=recipe.SEED.value,
        fast=recipe.FAST.value,
        download=inputs.DOWNLOAD.value,
        bad_images=inputs.BAD_IMAGES.value,
        mirror=_MIRROR.value,
        validation_share=inputs.VALIDATION_SHARE.value,
        test_share=inputs.TEST_SHARE.value,
        label_key=_LABEL_KEY.value,
        classes=_CLASSES.value and tuple(map(int, _CLASSES.value.split(":"))),
    )


def rate(student, data, labels):
    """Returns the `Rating` of a student on the test set."""
    return class_results.rate(student.predict(data.test, verbose=0), labels)


def rate_litert(path, data, labels, logits):
    """Runs a LiteRT file on the whole test set, beside Keras's logits."""
    outputs = predict_tflite(path, data.test)
    agreeing = int(np.sum(np.argmax(outputs, -1) == np.argmax(logits, -1)))
    accuracy = class_results.accuracy(outputs, labels)
    return {"accuracy": accuracy, "agreeing": agreeing, "images": len(labels)}


def at_chance(run, data, scores, labels):
    """Says which methods learned nothing."""
    learned = {method: float(run.rows(method)[-1]["accuracy"]) for method in scores}
    return {"at_chance": class_results.at_chance(scores, learned, labels)}


TASK = Task(
    name="train_classifier",
    own_flag=_TRAIN_PER_CLASS.name,
    default_student=lambda: "small_resnet",
    build_student=build_student,
    outputs=lambda data: data.classes,
    dense=False,
    # The best for the same time, docs/which_method.md.
    defaults={"method": "cskd"},
    metric="accuracy",
    per_class="class_accuracy",
    load=load,
    objective=lambda data: {
        "loss": SmoothedCrossEntropy(_LABEL_SMOOTHING.value),
        "metrics": ["accuracy"],
    },
    rate=rate,
    rate_litert=rate_litert,
    draw=draw,
    facts=at_chance,
    report=class_results.report,
)


def main(argv):
    carry_out(TASK, argv)


if __name__ == "__main__":
    training.start(main)
