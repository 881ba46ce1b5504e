import pytest

from examples.runs.run import Run

FLAGS = ["--epochs=3", "--seed=0"]


def claimed(path, note=""):
    run = Run(path, note)
    run.claim(FLAGS)
    return run


def test_claiming_writes_the_flags(tmp_path):
    claimed(tmp_path / "a")
    assert (tmp_path / "a" / "flags.cfg").read_text() == "--epochs=3\n--seed=0\n"


def test_note_is_a_comment_of_the_flags_and_a_column_of_the_history(tmp_path):
    run = claimed(tmp_path, note="FAST")
    run.record("frskd", 1, {"loss": 2.0})
    assert (tmp_path / "flags.cfg").read_text().startswith("# FAST\n--")
    assert (tmp_path / "history.csv").read_text().splitlines() == [
        "note,method,epoch,loss",
        "FAST,frskd,1,2.0",
    ]


def test_history_holds_all_methods_with_their_own_terms(tmp_path):
    run = claimed(tmp_path)
    run.record("supervised", 1, {"loss": 1 / 3})
    run.record("frskd", 1, {"loss": 0.5, "feature_loss": 0.25})
    assert (tmp_path / "history.csv").read_text().splitlines() == [
        "method,epoch,loss,feature_loss",
        f"supervised,1,{1 / 3},",
        "frskd,1,0.5,0.25",
    ]
    assert [row["loss"] for row in Run(tmp_path).rows("frskd")] == ["0.5"]


def test_an_epoch_done_again_replaces_its_row_and_those_after_it(tmp_path):
    run = claimed(tmp_path)
    for epoch, loss in [(1, 9.0), (2, 8.0), (3, 7.0)]:
        run.record("frskd", epoch, {"loss": loss})
    again = Run(tmp_path)
    again.record("supervised", 1, {"loss": 1.0})
    again.record("frskd", 2, {"loss": 8.5})
    assert [row["loss"] for row in again.rows("frskd")] == ["9.0", 8.5]
    assert len(again.rows("supervised")) == 1


def test_checkpoints_are_gone_with_the_run(tmp_path):
    run = claimed(tmp_path)
    run.checkpoints("frskd").mkdir(parents=True)
    Run(tmp_path, is_chief=False).discard_checkpoints()
    assert run.checkpoints("frskd").exists()
    run.discard_checkpoints()
    assert not (tmp_path / "checkpoints").exists()


def test_resuming_clears_what_a_killed_process_was_writing(tmp_path):
    claimed(tmp_path)
    (tmp_path / ".student.keras.partial-x1").mkdir()
    (tmp_path / ".git").mkdir()
    Run(tmp_path).claim(FLAGS, resume=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".git", "flags.cfg"]


def test_resuming_what_was_killed_before_its_first_file_starts_it(tmp_path):
    (tmp_path / ".flags.cfg.partial-x1").mkdir()
    Run(tmp_path).claim(FLAGS, resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["flags.cfg"]


def test_a_worker_writes_nothing(tmp_path):
    chief = claimed(tmp_path / "chief")
    chief.record("frskd", 1, {"loss": 0.0})
    before = (tmp_path / "chief" / "history.csv").read_bytes()
    worker = Run(tmp_path / "chief", is_chief=False)
    worker.record("frskd", 2, {"loss": 0.0})
    assert len(worker.rows("frskd")) == 2
    assert (tmp_path / "chief" / "history.csv").read_bytes() == before
    assert [folder.name for folder in tmp_path.iterdir()] == ["chief"]


@pytest.mark.parametrize("finished", [True, False])
def test_an_earlier_run_is_not_replaced_by_accident(tmp_path, finished):
    claimed(tmp_path)
    if finished:
        (tmp_path / "result.json").write_text("{}")
    state = "a finished" if finished else "an interrupted"
    match = f"holds {state} run with these flags. Pass --resume"
    with pytest.raises(ValueError, match=match):
        Run(tmp_path).claim(FLAGS)


def test_a_run_of_other_flags_is_not_to_be_resumed(tmp_path):
    claimed(tmp_path)
    with pytest.raises(ValueError, match="another --run_dir, or") as error:
        Run(tmp_path).claim(["--epochs=5", "--seed=0"])
    assert "run with ['--epochs=3'], not with ['--epochs=5']" in str(error.value)
    assert "--resume" not in str(error.value)


def test_overwriting_starts_from_nothing(tmp_path):
    claimed(tmp_path).record("frskd", 1, {"loss": 0.0})
    (tmp_path / "result.json").write_text("{}")
    run = Run(tmp_path)
    run.claim(["--epochs=4"], overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["flags.cfg"]
    assert (run.history, run.finished) == ([], False)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_directory_of_other_files_is_left_alone(tmp_path, options):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ValueError, match="which holds other files"):
        Run(tmp_path).claim(FLAGS, **options)
    assert (tmp_path / "thesis.tex").exists()


def test_resuming_with_other_flags_names_them_and_the_remedy(tmp_path):
    claimed(tmp_path)
    with pytest.raises(ValueError, match="--flagfile=") as error:
        Run(tmp_path).claim(["--epochs=5", "--seed=0"], resume=True)
    assert "['--epochs=3'], not with ['--epochs=5']" in str(error.value)


def test_resuming_may_read_the_data_elsewhere_and_print_less(tmp_path):
    claimed(tmp_path)
    flags = [*FLAGS, "--data_dir=elsewhere", "--verbose=0", "--nodownload"]
    run = Run(tmp_path)
    run.claim(flags, resume=True)
    assert (tmp_path / "flags.cfg").read_text() == "--epochs=3\n--seed=0\n"


def test_resuming_a_run_from_before_there_was_a_flag(tmp_path):
    claimed(tmp_path)
    later, usual = "--backbone_rate=1.0", "--noaveraged"
    Run(tmp_path).claim([*FLAGS, later, usual], True, defaults=[later, usual])
    with pytest.raises(ValueError, match="backbone_rate"):
        Run(tmp_path).claim([*FLAGS, "--backbone_rate=0.5"], True, defaults=[later])


def test_resuming_with_a_flag_back_at_its_default_is_refused(tmp_path):
    Run(tmp_path).claim(["--averaged", "--epochs=3"])
    now = ["--epochs=3", "--noaveraged"]
    with pytest.raises(ValueError, match="averaged"):
        Run(tmp_path).claim(now, True, defaults=["--noaveraged"])


def test_resuming_from_a_file_of_weights_that_has_changed(tmp_path):
    Run(tmp_path).claim(FLAGS, weights="ab")
    assert (tmp_path / "flags.cfg").read_text().startswith("# SHA-256 of --weights: ab")
    Run(tmp_path).claim(FLAGS, resume=True, weights="ab")
    Run(tmp_path).claim(FLAGS, resume=True)  # The file is gone, or none was kept.
    with pytest.raises(ValueError, match="contents have changed"):
        Run(tmp_path).claim(FLAGS, resume=True, weights="cd")


def test_resuming_what_never_started_starts_it(tmp_path):
    Run(tmp_path / "new").claim(FLAGS, resume=True)
    assert (tmp_path / "new" / "flags.cfg").exists()


@pytest.mark.parametrize("inside", ["", "below/it"])
def test_error_a_file_where_the_directory_should_be(tmp_path, inside):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--run_dir to be a directory .* \(.*file"):
        Run(tmp_path / "file" / inside).claim(FLAGS)
