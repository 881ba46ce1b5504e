import pytest
from absl import flags
from absl.testing import flagsaver

from examples import train_classifier
from examples.runs import recipe
from examples.runs.unused_flags import refuse_unused
from tests.examples.runner import history, run_main


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        (["--epochs=4"], {"supervised": 4, "ols": 4}),
        (["--epochs=4", "--baseline_epochs=6"], {"supervised": 6, "ols": 4}),
        (["--epochs=4", "--baseline_epochs=6", "--fast"], {"supervised": 2, "ols": 2}),
    ],
)
def test_the_baseline_may_have_epochs_of_its_own(given, epochs):
    with flagsaver.flagsaver():
        flags.FLAGS([train_classifier.TASK.name, "--method=ols", *given])
        for method, expected in epochs.items():
            with recipe.epochs_of(method):
                assert recipe.epochs() == expected
        assert recipe.epochs() == epochs["ols"]


@pytest.mark.slow
def test_a_run_trains_each_for_its_own_epochs(tmp_path):
    few = ("--train_per_class=10", "--batch_size=50", "--noexport", "--method=ols")
    folder = f"--run_dir={tmp_path}"
    run_main(*few, "--epochs=1", "--baseline_epochs=2", folder)
    rows = [(row["method"], row["epoch"]) for row in history(tmp_path)]
    assert rows == [("supervised", "1"), ("supervised", "2"), ("ols", "1")]
    assert "--baseline_epochs=2" in (tmp_path / "flags.cfg").read_text()


@pytest.mark.parametrize("why", ["--nobaseline", "--method=supervised"])
def test_epochs_of_a_baseline_need_one(why):
    with flagsaver.flagsaver():
        flags.FLAGS([train_classifier.TASK.name, "--baseline_epochs=2", why])
        with pytest.raises(ValueError, match=r"--baseline_epochs=2 \(only beside a ba"):
            refuse_unused()
