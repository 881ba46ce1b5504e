import functools
import json

import pytest

from benchmarks import kept_runs, reports
from benchmarks.kept_runs import Run

SCORES = {"plain": [0.50, 0.54], "own": [0.53, 0.55]}


def runs(folder, calls, settings=None, minutes=0.0):
    def train(leg, seed):
        calls.append((leg, seed))
        return {"accuracy": SCORES[leg][seed]}

    return [
        Run(
            leg,
            seed,
            folder / f"{leg}-{seed}.json",
            functools.partial(train, leg, seed),
            settings or {},
            minutes,
        )
        for seed in range(2)
        for leg in SCORES
    ]


def test_each_run_is_trained_once_and_kept(tmp_path, capsys):
    calls, reported = [], []
    study = runs(tmp_path / "kept", calls, minutes=30)
    results = kept_runs.carry_out(study, lambda found: reported.append(len(found)))
    assert calls == [("plain", 0), ("own", 0), ("plain", 1), ("own", 1)]
    assert reported == [1, 2, 3, 4, 4]
    assert [run["accuracy"] for run in results] == [0.50, 0.53, 0.54, 0.55]
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "1 of 4: plain, seed 0, about 2.0 hours to go"
    assert last == "4 of 4: own, seed 1, about 0.5 hours to go"
    assert kept_runs.carry_out(study) == results
    assert len(calls) == 4


def test_an_interrupted_study_goes_on(tmp_path):
    calls = []
    study = runs(tmp_path, calls)

    def interrupted():
        raise KeyboardInterrupt

    broken = [study[0], study[1]._replace(train=interrupted), *study[2:]]
    with pytest.raises(KeyboardInterrupt):
        kept_runs.carry_out(broken)
    assert [path.name for path in tmp_path.iterdir()] == ["plain-0.json"]
    assert len(kept_runs.carry_out(study, train=False)) == 1
    assert len(kept_runs.carry_out(study)) == 4
    assert calls.count(("plain", 0)) == 1


def test_error_a_file_of_another_run(tmp_path):
    kept_runs.carry_out(runs(tmp_path, [], {"epochs": 3}))
    with pytest.raises(ValueError, match=r"a run of .*'epochs': 4.*'epochs': 3"):
        kept_runs.carry_out(runs(tmp_path, [], {"epochs": 4}))


def test_table_by_hand(tmp_path):
    results = kept_runs.carry_out(runs(tmp_path, []))

    def accuracy(run):
        return run["accuracy"]

    columns = {"accuracy, %": kept_runs.percent(accuracy)}
    table = kept_runs.table(results, columns, lambda run: 100 * accuracy(run))
    assert table.splitlines() == [
        "| method | seeds | accuracy, % | gain, points |",
        "|---|---|---|---|",
        "| plain | 2 | 52.00 ± 2.83 |  |",
        "| own | 2 | 54.00 ± 1.41 | 2.00 ± 1.41 |",
    ]
    each = kept_runs.each_run(results, accuracy)
    assert each == "Each run, by seed: plain 50.00, 54.00; own 53.00, 55.00."


def test_a_record_keeps_what_people_wrote(tmp_path, capsys):
    path = tmp_path / "record.md"
    reports.write_record(path, "Title", "first\n")
    path.write_text(f"{path.read_text()}\nOur reading.\n")
    reports.write_record(path, "Title", "second\n")
    assert path.read_text() == (
        "# Title\n\n<!-- measured: begin -->\nsecond\n<!-- measured: end -->\n"
        "\nOur reading.\n"
    )
    assert capsys.readouterr().out == "first\n\nsecond\n\n"


def test_the_kept_runs_of_benchmarks_are_read():
    """Those of a table that stands in benchmarks/, trained by nobody here."""
    folder = reports.pathlib.Path("benchmarks/accuracy/cifar100_runs")
    found = [json.loads(path.read_text()) for path in folder.glob("plain-30-*.json")]
    table = kept_runs.table(
        found,
        {"test accuracy, %": kept_runs.percent(lambda run: run["accuracy"])},
        lambda run: 100 * run["accuracy"],
    )
    assert "| plain | 3 | 40.87 ± 1.31 |" in table
