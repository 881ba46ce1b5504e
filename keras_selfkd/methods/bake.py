"""BAKE: an image's neighbours in the batch are its teacher."""

import keras
from keras import ops

from keras_selfkd.arguments import check_boolean, check_number, check_weight
from keras_selfkd.labels import counted
from keras_selfkd.losses.features import at_least_float32
from keras_selfkd.losses.logits import log_probabilities
from keras_selfkd.method import Method


@keras.saving.register_keras_serializable(package="keras_selfkd")
class BAKE(Method):
    """Batch knowledge ensembling: soft labels spread between similar images.

    `CE(y, z) + KL_T(sg[Q] || z)` with `Q = (1 - w) (I - w A)^-1 P`, where `P =
    softmax(z / T)`, and A the row-wise softmax of the embeddings' cosine similarities,
    an image's own left out. The neighbours are those of the batch, on several replicas
    of each one's own.

    It lives on class mates: a data set that is shuffled and then goes through
    `pairs_by_class` has partners side by side, in batches of even size, and shows each
    image once an epoch. (The paper's epoch shows them 2 to 4 times: when comparing,
    count images.)

    Args:
        soft_label_weight: Float, `Ramp` or schedule. Defaults to 1.
        propagation: Float in [0, 1), share of the neighbours (w). Defaults to 0.9, for
            one class mate an image; 0.5 for three.
        temperature: Float above 0 (T). Defaults to 4, the paper's.
        class_mates: Boolean, whether the data must come from `pairs_by_class`. `False`
            takes batches as they are. Defaults to `True`.

    Raises:
        ValueError: for an argument of another type or out of range, for mixing, and,
            with the student, for one that does not end in a Dense.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.BAKE().needs, keras_selfkd.BAKE(class_mates=False).needs
    (('pair',), ())

    References:
        Ge et al., "Self-distillation with Batch Knowledge Ensembling Improves ImageNet
        Classification", 2021, https://arxiv.org/abs/2104.13298
    """

    terms = ("task", "soft_label")
    needs = ("pair",)
    dense = False
    exclusive = True
    takes_mixing = False

    def __init__(
        self,
        *,
        soft_label_weight=1.0,
        propagation=0.9,
        temperature=4.0,
        class_mates=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(soft_label_weight=soft_label_weight)
        check_number(at_least=0, below=1, propagation=propagation)
        check_number(above=0, temperature=temperature)
        check_boolean(class_mates=class_mates)
        self.soft_label_weight = soft_label_weight
        self.propagation = propagation
        self.temperature = temperature
        self.class_mates = class_mates
        if not class_mates:
            self.needs = ()

    def attach(self, student, outputs):
        super().attach(student, outputs)
        if outputs.embedding is None:
            raise ValueError(
                "BAKE compares embeddings, the input of the student's last Dense. "
                f"Received: student={student.name!r}, which does not end in one"
            )

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "soft_label" in self.loss_weights:
            log_p = log_probabilities(student.logits, self.temperature)
            target = ops.stop_gradient(
                of_neighbours(
                    ops.exp(log_p),
                    student.embedding,
                    self.propagation,
                    counted(batch, 1),
                )
            )
            divergence = ops.sum(target * (ops.log(target) - log_p), axis=-1)
            terms["soft_label"] = self.temperature**2 * divergence
        return terms


def of_neighbours(probabilities, embeddings, propagation, counts=None):
    """What an image and those like it are said to be, `(batch, classes)`.

    Args:
        probabilities: `(batch, classes)`.
        embeddings: `(batch, dim)`.
        propagation: Float in [0, 1), share of the neighbours.
        counts: Mask `(batch,)` of the images that are neighbours, or `None` for all.

    Example:

    >>> import numpy as np
    >>> said = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(np.array(of_neighbours(said, np.eye(2), 0.5)).round(3))
    [[0.667 0.333]
     [0.333 0.667]]
    """
    embeddings = at_least_float32(embeddings)
    dtype = embeddings.dtype
    norms = ops.sqrt(ops.sum(ops.square(embeddings), axis=-1, keepdims=True) + 1e-12)
    unit = embeddings / norms
    own = ops.eye(ops.shape(unit)[0], dtype=dtype)
    # A softmax without the image itself; an image alone has no neighbours.
    alike = ops.exp(ops.matmul(unit, ops.transpose(unit))) * (1 - own)
    if counts is not None:
        alike = alike * ops.cast(counts, dtype)
    affinity = ops.divide_no_nan(alike, ops.sum(alike, axis=-1, keepdims=True))
    spread = ops.solve(own - propagation * affinity, ops.cast(probabilities, dtype))
    spread = ops.maximum(spread, 1e-12)
    return spread / ops.sum(spread, axis=-1, keepdims=True)
