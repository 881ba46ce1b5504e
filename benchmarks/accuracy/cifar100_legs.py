"""What cifar100.py trains: the lines of its two tables."""

from collections.abc import Callable
from typing import NamedTuple

from keras_selfkd import (
    FRSKD,
    FRSKD_SLA,
    CutMix,
    MixSKD,
    Mixup,
    Ramp,
    Supervised,
)


class Leg(NamedTuple):
    """One line of a table.

    Attributes:
        method: Function that returns a `Method`.
        seeds: Number of runs.
        cost: About how many times plain training's time a step takes, for the plan.
        label_smoothing: Of the compiled loss.
        epochs: Epochs, where they are not `--epochs`.
        as_long_as: Name of a leg whose time is filled with as many epochs as fit, by
            the ratio of their steps' times, measured in turns.
        taps: Number of taps, the coarsest; `None` for all.
        dtype_policy: What the student is built with.
        warmup_epochs: Epochs in which the learning rate rises.
    """

    method: Callable
    seeds: int = 1
    cost: float = 1.0
    label_smoothing: float = 0.0
    epochs: int | None = None
    as_long_as: str | None = None
    taps: int | None = None
    dtype_policy: str = "float32"
    warmup_epochs: int = 0


def ramped(**options):
    return FRSKD(
        soft_label_weight=Ramp(2.0),
        feature_weight=Ramp(100.0),
        **options,
    )


FRSKD_RAMPED = "FRSKD, ramped weights"
BOTH = {
    "plain": Leg(Supervised, seeds=3),
    FRSKD_RAMPED: Leg(ramped, seeds=3, cost=2.0),
}
METHODS = {
    "plain": BOTH["plain"],
    "label smoothing 0.1": Leg(Supervised, label_smoothing=0.1),
    "Mixup 0.2": Leg(lambda: Supervised(mixing=Mixup(0.2))),
    "CutMix 1.0": Leg(lambda: Supervised(mixing=CutMix(1.0)), seeds=3),
    "FRSKD, constant weights": Leg(FRSKD, seeds=3, cost=2.0),
    FRSKD_RAMPED: BOTH[FRSKD_RAMPED],
    "FRSKD, ramped, Mixup": Leg(lambda: ramped(mixing=Mixup(0.2)), cost=2.0),
    "FRSKD, ramped, CutMix": Leg(lambda: ramped(mixing=CutMix(1.0)), cost=2.0),
    "MixSKD": Leg(MixSKD, seeds=3, cost=3.7),
    # The paper's own: without it the sum of ten cross-entropies diverges at 0.1.
    "MixSKD, 5 epochs of warm-up": Leg(MixSKD, seeds=3, cost=3.7, warmup_epochs=5),
    "plain, 5 epochs of warm-up": Leg(Supervised, seeds=3, warmup_epochs=5),
    "plain, as long as FRSKD": Leg(Supervised, cost=2.0, as_long_as=FRSKD_RAMPED),
    "plain, as long as MixSKD": Leg(Supervised, cost=3.7, as_long_as="MixSKD"),
    "FRSKD_SLA, 10 epochs: not comparable": Leg(FRSKD_SLA, cost=10.0, epochs=10),
}
# FRSKD with ramped weights and one thing cheaper.
CHEAPER = {
    **BOTH,
    "FRSKD, ramped, width 1": Leg(lambda: ramped(width=1), seeds=3, cost=1.5),
    "FRSKD, ramped, 64 channels": Leg(lambda: ramped(channels=64), seeds=3, cost=1.5),
    "FRSKD, ramped, 2 taps": Leg(ramped, seeds=3, cost=1.3, taps=2),
    "FRSKD, ramped, mixed_bfloat16": Leg(
        ramped, seeds=3, cost=2.0, dtype_policy="mixed_bfloat16"
    ),
}
# Each under the name of its file.
TABLES = {"cifar100": METHODS, "cheaper": CHEAPER}
