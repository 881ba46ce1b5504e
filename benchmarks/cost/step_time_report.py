"""The report of benchmarks/cost/step_time.py: tables and a picture of its ratios."""

import statistics
from typing import NamedTuple

from benchmarks import reports
from benchmarks.cost.step_time_legs import STUDENTS
from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS


class Cost(NamedTuple):
    """What training with one leg costs.

    Attributes:
        seconds: List, of a step in each turn.
        operations: Multiply-adds of a forward pass, and as many of the backward.
        memory: Peak MiB of its process.
        above_imports: MiB of it above what importing takes.
        first_step: Seconds from the start of building to the end of the first step.
        images: Number of images of a step.
    """

    seconds: list
    operations: float
    memory: float
    above_imports: float
    first_step: float
    images: int


HEADER = """\
| leg | images/s | time, plain = 1: median (from to) | multiply-adds, plain = 1 \
| time / multiply-adds | peak memory, MiB (plain = 1) | above importing \
| first step, s (plain = 1) |
|---|---|---|---|---|---|---|---|
"""


def fastest(costs):
    """The faster of the two legs of plain training."""
    plain = list(costs)[:2]
    return costs[min(plain, key=lambda leg: statistics.median(costs[leg].seconds))]


def ratios(cost, plain):
    """A leg's time as a multiple of plain training's, turn by turn."""
    return [a / b for a, b in zip(cost.seconds, plain.seconds, strict=True)]


def table(costs):
    """One student's legs, in Markdown."""
    plain, rows = fastest(costs), HEADER
    for leg, cost in costs.items():
        each = ratios(cost, plain)
        ratio, floor = statistics.median(each), cost.operations / plain.operations
        cells = [
            leg,
            f"{cost.images / statistics.median(cost.seconds):.1f}",
            f"{ratio:.2f} ({min(each):.2f} to {max(each):.2f})",
            f"{floor:.2f}",
            f"{ratio / floor:.2f}",
            f"{cost.memory:,.0f} ({cost.memory / plain.memory:.2f})",
            f"{cost.above_imports:,.0f} "
            f"({cost.above_imports / plain.above_imports:.2f})",
            f"{cost.first_step:.1f} ({cost.first_step / plain.first_step:.2f})",
        ]
        rows += f"| {' | '.join(cells)} |\n"
    return rows


def inference(alike):
    """What evaluating and predicting with FRSKD's model costs, in a sentence."""
    parts = [
        f"`{task}` {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        for task, each in alike.items()
    ]
    return f"\nFRSKD's model, bare student = 1: {', '.join(parts)}.\n" if parts else ""


def write(path, results, rounds, steps):
    """Writes the tables and the picture of the finished students.

    Args:
        path: Path of both, without a suffix.
        results: Dict from student to its legs' costs and its inference ratios.
        rounds: Number of turns.
        steps: Number of steps of a turn.
    """
    text = (
        f"# Cost of a training step\n\n`{reports.command()}`, "
        f"{reports.machine()}. {rounds} turns of {steps} steps. Plain is the faster of "
        "its two legs (on a CPU they are the same). A network that only runs forward "
        "counts a third of its multiply-adds; the first step of the leg with all steps "
        "in one execution is all of them. Memory is the host's.\n\n"
        f"![Time and memory of each leg]({path.name}.png)\n"
    )
    for name, (costs, alike) in results.items():
        images = next(iter(costs.values())).images
        options = ", ".join(f"{k}={v}" for k, v in STUDENTS[name][3].items())
        title = f"{name}, batch {images}" + bool(options) * f", `{options}`"
        text += f"\n## {title}\n\n{table(costs)}{inference(alike)}"
    reports.write_text(path.with_suffix(".md"), text)
    draw(path.with_suffix(".png"), results)
    print(text)


def draw(path, results):
    """Draws times beside their floors, with the spread over the turns, and memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2 * len(results)), layout="constrained")
    rows = figure.subplots(len(results), 2, squeeze=False)
    for axes, (name, (costs, _)) in zip(rows, results.items(), strict=True):
        plain, legs = fastest(costs), list(costs)[2:]
        each = [ratios(costs[leg], plain) for leg in legs]
        middle = [statistics.median(r) for r in each]
        low = [m - min(r) for m, r in zip(middle, each, strict=True)]
        high = [max(r) - m for m, r in zip(middle, each, strict=True)]
        floors = [costs[leg].operations / plain.operations for leg in legs]
        memory = [costs[leg].memory / plain.memory for leg in legs]
        axes[0].barh(legs, middle, xerr=(low, high), color=COLORS[0], label="measured")
        axes[0].plot(floors, legs, "k|", ms=14, mew=2, label="multiply-adds")
        axes[1].barh(legs, memory, color=COLORS[1])
        axes[1].tick_params(labelleft=False)
        axes[0].set_title(f"{name}: time of a step, plain = 1", fontsize=10)
        axes[1].set_title("peak memory of the process, plain = 1", fontsize=10)
        for one in axes:
            one.invert_yaxis()
            one.axvline(1, color="gray", lw=0.8)
            one.spines[["top", "right"]].set_visible(False)
    handles = rows[0][0].get_legend_handles_labels()
    figure.legend(*handles, frameon=False, loc="outside lower left", ncols=2)
    with staging(path) as staged:
        figure.savefig(staged, format="png", dpi=150)
