"""Mixup and CutMix: all that is random is drawn in `draw`, then applied.

Both take each example with a partner from the same replica's batch. A method mixes
where it was given `mixing=Mixup(...)`; its terms then see the mixed images, and
`supervise(batch["y"], logits)` the labels of both.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from scipy.special import betaincinv

from keras_selfkd.arguments import check_integer, check_number
from keras_selfkd.pixels import as_float, fit_weight, per_pixel

_QUANTILES = 4096


class MixedLabels(NamedTuple):
    """The labels of a batch of mixed images.

    Attributes:
        own: Labels as the user gave them.
        partner: Labels of the partners.
        share: Tensor `(batch,)` or `(batch, height, width)` in [0, 1], the weight of
            the own label.
    """

    own: Any
    partner: Any
    share: Any

    def larger(self):
        """The labels of larger weight, which training metrics are measured against."""
        axes = [1] * (self.own.ndim - self.share.ndim)
        share = ops.reshape(self.share, (*ops.shape(self.share), *axes))
        return ops.where(share >= 0.5, self.own, self.partner)


class Drawn(NamedTuple):
    """What is random about a mixed batch.

    Attributes:
        order: Integers `(batch,)`, each example's partner.
        share: Scalar in [0, 1], the share of an example's own image.
        center: Two scalars in [0, 1], where the partner's patch is (CutMix).
    """

    order: Any
    share: Any
    center: Any = (0.5, 0.5)

    def blend(self, values):
        """`share` of each example's values and the rest of its partner's."""
        return self.blend_two(values, ops.take(values, self.order, axis=0))

    def blend_two(self, own, partner):
        """`share` of each example's own values and the rest of its partner's."""
        share = ops.cast(self.share, own.dtype)
        return share * own + (1 - share) * partner

    def inverse(self):
        """Each example with the one whose partner it is."""
        return self._replace(order=ops.argsort(self.order))


class Mixing(keras.layers.Layer):
    """What Mixup and CutMix share: one draw a batch. A Layer so its seed is saved.

    Args:
        alpha: Float above 0, both parameters of the Beta distribution.
        seed: Integer, or `None` for Keras's global seed.
    """

    def __init__(self, alpha, seed=None, **kwargs):
        super().__init__(**kwargs)
        check_number(above=0, alpha=alpha)
        if seed is not None:
            check_integer(least=0, seed=seed)
        self.alpha = alpha
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # XLA compiles no Beta sampler, so shares are drawn from its quantiles.
        self._shares = beta_quantiles(alpha)

    def draw(self, count):
        """Returns `Drawn` for a batch of `count` examples, different in each call."""
        order = keras.random.shuffle(ops.arange(count), seed=self.seed_generator)
        row = keras.random.randint((), 0, _QUANTILES, seed=self.seed_generator)
        share = ops.take(ops.convert_to_tensor(self._shares), row)
        return Drawn(order, share, keras.random.uniform((2,), seed=self.seed_generator))

    def mix(self, batch):
        """Draws, and returns the batch with mixed images and labels."""
        return self.apply(batch, self.draw(ops.shape(batch["x"])[0]))

    def apply(self, batch, drawn):
        """Returns the batch as `drawn` mixes it; nothing here is random."""
        raise NotImplementedError(f"{type(self).__name__} must define `apply`.")

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Mixup(Mixing):
    """Images are weighted sums of two; the loss is that of both labels.

    Masks are not blended: each pixel has the labels of both images, and is void where
    either is.

    Args:
        alpha: Float above 0, of `Beta(alpha, alpha)`. Defaults to 0.2, the paper's
            for ImageNet.
        seed: Integer, or `None` for Keras's global seed.

    Raises:
        ValueError: if alpha is not above 0.

    Example:

    >>> import numpy as np
    >>> images = np.array([0.0, 1.0], "float32").reshape(2, 1, 1, 1)
    >>> batch = {"x": images, "y": np.array([3, 5])}
    >>> batch |= {"sample_weight": None, "valid": None}
    >>> mixed = Mixup().apply(batch, Drawn(order=[1, 0], share=0.75))
    >>> print(np.round(np.array(mixed["x"]).ravel(), 2), np.array(mixed["y"].partner))
    [0.25 0.75] [5 3]

    References:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
        https://arxiv.org/abs/1710.09412
    """

    def __init__(self, alpha=0.2, *, seed=None, **kwargs):
        super().__init__(alpha, seed, **kwargs)

    def apply(self, batch, drawn):
        mixed = {**batch, "x": drawn.blend(as_float(batch["x"]))}
        return mixed | both_labels(batch, drawn.order, drawn.share)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class CutMix(Mixing):
    """A box of each image shows its partner; the loss weighs both labels by area.

    Masks, and all that belongs to a pixel, are cut like the images.

    Args:
        alpha: Float above 0, of `Beta(alpha, alpha)`, the distribution of the area
            outside of the box before it is cut off at the image's edge. Defaults to
            1, the paper's.
        seed: Integer, or `None` for Keras's global seed.

    Raises:
        ValueError: if alpha is not above 0.

    Example:

    >>> import numpy as np
    >>> images = np.arange(2, dtype="float32").reshape(2, 1, 1, 1) * np.ones((4, 4, 1))
    >>> batch = {"x": images, "y": np.array([3, 5])}
    >>> batch |= {"sample_weight": None, "valid": None}
    >>> drawn = Drawn(order=[1, 0], share=0.75, center=(0.25, 0.25))
    >>> mixed = CutMix().apply(batch, drawn)
    >>> print(np.array(mixed["x"])[0, :, :, 0], np.array(mixed["y"].share))
    [[1. 1. 0. 0.]
     [1. 1. 0. 0.]
     [0. 0. 0. 0.]
     [0. 0. 0. 0.]] [0.75 0.75]

    References:
        Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
        Localizable Features", ICCV 2019, https://arxiv.org/abs/1905.04899
    """

    def __init__(self, alpha=1.0, *, seed=None, **kwargs):
        super().__init__(alpha, seed, **kwargs)

    def apply(self, batch, drawn):
        def cut(pixels):
            box = box_at(ops.shape(pixels)[1:3], drawn)
            box = ops.reshape(box, (1, *ops.shape(box), *[1] * (pixels.ndim - 3)))
            return ops.where(box, ops.take(pixels, drawn.order, axis=0), pixels)

        images = ops.convert_to_tensor(batch["x"])
        labels = ops.convert_to_tensor(batch["y"])
        mixed = {**batch, "x": cut(images)}
        if labels.ndim < 3:
            box = box_at(ops.shape(images)[1:3], drawn)
            share = 1.0 - ops.mean(ops.cast(box, "float32"))
            return mixed | both_labels(batch, drawn.order, share)
        mixed["y"] = cut(labels)
        if batch["valid"] is not None:
            mixed["valid"] = cut(ops.convert_to_tensor(batch["valid"]))
        if batch["sample_weight"] is not None:
            weight = as_float(batch["sample_weight"])
            mixed["sample_weight"] = cut(per_pixel(weight, labels))
        return mixed


def both_labels(batch, order, share):
    """The keys of a batch that say what its images are made of.

    An example's weight goes with its label: `own` counts with its share times its
    weight, `partner` with the rest times the partner's.
    """
    labels = ops.convert_to_tensor(batch["y"])
    mixed = {}
    if batch["valid"] is not None:
        valid = ops.convert_to_tensor(batch["valid"])
        mixed["valid"] = ops.logical_and(valid, ops.take(valid, order, axis=0))
    if batch["sample_weight"] is None:
        share = ops.cast(share, keras.config.floatx())
        own_share = ops.broadcast_to(share, ops.shape(order))
    else:
        weight = as_float(batch["sample_weight"])
        weight = fit_weight(weight, 3 if weight.ndim > 2 else 1)
        share = ops.cast(share, weight.dtype)
        own = share * weight
        mixed["sample_weight"] = own + (1 - share) * ops.take(weight, order, axis=0)
        own_share = ops.divide_no_nan(own, mixed["sample_weight"])
    partner = ops.take(labels, order, axis=0)
    return {**mixed, "y": MixedLabels(labels, partner, own_share)}


def box_at(size, drawn):
    """The partner's box as a boolean map `(height, width)`."""
    side = ops.sqrt(1.0 - ops.cast(drawn.share, "float32"))

    def within(length, center):
        # An image's size may be known in the step alone, as an integer tensor.
        positions = ops.arange(length, dtype="float32")
        middles = (positions + 0.5) / ops.cast(length, "float32")
        return ops.abs(middles - ops.cast(center, "float32")) < 0.5 * side

    rows, columns = (
        within(length, drawn.center[axis]) for axis, length in enumerate(size)
    )
    return ops.logical_and(rows[:, None], columns[None, :])


def beta_quantiles(alpha):
    """Evenly spaced quantiles of `Beta(alpha, alpha)`, a float32 array."""
    evenly_spaced = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return betaincinv(alpha, alpha, evenly_spaced).astype("float32")
