"""Sample weights brought to the shape of what they weigh."""

import keras
import tensorflow as tf
from keras import ops


def fit_weight(weight, rank):
    """Sample weights that broadcast against values of 1 (example) or 3 (pixel) axes.

    Args:
        weight: Tensor `(batch,)`, `(batch, 1)`, `(batch, height, width)` or `(batch,
            height, width, 1)`.
        rank: 1 or 3. Weights of pixels are averaged for values of examples.

    Raises:
        ValueError: for weights of another rank.
    """
    if weight.ndim in (2, 4) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    if weight.ndim == 3 and rank == 1:
        return ops.mean(weight, axis=(1, 2))
    if weight.ndim == 1 and rank == 3:
        return weight[:, None, None]
    if weight.ndim != rank:
        raise ValueError(
            "Expected sample weights (batch,), or (batch, height, width) for pixels. "
            "For class weights of masks map the data with "
            "`keras_selfkd.with_class_weights`. "
            f"Received: sample_weight with shape {tuple(weight.shape)}"
        )
    return weight


def per_pixel(weight, masks):
    """Weights `(batch, height, width)` for masks or dense logits of that size."""
    return ops.broadcast_to(fit_weight(weight, 3), ops.shape(masks)[:3])


def is_dense(logits):
    """Whether a student predicts a class for every pixel."""
    return len(logits.shape) == 4


def resized_like(maps, reference):
    """Maps or dense logits, bilinearly brought to the size of others."""
    if len(maps.shape) != 4:
        return maps
    size = reference.shape[1:3]
    if maps.shape[1:3] == size:
        return maps
    # Not Keras's: it takes no size that is only known in the step.
    size = ops.shape(reference)[1:3] if None in tuple(size) else size
    return ops.cast(tf.image.resize(maps, size), maps.dtype)


def pooled_like(maps, reference):
    """Maps averaged to the size of a coarser one, each cell over the area it covers.

    Example:

    >>> import numpy as np
    >>> fine = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    >>> print(np.array(pooled_like(fine, np.zeros((1, 2, 1, 1)))).ravel())
    [0.5 2.5]
    """
    sizes = list(zip(maps.shape[1:3], reference.shape[1:3], strict=True))
    if all(size == cells for size, cells in sizes):
        return maps
    if all(size % cells == 0 for size, cells in sizes):
        factors = tuple(size // cells for size, cells in sizes)
        return ops.average_pool(maps, factors, factors)
    rows, columns = (shares_of_pixels(*pair) for pair in sizes)
    dtype = maps.dtype
    rows, columns = ops.cast(rows, dtype), ops.cast(columns, dtype)
    return ops.einsum("ih,bhwc,jw->bijc", rows, maps, columns)


def enlarged(logits, masks):
    """Dense logits bilinearly enlarged to the size of the masks.

    Raises:
        ValueError: if the masks are smaller.
    """
    if len(logits.shape) == 4:
        for size, least in zip(masks.shape[1:3], logits.shape[1:3], strict=True):
            if size is not None and size < least:
                raise ValueError(
                    "Masks may be larger than the logits, not smaller. Received: masks "
                    f"{tuple(masks.shape)}, logits {tuple(logits.shape)}"
                )
    return resized_like(logits, masks)


def mask_at(valid, feature):
    """Where most of the pixels under a map's position are valid, as a mask.

    `None`, for no void pixels, stays `None`.
    """
    if valid is None:
        return None
    rows, columns = (
        shares_of_pixels(size, cells)
        for size, cells in zip(ops.shape(valid)[1:], feature.shape[1:3], strict=True)
    )
    valid = ops.cast(valid, "float32")
    return ops.einsum("ih,bhw,jw->bij", rows, valid, columns) > 0.5


def shares_of_pixels(size, cells):
    """Which share of each cell each of `size` pixels is: `(cells, size)`."""
    length = ops.cast(size, "float32") / cells
    ends = ops.arange(1, cells + 1, dtype="float32") * length
    starts = ends - length
    pixels = ops.arange(size, dtype="float32")
    common = ops.minimum(ends[:, None], pixels + 1) - ops.maximum(
        starts[:, None], pixels
    )
    return ops.maximum(common, 0.0) / length


def for_each_logit(y, logits):
    """Labels with the last axis of a single logit, which masks mostly lack."""
    if logits.shape[-1] == 1 and len(y.shape) == len(logits.shape) - 1:
        return ops.expand_dims(y, -1)
    return y


def at_size_of(y, logits, sample_weight):
    """Labels, logits and weights that fit: dense ones are as large as the masks."""
    if y is None:
        return y, logits, sample_weight
    y = for_each_logit(y, logits)
    if not is_dense(logits):
        return y, logits, sample_weight
    if sample_weight is not None:
        sample_weight = per_pixel(sample_weight, y)
    return y, enlarged(logits, y), sample_weight


def as_float(tensor):
    """Images or weights as floats: those that are floats stay as they are."""
    tensor = ops.convert_to_tensor(tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return tensor if "float" in dtype else ops.cast(tensor, keras.config.floatx())
