"""A Keras model that is its student in all but training."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.batch import images_and_keys
from keras_selfkd.distributed import replicas
from keras_selfkd.distributed.layers import derive_constants
from keras_selfkd.distributed.replicated_model import ReplicatedModel
from keras_selfkd.graph import like_inputs
from keras_selfkd.pixels import at_size_of, is_dense
from keras_selfkd.seeds import SeededModel
from keras_selfkd.supervision import Supervision


class StudentModel(SeededModel, ReplicatedModel):
    """Calls, evaluates, predicts and exports as its attribute `student` does.

    Logits may be smaller than the masks: losses and metrics see them resized
    bilinearly.
    """

    def call(self, inputs, training=None):
        images, _ = images_and_keys(inputs)
        if training:
            return self._call_student(images, training=True)
        return replicas.in_inference_mode(self._call_student, images)

    def _call_student(self, images, training):
        return self.student(like_inputs(self.student, images), training=training)

    @property
    def averaged_student(self):
        """A copy of the student with the averages that its method keeps of its weights.

        To be shipped in place of `student`, which keeps its own.

        Raises:
            ValueError: if the method keeps none, or has not begun.
        """
        averages = self.method.averaged_weights()
        if not averages:
            raise ValueError(
                f"{self.method.name} keeps no averages of the student's weights"
                " (yet: some methods begin when a share of the epochs lies behind)"
            )
        copy = keras.models.clone_model(self.student)
        for theirs, own in zip(copy.variables, self.student.variables, strict=True):
            theirs.assign(averages.get(id(own), own))
        derive_constants(copy)
        return copy

    def exits(self):
        """The student up to each of its early exits, the shallowest first.

        Returns:
            List of `keras.Model` from images to logits that share the student's
            weights; the last one is the student. Each is exported and timed like it:
            `export_student(model.exits()[0], path)`. What it costs is the layers up to
            its tap and a branch.

        Raises:
            ValueError: if the method trains none.
        """
        logits = self.method.exits(self._tapped.symbolic)
        if not logits:
            raise ValueError(
                f"{self.method.name} trains no early exits: methods with branches on "
                "the taps do."
            )
        (images,), name = self._tapped.model.inputs, self.student.name
        early = [
            keras.Model(images, end, name=f"{name}_exit{number}")
            for number, end in enumerate(logits)
        ]
        return [*early, self.student]

    def export(self, filepath, *args, **kwargs):
        """Exports the student alone; arguments as in `keras.Model.export`."""
        return self.student.export(filepath, *args, **kwargs)

    def fit(self, *args, class_weight=None, **kwargs):
        """Keras's own, but refuses class weights of masks, which Keras mistakes."""
        if class_weight is not None and is_dense(self.student.outputs[0]):
            raise ValueError(
                "Keras's `class_weight` does not know masks. Map the data with "
                "`keras_selfkd.with_class_weights(dataset, class_weight)` instead. "
                f"Received: class_weight={class_weight}"
            )
        return super().fit(*args, class_weight=class_weight, **kwargs)

    def build_metrics(self, spec):
        """Makes the metrics' variables for batches of these `tf.TypeSpec`s."""
        _, y, _ = keras.utils.unpack_x_y_sample_weight(spec)
        if not isinstance(y, tf.TensorSpec) or not y.shape[1:].is_fully_defined():
            return
        logits = self.student.outputs[0]
        count = y.shape[0] or 1
        labels = tf.zeros((count, *y.shape[1:]), y.dtype)
        Supervision(self.loss).check_labels(labels, logits)
        # Nothing is written inside: metrics must not see examples that nobody gave.
        with keras.StatelessScope():
            self.compute_metrics(None, labels, tf.zeros((count, *logits.shape[1:])))

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Keras's own, of logits as large as the masks, and always a scalar."""
        y, y_pred, sample_weight = at_size_of(y, y_pred, sample_weight)
        # A replica without examples has no mean: its sum is 0.
        return ops.sum(super().compute_loss(x, y, y_pred, sample_weight, training))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's own, of logits as large as the masks."""
        y, y_pred, sample_weight = at_size_of(y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)
