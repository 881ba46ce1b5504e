"""Losses between feature maps."""

import keras
from keras import ops


def feature_loss(default_weight, same_channels=False, regressor=False):
    """Declares a function `(target, prediction, mask=None)` as a feature loss.

    Args:
        default_weight: Float, the weight that methods give it unless told, or `None`
            where they must be told.
        same_channels: Boolean, whether the maps must agree in channels; a method
            then projects the student's map with a 1x1 convolution where they differ.
        regressor: Boolean, whether the student's map always passes a 1x1 convolution
            to the target's channels, BatchNorm and ReLU.

    Returns:
        Decorator that registers the function with Keras, so that it can be saved.
    """

    def declare(function):
        function.default_weight = default_weight
        function.same_channels = same_channels
        function.regressor = regressor
        return keras.saving.register_keras_serializable(package="keras_selfkd")(
            function
        )

    return declare


@feature_loss(default_weight=100.0)
def attention_transfer(target, prediction, mask=None):
    """Mean squared difference of the two maps' normalised spatial attention.

    `mean_hw((phi(F) - phi(T))^2)` with `phi(F) = a / max(||a||, 1e-12)` and
    `a = mean_c(F^2)`, the norm over positions. The maps may differ in channels.

    Args:
        target: Teacher map `(batch, height, width, channels)`; no gradient flows
            into it.
        prediction: Student map `(batch, height, width, other_channels)`.
        mask: Optional `(batch, height, width)` mask of the positions that count.

    Returns:
        Tensor `(batch,)`, computed in float32.

    Example:

    >>> import numpy as np
    >>> target = np.array([[[[1.0], [0.0]]]])
    >>> loss = attention_transfer(target, target[:, :, ::-1])
    >>> print(np.array(loss))
    [1.]

    References:
        Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017,
        https://arxiv.org/abs/1612.03928. The mean over positions is that of FRSKD
        (https://arxiv.org/abs/2103.08273), whose weight belongs to it.
    """
    difference = attention(ops.stop_gradient(target), mask) - attention(
        prediction, mask
    )
    return masked_mean(ops.square(difference), mask)


# The weight that harmed validation accuracy least in a short training on CIFAR-100:
# benchmarks/accuracy/normalized_mse_weight.md.
@feature_loss(default_weight=0.1, same_channels=True)
def normalized_mse(target, prediction, mask=None):
    """Mean squared difference of the two maps after instance normalisation.

    `mean((N(F) - N(T))^2)` with `N(F) = (F - mean_hw) / sqrt(var_hw + 1e-5)` per
    example and channel.

    Args:
        target: Teacher map `(batch, height, width, channels)`; no gradient flows
            into it.
        prediction: Student map of the same shape.
        mask: Optional `(batch, height, width)` mask of the positions that count.

    Returns:
        Tensor `(batch,)`, computed in float32.

    Example:

    >>> import numpy as np
    >>> target = np.array([[[[1.0], [0.0]]]])
    >>> loss = normalized_mse(target, target[:, :, ::-1])
    >>> print(np.round(np.array(loss), 3))
    [4.]

    References:
        Liu et al., "Normalized Feature Distillation for Semantic Segmentation",
        2022, https://arxiv.org/abs/2207.05256
    """
    difference = instance_normalized(
        ops.stop_gradient(target), mask
    ) - instance_normalized(prediction, mask)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), mask)


@feature_loss(default_weight=None, regressor=True)
def fitnet_hint(target, prediction, mask=None):
    """Mean squared difference of the two maps.

    `mean((F' - T)^2)`; a method gives it the student's map through a trained regressor
    (1x1 convolution, BatchNorm, ReLU), which is thrown away with the teacher. Its scale
    is that of the maps, so it has no default weight: pass `feature_weight`.

    Args:
        target: Teacher map `(batch, height, width, channels)`; no gradient flows
            into it.
        prediction: Student map of the same shape.
        mask: Optional `(batch, height, width)` mask of the positions that count.

    Returns:
        Tensor `(batch,)`, computed in float32.

    Example:

    >>> import numpy as np
    >>> target = np.array([[[[1.0], [0.0]]]])
    >>> print(np.array(fitnet_hint(target, 3.0 * target)))
    [2.]

    References:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015,
        https://arxiv.org/abs/1412.6550. The mean is that of FRSKD's comparison
        (https://arxiv.org/abs/2103.08273).
    """
    return mean_square_between(ops.stop_gradient(target), prediction, mask)


def mean_square_between(one, other, mask=None):
    """Mean squared difference of two maps, `(batch,)`; both get a gradient."""
    difference = at_least_float32(one) - at_least_float32(other)
    return masked_mean(ops.mean(ops.square(difference), axis=-1), mask)


def attention(feature, mask=None):
    """Where a map looks: `(batch, height, width)`, of unit length over positions."""
    energy = ops.mean(ops.square(at_least_float32(feature)), axis=-1)
    if mask is not None:
        energy = energy * ops.cast(mask, energy.dtype)
    squared_norm = ops.sum(ops.square(energy), axis=(1, 2), keepdims=True)
    # The root of the clipped square: the gradient of an all-zero map is 0, not NaN.
    return energy / ops.sqrt(ops.maximum(squared_norm, 1e-24))


def instance_normalized(feature, mask=None):
    feature = at_least_float32(feature)
    mean = masked_mean(feature, mask, keepdims=True)
    variance = masked_mean(ops.square(feature - mean), mask, keepdims=True)
    return (feature - mean) / ops.sqrt(variance + 1e-5)


def masked_mean(values, mask, keepdims=False):
    """Mean over positions (axes 1 and 2); 0 where the mask leaves none."""
    values = at_least_float32(values)
    if mask is None:
        return ops.mean(values, axis=(1, 2), keepdims=keepdims)
    mask = ops.cast(mask, values.dtype)
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(values.shape) - 3)))
    total = ops.sum(values * mask, axis=(1, 2), keepdims=keepdims)
    count = ops.sum(mask, axis=(1, 2), keepdims=keepdims)
    return ops.divide_no_nan(total, count)


def at_least_float32(tensor):
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))


def check_feature_loss(feature_loss):
    """Refuses a feature loss that could not be saved with the model."""
    if isinstance(feature_loss, keras.layers.Layer):
        return
    name = getattr(feature_loss, "__name__", None)
    if name is None or keras.saving.get_registered_name(feature_loss) == name:
        raise ValueError(
            "The feature loss must be registered, so that the model can be saved. "
            "Decorate it with `@keras_selfkd.losses.feature_loss(default_weight=...)` "
            "or `@keras.saving.register_keras_serializable()`. Received: "
            f"feature_loss={feature_loss!r}"
        )


def default_weight(feature_loss):
    """The weight that a feature loss declares for itself."""
    weight = getattr(feature_loss, "default_weight", None)
    if weight is None:
        raise ValueError(
            "This feature loss has no default weight: pass `feature_weight=...`. "
            f"Received: feature_loss={feature_loss!r}"
        )
    return weight
