"""Studies from the command line to their tables, on a user's own folders."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from examples import compare
from examples.runs.run import Run
from keras_selfkd import SelfDistillationModel
from tests.examples.runner import ROOT
from tests.processes.workers import wait_until

STUDY = """
seeds = 2
budgets = 2
[base]
dataset = "folder"
data_dir = "{data}"
image_size = 16
batch_size = 8
warmup_epochs = 0
fast = true
[legs.plain]
method = "supervised"
[legs."too fast"]
method = "supervised"
learning_rate = 1e30
[legs.late]
method = "tfd"
late = 0.5
"""
FILES = {"costs.json", "results.csv", "results.md", "runs", "score_by_time.png"}
FILES |= {"reliability.png", "confusion.png"}


def run_compare(*arguments):
    with flagsaver.flagsaver():
        compare.main(flags.FLAGS(["compare", *map(str, arguments)]))


def rows_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def study(class_folders, tmp_path):
    """The file of a study of a user's images, and the folder for what it writes."""
    data = class_folders("photos", {"cat": 24, "dog": 24})
    (tmp_path / "study.toml").write_text(STUDY.format(data=data))
    return tmp_path / "study.toml", tmp_path / "run"


def check_rows(folder):
    """Each training has a row: a score, that of its files, or that it diverged."""
    rows = rows_of(folder)
    assert [(row["leg"], row["seed"]) for row in rows] == [
        (leg, "0") for leg in ("plain", "too fast", "late")
    ]
    assert all(bool(row["accuracy"]) != bool(row["diverged"]) for row in rows)
    assert {row["diverged"][:8] for row in rows if row["leg"] == "too fast"} == {
        "Training"
    }
    for row in rows[::3]:  # Each can be repeated by itself, and is what was rated.
        result = json.loads(
            (folder / "runs" / f"plain-2-{row['seed']}" / "result.json").read_text()
        )
        score = result["score"]
        assert float(row["accuracy"]) == score["accuracy"]
        assert float(row["class_accuracy: dog"]) == score["class_accuracy"][1]
        assert "--learning_rate" not in row["flags"]


@pytest.mark.slow
def test_a_study_stopped_and_started_again(study, monkeypatch, capsys):
    file, folder = study
    once = (file, "--seeds=1", f"--run_dir={folder}")
    record = Run.record

    def interrupted(run, method, epoch, logs):
        if run.path.name == "late-2-0" and epoch == 2:
            raise KeyboardInterrupt
        record(run, method, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", interrupted)
        with pytest.raises(SystemExit) as ended:
            run_compare(*once)
    assert ended.value.code == 130
    first = capsys.readouterr().out
    assert re.search(r"3 trainings to go, 0 done; about \d+ minutes", first)
    assert "2 of 3: too fast, seed 0, 2 epochs: diverged" in first
    run_compare(*once)
    second = capsys.readouterr().out
    assert "Trying" not in second
    assert "1 trainings to go, 2 done" in second
    history = (folder / "runs" / "late-2-0" / "history.csv").read_text()
    assert [line.split(",")[2] for line in history.splitlines()] == ["epoch", "1", "2"]
    assert {path.name for path in folder.iterdir()} == FILES
    check_rows(folder)
    text = (folder / "results.md").read_text()
    assert text.splitlines()[6].startswith("| plain | 2 | 1.00 | 1 |")
    assert "(1 of 1 diverged)" in text
    assert "FAST: this shows that it runs" in text
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("runs/**/*")}
    run_compare(*once, "--notrain")
    assert "to go" not in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("runs/**/*")}
    assert after == before
    for mistake, message in (
        (["--batch_size=4"], r"plain-2-0 was started with.*batch_size=8"),
        (["--overwrite", "--student=nothing"], "Received: name='nothing'"),
    ):
        with pytest.raises(SystemExit, match=message):
            run_compare(*once, *mistake)
        assert {path.name for path in folder.iterdir()} == FILES
    check_rated_once(once, folder, capsys, "--robustness", "Corrupting the test images")
    check_rated_once(once, folder, capsys, "--features=digits", "Features of")


