"""FRSKD: a feature pyramid on the student's own maps becomes its teacher."""

import keras

from keras_selfkd import networks
from keras_selfkd.arguments import check_integer
from keras_selfkd.losses import attention_transfer
from keras_selfkd.methods.distillation import Distillation
from keras_selfkd.pixels import resized_like


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FRSKD(Distillation):
    """Feature refinement via self-knowledge distillation.

    `CE(y, z_s) + CE(y, z_t) + alpha KL_T(z_t || z_s) + beta sum_i D(T_i, F_i)`: a
    self-teacher (BiFPN and head) refines the student's taps `F_i` into maps `T_i` and
    logits `z_t`, and both teach the student. Its own cross-entropy also trains the
    student through the taps; the two distillation terms train the student alone.

    Args:
        soft_label_weight: Float, `Ramp` or schedule, weight of the soft labels
            (alpha); 0 leaves them out. Defaults to 2, the paper's for CIFAR-100.
        feature_weight: Float, `Ramp` or schedule, weight of the feature loss (beta), or
            `None` for the feature loss's own default (attention transfer: 100).
        temperature: Float above 0, of the soft labels (T). Defaults to 4.
        feature_loss: Function `(target, prediction, mask=None)` from
            `keras_selfkd.losses` (`attention_transfer`, `normalized_mse`), or your
            own, declared with `losses.feature_loss`, or a Layer.
        width: Integer, the self-teacher's channels as a multiple of each tap's
            (BiFPNc). Defaults to 2, the paper's for ResNets; use 1, or `channels`,
            on networks with wide last maps such as MobileNets.
        depth: Integer, separable convolutions after each fusion. Defaults to 2.
        repeats: Integer, stacked pyramids. Defaults to 1.
        channels: Integer, channels of every level (BiFPN) instead of `width`.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an unregistered `feature_loss`, a feature loss without a
            default weight, or an argument of another type or out of range.

    Example:

    >>> import keras_selfkd
    >>> ramp = keras_selfkd.Ramp(100.0)
    >>> keras_selfkd.FRSKD(feature_weight=ramp, channels=64).loss_weights["soft_label"]
    2.0

    References:
        Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via
        Self-Knowledge Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273.
        Upsampling comes after the 1x1 convolution here, not before: same numbers.
    """

    terms = ("task", "teacher_task", "soft_label", "feature")
    minimum_taps = 2
    ramped = ("soft_label", "feature")

    def __init__(
        self,
        *,
        soft_label_weight=2.0,
        feature_weight=None,
        temperature=4.0,
        feature_loss=attention_transfer,
        width=2,
        depth=2,
        repeats=1,
        channels=None,
        **kwargs,
    ):
        super().__init__(
            soft_label_weight=soft_label_weight,
            feature_weight=feature_weight,
            temperature=temperature,
            feature_loss=feature_loss,
            **kwargs,
        )
        check_integer(width=width, depth=depth, repeats=repeats)
        if channels is not None:
            check_integer(channels=channels)
        self.width = width
        self.depth = depth
        self.repeats = repeats
        self.channels = channels

    @classmethod
    def for_pixels(cls, **arguments):
        """The paper's settings for masks: alpha 1, beta 50, T 1."""
        weight = {} if "feature_loss" in arguments else {"feature_weight": 50.0}
        settings = {"soft_label_weight": 1.0, "temperature": 1.0, **weight}
        return cls(**{**settings, **arguments})

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.self_teacher = networks.self_teacher(
            student,
            outputs,
            width=self.width,
            depth=self.depth,
            repeats=self.repeats,
            channels=self.channels,
        )
        _, *refined = self.self_teacher.outputs
        self.project(outputs.features, refined)

    def loss_terms(self, student, batch, supervise):
        # The taps are not detached: the teacher's own loss also trains the student.
        logits, *refined = self.self_teacher(student.features, training=True)
        logits = resized_like(logits, student.logits)
        return {
            "task": supervise(batch["y"], student.logits),
            "teacher_task": supervise(batch["y"], logits),
            **self.distillation(logits, refined, student, batch),
        }
