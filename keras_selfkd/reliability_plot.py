"""A reliability diagram: is a network right as often as it is confident?"""

import numpy as np

from keras_selfkd.metrics import ExpectedCalibrationError
from keras_selfkd.plots import COLORS, new_figure, save


def plot_reliability(
    outputs, labels, path, bins=15, from_logits=True, title="", multi_label=False
):
    """Draws a reliability diagram: the accuracy of predictions by their confidence.

    Args:
        outputs: Logits or probabilities `(batch, classes)`, `(batch, 1)` for binary
            ones, or either for each pixel.
        labels: Their classes, as `ExpectedCalibrationError` takes them.
        path: Path of the PNG file to write.
        bins: Number of intervals of the confidence. Defaults to 15.
        from_logits: Whether `outputs` are logits. Defaults to `True`.
        title: Text above the diagram, such as the name of the run. Defaults to `""`.
        multi_label: Whether `outputs` are several independent labels, each a binary
            prediction of its own. Defaults to `False`.

    Raises:
        ValueError: If there are no outputs, or not all of them are finite.

    References:
        - Guo, Pleiss, Sun, Weinberger, [On Calibration of Modern Neural Networks](
          https://arxiv.org/abs/1706.04599), ICML 2017
    """
    outputs = np.asarray(outputs)
    if not outputs.size or not np.isfinite(outputs).all():
        raise ValueError(
            "Expected at least one output, all finite. Received: outputs of shape "
            f"{outputs.shape}, {np.count_nonzero(~np.isfinite(outputs))} not finite"
        )
    error = ExpectedCalibrationError(
        bins=bins, from_logits=from_logits, multi_label=multi_label
    )
    error.update_state(labels, outputs)
    weight, confidence, correct = (v.numpy() for v in error.variables)
    filled = np.where(weight > 0, weight, np.nan)  # Empty bins have no bar.
    figure = new_figure(4.8, 5.2)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    _draw_reliability(top, correct / filled, confidence / filled)
    _bars(bottom, weight / weight.sum(), color="0.6")
    bottom.set(xlabel="confidence", ylabel="share of\npredictions", xlim=(0, 1))
    accuracy, ece = correct.sum() / weight.sum(), float(error.result())
    top.set_title(f"{title}\naccuracy {accuracy:.1%}, ECE {ece:.1%}".strip())
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    save(figure, path)


def _draw_reliability(axes, accuracy, confidence):
    _bars(axes, accuracy, color=COLORS[0], label="accuracy")
    _bars(
        axes,
        confidence - accuracy,
        bottom=accuracy,
        color="none",
        edgecolor=COLORS[1],
        hatch="///",
        label="gap to confidence",
    )
    axes.plot([0, 1], [0, 1], "--", color="0.4", label="perfectly calibrated")
    axes.set(ylim=(0, 1), ylabel="accuracy")


def _bars(axes, heights, **style):
    width = 1 / len(heights)
    left = width * np.arange(len(heights))
    axes.bar(left, heights, width, align="edge", **{"edgecolor": "white"} | style)
