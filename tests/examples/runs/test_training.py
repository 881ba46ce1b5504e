import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from examples.runs import methods, recipe, training
from examples.runs.run import Run
from keras_selfkd.optimizers import AdamWAtTwoRates
from tests.examples.runner import COMMAND, ROOT, as_a_user


@pytest.fixture
def parse():
    """Parses flags for the length of a test."""
    with flagsaver.flagsaver():
        yield lambda *arguments: flags.FLAGS(["prog", *arguments])


class Constant:
    """Data whose every batch is the same, and that remembers where it began."""

    steps_per_epoch = 2
    validation = None

    def __init__(self, target=1.0):
        self.target = target
        self.began = []

    def train(self, first_epoch, needs=()):
        self.began.append(first_epoch)
        while True:
            yield np.ones((4, 3)), np.full((4, 1), self.target)


def fitted(run, data):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model, training.fit(model, "frskd", data, run, "accuracy")


def test_a_trial_is_short_whatever_the_recipe(parse):
    parse("--epochs=200", "--warmup_epochs=5", "--fast")
    assert recipe.epochs() == 2
    rate = recipe.optimizer(steps_per_epoch=10)._learning_rate
    assert rate.warmup_steps == 10


def test_optimizer_is_the_recipe(parse):
    parse("--learning_rate=0.2", "--momentum=0.8", "--nesterov", "--weight_decay=1e-3")
    optimizer = recipe.optimizer(steps_per_epoch=5)
    assert (optimizer.momentum, optimizer.nesterov, optimizer.l2) == (0.8, True, 1e-3)
    steps = recipe.epochs() * 5
    rates = [float(optimizer._learning_rate(step)) for step in (0, steps / 2, steps)]
    assert rates == pytest.approx([0.2, 0.1, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_warm_up_is_what_the_method_asks_for(parse, name):
    parse(f"--method={name}", "--epochs=40")
    asked = 5 if name == "mixskd" else 0
    assert recipe.warmup_epochs() == asked
    # The baseline of the run shares the optimizer, so it warms up, too.
    rate = recipe.optimizer(steps_per_epoch=10)._learning_rate
    assert getattr(rate, "warmup_steps", 0) == 10 * asked
    parse(f"--method={name}", "--epochs=3")
    assert recipe.warmup_epochs() == min(asked, 1)
    parse(f"--method={name}", "--warmup_epochs=2")
    assert recipe.warmup_epochs() == 2


def test_each_optimizer_has_rates_of_its_own(parse):
    parse("--optimizer=adamw", "--clipvalue=2")
    recipe.set_defaults(learning_rate=0.05)  # SGD's, of a runner.
    optimizer = recipe.optimizer(steps_per_epoch=5)
    assert type(optimizer) is AdamWAtTwoRates
    assert float(optimizer._learning_rate(0)) == pytest.approx(1e-3)
    assert (optimizer.weight_decay, optimizer.clipvalue) == (0.05, 2)
    parse("--learning_rate=0.003", "--weight_decay=0")
    assert recipe.rates() == (0.003, 0.0)


def test_sgd_has_the_rates_of_the_papers_or_of_the_runner(parse):
    parse()
    assert recipe.rates() == (0.1, 5e-4)
    recipe.set_defaults(learning_rate=0.05)
    assert recipe.rates() == (0.05, 5e-4)


@pytest.mark.parametrize("flag", ["--momentum=0.9", "--nesterov"])
def test_error_momentum_of_adamw(parse, flag):
    parse("--optimizer=adamw", flag)
    with pytest.raises(ValueError, match=r"--optimizer=sgd alone.*--optimizer=adamw"):
        recipe.optimizer(steps_per_epoch=5)


def test_recipe_is_all_flags_but_where_the_run_is(parse):
    parse("--run_dir=elsewhere", "--resume", "--overwrite", "--epochs=7", "--nesterov")
    lines = recipe.flags_of(recipe.__name__)
    assert "--epochs=7" in lines
    assert "--nesterov" in lines
    assert not [line for line in lines if line.startswith(("--run", "--res", "--ov"))]


def test_recipe_parses_to_itself(parse):
    parse("--seed=3", "--weight_decay=0.1", "--schedule=step", "--fast")
    lines = recipe.flags_of(recipe.__name__)
    parse("--seed=4")
    parse(*lines)
    assert recipe.flags_of(recipe.__name__) == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--epochs=4\n--learning_ra", "learning_ra"),
        (b"--flag_of_another_version=3", "flag_of_another_version"),
        (b"--epochs=$(touch hacked)", "--epochs"),
        (b"\x89PNG\xff\xfe", "Expected --flagfile to be text"),
    ],
)
def test_error_flag_file(tmp_path, content, message, capsys):
    file = tmp_path / "flags.cfg"
    file.write_bytes(content)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        training.parse(["train_classifier", f"--flagfile={file}"])
    assert ended.value.code
    shown = capsys.readouterr()
    assert message in f"{shown.out}{shown.err}{ended.value.code}"


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    command = [*COMMAND, "--epochs=999", f"--run_dir={tmp_path}/run", "--nobaseline"]
    command += ["--train_per_class=4", "--method=supervised"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=as_a_user(), **pipes) as process:
        while not process.stdout.readline().startswith("Epoch 2/999: "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = errors.strip().splitlines()
    assert line.startswith("Interrupted. The same command with --resume goes on after")


def test_progress_bars_are_for_terminals(parse, monkeypatch):
    parse()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert training._verbosity() == 1
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert training._verbosity() == 2
    parse("--verbose=0")
    assert training._verbosity() == 0


@pytest.mark.parametrize(
    ("arguments", "module"), [([], "ai_edge_litert"), (["--noexport"], "matplotlib")]
)
def test_error_what_the_end_needs_is_not_installed(
    parse, monkeypatch, arguments, module
):
    parse(*arguments)
    for part in (module, f"{module}.interpreter", f"{module}.figure"):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(ImportError, match="Install it with"):
        training.check_installed()


@pytest.mark.parametrize(
    ("arguments", "path", "note"),
    [([], "runs/name", ""), (["--fast"], "runs/name-fast", "FAST")],
)
def test_runs_lie_under_runs(parse, tmp_path, monkeypatch, arguments, path, note):
    monkeypatch.chdir(tmp_path)
    parse(*arguments)
    run = training.open_run("name", recipe.__name__)
    assert (str(run.path), run.note) == (path, note)
    assert not run.path.exists()  # Other flags may not fit yet.
    training.claim(run, recipe.__name__)
    assert (tmp_path / path / "flags.cfg").exists()
    with pytest.raises(ValueError, match="holds an interrupted run with these flags"):
        training.open_run("name", recipe.__name__)


def test_a_worker_claims_nothing(parse, tmp_path):
    parse(f"--run_dir={tmp_path / 'run'}")
    run = training.open_run("name", recipe.__name__, is_chief=False)
    training.claim(run, recipe.__name__)
    run.record("frskd", 1, {"loss": 0.0})
    assert not run.path.exists()


def test_fit_records_every_epoch_and_takes_the_time(parse, tmp_path):
    parse("--epochs=3", "--verbose=0")
    run = Run(tmp_path)
    _, seconds = fitted(run, Constant())
    rows = run.rows("frskd")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[2]["loss"] < rows[0]["loss"]
    assert seconds > 0


def test_fit_goes_on_with_the_data_of_the_next_epoch(parse, tmp_path):
    parse("--epochs=4", "--verbose=0")
    expected, _ = fitted(Run(tmp_path / "whole"), Constant())
    parse("--epochs=2")
    _, first = fitted(Run(tmp_path / "parts"), Constant())
    parse("--epochs=4", "--resume")
    data = Constant()
    resumed, seconds = fitted(Run(tmp_path / "parts"), data)
    assert data.began == [2]
    assert seconds > first
    np.testing.assert_array_equal(resumed.get_weights()[0], expected.get_weights()[0])


def test_error_checkpoints_of_another_training(parse, tmp_path):
    parse("--epochs=1", "--verbose=0")
    fitted(Run(tmp_path), Constant())
    with pytest.raises(ValueError, match="frskd holds checkpoints"):
        fitted(Run(tmp_path), Constant())


def test_a_loss_that_is_not_finite_ends_the_program(parse, tmp_path):
    parse("--epochs=3", "--verbose=0")
    with pytest.raises(SystemExit, match=r"frskd diverged in epoch 1 \(loss inf"):
        fitted(Run(tmp_path), Constant(target=1e30))
    assert not (tmp_path / "history.csv").exists()
