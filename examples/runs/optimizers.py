"""The optimizer and the learning rates of the papers' recipes."""

import math
from typing import NamedTuple

from keras.optimizers import schedules

from keras_selfkd.optimizers import AdamWAtTwoRates, SGDWithL2
from keras_selfkd.schedules import WarmUp


class Rates(NamedTuple):
    """What an optimizer trains with where nothing else is asked for."""

    learning_rate: float
    weight_decay: float


RATES = {"sgd": Rates(0.1, 5e-4), "adamw": Rates(1e-3, 0.05)}


def build_optimizer(
    name, learning_rate, weight_decay, momentum=None, nesterov=False, **options
):
    """Builds an optimizer by name.

    Args:
        name: `"sgd"`, stochastic gradient descent whose L2 enters the gradients, or
            `"adamw"`, Adam whose weight decay does not.
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: Float, at least 0, that acts on all weights.
        momentum: Float in [0, 1), of SGD alone. Defaults to `None`, 0.9.
        nesterov: Whether SGD's momentum is Nesterov's. Defaults to `False`.
        **options: Passed on to the optimizer, `slow_variables` and `slow_rate` of
            `TwoRates` among them.

    Returns:
        A `keras.optimizers.Optimizer`.

    Raises:
        ValueError: If AdamW is given a momentum.

    Example:
    >>> optimizer = build_optimizer("adamw", *RATES["adamw"])
    >>> print(f"{float(optimizer.learning_rate):.3f}", optimizer.weight_decay)
    0.001 0.05
    """
    if name == "sgd":
        momentum = 0.9 if momentum is None else momentum
        return SGDWithL2(
            learning_rate, momentum, nesterov=nesterov, l2=weight_decay, **options
        )
    if momentum is not None or nesterov:
        raise ValueError(
            "Expected --momentum and --nesterov with --optimizer=sgd alone. Received: "
            f"--optimizer={name}, --momentum={momentum}, --nesterov={nesterov}"
        )
    return AdamWAtTwoRates(learning_rate, weight_decay=weight_decay, **options)


def learning_rate_schedule(name, peak, steps, warmup_steps=0, drops=(0.5, 0.75)):
    """Builds a learning-rate schedule by name.

    Args:
        name: `"constant"`; `"cosine"`, half a cosine wave from `peak` to 0; or
            `"step"`, a tenth after each of `drops`.
        peak: Float, the highest learning rate.
        steps: Number of optimizer steps of the whole training, warm-up included.
        warmup_steps: Number of first steps that rise linearly to `peak`. Defaults
            to `0`.
        drops: Rising shares of the training, each in (0, 1). Defaults to `(0.5,
            0.75)`, as at epochs 100 and 150 of 200.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule` over `steps` steps.

    Raises:
        ValueError: If `name` is unknown, `warmup_steps` leaves no step to train, or
            `drops` do not rise.

    Example:
    >>> rate = learning_rate_schedule("step", peak=0.1, steps=200)
    >>> [round(float(rate(step)), 4) for step in (0, 99, 100, 149, 150)]
    [0.1, 0.1, 0.01, 0.01, 0.001]

    References:
        Ilya Loshchilov and Frank Hutter, "SGDR: Stochastic Gradient Descent with Warm
        Restarts" (the cosine), https://arxiv.org/abs/1608.03983, 2016.
    """
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            "Expected `warmup_steps` to be at least 0 and less than `steps`. "
            f"Received: warmup_steps={warmup_steps}, steps={steps}"
        )
    if not all(0 < share < 1 for share in drops) or sorted(drops) != list(drops):
        raise ValueError(
            f"Expected `drops` to be rising shares in (0, 1). Received: drops={drops}"
        )
    # PiecewiseConstantDecay keeps a value up to and including its boundary.
    ends = [math.ceil(steps * share) - warmup_steps - 1 for share in drops]
    if name == "constant":
        schedule = schedules.PiecewiseConstantDecay([steps], [peak, peak])
    elif name == "cosine":
        schedule = schedules.CosineDecay(peak, steps - warmup_steps)
    elif name == "step":
        rates = [peak * 0.1**drop for drop in range(len(ends) + 1)]
        schedule = schedules.PiecewiseConstantDecay(ends, rates)
    else:
        raise ValueError(
            "Expected `name` to be 'constant', 'cosine' or 'step'. "
            f"Received: name={name!r}"
        )
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule
