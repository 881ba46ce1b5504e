"""DLB: what was said in the last batch teaches in this one."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.arguments import check_integer, check_number, check_weight
from keras_selfkd.distributed.replicas import places_in_batch
from keras_selfkd.labels import label_marks
from keras_selfkd.losses import soft_label
from keras_selfkd.memory import ExampleMemory
from keras_selfkd.method import Method


@keras.saving.register_keras_serializable(package="keras_selfkd")
class DLB(Method):
    """Self-distillation from the last mini-batch.

    `CE(y, z) + alpha KL_T(sg[z_before] || z)`, the second term in the mean over the
    images that repeat: the first half of each batch is the last one's second half,
    under another augmentation, and `z_before` what was said of it a step ago. What was
    said of another label, or never, teaches nothing.

    The data set must yield `{"image": ..., "previous": ...}` (`overlapping`). A step
    costs what plain training's does, but a pass over the data has twice as many: give
    it half the passes of what it is compared with. The last batch's logits are saved
    with the model, so that a training goes on across a resume.

    Args:
        soft_label_weight: Float, `Ramp` or schedule (alpha). Defaults to 1, the
            paper's.
        temperature: Float above 0, of the soft labels (T). Defaults to 3, the paper's.
        largest_batch: Integer, the most images that a batch may have, of all replicas
            together; so many rows of logits are kept. Defaults to 1024.

    Raises:
        ValueError: for an argument of another type or out of range, and for mixing;
            with the data, for larger batches.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.DLB().loss_weights
    {'task': 1.0, 'soft_label': 1.0}

    References:
        Shen et al., "Self-Distillation from the Last Mini-Batch for Consistency
        Regularization", CVPR 2022, https://arxiv.org/abs/2203.16172
    """

    terms = ("task", "soft_label")
    needs = ("previous",)
    dense = False
    exclusive = True
    takes_mixing = False

    def __init__(
        self, *, soft_label_weight=1.0, temperature=3.0, largest_batch=1024, **kwargs
    ):
        super().__init__(**kwargs)
        check_weight(soft_label_weight=soft_label_weight)
        check_number(above=0, temperature=temperature)
        check_integer(largest_batch=largest_batch)
        self.soft_label_weight = soft_label_weight
        self.temperature = temperature
        self.largest_batch = largest_batch

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.memory = ExampleMemory(self.largest_batch, outputs.logits.shape[-1])
        # To notice what was said of another image.
        self.labels = ExampleMemory(self.largest_batch, 1)

    def begin_epoch(self, epoch, epochs):
        if epoch == 0:  # A new training, whose first batch has none before it.
            for memory in (self.memory, self.labels):
                memory.rows.assign(ops.zeros_like(memory.rows))
        return False

    def prepare(self, batch):
        place = places_in_batch(ops.shape(batch["x"])[0], batch["copies"])
        with tf.control_dependencies([self._all_fit(place)]):
            at = ops.maximum(ops.cast(batch["previous"], "int64"), 0)
        known = self.labels.read(at)
        taught = (
            (ops.cast(batch["previous"], "int64") >= 0)
            & (known[:, 0] > 0)
            & (known == label_marks(batch))[:, 0]
        )
        before = self.memory.read(at)
        return {**batch, "before": before, "taught": taught, "place": place}

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "soft_label" in self.loss_weights:
            loss = soft_label(batch["before"], student.logits, self.temperature)
            # The model takes the mean over the batch, of which half repeats.
            terms["soft_label"] = ops.where(batch["taught"], 2.0 * loss, 0.0)
        return terms

    def after_step(self, student, batch):
        self.memory.write(batch["place"], student.logits)
        self.labels.write(batch["place"], label_marks(batch))

    def _all_fit(self, place):
        fits = ops.all(place < self.largest_batch)
        message = (
            f"Expected batches of at most {self.largest_batch} images; pass "
            "`DLB(largest_batch=...)`. Received an image at place:"
        )
        return tf.debugging.Assert(fits, [message, ops.max(place)])
