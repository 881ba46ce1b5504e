"""OLS: labels are smoothed by what the student says of their class."""

import keras
import numpy as np
from keras import ops

from keras_selfkd.arguments import check_number
from keras_selfkd.distributed.replicas import sum_over_replicas
from keras_selfkd.labels import class_numbers, counted, labelled_alone
from keras_selfkd.losses.logits import log_probabilities
from keras_selfkd.method import Method


@keras.saving.register_keras_serializable(package="keras_selfkd")
class OLS(Method):
    """Online label smoothing: each class has a soft label, renewed after each epoch.

    `(1 - share) CE(y, z) + share CE(S[y], z)`, where `S[c]` is the mean of what the
    student said, in the last epoch, of the training images of class c that it had
    right; of a class without such an image `S[c]` is uniform. The first epoch is plain
    training. For masks every pixel counts as an image does. No network is added; what
    is remembered are two tables, `(classes, classes)`. A `fit` from epoch 0 is a new
    training: it forgets; `initial_epoch` goes on.

    Args:
        share: Float in [0, 1), share of the soft label. Defaults to 0.5, the paper's.

    Raises:
        ValueError: for a share out of range, and for mixing.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.OLS().loss_weights
    {'task': 1.0, 'class_label': 1.0}

    References:
        Zhang et al., "Delving Deep into Label Smoothing", IEEE TIP 2021,
        https://arxiv.org/abs/2011.12562
    """

    terms = ("task", "class_label")
    exclusive = True
    takes_mixing = False

    def __init__(self, *, share=0.5, **kwargs):
        super().__init__(**kwargs)
        check_number(at_least=0, below=1, share=share)
        self.share = share

    def attach(self, student, outputs):
        super().attach(student, outputs)
        classes = max(outputs.logits.shape[-1], 2)
        self.soft_labels = self.add_weight(
            (classes, classes), "zeros", trainable=False, name="soft_labels"
        )
        # Of each class the sum of what was said, and in the last column how often.
        self.said = self.add_weight(
            (classes, classes + 1),
            "zeros",
            trainable=False,
            name="said",
            aggregation="only_first_replica",
        )

    def begin_epoch(self, epoch, epochs):
        said = self.said.numpy()
        if epoch == 0 or not said.any():  # A new training, or one that begins late.
            self.soft_labels.assign(ops.zeros_like(self.soft_labels))
        else:
            self.soft_labels.assign(class_means(said))
        self.said.assign(ops.zeros(self.said.shape))
        return False

    def loss_terms(self, student, batch, supervise):
        task = supervise(batch["y"], student.logits)
        log_p = log_probabilities(student.logits, 1.0)
        classes = class_numbers(batch["y"], student.logits)
        known = ops.clip(classes, 0, log_p.shape[-1] - 1)  # Ignored ones, too.
        target = ops.cast(ops.take(self.soft_labels, known, axis=0), log_p.dtype)
        # In the first epoch all rows are zeros.
        share = ops.cast(self.share * ops.sum(target, axis=-1), task.dtype)
        soft = -self.share * ops.sum(target * log_p, axis=-1)
        soft = labelled_alone(soft, batch["labelled"])
        return {"task": (1.0 - share) * task, "class_label": soft}

    def after_step(self, student, batch):
        p = ops.exp(log_probabilities(student.logits, 1.0))
        classes = class_numbers(batch["y"], student.logits)
        right = ops.cast(ops.argmax(p, axis=-1), classes.dtype) == classes
        counts = counted(batch, len(right.shape))
        if counts is not None:
            right = ops.logical_and(right, counts)
        count = ops.cast(right, p.dtype)[..., None]
        rows = ops.concatenate([p * count, count], axis=-1)
        rows = ops.reshape(rows, (-1, rows.shape[-1]))
        # Where replicas compute the same examples each adds its part of them.
        rows = rows / ops.cast(batch["copies"], rows.dtype)
        places = ops.clip(ops.reshape(classes, (-1,)), 0, p.shape[-1] - 1)
        sums = ops.segment_sum(rows, places, num_segments=p.shape[-1])
        self.said.assign_add(sum_over_replicas(ops.cast(sums, self.said.dtype)))


def class_means(said):
    """Soft labels `(classes, classes)`; uniform where nothing was right.

    Example:

    >>> class_means(np.array([[0.5, 0.3, 2.0], [0.0, 0.0, 0.0]])).tolist()
    [[0.25, 0.15], [0.5, 0.5]]
    """
    sums, counts = said[:, :-1], said[:, -1:]
    uniform = np.full_like(sums, 1 / len(sums))
    return np.divide(sums, counts, out=uniform, where=counts > 0)
