"""Taught: a trained network teaches, by its feature maps and its logits."""

import keras

from keras_selfkd.arguments import check_names
from keras_selfkd.losses import normalized_mse
from keras_selfkd.methods.distillation import Distillation
from keras_selfkd.pixels import resized_like
from keras_selfkd.taps import Tapped


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Taught(Distillation):
    """A trained network teaches: a larger one, or a former run of the same student.

    `CE(y, z_s) + alpha KL_T(z_t || z_s) + beta sum_i D(T_i, F_i)` with the logits `z_t`
    and the maps `T_i` of a network that is left as it is.

    Args:
        teacher: Functional Keras model for the same images. It is set to
            `trainable=False` and runs in inference mode. It is kept in the training
            model, so that a saved one can go on, never in the student.
        teacher_taps: List of its layers, fine to coarse, one for each of the student's
            taps. Defaults to the end of each of its resolutions, the 4 coarsest.
            NFD's paper takes one: the last map before the head, of both.
        soft_label_weight: Float, `Ramp` or schedule (alpha); 0 leaves out the soft
            labels. Defaults to 1.
        feature_weight: Float, `Ramp` or schedule (beta), or `None` for the feature
            loss's own default; 0 leaves out the maps, for students without taps.
        temperature: Float above 0, of the soft labels (T). Defaults to 4.
        feature_loss: Function `(target, prediction, mask=None)` from
            `keras_selfkd.losses`, or your own, declared with `losses.feature_loss`, or
            a Layer (D). Defaults to `normalized_mse`: NFD.
        preprocess: What turns the student's images into the teacher's, where it was
            trained on images of another normalisation or size: a Layer, such as
            `keras.layers.Rescaling(2.0, offset=-1.0)`, or a function of a batch,
            registered with `keras.saving.register_keras_serializable` if the training
            model is saved. Defaults to `None`: the same images.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for a teacher that takes other images, has other taps than the
            student, weights in common with it, or, for soft labels, other classes.

    Example:

    >>> import keras, keras_selfkd
    >>> images = keras.Input((8, 8, 1))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(images)
    >>> logits = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    >>> method = keras_selfkd.Taught(keras.Model(images, logits), feature_weight=0)
    >>> method.loss_weights
    {'task': 1.0, 'soft_label': 1.0}

    References:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
        https://arxiv.org/abs/1503.02531; Furlanello et al., "Born-Again Neural
        Networks", ICML 2018, https://arxiv.org/abs/1805.04770; Liu et al.,
        "Normalized Feature Distillation for Semantic Segmentation", 2022,
        https://arxiv.org/abs/2207.05256
    """

    terms = ("task", "soft_label", "feature")
    compares_views = True  # The teacher sees the images as the student gets them.

    def __init__(
        self,
        teacher,
        *,
        teacher_taps=None,
        soft_label_weight=1.0,
        feature_weight=None,
        temperature=4.0,
        feature_loss=normalized_mse,
        preprocess=None,
        **kwargs,
    ):
        super().__init__(
            soft_label_weight=soft_label_weight,
            feature_weight=feature_weight,
            temperature=temperature,
            feature_loss=feature_loss,
            **kwargs,
        )
        if not isinstance(teacher, keras.Model):
            raise ValueError(
                "Expected teacher to be a trained functional `keras.Model`, such as "
                f"`keras.models.load_model(path)`. Received: teacher={teacher!r}"
            )
        if teacher_taps is not None:
            check_names(teacher_taps=teacher_taps)
        if preprocess is not None and (
            not callable(preprocess) or isinstance(preprocess, type)
        ):
            raise ValueError(
                "Expected preprocess to be a Layer, such as `keras.layers.Rescaling("
                "2.0, offset=-1.0)`, or a function of a batch of images. Received: "
                f"preprocess={preprocess!r}"
            )
        teacher.trainable = False
        if isinstance(preprocess, keras.Layer):
            preprocess.trainable = False
        self.preprocess = preprocess
        self.teacher = teacher
        self.teacher_taps = teacher_taps
        self.minimum_taps = 1 if "feature" in self.loss_weights else 0

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self._tapped = Tapped(
            self.teacher,
            self.teacher_taps,
            minimum=self.minimum_taps,
            role="teacher",
            logits="soft_label" in self.loss_weights,
        )
        check_independent(self.teacher, student, self._preprocessed_shape(student))
        self._check_outputs(self._tapped.symbolic, outputs)
        self.project(outputs.features, self._tapped.symbolic.features)

    def _preprocessed_shape(self, student):
        """Shape of an image as the teacher gets it."""
        if self.preprocess is None:
            return student.inputs[0].shape[1:]
        # A plain function of TensorFlow's takes no symbolic tensor but in a layer.
        return keras.layers.Lambda(self.preprocess)(student.inputs[0]).shape[1:]

    def _check_outputs(self, theirs, outputs):
        """Refuses a teacher whose logits or maps do not fit the student's."""
        weights = self.loss_weights
        if "feature" in weights and len(theirs.features) != len(outputs.features):
            raise ValueError(
                "The teacher must have a tap for each of the student's. Name both: "
                "`Taught(teacher, teacher_taps=[...])` and `SelfDistillationModel("
                "student, method, taps=[...])`. Received: "
                f"teacher_taps={self._tapped.names} for {len(outputs.features)} taps "
                "of the student"
            )
        same = len(theirs.logits.shape) == len(outputs.logits.shape)
        same = same and theirs.logits.shape[-1] == outputs.logits.shape[-1]
        if "soft_label" in weights and not same:
            raise ValueError(
                "For soft labels the teacher must have the student's classes. Set "
                "`soft_label_weight=0` to take its features alone. Received: teacher "
                f"logits {theirs.logits.shape}, student logits {outputs.logits.shape}"
            )

    def prepare(self, batch):
        batch = super().prepare(batch)
        images = batch["x"] if self.preprocess is None else self.preprocess(batch["x"])
        teacher = self._tapped(images, training=False)
        return {
            **batch,
            "teacher_logits": teacher.logits,
            "teacher_features": teacher.features,
        }

    def loss_terms(self, student, batch, supervise):
        logits, maps = batch["teacher_logits"], batch["teacher_features"]
        if "soft_label" in self.loss_weights:
            logits = resized_like(logits, student.logits)
        return {
            "task": supervise(batch["y"], student.logits),
            **self.distillation(logits, maps, student, batch),
        }


def check_independent(teacher, student, shape):
    """Refuses a teacher for other images, or with weights of the student.

    Args:
        teacher: Keras model.
        student: Keras model.
        shape: Of an image as the teacher gets it.
    """
    if teacher.inputs[0].shape[1:] != shape:
        raise ValueError(
            "The teacher must take the student's images, or what "
            "`Taught(teacher, preprocess=...)` makes of them, such as "
            "`keras.layers.Resizing(height, width)`. Received: teacher="
            f"{teacher.name!r} for images {teacher.inputs[0].shape[1:]}, "
            f"student={student.name!r}, whose images come to it as {shape}"
        )
    weights = {id(variable) for variable in student.variables}
    if any(id(variable) in weights for variable in teacher.variables):
        raise ValueError(
            "The teacher must have weights of its own: it is not trained. Train a "
            "`keras.models.clone_model(...)` of it. Received: teacher="
            f"{teacher.name!r}, which shares weights with the student"
        )
