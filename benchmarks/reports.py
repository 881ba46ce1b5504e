"""What the benchmarks write: tables with their machine and date, and pictures."""

import datetime
import os
import pathlib
import platform
import shlex
import statistics
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS


def write_text(path, text):
    """Writes a text file, whole or not at all."""
    with staging(path) as staged:
        staged.write_text(text, encoding="utf-8")


def write_between_markers(path, name, text):
    """Replaces what stands in a file between the markers of `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    path = pathlib.Path(path)
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_text(path, f"{before}{begin}{text}{end}{after}")


def write_record(path, title, text):
    """Writes what a benchmark printed into a file, beside what people wrote there.

    Args:
        path: Path of the Markdown file; what stands outside of its markers is left.
        title: Its first line, where there is no such file yet.
        text: String that ends in a line break.
    """
    path, name = pathlib.Path(path), "measured"
    if not path.exists():
        markers = f"<!-- {name}: begin -->\n<!-- {name}: end -->\n"
        write_text(path, f"# {title}\n\n{markers}")
    write_between_markers(path, name, text)
    print(text, flush=True)


def command():
    """Returns the command that started this benchmark."""
    module = sys.modules["__main__"].__spec__.name
    return f"python -m {shlex.join([module, *sys.argv[1:]])}"


def machine():
    """Returns the machine, the versions and the date, as one line."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    cpu = names[0] if names else platform.processor()
    return (
        f"{os.cpu_count()} cores of an {cpu}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"{datetime.date.today()}"
    )


def label(method):
    """Returns what tables call a method of the runners: plain training is `plain`."""
    return "plain" if method == "supervised" else method


def mean_std(values, digits=2):
    """Returns `mean ± standard deviation` (of the sample), or the one value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return (
        f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
    )


def draw_curves(curves, epochs, path, title, ylabel):
    """Draws the mean over the seeds of each leg's curve, in a band from low to high.

    Args:
        curves: Dict from leg to an array `(seeds, points)`.
        epochs: Array `(points,)`, the epochs of the points.
        path: Path of the PNG file.
        title: Text above the picture.
        ylabel: Name and unit of the values.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for color, (leg, values) in zip(COLORS, curves.items(), strict=False):
        axes.plot(epochs, np.mean(values, 0), "o-", color=color, label=leg, ms=4)
        axes.fill_between(
            epochs, np.min(values, 0), np.max(values, 0), color=color, alpha=0.2
        )
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    figure.legend(frameon=False, loc="outside right center")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    with staging(path) as staged:
        figure.savefig(staged, format="png", dpi=150)
