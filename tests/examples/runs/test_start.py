"""A run that starts from a trained network, from its flags to its files."""

import json

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from examples import train_classifier
from examples.runs import methods, plan
from examples.runs.run import Run
from examples.runs.task import build, loaded
from examples.runs.workers import open_strategy
from examples.students import pretrained
from examples.students.convnets import small_resnet
from tests.examples.runner import run_main

FLAGS = ("--classes=5:10", "--train_per_class=10", "--batch_size=25", "--epochs=3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder: a network for the other digits, its weights unlike fresh ones."""
    keras.utils.set_random_seed(7)
    network = small_resnet((32, 32, 1), 5)
    for variable in network.weights:
        shift = np.random.default_rng(7).uniform(0.01, 0.02, variable.shape)
        variable.assign_add(shift)
    folder = tmp_path_factory.mktemp("runs") / "trained"
    folder.mkdir()
    network.save(folder / "student.keras")
    labels = json.dumps({"labels": ["0", "1", "2", "3", "4"]})
    (folder / "result.json").write_text(labels)
    return folder


@pytest.fixture
def built(trained):
    """Builds the model that flags describe."""
    with flagsaver.flagsaver():

        def create(*arguments, method=None):
            flags.FLAGS(["prog", *FLAGS, f"--weights={trained}", *arguments])
            data = loaded(train_classifier.TASK)
            name = method or methods.METHOD.value
            return build(train_classifier.TASK, name, data, open_strategy()), data

        yield create


def weights_of(model):
    return {variable.path: variable.numpy() for variable in model.variables}


def test_method_and_baseline_start_from_the_same_weights(built, trained):
    theirs = weights_of(keras.models.load_model(trained / "student.keras"))
    students = [
        weights_of(built("--method=taught", method="supervised")[0].student),
        weights_of(built("--method=frskd")[0].student),
    ]
    for path, value in students[0].items():
        np.testing.assert_array_equal(students[1][path], value)
        if path.startswith("logits"):  # Of five others.
            assert not np.array_equal(value, theirs[path])
        else:
            np.testing.assert_array_equal(value, theirs[path])


def test_what_is_loaded_does_not_shift_the_seeds(built, trained):
    """The first build reads the file, the second does not: both make one head."""
    pretrained.forget()
    heads = [built("--method=frskd")[0].get_weights() for _ in range(2)]
    for first, second in zip(*heads, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", ["mixskd", "dks"])
@pytest.mark.parametrize("frozen", [(), ("--freeze_until=stage2_block1_out",)])
def test_copied_branches_are_copies_of_the_loaded_weights(
    built, trained, method, frozen
):
    flag = f"--method={method}"
    model, _ = built(flag, "--copied_branches", *frozen)
    theirs = weights_of(keras.models.load_model(trained / "student.keras"))
    for branch in model.method.branches:
        copies = weights_of(branch)
        assert len(copies) >= 8
        for path, value in copies.items():
            path = path.removeprefix(f"{branch.name}/")
            if path.startswith("logits"):
                head = model.student.get_layer("logits")
                original = head.kernel if "kernel" in path else head.bias
            else:
                original = theirs[path]
            np.testing.assert_array_equal(value, original)
        assert all(variable.trainable for variable in branch.trainable_variables)
        assert len(branch.trainable_variables) > 4  # Though the student's are frozen.


@pytest.mark.parametrize("method", ["frskd", "byot", "dks", "mixskd", "uskd"])
def test_what_stands_beside_the_student_trains_at_the_full_rate(built, method):
    model, _ = built(f"--method={method}", "--backbone_rate=0.1")
    slow = {*model.optimizer.slow_variables}
    assert model.optimizer.slow_rate == 0.1
    before = [v.path for v in model.student.trainable_variables if v.path in slow]
    assert len(before) == len(slow) == len(model.student.trainable_variables) - 2
    assert not slow & {variable.path for variable in model.method.variables}


def test_the_plan_says_how_the_student_starts_a_line_each(built, capsys):
    model, data = built("--freeze_until=stage1_block1_out", "--backbone_rate=0.1")
    plan.show(data, model)
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "(--" in line]
    for words in ("all but its head 'logits'", "Frozen up to stage1_b", "0.1 times"):
        assert sum(words in line for line in said) == 1


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(trained, tmp_path, monkeypatch):
    arguments = [
        *FLAGS,
        f"--weights={trained}",
        "--freeze_until=stage1_block1_out",
        "--backbone_rate=0.1",
        "--method=pskd",
        "--nobaseline",
        "--noexport",
    ]
    run_main(*arguments, f"--run_dir={tmp_path / 'whole'}")
    record = Run.record

    def interrupted(run, method, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt
        record(run, method, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", interrupted)
        with pytest.raises(SystemExit):
            run_main(*arguments, f"--run_dir={tmp_path / 'parts'}")
    run_main(*arguments, f"--run_dir={tmp_path / 'parts'}", "--resume")
    whole, parts = (
        weights_of(keras.models.load_model(tmp_path / name / "student.keras"))
        for name in ("whole", "parts")
    )
    theirs = weights_of(keras.models.load_model(trained / "student.keras"))
    for path, value in whole.items():
        np.testing.assert_array_equal(parts[path], value)
        same = np.array_equal(value, theirs[path])
        assert same == path.startswith(("stem", "stage1")), path
    lines = (tmp_path / "whole" / "flags.cfg").read_text().splitlines()
    expected = {*arguments[:7]}
    assert expected <= {*lines}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--student=plain_cnn", "of the student's own layers, plain_cnn's"),
        ("--image_size=28", r"images \(32, 32, 1\) \(--image_size=32,32"),
        ("--freeze_until=stage9", "Closest names: .*=stage9"),
        ("--weights=nowhere", "Expected --weights to be .*nowhere"),
        ("--classes=5:11", "the 10 classes of digits"),
    ],
)
def test_a_mistake_ends_in_one_line(trained, tmp_path, argument, message):
    start = [*FLAGS, f"--weights={trained}", argument]
    with pytest.raises(SystemExit, match=message) as ended:
        run_main(*start, f"--run_dir={tmp_path / 'run'}")
    assert "\n" not in ended.value.code
    assert not (tmp_path / "run").exists()
