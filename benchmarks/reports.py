"""What the benchmarks write: tables with their machine and date, and pictures."""

import pathlib
import shlex
import sys

from examples.runs.machine import machine
from keras_selfkd.files import staging

__all__ = [
    "command",
    "label",
    "machine",
    "write_between_markers",
    "write_record",
    "write_text",
]


def write_text(path, text):
    """Writes a text file, whole or not at all."""
    with staging(path) as staged:
        staged.write_text(text, encoding="utf-8")


def write_between_markers(path, name, text):
    """Replaces what stands in a file between the markers of `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    path = pathlib.Path(path)
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_text(path, f"{before}{begin}{text}{end}{after}")


def write_record(path, title, text):
    """Writes what a benchmark printed into a file, beside what people wrote there.

    Args:
        path: Path of the Markdown file; what stands outside of its markers is left.
        title: Its first line, where there is no such file yet.
        text: String that ends in a line break.
    """
    path, name = pathlib.Path(path), "measured"
    if not path.exists():
        markers = f"<!-- {name}: begin -->\n<!-- {name}: end -->\n"
        write_text(path, f"# {title}\n\n{markers}")
    write_between_markers(path, name, text)
    print(text, flush=True)


def command():
    """Returns the command that started this benchmark."""
    module = sys.modules["__main__"].__spec__.name
    return f"python -m {shlex.join([module, *sys.argv[1:]])}"


def label(method):
    """Returns what tables call a method of the runners: plain training is `plain`."""
    return "plain" if method == "supervised" else method
