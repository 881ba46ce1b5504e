"""Every method once, for the tests that all of them must pass.

A method of `methods.__all__` has a row by itself. It stands here where it differs from
that: it takes other arguments, or something must be looked at.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_selfkd import CutMix, Late, Mixup, Supervised, methods
from keras_selfkd.losses import normalized_mse
from keras_selfkd.method import arguments_of
from keras_selfkd.methods import FRSKD
from tests import toys
from tests.methods import strangers

# Self-teachers as small as they get.
SMALL = {"width": 1, "depth": 1}


class Case(NamedTuple):
    """A row of the contract.

    Attributes:
        kind: Class, or function, that makes the method.
        arguments: Dict of its arguments, or a function from whether the student is
            dense to one.
        stopped_terms: Terms whose gradient must not reach what `teacher` returns.
        teacher: Function from the model to a list of variables.
        variant: Whether it is another row's method with other arguments: it trains
            classes alone.
        per_replica: What it draws or compares differs on each replica, so that one
            device cannot repeat it.
        passes: Number of the student's forward passes in a step.
        fast: Whether its tests run in `make test`.
        begin: Function from the model that brings its method from where all of it
            begins to where every term teaches.
    """

    kind: Any
    arguments: Any = {}  # noqa: RUF012 (never changed)
    stopped_terms: tuple = ()
    teacher: Callable = lambda model: []
    variant: bool = False
    per_replica: bool = False
    passes: int = 1
    fast: bool = False
    begin: Callable = lambda model: None

    def method(self, dense=False):
        arguments = (
            self.arguments(dense) if callable(self.arguments) else self.arguments
        )
        return self.kind(**arguments)

    @property
    def dense(self):
        return getattr(self.kind, "dense", True)

    def takes(self, student):
        """Whether it trains a student of `trained.STUDENTS`."""
        return student != "pixel" or (self.dense and not self.variant)


def self_teacher(model):
    return model.method.self_teacher.trainable_variables


def frskd(**options):
    return {
        "stopped_terms": ("soft_label", "feature"),
        "teacher": self_teacher,
        **options,
    }


def uniform(rows):
    """Says of each row that all classes are as likely."""
    rows.assign(np.full(rows.shape, 1 / rows.shape[-1]))


def remembered(model):
    """Says of the last batch that all classes were as likely, and of all labels."""
    uniform(model.method.memory.rows)
    places = np.arange(model.method.largest_batch) % toys.CLASSES
    model.method.labels.rows.assign(places[:, None] + 1.0)


def taught(dense):
    create = toys.segmenter if dense else toys.classifier
    teacher = create(stages=toys.FEW_STAGES)
    return {"teacher": teacher, "feature_weight": 0.3}


OWN = {
    "plain": Case(Supervised, fast=True),
    "frskd": Case(FRSKD, SMALL, fast=True, **frskd()),
    "frskd_sla": Case(
        methods.FRSKD_SLA,
        SMALL,
        ("soft_label", "feature"),
        lambda model: [
            *self_teacher(model),
            *model.method.joint_heads[1].trainable_variables,
        ],
    ),
    "mixskd": Case(
        methods.MixSKD,
        {},
        ("soft_label", "teacher_soft_label"),
        lambda model: model.method.joint_head.trainable_variables,
        per_replica=True,
    ),
    "nfd": Case(
        methods.NFD,
        {"feature_weight": 0.3, "channels": 5, "depth": 1},
        ("feature",),
        self_teacher,
    ),
    "taught": Case(
        methods.Taught,
        taught,
        ("feature", "soft_label"),
        lambda model: model.method.teacher.variables,
    ),
    "byot": Case(
        methods.BYOT,
        stopped_terms=("soft_label", "feature"),
        teacher=lambda model: model.student.layers[-1].trainable_variables,
    ),
    "meanteacher": Case(
        lambda: methods.MeanTeacher(start=0),
        stopped_terms=("soft_label",),
        teacher=lambda model: model.method.averages,
    ),
    "ols": Case(
        methods.OLS,
        begin=lambda model: uniform(model.method.soft_labels),
    ),
    "pskd": Case(
        methods.PSKD,
        {"examples": 24},
        begin=lambda model: uniform(model.method.memory.rows),
    ),
    "bake": Case(methods.BAKE, per_replica=True),
    "cskd": Case(methods.CSKD, passes=2),
    "ddgsd": Case(methods.DDGSD, per_replica=True),
    "dlb": Case(methods.DLB, {"largest_batch": 24}, begin=remembered),
    "sad": Case(methods.SAD, {"start": 0.0}),
    "tfd": Case(methods.TFD, {"warm_up": 0.0}),
    # Other arguments of those above.
    "frskd_fixed_nfd": Case(
        FRSKD,
        {
            "soft_label_weight": 1.0,
            "feature_weight": 0.3,
            "temperature": 1.0,
            "feature_loss": normalized_mse,
            "channels": 5,
            "depth": 1,
        },
        **frskd(variant=True),
    ),
    "frskd_mixup": Case(
        lambda: FRSKD(**SMALL, mixing=Mixup()), per_replica=True, **frskd(variant=True)
    ),
    "frskd_late": Case(lambda: Late(FRSKD(**SMALL), start=0), **frskd(variant=True)),
    "plain_cutmix": Case(
        lambda: Supervised(mixing=CutMix()), variant=True, per_replica=True
    ),
    # What a stranger would write.
    "logits": Case(strangers.Confident, variant=True),
    "taps": Case(strangers.Deeper, variant=True),
    "memory": Case(strangers.Remember, fast=True),
}


def default_case(kind):
    return Case(kind, {n: v for n, v in SMALL.items() if n in arguments_of(kind)})


CASES = {
    **{name.lower(): default_case(getattr(methods, name)) for name in methods.__all__},
    **OWN,
}

# Methods that one device can repeat exactly, so that it can be compared with several.
EXACT = [name for name, case in CASES.items() if not case.per_replica | case.variant]


def inputs_for(method, images):
    """Images, with what the method needs beside them; classes repeat in `toys`."""
    beside = {
        "index": lambda: np.arange(len(images)),
        "pair": lambda: np.roll(images, toys.CLASSES, axis=0),
        "view": lambda: images[:, :, ::-1],
        "previous": lambda: np.arange(len(images)) % (2 * toys.CLASSES) - toys.CLASSES,
    }
    found = {key: beside[key]() for key in method.needs}
    return {"image": images, **found} if found else images
