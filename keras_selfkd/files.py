"""Writing files whole: under another name first, moved into place when complete."""

import contextlib
import json
import os
import pathlib
import tempfile


@contextlib.contextmanager
def staging(path):
    """Yields a path to write a file or folder to, and moves it to `path` at the end.

    Whatever is at `path` is replaced. If the block raises, it stays as it was and
    nothing of the new one is left. The new one is on the disk before it is moved, so
    that even after a power cut a file is one or the other.

    Args:
        path: Path of the file or folder; missing parents are created.

    Yields:
        A `pathlib.Path` of the same name, in a temporary folder beside `path`.

    Example:
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with staging(f"{folder}/note.txt") as staged:
    ...         _ = staged.write_text("complete")
    ...     pathlib.Path(folder, "note.txt").read_text()
    'complete'
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.partial-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        staged = pathlib.Path(folder, path.name)
        yield staged
        _wait_for_disk(staged)
        _move(staged, path, pathlib.Path(folder, "replaced"))


def write_json(path, content):
    """Writes a JSON file, whole or not at all."""
    with staging(path) as staged:
        staged.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _wait_for_disk(path):
    for file in (path, *path.rglob("*")):
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _move(source, target, replaced):
    if not (source.is_dir() and target.is_dir()):
        os.replace(source, target)
        return
    # A folder with something in it can't be replaced in one step.
    os.replace(target, replaced)
    try:
        os.replace(source, target)
    finally:
        if not target.exists():
            os.replace(replaced, target)
