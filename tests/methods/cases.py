"""Every method once, for the tests that all of them must pass."""

from collections.abc import Callable
from typing import NamedTuple

from keras_selfkd import FRSKD, Supervised
from keras_selfkd.losses import normalized_mse


class Case(NamedTuple):
    create: Callable
    # Terms whose gradient must not reach the variables that `teacher` returns.
    stopped_terms: tuple = ()
    teacher: Callable = lambda method: []


CASES = {
    "supervised": Case(Supervised),
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
    ),
}
