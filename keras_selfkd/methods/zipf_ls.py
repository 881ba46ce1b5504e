"""ZipfLS: the classes that an image does not show follow Zipf's law."""

import keras
from keras import ops

from keras_selfkd.arguments import check_weight
from keras_selfkd.labels import is_class, labelled_alone
from keras_selfkd.losses.features import at_least_float32
from keras_selfkd.losses.logits import log_probabilities
from keras_selfkd.losses.zipf import (
    check_others,
    log_softmax_of_others,
    ranks_of,
    zipf,
)
from keras_selfkd.method import Method
from keras_selfkd.networks.branches import part_after

# They leave the mean over positions, and logits, as they are, but for what is dropped.
UNCHANGING = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class ZipfLS(Method):
    """Zipf's label smoothing: an image's other classes are likely by their rank.

    `CE(y, z) + lambda KL(Zipf || q)`, with `q` the softmax over all logits but the
    label's, and `Zipf` proportional to `1 / rank` of each other class. Ranks are
    counted: the student's last Dense says at each position of its last map, enlarged
    twofold, which class it sees; the class with the most votes comes first, and all
    without a vote share the place after the last one that has any. No network is added.

    It needs a student that ends in a pooled map and a Dense.

    Args:
        zipf_weight: Float, `Ramp` or schedule (lambda). Defaults to 0.1, the paper's
            for CIFAR-100; 1 for TinyImageNet.

    Raises:
        ValueError: for a weight out of range and for mixing, and, with the student, for
            fewer than three classes or another end than pool and Dense.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.ZipfLS().loss_weights
    {'task': 1.0, 'zipf': 0.1}

    References:
        Liang et al., "Efficient One Pass Self-distillation with Zipf's Label
        Smoothing", ECCV 2022, https://arxiv.org/abs/2207.12980
    """

    terms = ("task", "zipf")
    minimum_taps = 1
    dense = False
    exclusive = True
    takes_mixing = False

    def __init__(self, *, zipf_weight=0.1, **kwargs):
        super().__init__(**kwargs)
        check_weight(zipf_weight=zipf_weight)
        self.zipf_weight = zipf_weight

    def attach(self, student, outputs):
        super().attach(student, outputs)
        check_others(outputs.logits)
        head = dense_after_pooling(outputs)
        # A layer as an attribute would be saved with the method, too.
        self._head = lambda: head

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "zipf" in self.loss_weights:
            target = is_class(batch["y"], student.logits)
            votes = votes_of_positions(student.features[-1], self._head())
            expected = zipf(ranks_by_votes(votes, target), target)
            distance = divergence_of_others(expected, student.logits, target)
            terms["zipf"] = labelled_alone(distance, batch["labelled"])
        return terms


def dense_after_pooling(outputs):
    """The Dense that, with GlobalAveragePooling2D, makes logits of the last map.

    Raises:
        ValueError: if something else does.
    """
    try:
        layers = part_after(outputs.features[-1], [outputs.logits]).layers
    except ValueError:
        layers = []
    layers = [layer for layer in layers if not is_unchanging(layer)]
    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.Dense)
    if len(layers) != 2 or not all(map(isinstance, layers, kinds)):
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(
            "ZipfLS asks the student's last Dense at each position of its last map, so "
            "the student must end in GlobalAveragePooling2D and Dense, and the last "
            "tap be the map before them. Received: after the last tap "
            f"{names or 'layers that read other maps, too'}"
        )
    return layers[-1]


def is_unchanging(layer):
    linear = getattr(layer, "activation", None) is keras.activations.linear
    is_linear = isinstance(layer, keras.layers.Activation) and linear
    return is_linear or isinstance(layer, UNCHANGING)


def votes_of_positions(maps, head):
    """How many positions of maps, enlarged twofold, a head gives to each class.

    Args:
        maps: `(batch, height, width, channels)`.
        head: Dense from channels to classes.

    Returns:
        Integers `(batch, classes)`.
    """
    maps = at_least_float32(ops.stop_gradient(maps))
    logits = ops.matmul(maps, ops.cast(head.kernel, maps.dtype))
    if head.use_bias:
        logits += ops.cast(head.bias, maps.dtype)
    # A Dense and linear interpolation commute; this way around it is 4 times less.
    _, height, width, classes = logits.shape
    logits = ops.image.resize(logits, (2 * height, 2 * width), "bilinear")
    winners = ops.argmax(ops.reshape(logits, (-1, 4 * height * width, classes)), -1)
    return ops.sum(ops.one_hot(winners, classes, dtype="int32"), axis=1)


def ranks_by_votes(votes, target):
    """Places of the other classes; all without a vote share the one after the last."""
    ranks = ranks_of(ops.cast(votes, keras.config.floatx()), target)
    voted = ops.logical_and(votes > 0, ops.logical_not(target))
    last = ops.sum(ops.cast(voted, ranks.dtype), axis=-1, keepdims=True) + 1
    return ops.where(voted, ranks, last)


def divergence_of_others(expected, logits, target):
    """`KL(expected || softmax over the other classes)`, `(batch,)`."""
    log_q = log_softmax_of_others(log_probabilities(logits, 1.0), target)
    expected = ops.cast(expected, log_q.dtype)
    log_p = ops.log(ops.where(target, 1.0, expected))
    return ops.sum(expected * (log_p - log_q), axis=-1)
