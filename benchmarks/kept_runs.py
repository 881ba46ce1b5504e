"""Legs times seeds: each training kept in a file of its own, then one table of all."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import reports


class Run(NamedTuple):
    """One training of a study.

    Attributes:
        leg: Name of its line in the table.
        seed: Integer.
        path: Path of the JSON file in which its result is kept.
        train: Function without arguments that returns the result, a dict.
        settings: Dict of what the result must have been trained with.
        minutes: About how long it takes, for the plan.
    """

    leg: str
    seed: int
    path: pathlib.Path
    train: Callable
    settings: dict = {}  # noqa: RUF012 (never changed)
    minutes: float = 0.0


def kept(run):
    """The result of a run, trained unless its file is there, whole or not at all.

    Raises:
        ValueError: if the file holds another leg, seed or settings.
    """
    wanted = {"leg": run.leg, "seed": run.seed, **run.settings}
    if not run.path.exists():
        start = time.time()
        result = {**wanted, **run.train()}
        result.setdefault("seconds", time.time() - start)
        run.path.parent.mkdir(parents=True, exist_ok=True)
        reports.write_text(run.path, json.dumps(result, indent=1))
    result = json.loads(run.path.read_text(encoding="utf-8"))
    found = {name: result.get(name) for name in wanted}
    if found != wanted:
        raise ValueError(
            f"Expected {run.path} to be a run of {wanted}. Move it away to train it. "
            f"Received: one of {found}"
        )
    return result


def carry_out(runs, report=lambda results: None, train=True):
    """Trains what is missing, a line of progress for each; returns all results.

    Args:
        runs: List of `Run`, in their order.
        report: Function of the results so far, called after each training and at the
            end.
        train: Boolean; `False` takes what is there. Defaults to `True`.
    """
    missing = [run for run in runs if not run.path.exists()] if train else []
    results = []
    for run in runs:
        if run in missing:
            minutes = sum(one.minutes for one in missing[missing.index(run) :])
            to_go = f", about {minutes / 60:.1f} hours to go" if minutes else ""
            number = missing.index(run) + 1
            print(
                f"{number} of {len(missing)}: {run.leg}, seed {run.seed}{to_go}",
                flush=True,
            )
        if run in missing or run.path.exists():
            results.append(kept(run))
        if run in missing:
            report(results)
    report(results)
    return results


def by_leg(results):
    """Dict from leg to its runs, in the order of the first of each."""
    legs = dict.fromkeys(result["leg"] for result in results)
    return {leg: [run for run in results if run["leg"] == leg] for leg in legs}


def gains(runs, baseline, value):
    """What each run of a leg has more than the baseline's of its seed."""
    plain = {run["seed"]: value(run) for run in baseline}
    return [value(run) - plain[run["seed"]] for run in runs if run["seed"] in plain]


def table(results, columns, value, baseline="plain"):
    """The legs' results over the seeds, in Markdown.

    Args:
        results: List of runs, dicts with `leg` and `seed`.
        columns: Dict from title to a function of a leg's runs that returns a text.
        value: Function of a run, whose gain against the baseline of the same seed is
            a column.
        baseline: Name of the leg to compare with. Defaults to "plain".
    """
    legs = by_leg(results)

    def gain(runs):
        if runs is legs.get(baseline, runs):
            return ""
        return reports.mean_std(gains(runs, legs[baseline], value))

    columns = {
        "seeds": lambda runs: str(len(runs)),
        **columns,
        "gain, points": gain,
    }
    rows = [
        f"| {' | '.join(['method', *columns])} |",
        f"|{'---|' * (1 + len(columns))}",
    ]
    for leg, runs in legs.items():
        cells = [leg, *(column(runs) for column in columns.values())]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def percent(of):
    """A column: the mean and deviation over a leg's runs of a share, in percent."""
    return lambda runs: reports.mean_std([100 * of(run) for run in runs])


def each_run(results, value):
    """A sentence with the value of each run, in percent."""
    legs = "; ".join(
        f"{leg} " + ", ".join(f"{100 * value(run):.2f}" for run in runs)
        for leg, runs in by_leg(results).items()
    )
    return f"Each run, by seed: {legs}."
