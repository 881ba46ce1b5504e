"""What a trained classifier is worth on worse images, and how well it can calibrate."""

import json
import statistics

import numpy as np
from scipy import optimize

from examples.results.class_results import accuracy, rate
from examples.results.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from examples.results.study_pictures import plain, style_of
from examples.results.study_table import mean_std
from keras_selfkd.files import staging, write_json
from keras_selfkd.plots import new_figure, save

FILE = "robustness.json"
IMAGES = 1_000  # Test images that are corrupted, at most.


def temperature(logits, labels):
    """The temperature that fits validation labels best.

    Args:
        logits: Array `(images, classes)`.
        labels: Integer array `(images,)`.

    Returns:
        Float, what to divide logits by.

    References:
        - Guo, Pleiss, Sun, Weinberger, [On Calibration of Modern Neural Networks](
          https://arxiv.org/abs/1706.04599), ICML 2017
    """

    def nll(log_t):
        return rate(logits / np.exp(log_t), labels).score["nll"]

    found = optimize.minimize_scalar(nll, bounds=np.log([0.05, 20]), method="bounded")
    return float(np.exp(found.x))


def rate_robustness(student, data):
    """Rates a student on corrupted test images, and after temperature scaling.

    Args:
        student: Trained Keras classifier.
        data: `examples.data.prepared.Data`.

    Returns:
        Dict with `corrupted`, a dict from corruption to the accuracies at all
        strengths, in [0, 1]; and with validation images the `temperature` that fits
        them, with `scaled_nll` and `scaled_calibration_error` of the test images.
    """
    labels = np.concatenate([labels for _, labels in data.test])
    # Evenly spaced: test images often stand class by class.
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), IMAGES)).astype(int)
    images = _images(data.test, chosen)
    found = {"images": len(chosen)}
    if data.validation is not None:
        pairs = [(student.predict_on_batch(x), y) for x, y in data.validation]
        fitted = temperature(*(np.concatenate(all) for all in zip(*pairs, strict=True)))
        logits = student.predict(data.test, verbose=0)
        score = rate(logits / fitted, labels).score
        found["temperature"] = fitted
        found |= {f"scaled_{k}": score[k] for k in ("nll", "calibration_error")}
    pixels = np.clip(np.round(images * data.std + data.mean), 0, 255).astype("uint8")
    labels = labels[chosen]

    def accuracy_of(name, strength):
        worse = (corrupted(pixels, name, strength) - data.mean) / data.std
        return accuracy(student.predict(worse.astype("float32"), verbose=0), labels)

    found["corrupted"] = {
        name: [accuracy_of(name, strength) for strength in STRENGTHS]
        for name in CORRUPTIONS
    }
    return found


def _images(batches, rows):
    """Some images of batches, of which one is in memory at a time."""
    first, found = 0, []
    for images, _ in batches:
        of_batch = rows[(rows >= first) & (rows < first + len(images))] - first
        found.append(np.asarray(images)[of_batch])
        first += len(images)
    return np.concatenate(found)


def keep(folder, student, data):
    """Rates a training's student and writes `robustness.json` beside it."""
    write_json(folder / FILE, rate_robustness(student, data))


def kept(folder):
    """What `keep` wrote, or `None`."""
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(found):
    """Lays out, in Markdown, what each leg's trainings are worth.

    Args:
        found: Dict from leg to a list of what `rate_robustness` returned.
    """
    header = ["leg", "seeds", "ECE scaled, %", "NLL scaled", "T", "all", *CORRUPTIONS]
    lines = [header, ["---"] * len(header)]
    for leg, results in found.items():
        lines.append([leg.replace("|", r"\|"), str(len(results)), *_cells(results)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(results):
    for name, factor in (
        ("scaled_calibration_error", 100),
        ("scaled_nll", 1),
        ("temperature", 1),
    ):
        values = [factor * one[name] for one in results if name in one]
        yield mean_std(values) if values else ""
    means = [
        {name: statistics.mean(of) for name, of in one["corrupted"].items()}
        for one in results
    ]
    yield mean_std([100 * statistics.mean(one.values()) for one in means], 1)
    for name in CORRUPTIONS:
        yield mean_std([100 * one[name] for one in means], 1)


def draw(found, path, title):
    """Draws the mean accuracy of every leg under every corruption, by strength."""
    figure = new_figure(11.0, 5.2)
    panels = figure.subplots(2, 4, sharex=True, sharey=True).flat
    for axes, name in zip(panels, CORRUPTIONS, strict=True):
        for number, (leg, results) in enumerate(found.items()):
            means = np.mean([one["corrupted"][name] for one in results], axis=0)
            axes.plot(
                STRENGTHS, 100 * means, ms=4, label=plain(leg), **style_of(number)
            )
        axes.set_title(name, fontsize="medium")
        axes.grid(alpha=0.3)
    figure.supxlabel("strength")
    figure.supylabel("accuracy, %")
    figure.suptitle(title)
    labels = panels[0].get_legend_handles_labels()
    figure.legend(*labels, frameon=False, loc="outside right center", fontsize="small")
    save(figure, path)


def write(path, found, command, title):
    """Writes `robustness.md` and `robustness.png`; returns the table."""
    text = table(found)
    with staging(path / "robustness.md") as staged:
        staged.write_text(
            f"# {title}: robustness\n\n`{command}`. Accuracy, %, of up to {IMAGES:,} "
            f"test images, mean over {len(STRENGTHS)} strengths of each corruption "
            "(examples/results/corruptions.py); calibration after dividing the logits "
            "by T, which fits the validation images.\n\n"
            f"{text}\n\n![robustness.png](robustness.png)\n",
            encoding="utf-8",
        )
    draw(found, path / "robustness.png", title)
    return text
