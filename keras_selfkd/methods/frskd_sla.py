"""FRSKD with self-supervised label augmentation: four rotations of each image."""

import keras
from keras import layers, ops

from keras_selfkd.arguments import check_weight
from keras_selfkd.losses import soft_label
from keras_selfkd.methods.distillation import feature_distance
from keras_selfkd.methods.frskd import FRSKD
from keras_selfkd.mixing import MixedLabels
from keras_selfkd.taps import Outputs

ROTATIONS = 4


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FRSKD_SLA(FRSKD):  # noqa: N801 (as the paper writes it)
    """FRSKD on images and their rotations by 0, 90, 180 and 270 degrees.

    Student and self-teacher get a second head on their coarsest map, trained on the
    joint label `4 y + r` of class and rotation. Its logits, averaged over the four
    rotations, `agg_c = mean_r joint(rotation r)[4 c + r]`, teach the first head.

    `CE` of both heads of student and self-teacher (`task` and `joint_task`,
    `teacher_task` and `teacher_joint_task`), `KL_T(agg_s || z_s) + KL_T(agg_t || z_t)`
    (`aggregation`), `KL_T` from self-teacher to student, on the images' logits and on
    the aggregated ones (`soft_label`), and FRSKD's feature loss on all views.

    A step takes five views of each image at once, so it costs five times FRSKD's, and
    they share their BatchNorm statistics; the authors' code runs the rotations in a
    second pass. The student's second head is not deployed. The compiled loss also sees
    the joint labels, so it cannot have a setting for each class.

    Args:
        aggregation_weight: Float or `LearningRateSchedule`, weight of the aggregated
            logits as teachers. Defaults to 1, the paper's.
        **kwargs: As for `FRSKD`.

    Raises:
        ValueError: for pixel students, students of one logit, and images that are not
            square.

    Example:

    >>> import keras_selfkd
    >>> method = keras_selfkd.FRSKD_SLA(width=1)
    >>> sorted(set(method.loss_weights) - set(keras_selfkd.FRSKD().loss_weights))
    ['aggregation', 'joint_task', 'teacher_joint_task']

    References:
        Ji et al., CVPR 2021, https://arxiv.org/abs/2103.08273 (FRSKD+SLA); Lee et al.,
        "Self-supervised Label Augmentation via Input Transformations", ICML 2020,
        https://arxiv.org/abs/1910.05872
    """

    compares_views = True

    terms = (*FRSKD.terms, "joint_task", "teacher_joint_task", "aggregation")
    dense = False

    def __init__(self, *, aggregation_weight=1.0, **kwargs):
        super().__init__(**kwargs)
        check_weight(aggregation_weight=aggregation_weight)
        self.aggregation_weight = aggregation_weight

    def attach(self, student, outputs):
        height, width = student.inputs[0].shape[1:3]
        classes = outputs.logits.shape[-1]
        if height != width or classes < 2:
            raise ValueError(
                "FRSKD_SLA needs a classifier of square images, which it rotates, into "
                "two or more classes. "
                f"Received: student={student.name!r} for images "
                f"{student.inputs[0].shape[1:]} with logits {outputs.logits.shape}"
            )
        super().attach(student, outputs)
        coarsest = outputs.features[-1], self.self_teacher.outputs[-1]
        self.joint_heads = [rotation_head(tap, outputs.logits) for tap in coarsest]

    def prepare(self, batch):
        batch = super().prepare(batch)
        rotated = [ops.rot90(batch["x"], k, axes=(1, 2)) for k in range(ROTATIONS)]
        return {**batch, "x": ops.concatenate([batch["x"], *rotated])}

    def loss_terms(self, student, batch, supervise):
        self._check_one_class()
        logits, *refined = self.self_teacher(student.features, training=True)
        teacher = Outputs(logits, refined)
        heads = zip((student, teacher), self.joint_heads, strict=True)
        joint = [views(head(one.features[-1]))[1:] for one, head in heads]
        aggregated = [aggregate(rotations) for rotations in joint]
        plain = [views(one.logits)[0] for one in (student, teacher)]

        def joint_task(rotations):
            y = joint_label(batch["y"], student.logits.shape[-1])
            losses = [supervise(y, of_rotation(z, r)) for r, z in enumerate(rotations)]
            return sum(losses) / ROTATIONS

        def teach(pair):
            return soft_label(*pair, self.temperature)

        terms = {
            "task": lambda: supervise(batch["y"], plain[0]),
            "teacher_task": lambda: supervise(batch["y"], plain[1]),
            "joint_task": lambda: joint_task(joint[0]),
            "teacher_joint_task": lambda: joint_task(joint[1]),
            "aggregation": lambda: sum(map(teach, zip(aggregated, plain, strict=True))),
            "soft_label": lambda: (teach(plain[::-1]) + teach(aggregated[::-1])) / 2,
            "feature": lambda: self._feature(refined, student),
        }
        return {name: terms[name]() for name in self.loss_weights}

    def _check_one_class(self):
        if self.multi_label:
            raise ValueError(
                "FRSKD_SLA joins an image's one class with its rotation, so several "
                "labels an image mean nothing to it. Train with FRSKD. Received: a "
                "compiled loss that takes each logit for a label of its own"
            )

    def _feature(self, refined, student):
        """The feature loss of an image and its rotations, averaged: `(batch,)`."""
        loss = feature_distance(
            self.feature_loss, refined, student.features, self.projections, None
        )
        return sum(views(loss)) / (1 + ROTATIONS)


def rotation_head(tap, logits):
    """A classifier of classes and rotations, on a map."""
    inputs = keras.Input(batch_shape=tap.shape, dtype=tap.dtype)
    pooled = layers.GlobalAveragePooling2D(name="pool")(inputs)
    outputs = layers.Dense(
        ROTATIONS * logits.shape[-1], dtype=keras.config.floatx(), name="joint_logits"
    )(pooled)
    return keras.Model(inputs, outputs, name="joint_head")


def views(tensor):
    """The images' own part of a tensor and those of the four rotations."""
    return ops.split(tensor, 1 + ROTATIONS)


def aggregate(joint_logits):
    """Logits of classes, from the joint logits of the four rotations."""
    return sum(joint_logits[r][:, r::ROTATIONS] for r in range(ROTATIONS)) / ROTATIONS


def of_rotation(joint_logits, rotation):
    """Joint logits in an order in which the label `4 y + rotation` stands at `y`.

    So labels, and what the compiled loss ignores, stay what they are.
    """
    turns = [(rotation + k) % ROTATIONS for k in range(ROTATIONS)]
    return ops.concatenate([joint_logits[:, r::ROTATIONS] for r in turns], axis=-1)


def joint_label(y, classes):
    """Labels for the logits of `of_rotation`: one-hot ones get zeros behind them."""
    if isinstance(y, MixedLabels):
        return MixedLabels(*(joint_label(one, classes) for one in y[:2]), y.share)
    y = ops.convert_to_tensor(y)
    if len(y.shape) == 2 and y.shape[-1] == classes:
        return ops.pad(y, ((0, 0), (0, (ROTATIONS - 1) * classes)))
    return y
