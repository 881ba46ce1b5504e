import json
import re
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from examples import train_classifier
from examples.data.prepared import load_data
from tests.examples.runner import history, run_main, trial


@pytest.fixture(scope="module")
def fast_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trial"
    return trial("examples.train_classifier", folder, "--method=frskd")


def test_a_trial_writes_every_file_and_nothing_else(fast_run):
    folder, _ = fast_run
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "attention.png",
        "baseline.json",
        "baseline.keras",
        "baseline.tflite",
        "curves.png",
        "flags.cfg",
        "history.csv",
        "reliability.png",
        "result.json",
        "saved_model",
        "student.json",
        "student.keras",
        "student.tflite",
    ]


def test_a_trial_prints_progress_and_the_comparison(fast_run):
    _, output = fast_run
    assert "Images: 80 to train on, 100 to watch after each epoch, 100 to" in output
    assert "Training small_resnet with supervised, 2 epochs" in output
    assert "Training small_resnet with frskd, 2 epochs" in output
    assert "Epoch 2/2" in output
    assert "teacher_task_loss" in output
    assert "test accuracy" in output
    assert re.search("points, (in|out)side the 95 % interval of supervised", output)
    assert "100 of 100 predictions agree with Keras" in output


def test_a_trial_says_so_in_every_text(fast_run):
    folder, output = fast_run
    assert (folder / "flags.cfg").read_text().startswith("# FAST\n")
    assert all(row["note"] == "FAST" for row in history(folder))
    assert json.loads((folder / "result.json").read_text())["note"] == "FAST"
    assert "\nFAST: this shows that it runs" in output


def test_history_has_every_term_of_both_methods(fast_run):
    rows = history(fast_run[0])
    assert [(row["method"], row["epoch"]) for row in rows] == [
        ("supervised", "1"),
        ("supervised", "2"),
        ("frskd", "1"),
        ("frskd", "2"),
    ]
    common = {"accuracy", "loss", "task_loss", "val_accuracy", "val_loss"}
    own = {"teacher_task_loss", "soft_label_loss", "feature_loss"}
    for row in rows:
        filled = {name for name, value in row.items() if value}
        expected = common | own if row["method"] == "frskd" else common
        assert filled == {"note", "method", "epoch"} | expected


def test_result_scores_the_files_that_were_written(fast_run):
    folder, _ = fast_run
    result = json.loads((folder / "result.json").read_text())
    assert result["images"] == {"train": 80, "validation": 100, "test": 100}
    assert result["labels"] == list("0123456789")
    assert result["at_chance"] == []
    data = load_data("digits", fast=True, batch_size=32)
    np.testing.assert_allclose(result["mean"], data.mean, rtol=1e-6)
    for name, method in {"baseline": "supervised", "student": "frskd"}.items():
        score = result["scores"][method]
        student = keras.models.load_model(folder / f"{name}.keras")
        student.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
        _, accuracy = student.evaluate(data.test, verbose=0)
        assert score["accuracy"] == pytest.approx(accuracy)
        assert score["parameters"] == student.count_params()
        assert score["bytes"] == (folder / f"{name}.tflite").stat().st_size
        assert score["seconds"] > 0
    assert result["litert"]["accuracy"] == result["scores"]["frskd"]["accuracy"]


def test_the_litert_file_says_what_it_takes(fast_run):
    folder, _ = fast_run
    about = json.loads((folder / "student.json").read_text())
    result = json.loads((folder / "result.json").read_text())
    assert about["labels"] == result["labels"]
    assert about["normalization"] == {"mean": result["mean"], "std": result["std"]}


def test_saved_model_is_the_student(fast_run):
    folder, _ = fast_run
    student = keras.models.load_model(folder / "student.keras")
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 1)).astype("float32")
    saved = tf.saved_model.load(folder / "saved_model")
    np.testing.assert_allclose(
        saved.serve(images), student(images), rtol=1e-4, atol=1e-5
    )


def test_supervised_alone_has_nothing_to_compare(tmp_path, capsys):
    folder = tmp_path / "plain"
    run_main("--fast", "--noexport", "--method=supervised", f"--run_dir={folder}")
    assert "points" not in capsys.readouterr().out
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "curves.png",
        "flags.cfg",
        "history.csv",
        "reliability.png",
        "result.json",
        "student.keras",
    ]


def test_diverged_training_stops_with_the_remedy_and_no_result(tmp_path):
    arguments = ["--fast", "--noexport", "--method=supervised", "--learning_rate=1e30"]
    with pytest.raises(SystemExit, match=r"diverged in epoch 1 .*--learning_rate"):
        run_main(*arguments, f"--run_dir={tmp_path}")
    assert [file.name for file in tmp_path.iterdir()] == ["flags.cfg"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--student=smal_resnet", "small_resnet.*Received: name='smal_resnet'"),
        ("--dataset=digitss", "Expected `dataset` to be .*'digits'"),
        ("--batch_size=2000", "Expected at least one batch of training images"),
        ("--taps=stage9", "stage9"),
        ("--temperature=0", "temperature to be a finite number above 0"),
        ("--warmup_epochs=40", "warmup_steps"),
        ("typo", "Expected flags only. Received: typo"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_is_written(
    tmp_path, argument, message
):
    with pytest.raises(SystemExit, match=message):
        run_main(argument, f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("argument", ["--method=frksd", "--epochs=0", "--clipvalue=x"])
def test_flags_out_of_range_are_refused_by_name(argument):
    name = argument.split("=")[0].removeprefix("--")
    with flagsaver.flagsaver(), pytest.raises(flags.Error, match=name):
        flags.FLAGS(["prog", argument])


def documented_commands():
    text = train_classifier.__doc__.replace("\n      --", " --")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line.startswith("python -m ")]


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_parse(command, tmp_path):
    (tmp_path / "flags.cfg").write_text("--epochs=7\n")
    command = command.replace("runs/x/flags.cfg", str(tmp_path / "flags.cfg"))
    with flagsaver.flagsaver():
        assert flags.FLAGS(shlex.split(command)[2:]) == ["examples.train_classifier"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [
            "--mixed_precision=mixed_bfloat16",
            "--feature_loss=normalized_mse",
            "--feature_ramp=none",
        ],
        ["--mixed_precision=mixed_float16", "--steps_per_execution=2"],
        ["--strategy=mirrored"],
        ["--student=MobileNetV3Small", "--channels=16", "--image_size=64"],
    ],
)
def test_a_trial_runs_with_other_flags(tmp_path, arguments, capsys):
    few = ("--fast", "--verbose=2", "--nobaseline", "--method=frskd", "--depth=1")
    if "--strategy=mirrored" in arguments:  # A second one here could collide.
        trial("examples.train_classifier", tmp_path, *few, *arguments)
        return
    policy = keras.config.dtype_policy()
    try:
        run_main(*few, f"--run_dir={tmp_path}", *arguments)
    finally:
        keras.config.set_dtype_policy(policy)
    assert "predictions agree with Keras" in capsys.readouterr().out
