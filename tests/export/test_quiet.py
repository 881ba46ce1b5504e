import os

import pytest

from keras_selfkd.export.quiet import without_line


def fail():
    os.write(2, b"ERROR: no such file\nINFO: Created a delegate\nlast")
    raise RuntimeError


def test_other_lines_come_out_also_after_an_error(capfd):
    with pytest.raises(RuntimeError), without_line("delegate"):
        fail()
    os.write(2, b" words")
    assert capfd.readouterr().err == "ERROR: no such file\nlast words"
