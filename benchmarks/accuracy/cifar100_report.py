"""The report of benchmarks/accuracy/cifar100.py: the table and the picture of its runs."""

import statistics

import numpy as np

from benchmarks import reports

READINGS = {
    "cifar100": """\
The aim was a mean gain of a point for FRSKD, and neither way of weighting reaches it
here: three seeds spread by more than the gain. It makes the student fit its training
images less in the same epochs (training accuracy: on the augmented batches of the last
epoch, where images are mixed on the mixed ones, against the larger label), most with
constant weights, which start while the self-teacher knows nothing yet. Our reading, not
tested by longer runs, is that 30 epochs on 10,000 images end before that pays. What it
improves with every seed is likelihood (NLL) and calibration (ECE).

CutMix is too much for 30 epochs: it ends 7 points under plain training, still rising,
and fits 30 % of its own mixed images. What pays most in this setting is to train on:
plainly, for as long as MixSKD's steps take.

MixSKD without warm-up stays at chance: its terms add up to about ten cross-entropies,
and at a rate of 0.1 the maps are constant after the first epoch (feature loss 1e-6,
task loss 4 ln 100). The paper warms up for 5 epochs. With that it passes plain training
without it by 2 points; but plain training gains as much from the warm-up, and against
that MixSKD is as accurate, within its spread (seed by seed -0.93, -0.09, +1.97), while
likelihood and calibration are better with every seed, for more than 3 times the time.
Plain training for as long is 3 to 6 points ahead, at three times its calibration error.
FRSKD and the others have no warm-up here, as the one recipe of the table wants; what it
would give them was not tried.
""",
    "cheaper": """\
Against the 41.0 of FRSKD with ramped weights and the same seeds, width 1 takes 1.2
points, the 2 coarsest taps 1.8, 64 channels 1.1 (2.8 with one seed, 0.4 and 0.2 with
the others), and every 2nd step 2.6: each is below plain training too, whose seeds
spread by 2.6 points. Calibration stays better than plain training's with all of them,
best with every 2nd step; likelihood with all but the 2 taps, which have plain
training's. `FRSKD()` itself has constant weights: cifar100.md. bfloat16 takes
nothing: it is ahead of float32 by 1.5 and 2.0 points with two seeds and behind by 0.6
with the third; with so few seeds that is no difference.

The thin student's time says little about a full ResNet-18's (step_time_cheaper.md):
64 channels are a quarter of what the self-teacher has on its coarsest map here, but
twice what it has on its finest, so they cost more, not less.
""",
}


def by_leg(results):
    """Dict from leg to its runs, in the order of the first of each."""
    legs = dict.fromkeys(run["leg"] for run in results)
    return {leg: [run for run in results if run["leg"] == leg] for leg in legs}


def rows_of(results, times):
    """The legs' scores over the seeds, in Markdown.

    Args:
        results: List of the runs' results.
        times: Dict from leg to how long its steps take.
    """
    legs = by_leg(results)
    plain = {run["seed"]: run["accuracy"] for run in legs["plain"]}
    lines = [
        "| method | epochs | training time, plain = 1 (minutes) | seeds "
        "| test accuracy, % | gain, points | NLL | ECE, % | training accuracy, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    all_plain = len(legs["plain"][0]["history"]["accuracy"])
    plain_minutes = all_plain * statistics.median(
        times[leg]["plain_minutes_an_epoch"] for leg in legs
    )
    for leg, runs in legs.items():
        epochs = len(runs[0]["history"]["accuracy"])
        ratio = times[leg]["ratio"] * epochs / all_plain
        minutes = ratio * plain_minutes
        gains = [100 * (run["accuracy"] - plain[run["seed"]]) for run in runs]
        cells = [
            leg,
            str(epochs),
            f"{ratio:.2f} ({minutes:.0f})",
            str(len(runs)),
            reports.mean_std([100 * run["accuracy"] for run in runs]),
            "" if leg == "plain" else reports.mean_std(gains),
            reports.mean_std([run["nll"] for run in runs]),
            reports.mean_std([100 * run["calibration_error"] for run in runs]),
            reports.mean_std([100 * run["history"]["accuracy"][-1] for run in runs]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    each = "; ".join(
        f"{leg} " + ", ".join(f"{100 * run['accuracy']:.2f}" for run in runs)
        for leg, runs in legs.items()
    )
    return "\n".join([*lines, "", f"Each run, by seed: {each}."])


def write(path, results, times, unfinished, table="cifar100", in_readme=False):
    """Writes the table and the picture of the finished runs, and prints the table.

    Args:
        path: Path of both, without a suffix.
        results: List of the runs' results.
        times: Dict from leg to how long its steps take.
        unfinished: Number of runs still to come.
        table: Key of `cifar100_legs.TABLES`. Defaults to `"cifar100"`.
        in_readme: Whether to write the table into README.md as well. Defaults to
            `False`.
    """
    rows = rows_of(results, times)
    command = f"python -m benchmarks.accuracy.cifar100 --table={table}"
    rest = f"{unfinished} planned runs are not finished.\n\n" * bool(unfinished)
    text = (
        f"# CIFAR-100, first 100 images a class, thin ResNet-18\n\n"
        f"`{command}`, {reports.machine()}. Training time: that of "
        "the steps, measured in turns with plain training's, times their number.\n\n"
        f"{rest}{rows}\n\n{READINGS[table]}\n![Test accuracy]({path.name}.png)\n"
    )
    reports.write_text(path.with_suffix(".md"), text)
    legs = by_leg(results)
    history = legs["plain"][0]["history"]
    epochs, points = len(history["accuracy"]), len(history["val_accuracy"])
    curves = {
        leg: 100 * np.array([run["history"]["val_accuracy"] for run in runs])
        for leg, runs in legs.items()
        if len(runs) > 1 or leg == "plain"
    }
    reports.draw_curves(
        curves,
        np.linspace(epochs / points, epochs, points),
        path.with_suffix(".png"),
        "CIFAR-100, first 100 images a class",
        "test accuracy, % (mean, and range over the seeds)",
    )
    if in_readme:
        reports.write_between_markers("README.md", table, f"{rows}\n")
    print(text)
