import itertools

import numpy as np
import pytest

from keras_selfkd import DKS, SelfDistillationModel
from tests import toys
from tests.methods.batches import terms_of
from tests.methods.distances import cross_entropy, kl


def test_the_terms_are_the_formula():
    model = SelfDistillationModel(toys.classifier(), DKS())
    images, labels = toys.class_data(8)
    student, terms = terms_of(model, images, labels)
    logits = [np.array(z) for _, z in model.method.branch_outputs(student)]
    assert len(logits) == 3
    expected = {
        "task": cross_entropy(labels, logits[-1]),
        "branch_task": sum(cross_entropy(labels, z) for z in logits[:-1]),
        "soft_label": sum(kl(p, q, 1.0) for p, q in itertools.permutations(logits, 2)),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(term, expected[name], 1e-5, 1e-6, err_msg=name)


def test_without_soft_labels_it_is_deep_supervision():
    method = DKS(soft_label_weight=0)
    model = SelfDistillationModel(toys.classifier(), method)
    _, terms = terms_of(model, *toys.class_data(8))
    assert terms.keys() == {"task", "branch_task"}


def test_its_branches_are_exits():
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = SelfDistillationModel(student, DKS())
    early, whole = model.exits()
    assert whole is student
    assert early.output.shape == student.output.shape


def test_copied_branches_say_what_the_student_says():
    student = toys.classifier()
    model = SelfDistillationModel(student, DKS(copied_branches=True))
    images, _ = toys.class_data(4)
    for one in model.exits():
        np.testing.assert_allclose(one(images), student(images), 1e-5, 1e-6)
    kernel = model.method.branches[0].get_layer("down2").kernel
    kernel.assign(kernel + 1.0)  # Weights of its own.
    assert not np.array_equal(kernel, student.get_layer("down2").kernel)


def test_error_temperature():
    with pytest.raises(ValueError, match=r"temperature to be .* above 0"):
        DKS(temperature=-1)
