"""Is self-distillation worth its time? The equal-time studies, side by side.

  python -m benchmarks.accuracy.worth

reads the results.csv of every study worth_*.toml beside it, writes a table of each into
worth.md, and draws score against time into worth.png. Legs that distil nothing are
free: at each budget the strongest of them, by its mean on the validation images, is
what self-distillation is compared with, seed by seed, on the test images.
"""

import csv
import itertools
import pathlib
import statistics
from typing import NamedTuple

from absl import app

from benchmarks.reports import command, write_record
from examples.results.study_pictures import plain, style_of
from examples.results.study_table import Comparison, compare, mean_std
from keras_selfkd.plots import new_figure, save

FOLDER = pathlib.Path(__file__).parent
# What distils nothing: plain training, and an average of weights that teaches nobody.
FREE = ("--method=supervised", "--soft_label_weight=0 ")
_METRICS = ("accuracy", "mean_iou")
_NUMBERS = ("time", "validation", *_METRICS)


class Budget(NamedTuple):
    """What a study says of one budget.

    Attributes:
        epochs: Epochs of plain training that every leg had the time of.
        free: Name of the strongest free leg.
        best: Name of the strongest self-distilled leg.
        gains: Dict from each other leg to its `Comparison` with `free`.
    """

    epochs: int
    free: str
    best: str
    gains: dict[str, Comparison]


def read(path):
    """Returns the rows of a results.csv with numbers as such, and its metric's name."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metric = next(name for name in _METRICS if name in rows[0])
    for row in rows:
        row |= {name: float(row[name]) for name in _NUMBERS if row.get(name)}
        row |= {"budget": int(row["budget"])}
    return [row for row in rows if row[metric] != ""], metric  # The rest diverged.


def budgets(rows, metric):
    """Returns a `Budget` for each budget, the shortest first."""
    found = []
    for epochs in sorted({row["budget"] for row in rows}):
        own = [row for row in rows if row["budget"] == epochs]
        free = strongest(row for row in own if is_free(row))
        best = strongest(row for row in own if not is_free(row))
        gains = {one.leg: one for one in compare(own, metric, free)}
        found.append(Budget(epochs, free, best, gains))
    return found


def is_free(row):
    """Whether a row is of a training without self-distillation."""
    return any(flag in f"{row['flags']} " for flag in FREE)


def strongest(rows):
    """Returns the leg with the highest mean on the validation images."""
    legs = {}
    for row in rows:
        legs.setdefault(row["leg"], []).append(row["validation"])
    return max(legs, key=lambda leg: statistics.mean(legs[leg]))


def tables(name, rows, metric):
    """Returns the Markdown of a study: its budgets, then every self-distilled leg."""
    found = budgets(rows, metric)
    baseline = rows[0]["leg"]
    names = [baseline, "strongest free", "strongest self-distilled"]
    lines = [[f"epochs of {baseline}", *names, "difference of these two, points"]]
    for one in found:
        own = [row for row in rows if row["budget"] == one.epochs]
        scores = [_score(own, leg, metric) for leg in (baseline, one.free, one.best)]
        names = ["", f"{one.free} ", f"{one.best} "]
        cells = [f"{n}{score}" for n, score in zip(names, scores, strict=True)]
        lines.append([str(one.epochs), *cells, _points(one.gains[one.best])])
    legs = dict.fromkeys(row["leg"] for row in rows)
    other = [["leg"] + [f"{one.epochs} epochs: {one.free}" for one in found]]
    other += [
        [leg] + [_points(one.gains[leg]) if leg in one.gains else "" for one in found]
        for leg in legs
    ]
    title = f"## {name}: {metric.replace('_', ' ')}, %"
    between = "Every leg against the strongest free one, points:"
    return f"{title}\n\n{_markdown(lines)}\n\n{between}\n\n{_markdown(other)}\n"


def _markdown(lines):
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _score(rows, leg, metric):
    return mean_std([100 * row[metric] for row in rows if row["leg"] == leg])


def _points(gain):
    text = f"{100 * gain.mean:+.2f}"
    if gain.interval is None:
        return f"{text} (one seed)"
    low, high = gain.interval
    return f"{text} [{100 * low:+.2f}, {100 * high:+.2f}]"


def draw(studies, path):
    """Draws a panel for each study: mean score of the legs against time.

    Args:
        studies: Dict from name to `(rows, metric)`.
        path: Path of the PNG file.
    """
    figure = new_figure(1.8 + 4.0 * len(studies), 4.2)
    panels = figure.subplots(1, len(studies), squeeze=False)[0]
    every = [row for rows, _ in studies.values() for row in rows]
    free = dict.fromkeys(row["leg"] for row in every if is_free(row))
    taught = dict.fromkeys(row["leg"] for row in every if not is_free(row))
    styles = {
        leg: {"color": "0.5", "ls": "--", "marker": marker}
        for leg, marker in zip(free, itertools.cycle(".xv+sd^"))
    }
    styles |= {leg: style_of(number) for number, leg in enumerate(taught)}
    for axes, (name, study) in zip(panels, studies.items(), strict=True):
        _draw_study(axes, *study, styles)
        axes.set_title(name)
    handles = {}
    for axes in panels:
        lines, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    place = {"frameon": False, "loc": "outside right center"}
    figure.legend(handles.values(), handles, **place)
    save(figure, path)


def _draw_study(axes, rows, metric, styles):
    found = budgets(rows, metric)
    epochs = [one.epochs for one in found]

    def curve(legs, **style):
        means = [_mean(rows, *pair, metric) for pair in zip(epochs, legs, strict=True)]
        axes.plot(epochs, means, **style)

    free = [one.free for one in found]
    curve(free, color="0.3", lw=3, marker="*", ms=10, label="strongest free")
    for leg, style in styles.items():
        if all(leg in (one.free, *one.gains) for one in found):
            curve([leg] * len(epochs), label=plain(leg), **style)
    axes.set(xlabel=f"time, in epochs of {rows[0]['leg']}", xscale="log")
    axes.set_ylabel(f"{metric.replace('_', ' ')}, %")
    axes.minorticks_off()
    axes.set_xticks(epochs, [str(one) for one in epochs])
    axes.grid(alpha=0.3)


def _mean(rows, epochs, leg, metric):
    own = [row for row in rows if (row["budget"], row["leg"]) == (epochs, leg)]
    return 100 * statistics.mean(row[metric] for row in own)


def main(_):
    studies = {
        path.parent.name: read(path)
        for path in sorted(FOLDER.glob("worth_*/results.csv"))
    }
    if not studies:
        raise FileNotFoundError(
            "Expected results of a study worth_*.toml beside this file: train one by "
            "`python -m examples.compare` first."
        )
    parts = [f"`{command()}`, of the studies' results.csv.\n"]
    parts += [tables(name, *study) for name, study in studies.items()]
    write_record(FOLDER / "worth.md", "Is it worth its time?", "\n".join(parts))
    draw(studies, FOLDER / "worth.png")


if __name__ == "__main__":
    app.run(main)
