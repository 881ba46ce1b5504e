"""The directory of a run: claimed for one recipe, resumed by epoch, never mixed."""

import contextlib
import csv
import pathlib
import shutil

from keras_selfkd.files import staging

# A run stays the same run wherever its data lies and however much it prints.
FREE_FLAGS = ("--data_dir", "--download", "--nodownload", "--verbose")
_FINGERPRINT = "# SHA-256 of --weights: "


class Run:
    """A directory with `flags.cfg`, `history.csv` and, until it is done, checkpoints.

    The history has a row for every epoch of every method.

    Args:
        path: Path of the directory.
        note: String that the flags and every row of the history repeat. Defaults to
            `""`.
        is_chief: Boolean, whether this process writes the run, as all do but workers
            that are not the first. Defaults to `True`.
    """

    def __init__(self, path, note="", is_chief=True):
        self.path = pathlib.Path(path)
        self.note = note
        self.is_chief = is_chief
        self.history = _read_csv(self.path / "history.csv")

    @property
    def finished(self):
        """Whether the results are there."""
        return (self.path / "result.json").exists()

    def check(self, flags, resume=False, overwrite=False, defaults=(), weights=None):
        """Refuses what `claim` would refuse, and changes nothing.

        Args:
            flags: List of the recipe's flags in command-line form.
            resume: Boolean, whether to go on where an earlier run stopped.
            overwrite: Boolean, whether to delete an earlier run.
            defaults: Those of the flags that are as they are without being given: a run
                that was started before there was such a flag goes on. Defaults to none.
            weights: Fingerprint of the file that the run starts from, which must stay
                what it was. Defaults to `None`.

        Raises:
            ValueError: If the directory holds another run, no run at all, or cannot be
                read.
        """
        config = self.path / "flags.cfg"
        with self._usable():
            entries = set(self.path.iterdir()) if self.path.exists() else set()
            if resume or overwrite:
                entries -= set(self._unfinished())
            if not entries:
                return
            if not config.exists():
                raise ValueError(
                    "Expected --run_dir to be free or an earlier run. Received: "
                    f"--run_dir={self.path}, which holds other files"
                )
            if resume and not overwrite:
                _check_same(flags, config, defaults)
                _check_weights(weights, config)
            elif not overwrite:
                self._refuse(_other_flags(flags, config, defaults))

    def claim(self, flags, resume=False, overwrite=False, defaults=(), weights=None):
        """Takes the directory for a recipe, or checks that it already holds this one.

        Args:
            flags: As for `check`.
            resume: As for `check`.
            overwrite: As for `check`.
            defaults: As for `check`.
            weights: As for `check`.

        Raises:
            ValueError: As `check`, or if the directory cannot be written.
        """
        self.check(flags, resume, overwrite, defaults, weights)
        config = self.path / "flags.cfg"
        with self._usable():
            if resume or overwrite:
                for unfinished in self._unfinished():
                    shutil.rmtree(unfinished)
            if config.exists():
                if not overwrite:
                    return
                shutil.rmtree(self.path)
            self.history = []
            with staging(config) as staged:
                comments = [f"# {self.note}"] if self.note else []
                comments += [f"{_FINGERPRINT}{weights}"] if weights else []
                staged.write_text("\n".join([*comments, *flags, ""]))

    @contextlib.contextmanager
    def _usable(self):
        try:
            yield
        except OSError as error:
            raise ValueError(
                "Expected --run_dir to be a directory that can be made and written. "
                f"Received: --run_dir={self.path} ({error})"
            ) from error

    def _unfinished(self):
        """Returns the paths of what a killed process was writing."""
        return list(self.path.glob(".*.partial-*"))

    def _refuse(self, others):
        state = "a finished" if self.finished else "an interrupted"
        if any(others):
            raise ValueError(
                f"{self.path} holds {state} run with {others[0]}, not with {others[1]}."
                " Name another --run_dir, or pass --overwrite to replace it."
            )
        raise ValueError(
            f"{self.path} holds {state} run with these flags. Pass --resume to go on "
            "with it, --overwrite to replace it or another --run_dir."
        )

    def rows(self, method):
        """Returns the history of one method: a dict of its logs for each epoch."""
        return [row for row in self.history if row["method"] == method]

    def checkpoints(self, method):
        """Returns the path of the directory of a method's checkpoints."""
        return self.path / "checkpoints" / method

    def record(self, method, epoch, logs):
        """Adds an epoch to the history, which the chief writes.

        Args:
            method: Name of the method.
            epoch: Number of epochs that the model has seen, from 1 on.
            logs: Dict of the epoch's logs.
        """
        earlier = [
            row
            for row in self.history
            if row["method"] != method or int(row["epoch"]) < epoch
        ]
        note = {"note": self.note} if self.note else {}
        self.history = [*earlier, {**note, "method": method, "epoch": epoch, **logs}]
        if self.is_chief:
            with staging(self.path / "history.csv") as staged:
                _write_csv(staged, self.history)

    def discard_checkpoints(self):
        """Deletes what only an interrupted run needs."""
        if self.is_chief:
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)


def _check_same(flags, config, defaults):
    before, now = _other_flags(flags, config, defaults)
    if before or now:
        raise ValueError(
            f"{config.parent} was started with {before}, not with {now}. Resume it "
            f"with --flagfile={config} --run_dir={config.parent}, or start another "
            "--run_dir."
        )


def _check_weights(weights, config):
    known = [
        line.removeprefix(_FINGERPRINT)
        for line in config.read_text().splitlines()
        if line.startswith(_FINGERPRINT)
    ]
    if weights and known and known != [weights]:
        raise ValueError(
            f"The file of --weights is not the one that {config.parent} was started "
            "from: its contents have changed. Put that back, or start another "
            "--run_dir."
        )


def _other_flags(flags, config, defaults):
    """Returns two lists: what only the run was started with, and what only now is."""
    lines = config.read_text().splitlines()
    before = {line for line in lines if not line.startswith(("#", *FREE_FLAGS))}
    named = {_name(line) for line in before}
    later = {flag for flag in defaults if _name(flag) not in named}
    now = {flag for flag in flags if not flag.startswith(FREE_FLAGS)} - later
    return sorted(before - now), sorted(now - before)


def _name(line):
    """Returns the name of a flag in command-line form, the same for `--no` of it."""
    return line.split("=")[0].removeprefix("--").removeprefix("no")


def _read_csv(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write_csv(path, rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
