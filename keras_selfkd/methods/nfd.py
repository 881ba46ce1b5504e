"""NFD: feature maps are compared after instance normalisation."""

import keras

from keras_selfkd.arguments import check_names
from keras_selfkd.losses import normalized_mse
from keras_selfkd.method import Method
from keras_selfkd.methods.frskd import FRSKD
from keras_selfkd.pixels import resized_like
from keras_selfkd.taps import Tapped


@keras.saving.register_keras_serializable(package="keras_selfkd")
class NFD(FRSKD):
    """Normalised feature distillation, from a self-teacher or from a trained teacher.

    `CE(y, z_s) + gamma sum_i mean((N(T_i) - N(F_i))^2)`, where `N` gives each map of
    each example and channel mean 0 and variance 1, so that only the pattern of a
    feature map is taught, not its scale.

    Without a `teacher` the maps `T_i` are those of a self-teacher on the student's own
    taps, which learns from `CE(y, z_t)`: this is `FRSKD(feature_loss=normalized_mse)`
    without soft labels. With a `teacher`, the paper's setting, they are those of a
    trained network that is left as it is.

    Args:
        teacher: Functional Keras model for the same images, or `None`. It is set to
            `trainable=False` and runs in inference mode. It is kept in the training
            model, so that a saved one can go on, never in the student.
        teacher_taps: List of its layers, fine to coarse, one for each of the student's
            taps. Defaults to the end of each of its resolutions, the 4 coarsest. The
            paper takes one: the last map before the head, of teacher and student.
        feature_weight: Float or `LearningRateSchedule` (gamma), or `None` for
            `normalized_mse`'s own default.
        soft_label_weight: Float or schedule; 0 leaves out the soft labels. Defaults to
            0, the paper's.
        temperature: Float above 0, of the soft labels. Defaults to 1.
        width: Integer, the self-teacher's channels as a multiple of each tap's.
        depth: Integer, the self-teacher's convolutions after each fusion.
        repeats: Integer, the self-teacher's stacked pyramids.
        channels: Integer, the self-teacher's channels on every level.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for a teacher that takes other images, has other taps than the
            student, weights in common with it, or, for soft labels, other classes.

    Example:

    >>> import keras_selfkd
    >>> sorted(keras_selfkd.NFD(channels=64).loss_weights)
    ['feature', 'task', 'teacher_task']

    References:
        Liu et al., "Normalized Feature Distillation for Semantic Segmentation", 2022,
        https://arxiv.org/abs/2207.05256. The self-teacher is FRSKD's.
    """

    def __init__(
        self,
        teacher=None,
        *,
        teacher_taps=None,
        feature_weight=None,
        soft_label_weight=0.0,
        temperature=1.0,
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
            feature_loss=normalized_mse,
            width=width,
            depth=depth,
            repeats=repeats,
            channels=channels,
            **kwargs,
        )
        if teacher is not None and not isinstance(teacher, keras.Model):
            raise ValueError(
                "Expected teacher to be a trained functional `keras.Model`, such as "
                f"`keras.models.load_model(path)`. Received: teacher={teacher!r}"
            )
        if teacher_taps is not None:
            check_names(teacher_taps=teacher_taps)
        if teacher_taps is not None and teacher is None:
            raise ValueError(
                "Expected a teacher beside `teacher_taps`. The taps of the student are "
                "given to `SelfDistillationModel(student, method, taps=[...])`."
            )
        if teacher is not None:
            teacher.trainable = False
        self.teacher = teacher
        self.teacher_taps = teacher_taps
        if teacher is not None:
            self.minimum_taps = 1
            self.compares_views = True  # It sees the images as the student gets them.
            self.terms = ("task", "soft_label", "feature")

    def attach(self, student, outputs):
        if self.teacher is None:
            super().attach(student, outputs)
            return
        Method.attach(self, student, outputs)
        self._tapped = Tapped(
            self.teacher,
            self.teacher_taps,
            minimum=1,
            role="teacher",
            logits=self.soft_label_weight != 0,
        )
        self._check_teacher(student, outputs)
        self.match(self._tapped.symbolic.features, outputs.features)

    def _check_teacher(self, student, outputs):
        """Refuses a teacher that does not fit the student."""
        theirs = self._tapped.symbolic
        if self.teacher.inputs[0].shape[1:] != student.inputs[0].shape[1:]:
            raise ValueError(
                "The teacher must take the student's images. Received: teacher="
                f"{self.teacher.name!r} for images {self.teacher.inputs[0].shape[1:]}, "
                f"student={student.name!r} for {student.inputs[0].shape[1:]}"
            )
        shared = {id(variable) for variable in student.variables}
        if any(id(variable) in shared for variable in self.teacher.variables):
            raise ValueError(
                "The teacher must have weights of its own: it is not trained. Train a "
                "`keras.models.clone_model(...)` of it. Received: teacher="
                f"{self.teacher.name!r}, which shares weights with the student"
            )
        if len(theirs.features) != len(outputs.features):
            raise ValueError(
                "The teacher must have a tap for each of the student's. Name both: "
                "`NFD(teacher, teacher_taps=[...])` and `SelfDistillationModel(student,"
                f" method, taps=[...])`. Received: teacher_taps={self._tapped.names} "
                f"for {len(outputs.features)} taps of the student"
            )
        same = len(theirs.logits.shape) == len(outputs.logits.shape)
        same = same and theirs.logits.shape[-1] == outputs.logits.shape[-1]
        if self.soft_label_weight != 0 and not same:
            raise ValueError(
                "For soft labels the teacher must have the student's classes. Set "
                "`soft_label_weight=0` to take its features alone. Received: teacher "
                f"logits {theirs.logits.shape}, student logits {outputs.logits.shape}"
            )

    def prepare(self, batch):
        batch = super().prepare(batch)
        if self.teacher is None:
            return batch
        teacher = self._tapped(batch["x"], training=False)
        return {
            **batch,
            "teacher_logits": teacher.logits,
            "teacher_features": teacher.features,
        }

    def loss_terms(self, student, batch, supervise):
        if self.teacher is None:
            return super().loss_terms(student, batch, supervise)
        logits = resized_like(batch["teacher_logits"], student.logits)
        return {
            "task": supervise(batch["y"], student.logits),
            **self.distillation(logits, batch["teacher_features"], student, batch),
        }
