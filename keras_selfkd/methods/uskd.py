"""USKD: soft labels for the target by confidence, for the others by Zipf's law."""

import keras
from keras import layers, ops

from keras_selfkd.arguments import check_weight
from keras_selfkd.distributed.replicas import sum_over_replicas
from keras_selfkd.labels import counted, is_class, labelled_alone
from keras_selfkd.losses.logits import log_probabilities
from keras_selfkd.losses.zipf import (
    check_others,
    log_softmax_of_others,
    ranks_of,
    zipf,
)
from keras_selfkd.method import Method

SMOOTHING = 0.1  # Of the weak logits' labels.


@keras.saving.register_keras_serializable(package="keras_selfkd")
class USKD(Method):
    """Universal self-knowledge distillation: customised soft labels without a teacher.

    `CE(y, z) - alpha p_t log s_t + beta sum_{i != t} zeta_i (-log q_i) + mu CE(y', w)`
    with `s = softmax(z)` and t the label's class:

    * `p_t = 1 + s_t^2 - mean(s_t^2)`, the mean over the batch;
    * `q` is the softmax over all logits but the label's, and `zeta` proportional to
      `1 / rank` of the other classes, by `w_i / (1 - w_t) + s_i / (1 - s_t)`;
    * `w`, the weak logits, are a Dense on the pooled tap before the last, which learns
      labels smoothed by 0.1 (`y'`) and trains the student with them.

    The released code adds a log-probability where `s_i` stands; here it is the
    probability.

    Args:
        target_weight: Float, `Ramp` or schedule (alpha). Defaults to 0.1, the paper's
            for CIFAR-100; 1 for ImageNet.
        non_target_weight: Float, `Ramp` or schedule (beta). Defaults to 0.1, the
            paper's for both.
        weak_weight: Float, `Ramp` or schedule (mu). Defaults to 0.1; 0.005 for
            ImageNet. At 0 the ranks are by the student's own logits.

    Raises:
        ValueError: for a weight out of range and for mixing, and, with the student, for
            fewer than three classes.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.USKD(weak_weight=0).loss_weights
    {'task': 1.0, 'target': 0.1, 'non_target': 0.1}

    References:
        Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A
        Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023,
        https://arxiv.org/abs/2303.13005
    """

    terms = ("task", "target", "non_target", "weak")
    minimum_taps = 2
    dense = False
    exclusive = True
    takes_mixing = False

    def __init__(
        self, *, target_weight=0.1, non_target_weight=0.1, weak_weight=0.1, **kwargs
    ):
        super().__init__(**kwargs)
        check_weight(
            target_weight=target_weight,
            non_target_weight=non_target_weight,
            weak_weight=weak_weight,
        )
        self.target_weight = target_weight
        self.non_target_weight = non_target_weight
        self.weak_weight = weak_weight

    def attach(self, student, outputs):
        super().attach(student, outputs)
        check_others(outputs.logits)
        if "weak" in self.loss_weights:
            tap, classes = outputs.features[-2], outputs.logits.shape[-1]
            maps = keras.Input(batch_shape=tap.shape, dtype=tap.dtype)
            pooled = layers.GlobalAveragePooling2D(name="pool")(maps)
            full = keras.config.floatx()
            logits = layers.Dense(classes, dtype=full, name="weak_logits")(pooled)
            self.weak_head = keras.Model(maps, logits, name="weak_head")

    def loss_terms(self, student, batch, supervise):
        weights, labelled = self.loss_weights, batch["labelled"]
        target = is_class(batch["y"], student.logits)
        log_s, log_w = log_probabilities(student.logits, 1.0), None
        terms = {"task": supervise(batch["y"], student.logits)}
        if "weak" in weights:
            log_w = log_probabilities(self.weak_head(student.features[-2]), 1.0)
            terms["weak"] = smoothed_cross_entropy(log_w, target)
        if "target" in weights:
            terms["target"] = target_loss(log_s, target, counted(batch, 1))
        if "non_target" in weights:
            terms["non_target"] = non_target_loss(log_s, log_w, target)
        # The compiled loss knows by itself which labels it ignores.
        ours = {name: terms[name] for name in terms if name != "task"}
        return {
            **terms,
            **{name: labelled_alone(term, labelled) for name, term in ours.items()},
        }


def target_loss(log_s, target, counts=None):
    """`-(1 + s_t^2 - mean(s_t^2)) log s_t`, `(batch,)`; the mean over all replicas.

    Args:
        log_s: Log-probabilities `(batch, classes)`.
        target: Boolean `(batch, classes)`, true at the label's class.
        counts: Mask `(batch,)` of the labels that count in the mean, or `None`.
    """
    log_t = ops.sum(ops.where(target, log_s, 0.0), axis=-1)
    squares = ops.stop_gradient(ops.exp(2.0 * log_t))
    count = labelled_alone(ops.ones_like(squares), counts)
    total = sum_over_replicas(ops.sum(squares * count))
    mean = ops.divide_no_nan(total, sum_over_replicas(ops.sum(count)))
    return -(1.0 + squares - mean) * log_t


def non_target_loss(log_s, log_w, target):
    """Cross-entropy of the other classes with shares by their rank, `(batch,)`.

    Args:
        log_s: Log-probabilities `(batch, classes)`.
        log_w: Those of the weak logits, or `None`.
        target: Boolean `(batch, classes)`, true at the label's class.
    """
    known = [log_p for log_p in (log_s, log_w) if log_p is not None]
    # Of a softmax, p_i / (1 - p_t) is what is left without the target.
    scores = sum(ops.exp(log_softmax_of_others(log_p, target)) for log_p in known)
    shares = ops.stop_gradient(zipf(ranks_of(scores, target), target))
    log_q = log_softmax_of_others(log_s, target)
    return -ops.sum(ops.cast(shares, log_q.dtype) * log_q, axis=-1)


def smoothed_cross_entropy(log_p, target):
    """Cross-entropy with labels of which `SMOOTHING` is shared out, `(batch,)`."""
    own = ops.sum(ops.where(target, log_p, 0.0), axis=-1)
    return -(1.0 - SMOOTHING) * own - SMOOTHING * ops.mean(log_p, axis=-1)
