"""The pictures of a study: score against time, reliability, confusions."""

import statistics

import numpy as np

from examples.results.study_table import groups
from keras_selfkd.plots import COLORS, new_figure, save

_NAMED = 20  # Classes of a matrix whose names can be read.


def draw_score_by_time(rows, metric, path, title):
    """Draws the score of every leg against its training's time, a line for each leg.

    A large point is the mean over the seeds, a small one a seed.

    Args:
        rows: As `study_table.rows_of` returns them.
        metric: Name of the score that counts.
        path: Path of the PNG file.
        title: Text above the picture.
    """
    figure = new_figure(7.5, 4.5)
    axes = figure.subplots()
    first = min(row["budget"] for row in rows)
    legs = dict.fromkeys(row["leg"] for row in rows)
    for number, leg in enumerate(legs):
        own = [row for row in rows if row["leg"] == leg and row[metric] is not None]
        if not own:
            continue  # All of them diverged.
        means = [
            (
                statistics.mean(_time(row, first) for row in some),
                statistics.mean(100 * row[metric] for row in some),
            )
            for some in groups(own).values()
        ]
        each = [(_time(row, first), 100 * row[metric]) for row in own]
        style = style_of(number)
        axes.plot(*zip(*means, strict=True), label=plain(leg), **style)
        style |= {"linestyle": "none", "ms": 3, "alpha": 0.5}
        axes.plot(*zip(*each, strict=True), **style)
    axes.set(
        title=title,
        xlabel=f"time of the training, {first} epochs of the baseline = 1",
        ylabel=f"{metric.replace('_', ' ')}, %",
    )
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside right center")
    save(figure, path)


def style_of(number):
    """What tells the lines of many legs apart: each colour comes again, otherwise."""
    again, color = divmod(number, len(COLORS))
    kinds = {"marker": "os^Dv"[again % 5], "linestyle": ("-", "--", ":")[again % 3]}
    return {"color": COLORS[color], **kinds}


def plain(name):
    """A name without what Matplotlib reads as a formula."""
    return name.replace("$", r"\$")


def _time(row, first):
    return row["time"] * row["budget"] / first


def draw_reliability(bins, path, title):
    """Draws how often the predictions of every leg are right, by their confidence.

    Args:
        bins: Dict from leg to a dict of the sums `weight`, `confidence` and `correct`
            of each bin, arrays `(bins,)`.
        path: Path of the PNG file.
        title: Text above the picture.
    """
    figure = new_figure(6.2, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color="0.4", label="perfectly calibrated")
    for number, (leg, sums) in enumerate(bins.items()):
        filled = sums["weight"] > 0.001 * sums["weight"].sum()  # Few jump about.
        weight = sums["weight"][filled]
        error = (
            np.abs(sums["confidence"] - sums["correct"]).sum() / sums["weight"].sum()
        )
        axes.plot(
            sums["confidence"][filled] / weight,
            sums["correct"][filled] / weight,
            ms=4,
            label=f"{plain(leg)}, ECE {error:.1%}",
            **style_of(number),
        )
    axes.set(title=title, xlabel="confidence", ylabel="accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside right center", fontsize="small")
    save(figure, path)


def draw_confusions(matrices, names, path):
    """Draws confusion matrices side by side, in shares of each true class.

    Args:
        matrices: Dict from leg to an array `(classes, classes)`, a row for each true
            class.
        names: Names of the classes.
        path: Path of the PNG file.
    """
    named = len(names) <= _NAMED
    figure = new_figure(1.0 + 4.2 * len(matrices), 4.6)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (leg, matrix) in zip(panels, matrices.items(), strict=True):
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="equal")
        axes.set(title=plain(leg), xlabel="predicted", ylabel="true")
        ticks = range(len(names)) if named else []
        axes.set_xticks(ticks, [names[i] for i in ticks], rotation=90)
        axes.set_yticks(ticks, [names[i] for i in ticks])
        if named:
            _write_shares(axes, shares)
    figure.colorbar(image, ax=panels, label="share of the true class")
    save(figure, path)


def _write_shares(axes, shares):
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.5 else "black"
            place = {"ha": "center", "va": "center", "fontsize": 6}
            axes.text(column, row, f"{100 * share:.0f}", color=color, **place)
