"""DDGSD: two views of each image teach each other."""

import keras
from keras import ops

from keras_selfkd.arguments import check_number, check_weight
from keras_selfkd.labels import counted
from keras_selfkd.losses import soft_label
from keras_selfkd.losses.features import at_least_float32
from keras_selfkd.method import Method
from keras_selfkd.pixels import as_float


@keras.saving.register_keras_serializable(package="keras_selfkd")
class DDGSD(Method):
    """Data-distortion guided self-distillation: distorted twice, an image is the same.

    Views u and v of each image go through the student in one batch:

    `(CE(y, z_u) + CE(y, z_v)) / 2 + KL_T(sg[z_u] || z_v) + KL_T(sg[z_v] || z_u)
    + gamma |mean f(u) - mean f(v)|^2`

    with `f` the embeddings, the input of the last Dense, and their mean over the batch
    (each replica's own). Students that end in no Dense have no such term.

    The data set yields `{"image": u, "view": v}`, or a layer makes both views of its
    images. A step costs twice plain training's. For classes: the views of a mask would
    have to show the same things in the same places.

    Args:
        soft_label_weight: Float, `Ramp` or schedule, weight of the soft labels.
            Defaults to 1.
        feature_weight: Float, `Ramp` or schedule (gamma). Defaults to 5e-4, the
            paper's.
        temperature: Float above 0, of the soft labels (T). Defaults to 4.
        augmentation: Keras layer that distorts images at random when called with
            `training=True`, such as a `keras.Sequential` of `RandomFlip` and others, or
            `None` where the data yield views. Defaults to `None`. Inside of `Late`
            images are not distorted before it begins.

    Raises:
        ValueError: for an argument of another type or out of range, and for mixing.

    Example:

    >>> import keras, keras_selfkd
    >>> flips = keras.layers.RandomFlip("horizontal")
    >>> keras_selfkd.DDGSD(augmentation=flips).needs, keras_selfkd.DDGSD().needs
    ((), ('view',))

    References:
        Xu and Liu, "Data-Distortion Guided Self-Distillation for Deep Neural
        Networks", AAAI 2019, https://doi.org/10.1609/aaai.v33i01.33015565
    """

    terms = ("task", "soft_label", "feature")
    needs = ("view",)
    dense = False
    takes_mixing = False

    def __init__(
        self,
        *,
        soft_label_weight=1.0,
        feature_weight=5e-4,
        temperature=4.0,
        augmentation=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(soft_label_weight=soft_label_weight, feature_weight=feature_weight)
        check_number(above=0, temperature=temperature)
        if not isinstance(augmentation, (keras.layers.Layer, type(None))):
            raise ValueError(
                "Expected augmentation to be a Keras layer, or None. "
                f"Received: augmentation={augmentation!r}"
            )
        self.soft_label_weight = soft_label_weight
        self.feature_weight = feature_weight
        self.temperature = temperature
        self.augmentation = augmentation
        if augmentation is not None:
            self.needs = ()
        self._has_embedding = True

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self._has_embedding = outputs.embedding is not None

    @property
    def loss_weights(self):
        left_out = () if self._has_embedding else ("feature",)
        weights = super().loss_weights
        return {name: weights[name] for name in weights if name not in left_out}

    def prepare(self, batch):
        if self.augmentation is None:
            views = [batch["x"], batch["view"]]
        else:
            views = [self.augmentation(batch["x"], training=True) for _ in range(2)]
        return {**batch, "x": ops.concatenate([as_float(view) for view in views])}

    def loss_terms(self, student, batch, supervise):
        one, other = student.split(2)

        def task(view):
            return 0.5 * supervise(batch["y"], view.logits)

        def teach(target, prediction):
            return soft_label(target, prediction, self.temperature, self.multi_label)

        terms = {
            "task": lambda: task(one) + task(other),
            "soft_label": lambda: (
                teach(one.logits, other.logits) + teach(other.logits, one.logits)
            ),
            "feature": lambda: distance_of_means(
                one.embedding, other.embedding, counted(batch, 1)
            ),
        }
        return {name: terms[name]() for name in self.loss_weights}


def distance_of_means(one, other, counts=None):
    """The squared distance of two batches' mean embeddings: a scalar.

    Args:
        one: Embeddings `(batch, dim)`.
        other: Those of the other views.
        counts: Mask `(batch,)` of the examples that count, or `None` for all.
    """
    difference = at_least_float32(one) - at_least_float32(other)
    if counts is None:
        return ops.sum(ops.square(ops.mean(difference, axis=0)))
    counts = ops.cast(counts, difference.dtype)
    total = ops.sum(counts[:, None] * difference, axis=0)
    return ops.sum(ops.square(ops.divide_no_nan(total, ops.sum(counts))))
