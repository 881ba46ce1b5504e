"""FRSKD: a feature pyramid on the student's own maps becomes its teacher."""

import warnings

import keras
from keras import ops

from keras_selfkd.losses import attention_transfer, soft_label
from keras_selfkd.method import Method
from keras_selfkd.networks import bifpn, is_dense, prediction_head
from keras_selfkd.replicas import replica_count


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FRSKD(Method):
    """Feature refinement via self-knowledge distillation.

    `CE(y, z_s) + CE(y, z_t) + alpha KL_T(z_t || z_s) + beta sum_i D(T_i, F_i)`: a
    self-teacher (BiFPN and head) refines the student's taps `F_i` into maps `T_i` and
    logits `z_t`, and both teach the student. Its own cross-entropy also trains the
    student through the taps; the two distillation terms train the student alone.

    Args:
        soft_label_weight: Float or `LearningRateSchedule`, weight of the soft labels
            (alpha). Defaults to 2, the paper's for CIFAR-100.
        feature_weight: Float or schedule, weight of the feature loss (beta), or
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

    Raises:
        ValueError: for an unregistered `feature_loss`, a feature loss without a
            default weight, or a number out of range.

    Example:

    >>> import keras_selfkd
    >>> ramp = keras_selfkd.SigmoidRampUp(start=0, end=1000, peak=100.0)
    >>> keras_selfkd.FRSKD(feature_weight=ramp, channels=64).loss_weights["soft_label"]
    2.0

    References:
        Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via
        Self-Knowledge Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273.
        Upsampling comes after the 1x1 convolution here, not before: same numbers.
    """

    minimum_taps = 2

    def __init__(
        self,
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
        super().__init__(**kwargs)
        check_serializable(feature_loss)
        if feature_weight is None:
            feature_weight = default_weight(feature_loss)
        check_positive(
            temperature=temperature, width=width, depth=depth, repeats=repeats
        )
        self.soft_label_weight = soft_label_weight
        self.feature_weight = feature_weight
        self.temperature = temperature
        self.feature_loss = feature_loss
        self.width = width
        self.depth = depth
        self.repeats = repeats
        self.channels = channels

    @property
    def loss_weights(self):
        return {
            "task": 1.0,
            "teacher_task": 1.0,
            "soft_label": self.soft_label_weight,
            "feature": self.feature_weight,
        }

    def attach(self, student, outputs):
        super().attach(student, outputs)
        taps = [
            keras.Input(batch_shape=f.shape, dtype=f.dtype) for f in outputs.features
        ]
        channels = [self.channels or self.width * tap.shape[-1] for tap in taps]
        sync = replica_count() > 1
        refined = bifpn(
            taps,
            channels,
            depth=self.depth,
            repeats=self.repeats,
            resample_conv=self.channels is None,
            bottom_up=not is_dense(outputs.logits),
            sync=sync,
        )
        logits = prediction_head(refined, outputs.logits, sync)
        self.self_teacher = keras.Model(taps, [logits, *refined], name="self_teacher")
        self.projections = [
            keras.layers.Conv2D(target.shape[-1], 1, use_bias=False, name="projection")
            if self._needs_projection(target, tap)
            else keras.layers.Identity()
            for target, tap in zip(refined, taps, strict=True)
        ]
        for projection, tap in zip(self.projections, taps, strict=True):
            projection.build(tap.shape)
        warn_if_larger(self.self_teacher, student)

    def _needs_projection(self, target, tap):
        same_channels = getattr(self.feature_loss, "same_channels", False)
        return same_channels and target.shape[-1] != tap.shape[-1]

    def loss_terms(self, student, batch, supervise):
        # The taps are not detached: the teacher's own loss also trains the student.
        logits, *refined = self.self_teacher(student.features, training=True)
        return {
            "task": supervise(batch["y"], student.logits),
            "teacher_task": supervise(batch["y"], logits),
            "soft_label": soft_label(logits, student.logits, self.temperature),
            "feature": sum(
                self.feature_loss(target, project(tap), mask=mask_at(batch, tap))
                for target, tap, project in zip(
                    refined, student.features, self.projections, strict=True
                )
            ),
        }

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "soft_label_weight": serialize(self.soft_label_weight),
            "feature_weight": serialize(self.feature_weight),
            "temperature": self.temperature,
            "feature_loss": serialize(self.feature_loss),
            "width": self.width,
            "depth": self.depth,
            "repeats": self.repeats,
            "channels": self.channels,
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            key: keras.saving.deserialize_keras_object(config[key])
            for key in ("soft_label_weight", "feature_weight", "feature_loss")
        }
        return cls(**{**config, **parts})


def default_weight(feature_loss):
    weight = getattr(feature_loss, "default_weight", None)
    if weight is None:
        raise ValueError(
            "This feature loss has no default weight: pass `feature_weight=...`. "
            f"Received: feature_loss={feature_loss!r}"
        )
    return weight


def check_serializable(feature_loss):
    if isinstance(feature_loss, keras.layers.Layer):
        return
    name = getattr(feature_loss, "__name__", None)
    if name is None or keras.saving.get_registered_name(feature_loss) == name:
        raise ValueError(
            "The feature loss must be registered, so that the model can be saved. "
            "Decorate it with `@keras_selfkd.losses.feature_loss(default_weight=...)` "
            "or `@keras.saving.register_keras_serializable()`. Received: "
            f"feature_loss={feature_loss!r}"
        )


def check_positive(**arguments):
    for name, value in arguments.items():
        if not value > 0:
            raise ValueError(f"Expected {name} above 0. Received: {name}={value}")


def mask_at(batch, feature):
    """The valid pixels' mask at a map's resolution, or `None` without void pixels."""
    if batch["valid"] is None:
        return None
    valid = ops.cast(batch["valid"], "float32")[..., None]
    shares = ops.image.resize(valid, feature.shape[1:3], interpolation="bilinear")
    return ops.squeeze(shares, -1) > 0.5


def warn_if_larger(self_teacher, student):
    teacher_size, student_size = self_teacher.count_params(), student.count_params()
    if teacher_size > student_size:
        warnings.warn(
            f"The self-teacher has {teacher_size:,} parameters, the student only "
            f"{student_size:,}. It is thrown away after training, but costs time: "
            "`FRSKD(width=1)` or `FRSKD(channels=64)` makes it smaller.",
            stacklevel=2,
        )
