import zipfile

import keras
import numpy as np
import pytest

from keras_selfkd import BYOT, SelfDistillationModel, Supervised
from tests import toys
from tests.methods.batches import terms_of
from tests.methods.distances import cross_entropy, kl


@pytest.mark.parametrize("last_feature", [True, False])
def test_the_terms_are_the_formula(last_feature):
    method = BYOT(temperature=3.0, last_feature=last_feature)
    model = SelfDistillationModel(toys.classifier(), method)
    images, labels = toys.class_data(8)
    student, terms = terms_of(model, images, labels)
    outputs = method.branch_outputs(student)
    *branches, (last, logits) = [(np.array(f), np.array(z)) for f, z in outputs]
    assert len(branches) == 2
    expected = {
        "task": cross_entropy(labels, logits),
        "branch_task": sum(cross_entropy(labels, z) for _, z in branches),
        "soft_label": sum(kl(logits, z, 3.0) for _, z in branches),
        "feature": sum(
            ((f - last) ** 2).mean((1, 2, 3))
            for f, _ in branches[: None if last_feature else -1]
        ),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(term, expected[name], 1e-5, 1e-6, err_msg=name)


def test_void_pixels_have_no_feature_loss():
    model = SelfDistillationModel(toys.segmenter(stages=toys.FEW_STAGES), BYOT())
    images, labels = toys.pixel_data(2)
    nothing = np.zeros(labels.shape, bool)
    _, terms = terms_of(model, images, labels, valid=nothing)
    np.testing.assert_array_equal(terms["feature"], [0, 0])
    _, terms = terms_of(model, images, labels, valid=~nothing)
    assert np.all(terms["feature"] > 0)


def test_branches_end_like_the_student():
    student = toys.classifier((32, 24, 3))
    model = SelfDistillationModel(student, BYOT())
    last = model.outputs_of(np.zeros((1, 32, 24, 3))).features[-1]
    for branch in model.method.branches:
        assert branch.outputs[0].shape == (None, *last.shape[1:])
        assert branch.outputs[1].shape == (None, toys.CLASSES)


def test_exits_are_the_student_up_to_a_branch(tmp_path):
    student = toys.classifier()
    model = SelfDistillationModel(student, BYOT())
    model.compile("sgd", toys.cross_entropy())
    images, labels = toys.class_data()
    model.fit(images, labels, epochs=2, verbose=0)
    *early, whole = model.exits()
    assert whole is student
    assert [one.name for one in early] == ["toy_exit0", "toy_exit1"]
    outputs = model.outputs_of(images)
    for number, one in enumerate(early):
        _, logits = model.method.branches[number](outputs.features[number])
        np.testing.assert_allclose(one(images), logits, 1e-5, 1e-6)
    # What is left of the student, and the branch: shared, so trained.
    assert early[0].get_layer("conv1") is student.get_layer("conv1")
    names = {layer.name for layer in early[0].layers}
    assert "conv2" not in names
    early[0].save(tmp_path / "exit.keras")
    loaded = keras.models.load_model(tmp_path / "exit.keras")
    np.testing.assert_allclose(loaded(images), early[0](images), 1e-6)


def test_exits_of_pixels_are_of_the_masks_size_and_come_by_depth():
    student = toys.segmenter()
    model = SelfDistillationModel(student, BYOT())
    *early, _ = exits = model.exits()
    assert len(early) > 1
    assert {one.output.shape for one in exits} == {student.output.shape}
    counts = [len(one.layers) for one in early]
    assert counts == sorted(counts)


def test_exits_load_without_this_package(tmp_path):
    student = toys.segmenter(stages=toys.FEW_STAGES)
    for number, one in enumerate(SelfDistillationModel(student, BYOT()).exits()):
        one.save(tmp_path / f"{number}.keras")
        with zipfile.ZipFile(tmp_path / f"{number}.keras") as file:
            assert b"keras_selfkd" not in file.read("config.json")


def test_a_layer_of_the_student_may_be_called_as_a_branch():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="branch0")(images)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="resize")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    student = keras.Model(images, keras.layers.Dense(4)(x))
    assert len(SelfDistillationModel(student, BYOT()).exits()) == 2


def test_without_terms_of_branches_there_are_no_exits():
    method = BYOT(branch_task_weight=0, soft_label_weight=0)
    model = SelfDistillationModel(toys.classifier(), method)
    with pytest.raises(ValueError, match="no early exits"):
        model.exits()


def test_error_no_branch_left_for_the_feature_loss():
    student = toys.classifier(stages=toys.FEW_STAGES)
    with pytest.raises(ValueError, match="pass feature_weight=0"):
        SelfDistillationModel(student, BYOT(last_feature=False))
    method = BYOT(last_feature=False, feature_weight=0)
    assert "feature" not in SelfDistillationModel(student, method).method.loss_weights


def test_error_exits_of_another_method():
    model = SelfDistillationModel(toys.classifier(), Supervised())
    with pytest.raises(ValueError, match="supervised trains no early exits"):
        model.exits()


def test_error_arguments():
    with pytest.raises(ValueError, match=r"temperature to be .* above 0"):
        BYOT(temperature=0)
    with pytest.raises(ValueError, match="last_feature"):
        BYOT(last_feature=2)
