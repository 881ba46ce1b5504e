"""What a segmenter is trained for, and watched by: a loss and metrics for masks."""

import keras

from keras_selfkd import PixelAccuracy


def objective(data, binary=False):
    """Returns the loss and the metrics, as arguments of `compile`.

    Args:
        data: `examples.data.prepared.Data` of masks.
        binary: Whether the student has one logit and the data are
            `with_binary_masks`. Defaults to `False`.
    """
    if binary:
        # Void pixels weigh nothing, also in what the loss is divided by.
        loss = keras.losses.BinaryCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
        iou = keras.metrics.BinaryIoU(
            [0, 1], threshold=0.0, name="mean_iou", dtype="float32"
        )
        return {"loss": loss, "weighted_metrics": [iou, PixelAccuracy()]}
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=data.void
    )
    iou = keras.metrics.MeanIoU(
        data.classes, name="mean_iou", ignore_class=data.void, sparse_y_pred=False
    )
    return {"loss": loss, "metrics": [iou, PixelAccuracy(ignore_class=data.void)]}
