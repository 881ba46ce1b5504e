import pytest

from examples.runs.recorder import Recorder
from examples.runs.run import Run


def recorded(run, lines, logs):
    recorder = Recorder(run, "frskd", lines)
    recorder.set_params({"epochs": 7})
    recorder.on_epoch_begin(2)
    recorder.on_epoch_end(2, logs)
    return recorder


def test_an_epoch_is_one_line_of_plain_text(tmp_path, capsys):
    recorder = recorded(Run(tmp_path), True, {"loss": 0.123456, "val_loss": 12.0})
    line = f"Epoch 3/7: {recorder.seconds:.1f} s, loss 0.1235, val_loss 12\n"
    assert capsys.readouterr().out == line


def test_an_epoch_is_recorded_without_a_line(tmp_path, capsys):
    run = Run(tmp_path)
    recorded(run, False, {"loss": 0.5})
    assert run.rows("frskd") == [{"method": "frskd", "epoch": 3, "loss": 0.5}]
    assert not capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_program(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(SystemExit, match=r"frskd diverged in epoch 3 \(loss nan"):
        recorded(run, True, {"loss": float("nan")})
    assert not run.rows("frskd")
