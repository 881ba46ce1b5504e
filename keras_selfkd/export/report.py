"""What an export wrote, and whether it computes what Keras does."""

import warnings
from typing import NamedTuple

import numpy as np

from keras_selfkd.export.batches import in_batches
from keras_selfkd.files import write_json

# Of the largest output. Kernels differ by 1e-6, half precision by 1e-3, mistakes 1e-1.
TOLERANCE = {None: 1e-3, "float16": 1e-2}
DISAGREEMENT = 0.01  # Of decisions, where they are all that the file returns.
LEAST_AGREEMENT = 0.8  # Below it a quantised file gets a warning.


class ExportReport(NamedTuple):
    """What was written, and how far its outputs lie from Keras's on `samples` images.

    `bytes` is the size of all that was written at `path`; `operators` counts the LiteRT
    or ONNX operators by name and is empty for a SavedModel. `agreement` is the share,
    in [0, 1], of decisions that are the same: of classes, or of each label of images
    that may have several. Where the file returns classes, the differences are 0 or 1:
    same or another class.
    """

    path: str
    bytes: int
    operators: dict
    quantize: str | None
    max_difference: float
    mean_difference: float
    agreement: float
    samples: int

    def __str__(self):
        rows = {
            "file": self.path,
            "size": f"{self.bytes:,} bytes",
            "weights": self.quantize or "float32",
            "operators": ", ".join(f"{n} {name}" for name, n in self.operators.items()),
            "difference": f"max {self.max_difference:.2g}, "
            f"mean {self.mean_difference:.2g}",
            "agreement": f"{self.agreement:.1%} of {self.samples} images",
        }
        return "\n".join(f"{name:<10}  {row}" for name, row in rows.items() if row)

    def save(self, path):
        """Writes the report as JSON."""
        write_json(path, self._asdict())


def measure(model, images, actual, decide, quantize=None):
    """Measures outputs against Keras's, and refuses unusable ones.

    Args:
        model: Keras model that was exported.
        images: Array of images.
        actual: Array of the exported file's outputs for them.
        decide: Function from outputs to what they decide, such as `decisions`.
        quantize: As for `export_student`. Defaults to `None`.

    Returns:
        Dict with the last four entries of an `ExportReport`.

    Raises:
        RuntimeError: If the outputs aren't finite, or not Keras's (float32, float16).
    """
    expected = in_batches(lambda x: np.asarray(model(x, training=False)), images, 8)
    for source, outputs in {"Keras": expected, "the exported file": actual}.items():
        if not np.isfinite(outputs).all():
            raise RuntimeError(
                f"Outputs of {source} are NaN or infinite, so the file was not kept. "
                f"Received: quantize={quantize!r}"
            )
    agreement = float(np.mean(decide(actual) == decide(expected)))
    difference, found, allowed = _difference(actual, expected, quantize)
    if found > allowed:
        raise RuntimeError(
            "The exported file doesn't compute what Keras does, so it was not kept: "
            f"outputs differ by {found:.3g}, {allowed:.3g} is allowed"
        )
    if quantize not in TOLERANCE and agreement < LEAST_AGREEMENT:
        warnings.warn(
            f"The file decides as Keras does on {agreement:.1%} of {len(images)} "
            "images. Calibrate it on more images, such as it will get, or try "
            f"`quantize='float16'`. Received: quantize={quantize!r}",
            stacklevel=3,
        )
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "agreement": agreement,
        "samples": len(images),
    }


def _difference(actual, expected, quantize):
    """Differences, what is judged of them, and how much of that is allowed."""
    exact = quantize in TOLERANCE
    if expected.dtype.kind in "iu":
        difference = (actual != expected).astype("float32")
        return difference, difference.mean(), DISAGREEMENT if exact else np.inf
    difference = np.abs(actual - expected)
    allowed = TOLERANCE[quantize] * np.abs(expected).max() if exact else np.inf
    return difference, difference.max(), allowed


def decisions(outputs, head=None, multi_label=False):
    """What outputs decide: a class, or of each label whether it is there.

    Args:
        outputs: Array of logits, probabilities or classes `(..., classes)`.
        head: As for `export_student`. Defaults to `None`, logits.
        multi_label: Whether several logits are labels that don't exclude each other.
            Defaults to `False`.

    Returns:
        Integer array of classes without the last axis, or a boolean array of the shape
        of the outputs.

    Example:
    >>> decisions(np.array([[-1.0, 2.0, 0.5]]), multi_label=True)
    array([[False,  True,  True]])
    """
    if outputs.dtype.kind in "iu":
        return outputs
    if head == "sigmoid":
        return outputs > 0.5
    if multi_label or outputs.shape[-1] == 1:
        return outputs > 0
    return outputs.argmax(-1)
