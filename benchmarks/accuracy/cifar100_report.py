"""The report of cifar100.py: the table and the picture of its runs."""

import statistics

import numpy as np

from benchmarks import kept_runs, reports


def rows_of(results, times):
    """The legs' scores over the seeds, in Markdown.

    Args:
        results: List of the runs' results.
        times: Dict from leg to how long its steps take.
    """
    legs = kept_runs.by_leg(results)
    all_plain = epochs_of(legs["plain"])
    plain_minutes = all_plain * statistics.median(
        times[leg]["plain_minutes_an_epoch"] for leg in legs
    )

    def time(runs):
        ratio = times[runs[0]["leg"]]["ratio"] * epochs_of(runs) / all_plain
        return f"{ratio:.2f} ({ratio * plain_minutes:.0f})"

    columns = {
        "epochs": lambda runs: str(epochs_of(runs)),
        "training time, plain = 1 (minutes)": time,
        "test accuracy, %": kept_runs.percent(accuracy),
        "NLL": lambda runs: reports.mean_std([run["nll"] for run in runs]),
        "ECE, %": kept_runs.percent(lambda run: run["calibration_error"]),
        "training accuracy, %": kept_runs.percent(
            lambda run: run["history"]["accuracy"][-1]
        ),
    }
    table = kept_runs.table(results, columns, lambda run: 100 * accuracy(run))
    return f"{table}\n\n{kept_runs.each_run(results, accuracy)}"


def accuracy(run):
    return run["accuracy"]


def epochs_of(runs):
    return len(runs[0]["history"]["accuracy"])


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
        f"`{command}`, {reports.machine()}. Training time: that of "
        "the steps, measured in turns with plain training's, times their number.\n\n"
        f"{rest}{rows}\n\n![Test accuracy]({path.name}.png)\n"
    )
    title = "CIFAR-100, first 100 images a class, thin ResNet-18"
    reports.write_record(path.with_suffix(".md"), title, text)
    legs = kept_runs.by_leg(results)
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
