"""DLB: what was said in the last batch teaches in this one."""

import keras
from keras import ops

from keras_selfkd.arguments import check_integer, check_number, check_weight
from keras_selfkd.distributed.replicas import places_in_batch
from keras_selfkd.losses import soft_label
from keras_selfkd.memory import ExampleMemory
from keras_selfkd.method import Method


@keras.saving.register_keras_serializable(package="keras_selfkd")
class DLB(Method):
    """Self-distillation from the last mini-batch.

    `CE(y, z) + alpha KL_T(sg[z_before] || z)`, the second term in the mean over the
    images that repeat: the first half of each batch is the last one's second half,
    under another augmentation, and `z_before` what was said of it a step ago.

    The data set must yield `{"image": ..., "previous": ...}` (`overlapping`). A step
    costs what plain training's does, but an epoch has twice as many: give it half the
    epochs of what it is compared with. The last batch's logits are saved with the
    model, so that a training goes on across a resume.

    Args:
        batch_size: Integer, images of a batch, of all replicas together.
        soft_label_weight: Float, `Ramp` or schedule (alpha). Defaults to 1, the
            paper's.
        temperature: Float above 0, of the soft labels (T). Defaults to 3, the paper's.

    Raises:
        ValueError: for an argument of another type or out of range, and for mixing;
            with the data, for larger batches.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.DLB(64).loss_weights
    {'task': 1.0, 'soft_label': 1.0}

    References:
        Shen et al., "Self-Distillation from the Last Mini-Batch for Consistency
        Regularization", CVPR 2022, https://arxiv.org/abs/2203.16172
    """

    terms = ("task", "soft_label")
    needs = ("previous",)
    dense = False
    takes_mixing = False

    def __init__(self, batch_size, *, soft_label_weight=1.0, temperature=3.0, **kwargs):
        super().__init__(**kwargs)
        check_integer(batch_size=batch_size)
        check_weight(soft_label_weight=soft_label_weight)
        check_number(above=0, temperature=temperature)
        self.batch_size = batch_size
        self.soft_label_weight = soft_label_weight
        self.temperature = temperature

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.memory = ExampleMemory(self.batch_size, outputs.logits.shape[-1])

    def prepare(self, batch):
        count = batch["x"].shape[0]
        if count is not None and count > self.batch_size:
            raise ValueError(
                f"Expected batches of at most batch_size={self.batch_size} images. "
                f"Received: a batch of {count}"
            )
        before = self.memory.read(ops.maximum(batch["previous"], 0))
        place = places_in_batch(ops.shape(batch["x"])[0], batch["copies"])
        return {**batch, "before": before, "place": place}

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "soft_label" in self.loss_weights:
            loss = soft_label(
                batch["before"], student.logits, self.temperature, self.multi_label
            )
            # The model takes the mean over the batch, of which half repeats.
            repeats = ops.cast(batch["previous"], "int64") >= 0
            known = ops.any(batch["before"] != 0, axis=-1)
            taught = ops.logical_and(repeats, known)
            terms["soft_label"] = ops.where(taught, 2.0 * loss, 0.0)
        return terms

    def after_step(self, student, batch):
        self.memory.write(batch["place"], student.logits)
