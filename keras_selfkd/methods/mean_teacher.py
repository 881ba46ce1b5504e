"""MeanTeacher: the moving average of the student's weights teaches it."""

import keras
from keras import ops

from keras_selfkd.arguments import check_number, check_weight
from keras_selfkd.losses import soft_label
from keras_selfkd.method import Method
from keras_selfkd.pixels import resized_like
from keras_selfkd.progress import warn_if_never_begun
from keras_selfkd.taps import Tapped


@keras.saving.register_keras_serializable(package="keras_selfkd")
class MeanTeacher(Method):
    """The exponential moving average of the student teaches by soft labels (MESA).

    `CE(y, z) + lambda KL_T(sg[z_ema] || z)`, with `z_ema` what the student says, in
    inference mode, with the moving averages of all its weights, BatchNorm's statistics
    included. Up to `start` it is plain training, at its cost: no average is taken, and
    none asked. It needs no taps, so that any student can be trained.

    `model.averaged_student` is a copy of the student with the averaged weights: what
    the mean teacher's authors ship, often better before the learning rate has fallen.

    The average begins as the weights at `start`, and the n-th update keeps `min(decay,
    n / (n + 9))` of it, so that first weights are soon forgotten. A `fit` from epoch 0
    is a new training; `initial_epoch` goes on.

    Args:
        soft_label_weight: Float, `Ramp` or schedule (lambda). Defaults to 0.5.
        temperature: Float above 0 (T). Defaults to 5, the paper's.
        decay: Float in [0, 1), what the average keeps in each step. Defaults to
            0.999; the paper's 0.9998 is for ImageNet's many steps.
        start: Float in [0, 1), share of the epochs that are plain training. Defaults
            to 0.3.
        mixing: `Mixup` or `CutMix`, or `None`; the average sees the mixed images.

    Raises:
        ValueError: for an argument of another type or out of range.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.MeanTeacher().loss_weights
    {'task': 1.0, 'soft_label': 0.5}

    References:
        Du et al., "Sharpness-Aware Training for Free", NeurIPS 2022,
        https://arxiv.org/abs/2205.14083; the moving average as a teacher: Tarvainen
        and Valpola, "Mean teachers are better role models", NeurIPS 2017,
        https://arxiv.org/abs/1703.01780
    """

    terms = ("task", "soft_label")
    compares_views = True  # The average sees the images as the student gets them.

    def __init__(
        self,
        *,
        soft_label_weight=0.5,
        temperature=5.0,
        decay=0.999,
        start=0.3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(soft_label_weight=soft_label_weight)
        check_number(above=0, temperature=temperature)
        check_number(at_least=0, below=1, decay=decay, start=start)
        self.soft_label_weight = soft_label_weight
        self.temperature = temperature
        self.decay = decay
        self.start = start
        self.begun = False

    def attach(self, student, outputs):
        super().attach(student, outputs)
        # A plain object: as an attribute the student would be saved twice.
        self._tapped = Tapped(student)
        network = self._tapped.model
        self.averages = [
            self._like(variable, number)
            for number, variable in enumerate(self._averaged(network))
        ]
        self.updates = self.add_weight(
            (),
            "zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="updates",
        )

    def _like(self, variable, number):
        average = self.add_weight(
            variable.shape,
            "zeros",
            dtype=variable.dtype,
            trainable=False,
            aggregation="only_first_replica",
            name=f"average_{number}",
        )
        average.assign(variable)
        return average

    def _averaged(self, network):
        """The student's variables of which there are averages: all that are floats."""
        # In an order that does not depend on what is frozen.
        return [one for one in network.variables if "float" in one.dtype]

    def _pairs(self):
        """Each of the student's variables with its average."""
        return zip(self._averaged(self._tapped.model), self.averages, strict=True)

    def begin_epoch(self, epoch, epochs):
        warn_if_never_begun(self.name, self.start, epoch, epochs)
        before, self.begun = self.begun, epoch / epochs >= self.start
        if epoch == 0:  # A new training.
            self.updates.assign(0.0)
        if self.begun and not self.updates.numpy():
            for variable, average in self._pairs():
                average.assign(variable.numpy())
        return self.begun != before

    def prepare(self, batch):
        batch = super().prepare(batch)
        if not self.begun or "soft_label" not in self.loss_weights:
            return batch
        network = self._tapped.model
        of = {id(variable): average for variable, average in self._pairs()}
        values = [
            [ops.convert_to_tensor(of.get(id(v), v)) for v in variables]
            for variables in (
                network.trainable_variables,
                network.non_trainable_variables,
            )
        ]
        outputs, _ = network.stateless_call(*values, batch["x"], training=False)
        teacher = self._tapped.symbolic.pack(keras.tree.flatten(outputs))
        return {**batch, "teacher_logits": teacher.logits}

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "soft_label" in self.loss_weights:
            teacher = batch.get("teacher_logits")
            terms["soft_label"] = (
                0.0
                if teacher is None
                else soft_label(
                    resized_like(teacher, student.logits),
                    student.logits,
                    self.temperature,
                    self.multi_label,
                )
            )
        return terms

    def after_step(self, student, batch):
        if not self.begun:
            return
        kept = ops.minimum(self.updates / (self.updates + 9.0), self.decay)
        for variable, average in self._pairs():
            share = ops.cast(kept, average.dtype)
            average.assign(share * average + (1 - share) * variable)
        self.updates.assign_add(1.0)

    def averaged_weights(self):
        if not self.updates.numpy():
            return {}
        return {id(variable): average for variable, average in self._pairs()}
