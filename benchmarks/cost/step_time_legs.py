"""What step_time.py times: students, and the legs that train them."""

import keras

from examples.students.by_name import build_segmenter, build_student
from keras_selfkd import FRSKD, SelfDistillationModel, Supervised, methods
from keras_selfkd.attaching import dtype_policy
from keras_selfkd.method import arguments_of

# Name: (height, width), images of a step, classes, arguments of FRSKD and its kin.
STUDENTS = {
    "resnet18": ((32, 32), 64, 100, {}),
    "wide_resnet16_2": ((32, 32), 64, 100, {}),
    # Wide last maps want a narrow self-teacher: docs/supported_students.md.
    "MobileNetV2": ((96, 96), 64, 100, {"channels": 64}),
    "thin_unet": ((180, 240), 8, 11, {}),
    # Its steps are so short that what Keras does between them counts.
    "small_resnet": ((32, 32), 32, 10, {}),
}
PLAIN = "plain `fit`"
WITHOUT_XLA = "plain `fit`, `jit_compile=False`"
DISTILLER = "`keras.distillation`, teacher of the same size"
MANY_STEPS = "FRSKD, all steps in one execution"


def create(name):
    """A student of the table, with fresh weights."""
    (height, width), _, classes, _ = STUDENTS[name]
    build = build_segmenter if name == "thin_unet" else build_student
    return build(name, (height, width, 3), classes)


def legs_of(name, cheaper=False):
    """Functions from a student to the model that trains it, by name.

    Args:
        name: Key of `STUDENTS`.
        cheaper: Whether FRSKD's cheaper settings, not all methods. Defaults to `False`.
    """
    options = STUDENTS[name][3]
    plain = dict.fromkeys((PLAIN, WITHOUT_XLA), lambda student: student)
    if cheaper:
        return plain | cheaper_legs(name, options)
    every = plain | {
        "Supervised": trained_by(Supervised),
        DISTILLER: lambda student: distiller(student, create(name)),
        MANY_STEPS: trained_by(lambda: FRSKD(**options)),
    }
    dense = name == "thin_unet"
    # All that a method does, from the first step on, and a row for each image.
    always = {"start": 0.0, "examples": STUDENTS[name][1]}
    return every | methods_legs(options, always, dense)


def methods_legs(options, always, dense):
    """Every method that needs no trained network, with the options that it takes.

    Args:
        options: Dict of arguments of a self-teacher.
        always: Dict of arguments of whatever method takes them.
        dense: Boolean, whether the student predicts masks.
    """
    kinds = {kind: getattr(methods, kind) for kind in methods.__all__}
    return {
        name: trained_by(lambda kind=kind: kind(**taken(kind, options, always)))
        for name, kind in kinds.items()
        if (kind.dense or not dense) and "teacher" not in arguments_of(kind)
    }


def taken(kind, options, always):
    """Those of the options that a constructor takes."""
    names = arguments_of(kind)
    every = always | (options if "width" in names else {})
    return {name: every[name] for name in every if name in names}


def cheaper_legs(name, options):
    """FRSKD where it costs less, one thing at a time."""

    def in_bfloat16(method):
        def model(student):
            with dtype_policy("mixed_bfloat16"):
                return SelfDistillationModel(create(name), method())

        return model

    def two_taps(student):
        taps = SelfDistillationModel(create(name), FRSKD(**options)).taps
        return SelfDistillationModel(student, FRSKD(**options), taps[-2:])

    # A width counts in the student's own channels: too many on MobileNetV2.
    narrow = {"FRSKD, channels=16": trained_by(lambda: FRSKD(channels=16))}
    if not options:
        narrow = {
            "FRSKD, width=1": trained_by(lambda: FRSKD(width=1)),
            "FRSKD, channels=64": trained_by(lambda: FRSKD(channels=64)),
        }
    return {
        "FRSKD": trained_by(lambda: FRSKD(**options)),
        **narrow,
        "FRSKD, the 2 coarsest taps": two_taps,
        "FRSKD, mixed_bfloat16": in_bfloat16(lambda: FRSKD(**options)),
        "Supervised, mixed_bfloat16": in_bfloat16(Supervised),
    }


def trained_by(method):
    """The function from a student to the model that a new method trains."""
    return lambda student: SelfDistillationModel(student, method())


def distiller(student, teacher):
    # Given by name, this loss takes logits for probabilities.
    loss = keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    return keras.distillation.Distiller(teacher, student, loss)
