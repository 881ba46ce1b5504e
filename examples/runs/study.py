"""What a study is: legs times seeds times budgets, and the flags of each training."""

import contextlib
import pathlib
import re
import shutil
from typing import NamedTuple

from absl import flags
from absl.testing import flagsaver

from examples.runs import recipe
from examples.runs.task import Task, module_of

COSTS = "costs.json"


class Training(NamedTuple):
    """One training of a study.

    Attributes:
        leg: Name of the leg.
        seed: Integer.
        budget: Epochs of the baseline that this training is compared at.
        epochs: Its own epochs.
        arguments: Tuple of the trainer's flags in command-line form.
        path: Path of its directory.
    """

    leg: str
    seed: int
    budget: int
    epochs: int
    arguments: tuple
    path: pathlib.Path


class Study(NamedTuple):
    """What to train, and where it is kept.

    Attributes:
        task: `Task` of all legs.
        legs: Dict from name to a tuple of flags in command-line form.
        seeds: Tuple of integers.
        budgets: Tuple of epochs, those of the baseline.
        equal_time: Whether a leg gets as many epochs as fit in the baseline's time.
        baseline: Name of the leg that the others are compared with.
        path: Path of the study's directory.
    """

    task: Task
    legs: dict
    seeds: tuple
    budgets: tuple
    equal_time: bool
    baseline: str
    path: pathlib.Path

    def check_path(self):
        """Refuses a directory that holds other files than an earlier study's.

        Raises:
            ValueError: If it does.
        """
        # What was killed while it was written is hidden.
        names = {path.name for path in self.path.glob("*") if path.name[0] != "."}
        if names and COSTS not in names:
            raise ValueError(
                "Expected --run_dir to be free or an earlier study. Received: "
                f"--run_dir={self.path}, which holds other files"
            )

    def delete(self):
        """Deletes what an earlier study left; killed on the way, it leaves a study."""
        costs = self.path / COSTS
        for entry in self.path.glob("*"):
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry != costs:
                entry.unlink()
        costs.unlink(missing_ok=True)

    def trainings(self, ratios):
        """Returns the list of all `Training`, seed by seed.

        Args:
            ratios: Dict from leg to the time of its epoch, the baseline's = 1.
        """
        return [
            self._training(leg, seed, budget, ratios[leg])
            for seed in self.seeds
            for budget in self.budgets
            for leg in self.legs
        ]

    def _training(self, leg, seed, budget, ratio):
        epochs = max(1, round(budget / ratio)) if self.equal_time else budget
        path = self.path / "runs" / f"{slug(leg)}-{budget}-{seed}"
        arguments = self.arguments(leg, seed, epochs)
        return Training(leg, seed, budget, epochs, arguments, path)

    def arguments(self, leg, seed, epochs):
        """Returns all flags of a training, a tuple; it goes on where it stopped."""
        own = (f"--seed={seed}", f"--epochs={epochs}")
        return *self.legs[leg], *own, "--nobaseline", "--noexport", "--resume"


def slug(name):
    """A leg's name as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name)


def flags_of(task):
    """Returns a dict from name to flag of all that a task's runner takes."""
    found = flags.FLAGS.get_key_flags_for_module(module_of(task))
    return {flag.name: flag for flag in found}


@contextlib.contextmanager
def flags_set(task, arguments):
    """Gives a trainer's flags these values and no others, as a command line would."""
    with flagsaver.flagsaver():
        for flag in flags_of(task).values():
            flag.unparse()
        flags.FLAGS([task.name, *arguments])
        recipe.set_defaults(**task.defaults)
        yield
