import os

import pytest

from keras_selfkd.files import staging


def test_moves_a_file_into_place_and_makes_its_parents(tmp_path):
    path = tmp_path / "run" / "a.txt"
    for text in ("first", "second"):
        with staging(path) as staged:
            assert staged.name == "a.txt"
            staged.write_text(text)
        assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_replaces_a_folder_whole(tmp_path):
    path = tmp_path / "model"
    for name in ("first", "second"):
        with staging(path) as staged:
            staged.mkdir()
            (staged / name).touch()
        assert [file.name for file in path.iterdir()] == [name]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with staging(path) as staged:
            staged.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_moved_in_is_put_back(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    replace = os.replace

    def fail_to_move_in(source, target):
        if target == path and source.name == "model":
            raise OSError("disk is gone")
        replace(source, target)

    monkeypatch.setattr("keras_selfkd.files.os.replace", fail_to_move_in)
    with pytest.raises(OSError, match="disk is gone"), staging(path) as staged:
        staged.mkdir()
    assert [file.name for file in path.iterdir()] == ["old"]


def test_a_file_never_replaces_a_folder(tmp_path):
    path = tmp_path / "kept"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="kept"), staging(path) as staged:
        staged.write_text("new")
    assert (path / "old").exists()


def test_all_is_on_the_disk_before_it_is_moved(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace

    def recorded_fsync(number):
        steps.append(os.fstat(number).st_size)
        fsync(number)

    def recorded_replace(source, target):
        steps.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with staging(tmp_path / "note.txt") as staged:
        staged.write_text("123")
    with staging(tmp_path / "folder") as staged:
        (staged / "deep").mkdir(parents=True)
        (staged / "deep" / "note.txt").write_text("1234")
    assert steps == [3, "note.txt", 4, "folder"]
