"""PSKD: labels are softened by what the student said an epoch ago."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.arguments import check_integer, check_number, refuse_unless
from keras_selfkd.labels import label_marks
from keras_selfkd.losses.logits import log_probabilities
from keras_selfkd.memory import ExampleMemory
from keras_selfkd.method import Method
from keras_selfkd.mixing import MixedLabels

DTYPES = ("float32", "float16")


@keras.saving.register_keras_serializable(package="keras_selfkd")
class PSKD(Method):
    """Progressive self-knowledge distillation: the student of the last epoch teaches.

    The target of image i is `(1 - a_t) y + a_t P[i]`, where `P[i]` is the softmax of
    what the student said of it when it was last trained on it, and `a_t` rises from
    epoch to epoch, `a_t = share (t + 1) / E`. Of an image that was not seen yet the
    target is its label. No network is added; the step costs what plain training's does.
    A `fit` from epoch 0 is a new training: it forgets; `initial_epoch` goes on.

    The data set must yield `{"image": ..., "index": ...}` (`with_index`). For each
    image a row of probabilities is remembered, `examples * classes * 4` bytes in memory
    and in every checkpoint.

    Args:
        examples: Integer, the number of training images.
        share: Float in [0, 1), what `a_t` reaches in the last epoch. Defaults to 0.8,
            the paper's for CIFAR-100; 0.3 for ImageNet.
        memory_dtype: `"float32"`, or `"float16"` for half the memory. Defaults to
            `"float32"`.
        memory_limit: Integer, bytes above which the memory is refused. Defaults to
            4 GiB.
        mixing: `Mixup` or `CutMix`, or `None`. What is remembered is mixed like the
            labels.

    Raises:
        ValueError: for an argument of another type or out of range, and a memory
            above its limit.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.PSKD(50_000).loss_weights
    {'task': 1.0, 'past': 1.0}

    References:
        Kim et al., "Self-Knowledge Distillation with Progressive Refinement of
        Targets", ICCV 2021, https://arxiv.org/abs/2006.12000
    """

    terms = ("task", "past")
    needs = ("index",)
    dense = False
    exclusive = True

    def __init__(
        self,
        examples,
        *,
        share=0.8,
        memory_dtype="float32",
        memory_limit=2**32,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integer(examples=examples, memory_limit=memory_limit)
        check_number(at_least=0, below=1, share=share)
        known = memory_dtype in DTYPES
        refuse_unless(known, "memory_dtype", " or ".join(DTYPES), memory_dtype)
        self.examples = examples
        self.share = share
        self.memory_dtype = memory_dtype
        self.memory_limit = memory_limit

    def attach(self, student, outputs):
        super().attach(student, outputs)
        classes = max(outputs.logits.shape[-1], 2)
        size = self.examples * classes * (4 if self.memory_dtype == "float32" else 2)
        if size > self.memory_limit:
            raise ValueError(
                f"Remembering {self.examples:,} x {classes:,} probabilities takes "
                f"{size / 1e9:.1f} GB. Take memory_dtype='float16', or raise "
                f"memory_limit. Received: memory_limit={self.memory_limit}"
            )
        half = {"dtype": "float16"} if self.memory_dtype == "float16" else {}
        self.memory = ExampleMemory(self.examples, classes, **half)
        # To notice what was learned from other data.
        self.labels = ExampleMemory(self.examples, 1)
        # a_t: set by `begin_epoch`, so that before the first `fit` training is plain.
        self.now = self.add_weight((), "zeros", trainable=False, name="share")

    def begin_epoch(self, epoch, epochs):
        if epoch == 0:  # A new training, maybe of other data.
            for memory in (self.memory, self.labels):
                memory.rows.assign(ops.zeros_like(memory.rows))
        self.now.assign(self.share * (epoch + 1) / epochs)
        return False

    def prepare(self, batch):
        same = self._same_labels(batch)
        with tf.control_dependencies([same]):
            batch = {**batch, "past": tf.identity(self.memory.read(batch["index"]))}
        if self.mixing is None:
            return batch
        drawn = self.mixing.draw(ops.shape(batch["x"])[0])
        batch = self.mixing.apply(batch, drawn)
        return {**batch, "past": past_of_both(batch["past"], batch["y"], drawn.order)}

    def loss_terms(self, student, batch, supervise):
        task = supervise(batch["y"], student.logits)
        log_p = log_probabilities(student.logits, 1.0)
        past = ops.cast(batch["past"], log_p.dtype)
        # A row of zeros is that of an image that was not seen yet.
        share = ops.cast(self.now, log_p.dtype) * ops.sum(past, axis=-1)
        past = -ops.cast(self.now, log_p.dtype) * ops.sum(past * log_p, axis=-1)
        return {"task": (1.0 - share) * task, "past": past}

    def after_step(self, student, batch):
        said = ops.exp(log_probabilities(student.logits, 1.0))
        if batch["labelled"] is not None:  # What is ignored is never remembered.
            said = ops.where(batch["labelled"][:, None], said, 0.0)
        self.memory.write(batch["index"], said)
        self.labels.write(batch["index"], label_marks(batch))

    def _same_labels(self, batch):
        """Asserts that each image has the label that it had when last seen."""
        before, now = self.labels.read(batch["index"]), label_marks(batch)
        known = ops.logical_and(before > 0, now > 0)
        same = ops.all(ops.logical_or(before == now, ops.logical_not(known)))
        message = (
            "An image has another label than when it was last seen: what PSKD "
            "remembers belongs to other data, the images are numbered anew in each "
            "epoch (`with_index` comes before `shuffle`), or labels are mixed outside "
            "of `mixing=`. Indices:"
        )
        return tf.debugging.Assert(same, [message, batch["index"]])


def past_of_both(past, labels, order):
    """Remembered rows, blended as the labels of mixed images are."""
    if not isinstance(labels, MixedLabels):
        return past
    share = ops.cast(labels.share, past.dtype)[:, None]
    return share * past + (1 - share) * ops.take(past, order, axis=0)
