"""How good a classifier's confidence is, and how sure one can be of its accuracy."""

import keras
from keras import ops
from scipy import stats

from keras_selfkd.pixels import fit_weight


@keras.saving.register_keras_serializable(package="keras_selfkd")
class ExpectedCalibrationError(keras.metrics.Metric):
    """Mean distance between confidence and accuracy, over bins of equal confidence.

    Predictions are sorted by the probability of the predicted class into `bins`
    intervals `(0, 1/bins], (1/bins, 2/bins], ...`. The result is the mean over all
    predictions of `|accuracy - mean confidence|` of their interval: 0 where of the
    predictions made with 80 % confidence 80 % are right, and so on.

    Labels are integers, `(batch,)` or `(batch, 1)`, or one-hot. With `(batch, height,
    width, classes)` outputs every pixel counts. A single output is binary: its labels
    are 0 and 1, and with logits the two classes have the logits 0 and z. With
    `multi_label` every output is such a binary prediction of its own.

    Args:
        bins: Number of intervals. Defaults to 15.
        from_logits: Whether the outputs are logits rather than probabilities.
            Defaults to `True`.
        ignore_class: Label of the examples or pixels to leave out, such as 255.
            Defaults to `None`.
        multi_label: Whether the outputs are several independent labels, each present or
            not, and `y_true`, of the same shape, says which are. Defaults to `False`.
        name: Name of the metric. Defaults to `"expected_calibration_error"`.
        dtype: Dtype of the result. Defaults to `None`, float32.

    Raises:
        ValueError: If `bins` isn't a positive integer.

    Example:
    >>> metric = ExpectedCalibrationError(from_logits=False)
    >>> metric.update_state([0, 0], [[0.9, 0.1], [0.9, 0.1]])
    >>> round(float(metric.result()), 4)
    0.1

    References:
        - Guo, Pleiss, Sun, Weinberger, [On Calibration of Modern Neural Networks](
          https://arxiv.org/abs/1706.04599), ICML 2017
    """

    def __init__(
        self,
        bins=15,
        from_logits=True,
        ignore_class=None,
        multi_label=False,
        name="expected_calibration_error",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(bins, int) or bins < 1:
            raise ValueError(
                f"Expected `bins` to be a positive integer. Received: bins={bins!r}"
            )
        self.bins = bins
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.multi_label = multi_label
        self._direction = "down"  # Lets callbacks with mode="auto" seek the minimum.
        # Sums over the predictions of each bin, so that replicas can be added up.
        self.weight, self.confidence, self.correct = (
            self.add_variable((bins,), "zeros", name=variable)
            for variable in ("weight", "confidence", "correct")
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds the predictions of a batch, weighted by `sample_weight`."""
        outputs = ops.convert_to_tensor(y_pred)
        if self.multi_label:
            outputs = outputs[..., None]
        probabilities = self._probabilities(outputs)
        labels = _integer_labels(ops.convert_to_tensor(y_true), probabilities)
        weight = self._weight_of(labels, sample_weight)
        confidence = ops.max(probabilities, axis=-1)
        correct = ops.cast(ops.argmax(probabilities, axis=-1), "int32") == labels
        # A NaN goes into the first bin, to show in the result.
        bins = ops.nan_to_num(ops.ceil(confidence * self.bins)) - 1
        bins = ops.clip(ops.reshape(ops.cast(bins, "int32"), (-1,)), 0, self.bins - 1)
        for variable, values in (
            (self.weight, weight),
            (self.confidence, weight * confidence),
            (self.correct, weight * ops.cast(correct, self.dtype)),
        ):
            values = ops.reshape(values, (-1,))
            variable.assign_add(ops.segment_sum(values, bins, num_segments=self.bins))

    def result(self):
        """Returns the error, 0 before the first prediction."""
        gaps = ops.sum(ops.abs(self.correct - self.confidence))
        return ops.divide_no_nan(gaps, ops.sum(self.weight))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "bins": self.bins,
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "multi_label": self.multi_label,
        }

    def _probabilities(self, outputs):
        outputs = ops.cast(outputs, self.dtype)
        if outputs.shape[-1] == 1:
            first = ops.zeros_like(outputs) if self.from_logits else 1 - outputs
            outputs = ops.concatenate([first, outputs], axis=-1)
        return ops.softmax(outputs, axis=-1) if self.from_logits else outputs

    def _weight_of(self, labels, sample_weight):
        weight = ops.ones_like(labels, dtype=self.dtype)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            while len(given.shape) > len(labels.shape):
                given = ops.squeeze(given, axis=-1)
            while len(given.shape) < len(labels.shape):
                given = ops.expand_dims(given, axis=-1)
            weight = weight * given
        if self.ignore_class is None:
            return weight
        return ops.where(labels == self.ignore_class, 0.0, weight)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class PixelAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of the pixels whose largest logit is their label's, void ones left out.

    A single logit is binary: above 0 it says 1.

    For masks `(batch, height, width)`, `(batch, height, width, 1)` or one-hot. The
    mean intersection over union is Keras's own: `keras.metrics.MeanIoU(num_classes,
    ignore_class=255, sparse_y_pred=False)`, and for one logit `BinaryIoU([0, 1],
    threshold=0.0)`. Several independent labels a pixel have no largest logit: watch
    them by `keras.metrics.BinaryAccuracy(threshold=0.0)`.

    Args:
        ignore_class: Label of the pixels to leave out, such as 255. Defaults to
            `None`.
        name: Name of the metric. Defaults to `"pixel_accuracy"`.
        dtype: Dtype of the result. Defaults to `None`, float32.

    Example:
    >>> metric = PixelAccuracy(ignore_class=255)
    >>> logits = [[[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]]]
    >>> metric.update_state([[[1, 0, 255]]], logits)
    >>> float(metric.result())
    0.5
    """

    def __init__(self, ignore_class=None, name="pixel_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.ignore_class = ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds the pixels of a batch, weighted by `sample_weight`."""
        outputs = ops.convert_to_tensor(y_pred)
        if outputs.shape[-1] == 1:  # Binary: the two classes have the logits 0 and z.
            outputs = ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1)
        labels = _integer_labels(ops.convert_to_tensor(y_true), outputs)
        weight = ops.ones_like(labels, dtype=self.dtype)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weight *= fit_weight(given, len(labels.shape))
        if self.ignore_class is not None:
            weight = ops.where(labels == self.ignore_class, 0.0, weight)
        super().update_state(labels, outputs, sample_weight=weight)

    def get_config(self):
        """Returns the constructor's arguments."""
        config = {"name": self.name, "dtype": self.dtype}
        return {**config, "ignore_class": self.ignore_class}


def _integer_labels(labels, probabilities):
    """Brings integer or one-hot labels to the shape of the predictions."""
    shape = labels.shape
    if len(labels.shape) == len(probabilities.shape):
        one_hot = labels.shape[-1] != 1
        labels = ops.argmax(labels, -1) if one_hot else ops.squeeze(labels, -1)
    if not 0 < len(labels.shape) == len(probabilities.shape) - 1:
        raise ValueError(
            "Expected an integer label or a one-hot vector for each prediction. "
            f"Received: y_true.shape={shape}, y_pred.shape={probabilities.shape}"
        )
    return ops.cast(labels, "int32")


def confidence_interval(correct, total, level=0.95):
    """Wilson's interval of an accuracy measured on `total` examples.

    Unlike the accuracy plus or minus two standard errors it stays inside [0, 1] and
    is honest for few examples and for accuracies near 1.

    Args:
        correct: Number of right predictions.
        total: Number of predictions.
        level: Probability that the interval holds the true accuracy, in (0, 1).
            Defaults to 0.95.

    Returns:
        Tuple `(low, high)` of shares in [0, 1].

    Raises:
        ValueError: If the counts or the level are out of range.

    Example:
    >>> low, high = confidence_interval(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)

    References:
        - Wilson, [Probable Inference, the Law of Succession, and Statistical
          Inference](https://doi.org/10.1080/01621459.1927.10502953), JASA 1927
    """
    if not 0 <= correct <= total or total == 0 or not 0 < level < 1:
        raise ValueError(
            "Expected 0 <= correct <= total, total > 0 and 0 < level < 1. "
            f"Received: correct={correct}, total={total}, level={level}"
        )
    interval = stats.binomtest(correct, total).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
