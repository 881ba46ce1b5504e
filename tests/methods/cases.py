"""Every method once, for the tests that all of them must pass."""

from collections.abc import Callable
from typing import NamedTuple

from keras_selfkd import (
    FRSKD,
    FRSKD_SLA,
    NFD,
    CutMix,
    Late,
    MixSKD,
    Mixup,
    Supervised,
    Taught,
)
from keras_selfkd.losses import normalized_mse
from tests import toys


class Case(NamedTuple):
    create: Callable
    # Terms whose gradient must not reach the variables that `teacher` returns.
    stopped_terms: tuple = ()
    teacher: Callable = lambda method: []
    # Creates it for pixel students, where they need another one.
    create_dense: Callable | None = None
    # It takes classes alone.
    classes_only: bool = False
    # What it draws differs on each replica, so that one device cannot repeat it.
    draws: bool = False
    # It refuses replicas.
    one_device: bool = False
    # Its fast tests would repeat those of another case.
    slow: bool = False

    def method(self, dense=False):
        create = self.create_dense if dense and self.create_dense else self.create
        return create()


def taught_by(teacher):
    return Taught(teacher, feature_weight=0.3)


CASES = {
    "plain": Case(Supervised),
    "frskd": Case(
        lambda: FRSKD(width=1, depth=1),
        ("soft_label", "feature"),
        lambda method: method.self_teacher.trainable_variables,
    ),
    "frskd_fixed_nfd": Case(
        lambda: FRSKD(
            soft_label_weight=1.0,
            feature_weight=0.3,
            temperature=1.0,
            feature_loss=normalized_mse,
            channels=5,
            depth=1,
        ),
        ("soft_label", "feature"),
        lambda method: method.self_teacher.trainable_variables,
        slow=True,
    ),
    "nfd": Case(
        lambda: NFD(feature_weight=0.3, channels=5, depth=1),
        ("feature",),
        lambda method: method.self_teacher.trainable_variables,
        slow=True,
    ),
    "taught": Case(
        lambda: taught_by(toys.classifier()),
        ("feature", "soft_label"),
        lambda method: method.teacher.variables,
        create_dense=lambda: taught_by(toys.segmenter()),
        slow=True,
    ),
    "mixskd": Case(
        MixSKD,
        ("soft_label", "teacher_soft_label"),
        lambda method: method.joint_head.trainable_variables,
        draws=True,
        slow=True,
    ),
    "frskd_sla": Case(
        lambda: FRSKD_SLA(width=1, depth=1),
        ("soft_label", "feature"),
        lambda method: [
            *method.self_teacher.trainable_variables,
            *method.joint_heads[1].trainable_variables,
        ],
        classes_only=True,
        slow=True,
    ),
    "frskd_late": Case(
        lambda: Late(FRSKD(width=1, depth=1), start=0),
        ("soft_label", "feature"),
        lambda method: method.method.self_teacher.trainable_variables,
        slow=True,
    ),
    "frskd_mixup": Case(
        lambda: FRSKD(width=1, depth=1, mixing=Mixup()),
        ("soft_label", "feature"),
        lambda method: method.self_teacher.trainable_variables,
        draws=True,
        slow=True,
    ),
    "plain_cutmix": Case(lambda: Supervised(mixing=CutMix()), draws=True, slow=True),
}

# Those that one device can repeat exactly, so that it can be compared with several.
EXACT = [name for name, case in CASES.items() if not case.draws | case.one_device]
