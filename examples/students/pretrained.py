"""A student that starts from a trained network's weights."""

import functools
import hashlib
import json
import pathlib
import warnings
from typing import NamedTuple

import h5py
import numpy as np

from examples.students.parts import head_of
from keras_selfkd.distributed.layers import derive_constants
from keras_selfkd.export.deployment import find_student, load_file


class Pretrained(NamedTuple):
    """What a `.keras` file says, as arrays: no model that a later session would hold.

    Attributes:
        name: Name of the network.
        image_shape: `(height, width, channels)` of its images.
        paths: List of the paths of its variables, `"<layer>/kernel"`.
        values: List of arrays, their values.
        labels: List of its classes' names, `None` where no run says them.
    """

    name: str
    image_shape: tuple
    paths: list
    values: list
    labels: list | None


class Start(NamedTuple):
    """How a student starts.

    Attributes:
        values: List of arrays, of all its `weights`.
        said: Sentence that says where they are from.
    """

    values: list
    said: str


def load_network(path, flag):
    """Loads the network of a run's folder or of a `.keras` file.

    Args:
        path: String.
        flag: The flag that names it, for messages.

    Returns:
        A functional `keras.Model`: the student where the file holds a training.

    Raises:
        ValueError: If there is no such file, or one that cannot be read.
    """
    return find_student(load_file(_file_of(path), flag))


def _file_of(path):
    path = pathlib.Path(path)
    return path / "student.keras" if path.is_dir() else path


def read(path):
    """Reads a run's folder or a `.keras` file; returns `Pretrained`.

    Raises:
        ValueError: If there is no such file, or one that cannot be read.
    """
    file = _file_of(path)
    return _read(file, file.stat().st_mtime_ns if file.exists() else None)


def fingerprint(path):
    """Returns the SHA-256 of a network's file, `None` where there is none."""
    file = _file_of(path)
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def forget():
    """Has `read` read its file again."""
    _read.cache_clear()


@functools.lru_cache(maxsize=1)
def _read(file, _changed):
    network = load_network(file, "--weights")
    result, labels = file.parent / "result.json", None
    if file.name == "student.keras" and result.exists():  # A run's.
        labels = json.loads(result.read_text()).get("labels")
    return Pretrained(
        network.name,
        tuple(network.inputs[0].shape[1:]),
        [variable.path for variable in network.weights],
        network.get_weights(),
        labels,
    )


def read_ahead(path):
    """Reads what `start` will need, so that nothing is loaded there."""
    if not is_weights_file(path):
        read(path)


def is_weights_file(path):
    return str(path).endswith(".weights.h5")


def start(student, path, labels):
    """Finds the values with which a student starts; it is left as it is.

    Args:
        student: Functional `keras.Model` of fresh weights.
        path: String, a run's folder, a `.keras` or a `.weights.h5` file.
        labels: List of the names of the student's classes.

    Returns:
        `Start`. A head of other classes, by number or, where a run's folder says
        them, by name, keeps its fresh weights.

    Raises:
        ValueError: If the file cannot be read, or is one of a network for other images
            or of other layers.
    """
    if is_weights_file(path):
        found, theirs = _of_weights_file(student, path), None
    else:
        trained = read(path)
        _check_images(student, path, trained.image_shape)
        found, theirs = _in_order(student, path, trained), trained.labels
    heads = {id(variable) for variable in head_of(student).weights}
    fresh = dict(zip(map(id, student.weights), student.get_weights(), strict=True))
    replaced = theirs not in (None, list(labels))
    for variable, value in zip(student.weights, found, strict=True):
        fits = value is not None and value.shape == tuple(variable.shape)
        if not fits and id(variable) not in heads:
            raise ValueError(_of_other_layers(student, path, variable, value))
        replaced |= not fits
    kept = [
        fresh[id(variable)] if replaced and id(variable) in heads else value
        for variable, value in zip(student.weights, found, strict=True)
    ]
    which = (
        f"all but its head {head_of(student).name!r}, which was for other classes"
        if replaced
        else "its head, too, which was for as many classes"
    )
    return Start(kept, f"Starts from the weights of {path}: {which} (--weights).")


def _in_order(student, path, trained):
    """The values of a `.keras` file, one for each of the student's variables."""
    if len(trained.values) == len(student.weights):
        return trained.values
    ours = [variable.path.rpartition("/")[0] for variable in student.weights]
    there = {each.rpartition("/")[0] for each in trained.paths}
    missing = [name for name in dict.fromkeys(ours) if name not in there]
    lacks = f", without the layers {', '.join(missing[:3])}" if missing else ""
    raise ValueError(
        f"Expected --weights of the student's own layers, {student.name}'s. Received: "
        f"--weights={path}, a {trained.name} with {len(trained.values)} arrays of "
        f"weights, not {len(student.weights)}{lacks}"
    )


def _of_weights_file(student, path):
    """The values that Keras finds in a weights file, `None` where none fits."""
    if not pathlib.Path(path).is_file():
        raise ValueError(
            "Expected --weights to be a run's folder, a .keras or a .weights.h5 file. "
            f"Received: --weights={path}, where no file is"
        )
    _check_arrays(student, path)
    fresh = student.get_weights()
    unknown = [np.full_like(v, np.nan) if v.dtype.kind == "f" else v for v in fresh]
    student.set_weights(unknown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `start` says what does not fit.
        student.load_weights(path, skip_mismatch=True)
    found = student.get_weights()
    student.set_weights(fresh)
    derive_constants(student)
    return [
        None if value.dtype.kind == "f" and np.isnan(value).all() else value
        for value in found
    ]


def _check_arrays(student, path):
    """Refuses a file of more arrays, which Keras would not notice."""
    names = []
    try:
        with h5py.File(path) as file:
            file.visititems(
                lambda name, entry: (
                    names.append(name) if isinstance(entry, h5py.Dataset) else None
                )
            )
    except OSError as error:
        raise ValueError(
            "Expected --weights to be a whole file of `student.save_weights`. Received:"
            f" --weights={path}. The cause: {error}"
        ) from error
    count = sum(not name.startswith("optimizer/") for name in names)
    if count > len(student.weights):
        raise ValueError(
            f"Expected --weights of the student's own layers, {student.name}'s, saved "
            f"by `student.save_weights`. Received: --weights={path} with {count} arrays"
            f" of weights, not {len(student.weights)}"
        )


def _check_images(student, path, theirs):
    ours = tuple(student.inputs[0].shape[1:])
    if all(size in (None, own) for size, own in zip(theirs, ours, strict=True)):
        return
    remedy = ""
    if theirs[-1] == ours[-1]:
        remedy = f" (--image_size={theirs[0]},{theirs[1]} trains on such)"
    raise ValueError(
        f"Expected --weights of a network for images {ours}. Received: "
        f"--weights={path}, one for images {theirs}{remedy}"
    )


def _of_other_layers(student, path, variable, value):
    has = "none that fits" if value is None else f"{value.shape} in its place"
    return (
        f"Expected --weights of the student's own layers, {student.name}'s. Received: "
        f"--weights={path}, which has {has} for {variable.path!r} of shape "
        f"{tuple(variable.shape)}"
    )
