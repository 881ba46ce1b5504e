"""SAD: where a stage looks, the one before shall look."""

import itertools

import keras
from keras import ops

from keras_selfkd.arguments import check_number, check_weight
from keras_selfkd.losses.features import at_least_float32, masked_mean
from keras_selfkd.method import Method
from keras_selfkd.pixels import mask_at, resized_like


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SAD(Method):
    """Self attention distillation: each stage's attention teaches the stage before.

    `CE(y, z) + gamma sum_m mean_hw((A(F_m) - sg[A(F_{m+1})])^2)` with `A` the softmax
    over positions of `mean_c F^2`, the coarser map's energy bilinearly enlarged to the
    finer one's size. No network is added.

    Args:
        attention_weight: Float, `Ramp` or schedule (gamma). Defaults to 1000, which
            belongs to means over channels and positions; the paper's 0.1 belongs to
            sums.
        start: Float in [0, 1), share of the training before which the term is 0, as
            shallow stages must not follow deep ones that know nothing yet. Defaults
            to 2/3.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an argument of another type or out of range.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.SAD().loss_weights
    {'task': 1.0, 'attention': 1000.0}

    References:
        Hou et al., "Learning Lightweight Lane Detection CNNs by Self Attention
        Distillation", ICCV 2019, https://arxiv.org/abs/1908.00821
    """

    terms = ("task", "attention")
    minimum_taps = 2

    def __init__(self, *, attention_weight=1000.0, start=2 / 3, **kwargs):
        super().__init__(**kwargs)
        check_weight(attention_weight=attention_weight)
        check_number(at_least=0, below=1, start=start)
        self.attention_weight = attention_weight
        self.start = start

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "attention" in self.loss_weights:
            distance = attention_distance(student.features, batch["valid"])
            begun = ops.cast(batch["progress"] >= self.start, distance.dtype)
            terms["attention"] = begun * distance
        return terms


def attention_distance(features, valid=None):
    """The sum over stages of how far their attention is from the next one's.

    Args:
        features: List of maps `(batch, height, width, channels)`, fine to coarse.
        valid: Mask `(batch, height, width)` of pixels that are not void, or `None`.

    Returns:
        Tensor `(batch,)`.
    """
    total = 0.0
    for fine, coarse in itertools.pairwise(features):
        target = ops.stop_gradient(resized_like(energy(coarse), fine))
        difference = over_positions(energy(fine)) - over_positions(target)
        total = total + masked_mean(ops.square(difference), mask_at(valid, fine))
    return total


def energy(maps):
    """The mean square over the channels, `(batch, height, width, 1)`."""
    return ops.mean(ops.square(at_least_float32(maps)), axis=-1, keepdims=True)


def over_positions(maps):
    """The softmax over positions, `(batch, height, width)`."""
    _, height, width, _ = maps.shape
    softmax = ops.softmax(ops.reshape(maps, (-1, height * width)), axis=-1)
    return ops.reshape(softmax, (-1, height, width))
