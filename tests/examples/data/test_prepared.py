import keras
import numpy as np
import pytest
from PIL import Image

from examples.data import prepared as data_module
from examples.data.prepared import load_data
from examples.students.by_name import build_student


def all_of(dataset):
    images, labels = zip(*dataset, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def pixels_of(data, images):
    """Undoes the normalisation."""
    return np.rint(images * data.std + data.mean).astype(int)


def test_digits_by_default():
    data = load_data()
    assert data.name == "digits"
    assert data.examples == {"train": 300, "validation": 200, "test": 1297}
    assert (data.classes, data.image_shape) == (10, (32, 32, 1))
    assert data.label_names == [str(digit) for digit in range(10)]
    assert data.steps_per_epoch == 300 // 64
    images, labels = next(iter(data.train()))
    assert (images.shape, images.dtype) == ((64, 32, 32, 1), "float32")
    assert (labels.shape, labels.dtype) == ((64,), "int32")
    assert len(all_of(data.validation)[1]) == 200
    assert len(all_of(data.test)[1]) == 1297


def test_training_images_are_normalised():
    data = load_data(batch_size=300, augment=False)
    images, _ = next(iter(data.train()))
    np.testing.assert_allclose(np.mean(images), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(images), 1, atol=1e-5)


def test_digits_split_does_not_depend_on_the_seed():
    some, others = (all_of(load_data(seed=seed).test) for seed in (0, 1))
    np.testing.assert_array_equal(some[0], others[0])
    np.testing.assert_array_equal(some[1], others[1])


def test_a_resumed_run_sees_the_same_batches():
    data = load_data(batch_size=64, seed=3)
    whole = list(data.train().take(12))[8:]
    resumed = list(load_data(batch_size=64, seed=3).train(first_epoch=2).take(4))
    for (images, labels), (same_images, same_labels) in zip(
        whole, resumed, strict=True
    ):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_train_per_class_keeps_the_first_images(prepared_tfds):
    data_dir, arrays = prepared_tfds(train=30, test=6)
    data = load_data(
        "shapes", data_dir, train_per_class=4, batch_size=12, augment=False
    )
    assert data.examples == {"train": 12, "test": 6}
    assert data.validation is None
    images, labels = next(iter(data.train()))
    seen = pixels_of(data, images)[np.argsort(labels, kind="stable")]
    expected = arrays["train"]["image"][:12]
    assert sorted(seen.tolist()) == sorted(expected.tolist())


def test_validation_per_class_follows_the_training_images(prepared_tfds):
    data_dir, arrays = prepared_tfds(train=30, test=6)
    limits = {"train_per_class": 4, "validation_per_class": 2}
    data = load_data("shapes", data_dir, batch_size=4, **limits)
    assert data.examples == {"train": 12, "validation": 6, "test": 6}
    images, labels = all_of(data.validation)
    np.testing.assert_array_equal(
        pixels_of(data, images), arrays["train"]["image"][12:18]
    )
    np.testing.assert_array_equal(labels, arrays["train"]["label"][12:18])


def test_validation_per_class_alone_takes_the_last_images(prepared_tfds):
    data_dir, arrays = prepared_tfds(train=30, test=6)
    data = load_data("shapes", data_dir, validation_per_class=2, batch_size=4)
    assert data.examples == {"train": 24, "validation": 6, "test": 6}
    images, _ = all_of(data.validation)
    np.testing.assert_array_equal(
        pixels_of(data, images), arrays["train"]["image"][24:]
    )


def test_streamed_and_in_memory_agree(prepared_tfds, monkeypatch):
    data_dir, _ = prepared_tfds(train=30, validation=5, test=6)
    options = {"batch_size": 30, "augment": False}
    memory = load_data("shapes", data_dir, **options)
    monkeypatch.setattr(data_module, "_IN_MEMORY_BYTES", 0)
    stream = load_data("shapes", data_dir, **options)
    assert memory.examples == stream.examples
    assert memory.steps_per_epoch == stream.steps_per_epoch
    np.testing.assert_array_equal(memory.mean, stream.mean)
    for name in ("validation", "test"):
        for some, others in zip(
            all_of(getattr(memory, name)), all_of(getattr(stream, name)), strict=True
        ):
            np.testing.assert_array_equal(some, others)
    some, others = (np.array(next(iter(d.train()))[0]) for d in (memory, stream))
    assert sorted(some.sum((1, 2, 3))) == pytest.approx(sorted(others.sum((1, 2, 3))))


def test_folder_of_images(class_folders):
    root = class_folders("pets", {"cat": 20, "dog": 20})
    data = load_data("folder", root, image_size=(8, 8), batch_size=4)
    assert data.name == "pets"
    assert data.examples == {"train": 32, "validation": 4, "test": 4}
    assert data.image_shape == (8, 8, 3)
    assert data.label_names == ["cat", "dog"]
    images, labels = next(iter(data.train()))
    assert images.shape == (4, 8, 8, 3)
    assert set(labels.numpy()) <= {0, 1}


@pytest.mark.parametrize(
    ("size", "expected", "why"),
    [
        ((12, 16), (12, 16), "12x16 pixels, the images' own size"),
        ((600, 500), (224, 224), "224x224 pixels, theirs are 600x500"),
        (None, (224, 224), "224x224 pixels, as they differ"),
    ],
)
def test_size_of_a_folder_is_its_own_or_said(class_folders, size, expected, why):
    root = class_folders("pets", {"cat": 3, "dog": 3}, size or (12, 16))
    if size is None:
        class_folders("pets/dog", {"small": 1}, (8, 8))
    data = load_data("folder", root, batch_size=2)
    assert data.image_shape == (*expected, 3)
    images, _ = next(iter(data.train()))
    assert images.shape == (2, *expected, 3)
    assert any(why in note and "--image_size" in note for note in data.notes)


@pytest.mark.parametrize(
    ("asked", "mirrored"), [(None, True), (True, True), (False, False)]
)
def test_mirroring_is_by_data_set_or_asked_for(class_folders, asked, mirrored):
    root = class_folders("pets", {"cat": 20, "dog": 20}, (16, 16))
    image = np.zeros((16, 16, 3), "uint8")
    image[:, 8] = 255  # A line right of the middle; crops move it by 2 at most.
    image[:, :8] = 100
    for file in root.rglob("*.png"):
        Image.fromarray(image).save(file)
    data = load_data("folder", root, batch_size=32, mirror=asked)
    images = pixels_of(data, next(iter(data.train()))[0].numpy())
    share = np.mean(images[:, 8, 3, 0] == 0)
    assert 0.2 < share < 0.8 if mirrored else share == 0
    assert ("--nomirror" in data.notes[-1]) == mirrored


def test_fast_takes_a_few_images_of_each_class():
    data = load_data(fast=True)
    assert data.examples == {"train": 80, "validation": 100, "test": 100}
    for dataset in (data.validation, data.test):
        assert np.bincount(all_of(dataset)[1]).tolist() == [10] * 10


def test_fast_fills_a_batch_of_few_classes(prepared_tfds):
    data_dir, _ = prepared_tfds(train=90, test=9)
    data = load_data("shapes", data_dir, fast=True, batch_size=64)
    assert data.examples == {"train": 66, "test": 9}
    limited = load_data("shapes", data_dir, train_per_class=5, fast=True, batch_size=8)
    assert limited.examples["train"] == 15


def test_keras_trains_on_it():
    keras.utils.set_random_seed(0)
    data = load_data(batch_size=50)
    student = build_student("plain_cnn", data.image_shape, data.classes)
    student.compile(
        keras.optimizers.Adam(0.003),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = student.fit(
        data.train(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=3,
        shuffle=False,
        validation_data=data.validation,
        verbose=0,
    ).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size=301, but 300 training images"):
        load_data(batch_size=301)


def test_validation_is_not_held_out_twice():
    match = "validation split of its own.*'digits', validation_per_class=5"
    with pytest.raises(ValueError, match=match):
        load_data(validation_per_class=5)


def test_validation_must_leave_training_images(prepared_tfds):
    data_dir, _ = prepared_tfds(train=30, test=6)
    match = "validation_per_class=10, but class '0' has 10 images"
    with pytest.raises(ValueError, match=match):
        load_data("shapes", data_dir, validation_per_class=10)
