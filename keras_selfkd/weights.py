"""Sample weights brought to the shape of what they weigh."""

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