def check_rated_once(once, folder, capsys, option, said):
    """Students are rated otherwise once, and those that there are."""
    again = (*once, "--notrain", option)
    run_compare(*again)
    assert capsys.readouterr().out.count(said) == 2
    report = folder / f"{option.removeprefix('--').replace('=', '-')}.md"
    lines = report.read_text().splitlines()
    legs = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert legs == ["leg", "---", "plain", "late"]
    run_compare(*again)
    assert said not in capsys.readouterr().out


def test_equal_time_gives_a_leg_as_many_epochs_as_its_steps_allow(study):
    file, _ = study
    with flagsaver.flagsaver():
        argv = flags.FLAGS(["compare", str(file), "--equal_time", "--seeds=1"])
        opened = compare.open_study(argv)._replace(budgets=(10, 40))
    ratios = {"plain": 1.0, "too fast": 1.01, "late": 1.6}
    epochs = {(one.leg, one.budget): one.epochs for one in opened.trainings(ratios)}
    assert epochs == {
        ("plain", 10): 10,
        ("too fast", 10): 10,
        ("late", 10): 6,
        ("plain", 40): 40,
        ("too fast", 40): 40,
        ("late", 40): 25,
    }


def test_the_same_seed_gives_all_legs_the_same_first_weights_and_images(
    study, monkeypatch
):
    file, folder = study
    firsts = []

    def look(model, x, **options):
        images, _ = next(iter(x))
        firsts.append([images.numpy(), *model.student.get_weights()])
        raise KeyboardInterrupt

    legs = ("plain", "late")
    with flagsaver.flagsaver():
        opened = compare.open_study(flags.FLAGS(["compare", str(file)]))
        opened = opened._replace(path=folder)
        trainings = opened.trainings(dict.fromkeys(opened.legs, 1.0))
        monkeypatch.setattr(SelfDistillationModel, "fit", look)
        for one in trainings:
            if one.leg in legs and one.seed == 0:
                with pytest.raises(KeyboardInterrupt):
                    compare.study_runs.carry_out(opened, one)
    for one, other in zip(*firsts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("legs = 3", "Expected legs in .* to be dict. Received: 3"),
        ("[legs", "to be TOML: "),
        ("[leg.a]\nmethod = 'frskd'", "to hold task, seeds.*Received: leg"),
        ("seeds = 0\n[legs.a]", "Expected seeds to be different whole numbers"),
        ("seeds = [1, 1]\n[legs.a]", "Expected seeds to be different whole numbers"),
        ("budgets = [0]\n[legs.a]", "Expected budgets of 1 epoch or more"),
        ("task = 'boxes'\n[legs.a]", "task to be one of classifier, segmenter"),
        ("baseline = 'b'\n[legs.a]", "Expected baseline to be one of a"),
        ("seeds = 3", "Expected at least one leg"),
        ("[legs.a]\n[legs.a]", "to be TOML: .*legs.*a"),
        ("[legs.a]\n[legs.b]\n[legs.'b']", "to be TOML"),
        ("[legs.'b c']\n[legs.b_c]", "legs of different names.*'b c' and 'b_c'"),
        ("[legs.a]\nmetod = 'frskd'", r"train_classifier in \[legs.a\].*'method'"),
        ("[legs.a]\nvoid = 11", r"Expected flags of train_classifier.*void"),
        ("[legs.a]\nseed = 1", r"sets seed itself: leave them out of \[legs.a\]"),
        ("[base]\nepochs = 9\n[legs.a]", r"sets epochs itself.*\[base\]"),
        ("[legs.a]\nmethod = 'frksd'", r"\[legs.a\]: .*frksd"),
        ("[legs.a]\nlate = 2.0", r"\[legs.a\]: .*late"),
        ("[legs.a]\nmethod = {b = 1}", "Expected a number, a text or a list for"),
        ("[legs.a]\ndataset = 'digitss'", "a: Expected `dataset` to be .*'digits'"),
        (
            "[legs.a]\nmethod = 'supervised'\nchannels = 3",
            r"a: Expected only flags that have a use.*--channels=3",
        ),
        ("[legs.a]\nstudent = 'smal_resnet'", "a: .*small_resnet"),
        ("[legs.a]\ntaps = 'nowhere'\nfast = true", "a: .*nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_is_written(text, message, tmp_path):
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(SystemExit, match=f"(?s)^compare: .*{message}"):
        run_compare(tmp_path / "study.toml", f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected a study: a TOML file, or --methods"),
        (["nowhere.toml"], "nowhere.toml"),
        (["--methods=frskd,frskd"], "Expected --methods to be different ones of"),
        (["--methods=frksd"], "Expected --methods to be different ones of"),
        (["--methods=frskd", "--seed=3"], "sets seed itself.*the command line"),
        (["--methods=frskd", "--strategy=multi_worker"], "on one machine"),
        (["--methods=frskd", "--notrain"], "nothing there of frskd"),
        (["--methods=frskd", "--void=3"], "flags of train_classifier.*--void"),
    ],
)
def test_a_command_line_that_is_no_study_says_so(arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run_compare(*arguments, f"--run_dir={tmp_path / 'run'}")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match="which holds other files"):
        run_compare("--methods=frskd", "--overwrite", f"--run_dir={tmp_path}")
    assert (tmp_path / "thesis.tex").exists()


def documented_commands():
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    text = f"{compare.__doc__}\n{page}"
    return re.findall(r"^ *python -m (examples.compare .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_are_studies(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = re.search(r"^  task = .*?(?=\n\n)", compare.__doc__, re.M | re.S)[0]
    (tmp_path / "study.toml").write_text(lines)
    with flagsaver.flagsaver():
        study = compare.open_study(flags.FLAGS(command.split()))
    assert list(study.legs)[-1] in ("nfd", "frskd", "pskd")
    assert study.seeds == (0, 1, 2)


def command(folder, *arguments):
    flags_of_all = ("--methods=supervised,tfd", "--task=segmenter", "--fast")
    module = [sys.executable, "-m", "examples.compare", *flags_of_all]
    return [*module, f"--run_dir={folder}", *arguments]


@pytest.mark.slow
def test_masks_two_at_a_time_killed_and_started_again(tmp_path):
    options = ("--seeds=1", "--best_epoch", "--tensorboard", "--jobs=2")
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        command(folder, *options), cwd=ROOT, start_new_session=True
    )
    wait_until(lambda: [*folder.glob("runs/*/result.json")], [process])
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.read_bytes() for path in folder.glob("runs/*/result.json")}
    # Its workers end, too: they would train on beside the command started again.
    group = [sys.executable, "-c", f"import os; os.killpg({process.pid}, 0)"]
    wait_until(
        lambda: subprocess.run(group, capture_output=True).returncode != 0, [], 60
    )
    again = subprocess.run(
        command(folder, *options), cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert f"{2 - len(kept)} trainings to go, {len(kept)} done" in again.stdout
    assert all(path.read_bytes() == content for path, content in kept.items())
    rows = rows_of(folder)
    assert [row["leg"] for row in rows] == ["supervised", "tfd"]
    assert all(float(row["iou: ground"]) > 0 for row in rows)
    events = [path.relative_to(folder) for path in folder.rglob("events.out.*")]
    places = {str(path.parent) for path in events}
    assert {"tensorboard/pictures", "runs/tfd-2-0/tensorboard/tfd/train"} <= places
    assert keras.models.load_model(folder / "runs" / "tfd-2-0" / "student.keras")
    assert os.path.getsize(folder / "confusion.png") > 10_000
