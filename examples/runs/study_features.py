"""Rating a study's students as feature extractors, each kept beside it."""

import functools
import json
import shlex
import sys

import keras
import numpy as np

from examples.data import inputs
from examples.data.prepared import load_data
from examples.results import features
from examples.runs import study_runs
from examples.runs.study import flags_set
from examples.runs.task import loaded
from examples.students.parts import embedder
from keras_selfkd.files import staging, write_json

_BATCH = 20


def write(study, trainings, dataset):
    """Rates the students of the largest budget that are not rated; writes the report.

    Args:
        study: `Study` of classifiers.
        trainings: List of `Training`.
        dataset: Name of the data set whose classes are to be told.

    Returns:
        String, what to print.

    Raises:
        ValueError: If there is no such data set.
    """
    name, rows = f"features-{dataset.replace(':', '_').replace('/', '_')}", []
    for one in trainings:
        result = study_runs.kept(one)
        if one.budget != max(study.budgets) or not result or "diverged" in result:
            continue
        path, student = one.path / f"{name}.json", one.path / "student.keras"
        if not path.exists() and student.exists():
            print(f"Features of {one.leg}, seed {one.seed}", flush=True)
            write_json(path, _rated(study, one, student, dataset))
        if path.exists():
            place = {"leg": one.leg, "seed": one.seed, "budget": one.budget}
            rows.append(place | json.loads(path.read_text(encoding="utf-8")))
    if not rows:
        return "No student is left to take features of: train with --overwrite."
    text = features.table(rows, study.baseline)
    command = shlex.join(["python", "-m", "examples.compare", *sys.argv[1:]])
    train, test = (rows[0]["images"][split] for split in ("train", "test"))
    with staging(study.path / f"{name}.md") as staged:
        staged.write_text(
            f"# {study.path.name}, {max(study.budgets)} epochs: features for {dataset}"
            f"\n\n`{command}`. What the head reads, of networks that were not trained "
            f"for {dataset}, tells its classes: {test:,} test images after {train:,} "
            f"training images. The difference is to {study.baseline}, seed by seed, "
            f"with its 95 % interval.\n\n{text}\n",
            encoding="utf-8",
        )
    return f"{text}\n\n{study.path}/: {name}.md"


def _rated(study, one, student, dataset):
    with flags_set(study.task, one.arguments):
        own = loaded(study.task)
        place = inputs.DATA_DIR.value, inputs.DOWNLOAD.value
    other = _data(dataset, *place, own.image_shape[:2])
    network = embedder(keras.models.load_model(student))

    def features_of(batches):
        found = []
        for images, labels in batches:
            pixels = np.round(images * other.std + other.mean)
            shown = features.adapted(pixels, own.image_shape, own.mean, own.std)
            found.append((network.predict_on_batch(shown), labels))
        return [np.concatenate(part) for part in zip(*found, strict=True)]

    most = features.IMAGES // _BATCH
    train = features_of(other.train().take(min(other.steps_per_epoch, most)))
    test = features_of(other.test.take(most))
    images = {"train": len(train[1]), "test": len(test[1])}
    return {**features.probe(train, test), "images": images}


@functools.lru_cache(maxsize=1)
def _data(dataset, folder, download, size):
    return load_data(
        dataset,
        data_dir=folder,
        download=download,
        batch_size=_BATCH,
        image_size=size,
        augment=False,
    )
