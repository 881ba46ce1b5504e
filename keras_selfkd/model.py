"""The training step of every method."""

from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.arguments import check_names
from keras_selfkd.attaching import attached, check_method, tell_labels
from keras_selfkd.batch import check_needs, checked_batch
from keras_selfkd.distributed import replicas
from keras_selfkd.distributed.layers import batch_norms
from keras_selfkd.distributed.strategies import check_compilation, check_strategy
from keras_selfkd.distributed.update import (
    Writes,
    apply_if,
    nan_unless_finite,
    sum_of_gradients,
)
from keras_selfkd.mixing import MixedLabels
from keras_selfkd.pixels import enlarged
from keras_selfkd.progress import ProgressModel
from keras_selfkd.shown_model import ShownModel
from keras_selfkd.student_model import StudentModel
from keras_selfkd.students import check_student
from keras_selfkd.supervision import Supervision, check_compiled
from keras_selfkd.taps import Outputs, Tapped


class Step(NamedTuple):
    """What a step has computed, before anything is changed."""

    batch: dict
    student: Outputs
    losses: dict
    weights: list
    gradients: list
    writes: Writes


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SelfDistillationModel(ProgressModel, StudentModel, ShownModel):
    """Trains a student with a self-distillation method; behaves as the student.

    `compile`, `fit`, `evaluate` and `predict` are Keras's own. Training logs the
    total `loss` and each term's part of it, `<term>_loss`, beside the compiled metrics;
    `evaluate`, `predict` and calling the model use the bare student. Where a method
    mixes images, training metrics are of the mixed images against the label of larger
    weight.

    Args:
        student: Functional or `Sequential` Keras model: one image input of known
            size, one output of logits `(batch, classes)` or `(batch, height, width,
            classes)`. Deployed as it is: `model.student`. Dense logits that are
            smaller than the masks are resized bilinearly for losses and metrics, not
            by `predict`.
        method: A `Method`, for example `FRSKD()`.
        taps: List of layer names, fine to coarse, whose outputs the method reads
            (`"backbone/layer"` inside nested models). Defaults to the end of each
            resolution of the student, the 4 coarsest.

    Raises:
        ValueError: if the student or the taps do not fit the method; the message
            names the remedy. Likewise on the first training step for a loss that
            does not fit logits, and for labels out of range.

    Example:

    >>> import keras, numpy as np
    >>> from keras_selfkd import FRSKD, SelfDistillationModel
    >>> images = keras.Input((16, 16, 1))
    >>> x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(images)
    >>> x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> student = keras.Model(images, keras.layers.Dense(10)(x))
    >>> model = SelfDistillationModel(student, FRSKD(channels=8))
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
    >>> history = model.fit(np.zeros((8, 16, 16, 1)), np.arange(8), verbose=0)
    >>> sorted(history.history)[:3]
    ['accuracy', 'feature_loss', 'loss']
    """

    def __init__(self, student, method, taps=None, **kwargs):
        check_method(student, method)
        check_student(student)
        if taps is not None:
            check_names(taps=taps)
        check_strategy([*student.variables, *method.variables])
        tapped = Tapped(student, taps, method.minimum_taps)
        if method.compares_views:
            tapped.check_images_are_kept()
        kwargs.setdefault("dtype", tapped.dtype_policy)
        # The student casts its own inputs; an image cast twice loses precision.
        super().__init__(autocast=False, **kwargs)
        self.student = student
        self.method = method
        self.taps = tapped.names
        self._terms = attached(method, student, tapped.symbolic, self.dtype_policy)
        if replicas.replica_count() > 1:
            for layer in batch_norms(method):
                layer.synchronized |= layer.trainable  # Not a frozen teacher's.
        self.term_trackers = [
            keras.metrics.Mean(name=f"{term}_loss") for term in self._terms.weights
        ]
        self._tapped = tapped
        # Otherwise Keras skips the optimizer's state on loading.
        self.built = True

    def outputs_of(self, images, training=False):
        """The student's `Outputs` (logits, taps, embedding) for a batch of images."""
        return self._tapped(images, training=training)

    def make_train_function(self, force=False):
        """Keras's own, after making variables that the step would make.

        Keras would then trace the step a second time. What is frozen is known only now.
        """
        check_compiled(self)
        if self.train_function is None:
            if self.method.minimum_taps:
                self._tapped.warn_if_frozen()
            if not self.optimizer.built:  # With those that rest at first, too.
                self.optimizer.build(self.trainable_variables)
            if self._batch_spec is not None:
                self.build_metrics(self._batch_spec)
        return super().make_train_function(force)

    def make_test_function(self, force=False):
        check_compiled(self)
        return super().make_test_function(force)

    def train_step(self, data):
        check_compilation(self.jit_compile)
        supervision = Supervision(self.loss)
        logits = self._tapped.symbolic.logits
        data, replica = checked_batch(data, logits, supervision)
        check_needs(self.method, data)
        data["progress"] = self.progress.next_step()
        data["copies"] = tf.convert_to_tensor(replica.copies)
        tell_labels(self.method, supervision.multi_label)
        step = self._computed(data, replica, supervision)
        logs = self._applied(step)
        return self._update_metrics(step, logs, replica.reported)

    def _computed(self, data, replica, supervision):
        """The forward pass, its losses and their gradients; nothing is changed."""
        writes = Writes()
        with tf.GradientTape() as tape:
            with writes, replicas.seeds_of_this_replica(self.seed_states()):
                with tape.stop_recording():
                    batch = self.method.prepare(dict(data))
                writes.losses.clear()  # Those of a frozen teacher.
                student = self._tapped(batch["x"], training=True)
                logits = enlarged(student.logits, data["y"])
                student = student._replace(logits=logits)
                terms = self.method.loss_terms(student, batch, supervision)
            terms = self._terms.checked(terms, data["x"], logits)
            terms = self._terms.reduced(
                terms, batch, supervision, replica, self.optimizer.iterations
            )
            # What layers add is mostly a mean over their examples.
            added = [
                ops.cast(ops.sum(value), keras.config.floatx()) * replica.portion
                for value in writes.losses
            ]
            of_weights = [ops.sum(x) / replicas.replica_count() for x in self.losses]
            parts = [*terms.values(), *added, *of_weights]
            loss = ops.sum(parts) if len(parts) > 1 else parts[0]
            scaled_loss = self.optimizer.scale_loss(loss)
        resting = {id(weight) for weight in self.method.resting}
        weights = [w for w in self.trainable_weights if id(w) not in resting]
        gradients = tape.gradient(scaled_loss, weights)
        losses = {"loss": loss, **{f"{name}_loss": terms[name] for name in terms}}
        return Step(batch, student, losses, weights, gradients, writes)

    def _applied(self, step):
        """Changes the weights, unless something is not finite; returns the losses."""
        variables, values = step.writes.variables, step.writes.values()
        losses, gradients = dict(step.losses), step.gradients
        losses["loss"] += nan_unless_finite(
            gradients, variables, values, self.optimizer, losses["loss"].dtype
        )
        gradients = sum_of_gradients(gradients, self.optimizer)
        # This replica's shares add up to the batch's; one all-reduce for all of them.
        totals = replicas.sum_over_replicas(tf.stack([*losses.values()]))
        logs = dict(zip(losses, tf.unstack(totals), strict=True))

        def apply(gradients, values, student, batch):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            self.optimizer.apply(gradients, step.weights)
            self.method.after_step(student, batch)

        apply_if(
            tf.math.is_finite(logs["loss"]),
            apply,
            args=(gradients, values, step.student, step.batch),
            optimizer=self.optimizer,
        )
        return logs

    def test_step(self, data):
        logs = super().test_step(data)
        terms = {tracker.name for tracker in self.term_trackers}
        logs = {name: value for name, value in logs.items() if name not in terms}
        return self.worker_logs(logs)

    def get_metrics_result(self):
        """The metrics' values; those of terms after training only, not evaluation."""
        results = super().get_metrics_result()
        if tf.executing_eagerly():
            for tracker in self.term_trackers:
                if not tracker.count.numpy():
                    del results[tracker.name]
        return results

    def _update_metrics(self, step, losses, count):
        """Updates the logs; metrics see the first view, mixed or not."""
        every = ops.cast(replicas.sum_over_replicas(count), "float32")
        for metric in self.metrics:
            if metric.name in losses:
                metric.update_state(losses[metric.name], sample_weight=every)
        batch, logits = step.batch, step.student.logits
        x, y, weight = batch["x"], batch["y"], batch["sample_weight"]
        y = y.larger() if isinstance(y, MixedLabels) else y
        weight = weight if weight is None else weight[:count]
        logs = self.compute_metrics(x[:count], y[:count], logits[:count], weight)
        return self.worker_logs(logs)

    def get_config(self):
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.student),
            "method": keras.saving.serialize_keras_object(self.method),
            "taps": self.taps,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects)
            for key in ("student", "method")
        }
        return cls(**{**config, **parts})
