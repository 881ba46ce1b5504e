import shutil
import sys

import keras
import pytest

from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.progress_bar import ProgressLine, for_terminals, line_of, number
from tests import toys

LOGS = {"accuracy": 0.5, "loss": 3.0, "a_loss": 1.0, "b_loss": 2.0}
TERMS = {"a_loss", "b_loss"}


def test_terms_stand_there_together_or_not_at_all():
    whole = line_of(4, 9, 2.0, LOGS, TERMS, columns=100)
    assert whole == "4/9  2 s  loss 3.0000 = a 1.0000 + b 2.0000  accuracy 0.5000"
    assert line_of(4, 9, 2.0, LOGS, TERMS, columns=len(whole)) == whole
    short = line_of(4, 9, 2.0, LOGS, TERMS, columns=len(whole) - 1)
    assert short == "4/9  2 s  loss 3.0000  accuracy 0.5000"
    assert line_of(4, 9, 2.0, LOGS, TERMS, columns=30) == "4/9  2 s  loss 3.0000"


def test_a_single_term_is_the_loss_itself():
    logs = {"loss": 3.0, "val_accuracy": 0.25, "task_loss": 3.0, "accuracy": 0.5}
    assert line_of(4, None, 61.6, logs, {"task_loss"}, columns=100) == (
        "4/?  62 s  loss 3.0000  accuracy 0.5000  val_accuracy 0.2500"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0000"), (2e-5, "2.0e-05"), (-1.5, "-1.5000")]
)
def test_small_numbers_are_no_zeros(value, text):
    assert number(value) == text


class Terminal:
    """A stdout of a terminal, written into a list."""

    def __init__(self):
        self.written = []

    def write(self, text):
        self.written.append(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def fitted(monkeypatch, columns, **options):
    model = SelfDistillationModel(
        toys.classifier(stages=toys.FEW_STAGES), FRSKD(width=1, depth=1)
    )
    loss = toys.cross_entropy()
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"], run_eagerly=True)
    terminal = Terminal()
    size = shutil.os.terminal_size((columns, 30))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
    monkeypatch.setattr(sys, "stdout", terminal)
    data = toys.class_data(8)
    model.fit(*data, validation_data=data, batch_size=4, epochs=2, **options)
    monkeypatch.undo()
    return "".join(terminal.written)


@pytest.mark.parametrize("columns", [200, 100, 40])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns):
    text = fitted(monkeypatch, columns)
    assert max(map(len, text.splitlines())) < columns
    assert ("soft_label" in text) == (columns == 200)
    # One line an epoch below its heading, the last word the whole epoch's.
    *lines, end = text.split("\n")
    headings, rows = lines[::2], lines[1::2]
    assert (headings, end) == (["Epoch 1/2", "Epoch 2/2"], "")
    assert all(row.rsplit("\r", 1)[1].startswith("2/2 ") for row in rows)


def test_silence_is_silence(monkeypatch):
    assert fitted(monkeypatch, 100, verbose=0) == ""


def test_keras_own_bar_where_it_was_asked_for_or_is_read_elsewhere(monkeypatch):
    own = [keras.callbacks.ProgbarLogger()]
    assert for_terminals([], "auto") == []  # Tests print to no terminal.
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert for_terminals(own, 1) is own
    assert for_terminals([], 2) == []
    (line,) = for_terminals([], "auto")
    assert isinstance(line, ProgressLine)
