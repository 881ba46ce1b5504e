"""The runner run twice: repeated, resumed, killed, and by two workers at once."""

import re
import signal

import numpy as np
import pytest

from examples.runs.run import Run
from tests.examples.runner import assert_same_run, run_main
from tests.processes import kills, workers

TINY = (
    "--method=frskd",
    "--epochs=4",
    "--batch_size=50",
    "--train_per_class=10",
    "--depth=1",
)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of four epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_main(*TINY, "--noexport", f"--run_dir={folder}")
    return folder


@pytest.mark.slow
def test_flagfile_repeats_a_run_exactly_even_interrupted(
    tiny_run, tmp_path, monkeypatch
):
    folder, record = tmp_path / "again", Run.record
    arguments = [f"--flagfile={tiny_run / 'flags.cfg'}", f"--run_dir={folder}"]

    def interrupted(run, method, epoch, logs):
        if (method, epoch) == ("frskd", 3):
            raise KeyboardInterrupt
        record(run, method, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", interrupted)
        with pytest.raises(SystemExit) as ended:
            run_main(*arguments)
    assert ended.value.code == 130
    assert not (folder / "result.json").exists()
    run_main(*arguments, "--resume")
    assert_same_run(folder, tiny_run)
    assert (folder / "flags.cfg").read_text() == (tiny_run / "flags.cfg").read_text()
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_resuming_a_finished_run_only_prints_its_table(tiny_run, capsys):
    before = {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")}
    run_main(*TINY, "--noexport", f"--run_dir={tiny_run}", "--resume")
    output = capsys.readouterr().out
    assert "Training" not in output
    assert "test accuracy" in output
    assert {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")} == before


@pytest.mark.slow
def test_a_process_killed_again_and_again_resumes_bit_for_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert kills.run(whole, method="pskd") == 0  # It remembers each image.
    for point, call in (("step", 5), ("writing", 60), ("export", 1)):
        killed_at = kills.run(killed, point, call, method="pskd")
        assert killed_at == -signal.SIGKILL, point
    assert kills.run(killed, method="pskd") == 0
    assert kills.equal(killed, whole)


def by_workers(*folders):
    """Trains as two workers, each with its folder; their processes.

    By a method that remembers each image, and is soon traced.
    """
    few = ("--epochs=4", "--batch_size=50", "--train_per_class=10", "--method=pskd")
    flags = [*few, "--nobaseline", "--strategy=multi_worker", "--resume"]
    each = [[*flags, f"--run_dir={folder}"] for folder in folders]
    return workers.start("examples.train_classifier", each)


@pytest.fixture(scope="module")
def workers_run(tmp_path_factory):
    """A run of two workers that nothing interrupts, and what both printed."""
    folder = tmp_path_factory.mktemp("runs") / "workers"
    processes = by_workers(folder, folder)
    outputs = workers.outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    return folder, outputs


@pytest.mark.slow
def test_two_workers_train_and_the_chief_writes(workers_run):
    folder, outputs = workers_run
    assert "predictions agree with Keras" in outputs[0]
    assert not re.search("Training|Epoch|accuracy", outputs[1]), outputs[1]
    assert (folder / "student.tflite").exists()


@pytest.mark.slow
def test_workers_resume_after_one_was_killed(workers_run, tmp_path):
    folder = tmp_path / "run"
    processes = by_workers(folder, folder)
    workers.wait_until(lambda: list(folder.glob("checkpoints/pskd/epoch-*")), processes)
    processes[1].kill()
    output, _ = workers.outputs_of(processes)
    assert processes[0].returncode == 1
    assert "Start all workers again with --resume" in output
    # The second worker looks for the checkpoint on another disk, then on the right one.
    processes = by_workers(folder, tmp_path / "elsewhere")
    outputs = workers.outputs_of(processes)
    assert [process.returncode for process in processes] == [1, 1], outputs
    # The first to say so may end before the other has heard it.
    assert any("must lie on storage that they share" in each for each in outputs)
    processes = by_workers(folder, folder)
    outputs = workers.outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(Run(folder).rows("pskd")) == 4
    *_, weights = kills.files(folder)
    *_, expected = kills.files(workers_run[0])
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_error_batches_that_workers_cannot_share(tmp_path):
    folder = tmp_path / "run"
    arguments = ["--batch_size=25", "--strategy=multi_worker", f"--run_dir={folder}"]
    processes = workers.start("examples.train_classifier", [arguments] * 2)
    for output in workers.outputs_of(processes):
        assert "Expected --batch_size to be a multiple of the 2 replicas" in output
    assert not folder.exists()
