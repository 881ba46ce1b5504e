"""CS-KD: what is said of one image is the soft label of another of its class."""

import keras

from keras_selfkd.arguments import check_number, check_weight
from keras_selfkd.labels import labelled_alone
from keras_selfkd.losses import soft_label
from keras_selfkd.method import Method
from keras_selfkd.taps import Tapped


@keras.saving.register_keras_serializable(package="keras_selfkd")
class CSKD(Method):
    """Class-wise self-knowledge distillation: images of a class agree.

    `CE(y, z(x)) + lambda KL_T(sg[z(x')] || z(x))`, x' another image of x's class. The
    partner x' runs through the student in training mode, without a gradient, and its
    label is not learned in this step.

    The data set must yield `{"image": ..., "pair": ...}` (`pairs_by_class`). Partners
    have a forward pass of their own, as in the paper: the same pass as the images'
    would need their gradients' time, too, and normalise both by joint statistics. An
    image without a second one of its class is its own partner.

    Args:
        soft_label_weight: Float, `Ramp` or schedule (lambda). Defaults to 1, the
            paper's; 3 for fine-grained classes.
        temperature: Float above 0, of the soft labels (T). Defaults to 4, the paper's.

    Raises:
        ValueError: for an argument of another type or out of range, and for mixing.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.CSKD(soft_label_weight=3).loss_weights
    {'task': 1.0, 'soft_label': 3}

    References:
        Yun et al., "Regularizing Class-wise Predictions via Self-knowledge
        Distillation", CVPR 2020, https://arxiv.org/abs/2003.13964
    """

    terms = ("task", "soft_label")
    needs = ("pair",)
    dense = False
    exclusive = True
    takes_mixing = False

    def __init__(self, *, soft_label_weight=1.0, temperature=4.0, **kwargs):
        super().__init__(**kwargs)
        check_weight(soft_label_weight=soft_label_weight)
        check_number(above=0, temperature=temperature)
        self.soft_label_weight = soft_label_weight
        self.temperature = temperature

    def attach(self, student, outputs):
        super().attach(student, outputs)
        # A plain object: as an attribute the student would be saved twice.
        self._tapped = Tapped(student)

    def prepare(self, batch):
        if "soft_label" not in self.loss_weights:
            return batch
        partner = self._tapped(batch["pair"], training=True)
        return {**batch, "pair_logits": partner.logits}

    def loss_terms(self, student, batch, supervise):
        terms = {"task": supervise(batch["y"], student.logits)}
        if "soft_label" in self.loss_weights:
            loss = soft_label(batch["pair_logits"], student.logits, self.temperature)
            # Images of a label that is ignored are of no class together.
            terms["soft_label"] = labelled_alone(loss, batch["labelled"])
        return terms
