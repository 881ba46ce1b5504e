import json

import keras
import numpy as np
import pytest

from examples.students import pretrained
from examples.students.convnets import small_resnet
from keras_selfkd import FRSKD, SelfDistillationModel
from tests import toys

LABELS = ["a", "b", "c", "d", "e"]


def network(classes=5, shape=(16, 16, 3)):
    """A network without two equal arrays."""
    model = small_resnet(shape, classes)
    random = np.random.default_rng(classes)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


def run_folder(path, labels, **options):
    path.mkdir()
    network(**options).save(path / "student.keras")
    (path / "result.json").write_text(json.dumps({"labels": labels}))
    return path


def assert_start(start, student, trained, head_is_fresh):
    """All values are the trained network's, the head's as said."""
    for ours, fresh, value in zip(
        start.values, student.weights, trained.get_weights(), strict=True
    ):
        if fresh.path.startswith("logits/") and head_is_fresh:
            np.testing.assert_array_equal(ours, fresh)
        else:
            np.testing.assert_array_equal(ours, value)


def test_a_fingerprint_is_the_files(tmp_path):
    file = tmp_path / "student.keras"
    assert pretrained.fingerprint(tmp_path) is None
    file.write_bytes(b"abc")  # FIPS 180-2's example.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert pretrained.fingerprint(tmp_path) == expected
    assert pretrained.fingerprint(file) == expected


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("classes", [5, 3])
def test_a_file_of_the_same_network(tmp_path, ending, classes):
    trained, path = network(classes), tmp_path / f"one{ending}"
    trained.save(path) if ending == ".keras" else trained.save_weights(path)
    student = small_resnet((16, 16, 3), 5)
    before = student.get_weights()
    start = pretrained.start(student, path, LABELS)
    assert_start(start, student, trained, head_is_fresh=classes != 5)
    said = "head 'logits', which was for other" if classes != 5 else "its head, too"
    assert said in start.said
    assert "\n" not in start.said
    for ours, theirs in zip(student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # It is left as it is.


@pytest.mark.parametrize("labels", [LABELS, ["v", "w", "x", "y", "z"]])
def test_a_run_of_other_classes_of_the_same_number(tmp_path, labels):
    path = run_folder(tmp_path / "run", labels)
    student = small_resnet((16, 16, 3), 5)
    for named in (path, path / "student.keras"):
        start = pretrained.start(student, named, LABELS)
        assert_start(start, student, network(), head_is_fresh=labels != LABELS)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    student, path = small_resnet((16, 16, 3), 5), tmp_path / "one.keras"
    for trained in (network(), small_resnet((16, 16, 3), 5)):
        trained.save(path)
        start = pretrained.start(student, path, LABELS)
        assert_start(start, student, trained, head_is_fresh=False)


def test_a_network_for_images_of_any_size(tmp_path):
    network(shape=(None, None, 3)).save(tmp_path / "one.keras")
    student = small_resnet((16, 16, 3), 5)
    start = pretrained.start(student, tmp_path / "one.keras", LABELS)
    assert_start(start, student, network(), head_is_fresh=False)


def test_a_file_of_a_training_holds_the_student(tmp_path):
    trained = network()
    model = SelfDistillationModel(trained, FRSKD(channels=4, depth=1))
    model.save(tmp_path / "model.keras")
    student = small_resnet((16, 16, 3), 5)
    start = pretrained.start(student, tmp_path / "model.keras", LABELS)
    assert_start(start, student, trained, head_is_fresh=False)


def test_a_weights_file_may_hold_an_optimizer(tmp_path):
    trained = network()
    trained.compile(keras.optimizers.SGD(0.0, momentum=0.9), toys.cross_entropy())
    trained.optimizer.build(trained.trainable_variables)
    trained.save_weights(tmp_path / "one.weights.h5")
    student = small_resnet((16, 16, 3), 5)
    start = pretrained.start(student, tmp_path / "one.weights.h5", LABELS)
    assert_start(start, student, trained, head_is_fresh=False)


def test_a_nested_student(tmp_path):
    trained = toys.nested_classifier(stages=toys.FEW_STAGES)
    trained.save(tmp_path / "one.keras")
    keras.utils.set_random_seed(1)
    student = toys.nested_classifier(stages=toys.FEW_STAGES)
    start = pretrained.start(student, tmp_path / "one.keras", LABELS[:4])
    assert_start(start, student, trained, head_is_fresh=False)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: network(shape=(20, 16, 3)),
            r"images \(16, 16, 3\).*one for images \(20, 16, 3\) \(--image_size=20,16",
        ),
        (lambda: network(shape=(16, 16, 1)), r"one for images \(16, 16, 1\)$"),
        (
            lambda: toys.classifier(),
            r"small_resnet's. Received: .* a toy with 26 arrays .*, not 47, without the"
            " layers stem_conv, stem_bn, stage1_block1_conv1$",
        ),
    ],
)
def test_error_a_file_of_another_network(tmp_path, other, message):
    other().save(tmp_path / "one.keras")
    with pytest.raises(ValueError, match=message) as error:
        pretrained.start(small_resnet((16, 16, 3), 5), tmp_path / "one.keras", LABELS)
    assert "\n" not in str(error.value)


def test_error_layers_of_other_sizes(tmp_path):
    toys.classifier(stages=(4, 7, 8)).save(tmp_path / "one.keras")
    with pytest.raises(ValueError, match=r"has \(3, 3, 4, 7\) in its place for 'down2"):
        pretrained.start(toys.classifier(), tmp_path / "one.keras", LABELS[:4])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network(shape=(16, 16, 1)), r"none that fits for 'stem_conv/kernel'"),
        (lambda: toys.classifier(), "none that fits for 'stem_conv/kernel'"),
        (
            lambda: SelfDistillationModel(network(), FRSKD(channels=4, depth=1)),
            r"saved by `student.save_weights`. Received: .*arrays of weights, not 47",
        ),
    ],
)
def test_error_a_weights_file_of_another_network(tmp_path, other, message):
    other().save_weights(tmp_path / "one.weights.h5")
    student = small_resnet((16, 16, 3), 5)
    before = student.get_weights()
    with pytest.raises(ValueError, match=message):
        pretrained.start(student, tmp_path / "one.weights.h5", LABELS)
    for ours, theirs in zip(student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["one.keras", "one.weights.h5", "folder"])
@pytest.mark.parametrize("content", [None, b"no network"])
def test_error_no_file_or_none_that_can_be_read(tmp_path, name, content):
    path = tmp_path / name
    if content:
        path.mkdir() if name == "folder" else path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected --weights to be .*{name}"):
        pretrained.start(small_resnet((16, 16, 3), 5), path, LABELS)
