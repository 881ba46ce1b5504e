"""The table of a study: means over the seeds, and differences with their intervals."""

import csv
import statistics
from typing import NamedTuple

from scipy import stats

from keras_selfkd.files import staging

_OTHERS = ("nll", "calibration_error", "validation")


class Comparison(NamedTuple):
    """What a leg gains at a budget, seed by seed.

    Attributes:
        leg: Name of the leg.
        budget: Epochs of the baseline.
        differences: List of its scores minus the baseline's of the same seed.
        mean: Their mean, `None` without any.
        interval: `(low, high)`, the 95 % t interval of their mean over seeds, `None`
            with fewer than two.
    """

    leg: str
    budget: int
    differences: list
    mean: float | None
    interval: tuple | None

    @property
    def tells(self):
        """Whether the difference is larger than the spread of the seeds explains."""
        if self.interval is None:
            return False
        low, high = self.interval
        return low > 0 or high < 0


def rows_of(results, costs, metric, per_class):
    """Returns the lines of `results.csv`, a dict each.

    Args:
        results: List of the trainings' results.
        costs: Dict from leg to a dict with the `ratio` of its step's time to the
            baseline's.
        metric: Name of the score that counts.
        per_class: Name of the score with a number for each class.
    """
    rows = []
    for result in results:
        score = result.get("score", {})
        names = zip(
            _told_apart(result["labels"]), score.get(per_class, []), strict=False
        )
        rows.append(
            {
                "leg": result["leg"],
                "seed": result["seed"],
                "budget": result["budget"],
                "epochs": result["epochs"],
                "time": costs[result["leg"]]["ratio"]
                * result["epochs"]
                / result["budget"],
                "seconds": result.get("seconds"),
                **{name: score.get(name) for name in (metric, *_OTHERS)},
                "diverged": result.get("diverged"),
                "note": result["note"],
                "flags": " ".join(result["flags"]),
                **{f"{per_class}: {name}": value for name, value in names},
            }
        )
    return rows


def _told_apart(names):
    """Names, with their number where another one is the same."""
    return [
        f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in enumerate(names)
    ]


def write_csv(path, rows):
    """Writes rows, whole or not at all; what a training has not stays empty."""
    columns = dict.fromkeys(name for row in rows for name in row)
    with staging(path) as staged, staged.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def groups(rows):
    """Returns a dict from budget and leg to its rows, in order."""
    keys = dict.fromkeys((row["budget"], row["leg"]) for row in rows)
    return {
        key: [row for row in rows if (row["budget"], row["leg"]) == key] for key in keys
    }


def compare(rows, metric, baseline):
    """Returns a `Comparison` with the baseline for every other leg and budget.

    Args:
        rows: As `rows_of` returns them.
        metric: Name of the score that counts.
        baseline: Name of the leg to compare with.
    """
    found, of = [], groups(rows)
    for (budget, leg), own in of.items():
        if leg == baseline:
            continue
        plain = {row["seed"]: row[metric] for row in of.get((budget, baseline), [])}
        pairs = [(row[metric], plain.get(row["seed"])) for row in own]
        differences = [one - other for one, other in pairs if None not in (one, other)]
        mean = statistics.mean(differences) if differences else None
        interval = _interval(differences)
        found.append(Comparison(leg, budget, differences, mean, interval))
    return found


def _interval(values):
    if len(values) < 2:
        return None
    if max(values) == min(values):
        return values[0], values[0]
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return float(interval.low), float(interval.high)


def mean_std(values, digits=2):
    """Returns `mean ± standard deviation` (of the sample), or the one value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(rows, metric, baseline):
    """Lays a study out in Markdown, a line for each leg and budget.

    Args:
        rows: As `rows_of` returns them.
        metric: Name of the score that counts.
        baseline: Name of the leg to compare with.
    """
    gains = {(one.budget, one.leg): one for one in compare(rows, metric, baseline)}
    title = metric.replace("_", " ").replace("iou", "IoU")
    header = [
        "leg",
        "epochs",
        f"time, {baseline} = 1",
        "seeds",
        f"{title}, %",
        f"difference to {baseline}, points [95 % interval]",
        "NLL",
        "ECE, %",
        f"validation {title}, %",
    ]
    lines = [header, ["---"] * len(header)]
    for key, own in groups(rows).items():
        lines.append([*_what(key, own), *_scores(own, metric, gains.get(key))])
    if all(row["validation"] is None for row in rows):
        lines = [line[:-1] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _what(key, own):
    times = statistics.mean(row["time"] for row in own)
    name = key[1].replace("|", r"\|")  # It would end a cell.
    return [name, str(own[0]["epochs"]), f"{times:.2f}", str(len(own))]


def _scores(own, metric, gain):
    diverged = sum(row[metric] is None for row in own)
    cells = [
        _cell(own, metric, 100),
        "" if gain is None else _difference(gain),
        _cell(own, "nll", 1),
        _cell(own, "calibration_error", 100),
        _cell(own, "validation", 100),
    ]
    if diverged:
        cells[0] = f"{cells[0]} ({diverged} of {len(own)} diverged)".strip()
    return cells


def _cell(own, name, factor):
    values = [factor * row[name] for row in own if row[name] is not None]
    return mean_std(values) if values else ""


def _difference(gain):
    if gain.mean is None:
        return ""
    text = f"{100 * gain.mean:+.2f}"
    if gain.interval is None:
        return text
    low, high = gain.interval
    return f"{text} [{100 * low:+.2f}, {100 * high:+.2f}]"


def verdict(rows, metric, baseline):
    """Says which differences are larger than the seeds' spread."""
    found = compare(rows, metric, baseline)
    if not found:
        return "There is one leg: nothing to compare."
    several = len({one.budget for one in found}) > 1

    def named(some, gains=False):
        return ", ".join(
            one.leg
            + f" at {one.budget} epochs" * several
            + (f" ({100 * one.mean:+.2f} points)" if gains else "")
            for one in some
        )

    telling = [one for one in found if one.tells]
    told = [one for one in found if one.interval is not None]
    others = [one for one in told if not one.tells]
    unknown = [one for one in found if one.interval is None]
    parts = []
    if telling:
        parts.append(
            f"Larger than the spread of the seeds is the difference to {baseline} of "
            f"{named(telling, gains=True)}"
        )
    if others:
        parts.append(f"no larger than that spread is that of {named(others)}")
    if unknown:
        parts.append(
            f"two seeds at least, of it and of {baseline}, would tell more of "
            f"{named(unknown)}"
        )
    sentence = "; ".join(parts)
    how = " (95 % t intervals of paired differences, each by itself)" * bool(told)
    return f"{sentence[0].upper()}{sentence[1:]}{how}."
