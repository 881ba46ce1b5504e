import re

import keras
import numpy as np
import pytest

from keras_selfkd import FRSKD, PSKD, MixSKD, SelfDistillationModel
from tests import toys


def model_of(method):
    return SelfDistillationModel(toys.classifier(stages=toys.FEW_STAGES), method)


@pytest.fixture
def summary_of(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")  # A terminal that cuts nothing off.

    def summary_of(model, **options):
        lines = []
        model.summary(print_fn=lines.append, line_length=120, **options)
        return "\n".join(lines)

    return summary_of


def test_summary_shows_the_student_the_networks_and_the_taps(summary_of):
    model = model_of(FRSKD(width=1, depth=1))
    text = summary_of(model, expand_nested=True)
    for row in (
        r"toy \(Functional\) +│ \(None, 4\) +│ +1,614",
        r"└ out2 \(ReLU\) +│ \(None, 8, 8, 6\)",
        r"self_teacher \(Functional\) +│ \(\(None, 4\), \(None, 8, 8, 6\), \(None, 4,",
        r"└ \w+ \(Dense\) +│ \(None, 4\)",
    ):
        assert re.search(row, text), row
    assert not re.search(r"│ \? ", text)
    assert text.endswith(" Taps: out2 (8, 8, 6), out3 (4, 4, 8)")
    assert f"Total params: {model.count_params():,}" in text


def test_summary_of_a_method_with_numbers_of_its_own(summary_of):
    text = summary_of(model_of(PSKD(24)))
    assert re.search(r"pskd \(PSKD\) +│ \? +│ +121 ", text)
    assert text.endswith(" Taps: none")


def test_networks_are_found_by_name():
    model = model_of(FRSKD(width=1, depth=1))
    assert model.get_layer("self_teacher") is model.method.self_teacher
    assert model.layers == [model.student, model.method.self_teacher]


def test_training_graph_computes_what_the_step_does():
    model = model_of(FRSKD(width=1, depth=1))
    graph = model.training_graph()
    images, _ = toys.class_data(4)
    logits, *others = graph(images)
    student = model.outputs_of(images)
    expected = [student.logits, *model.method.self_teacher(student.features)]
    for value, other in zip([logits, *others], expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-6)
    teacher = graph.get_layer("frskd_self_teacher")
    assert len(keras.tree.flatten(teacher.input)) == 2
    assert len(graph.weights) == len(model.weights)


def test_training_graph_has_inputs_for_what_a_method_computes():
    graph = model_of(MixSKD()).training_graph()
    # Images, and pooled maps for the two discriminators.
    assert [x.shape for x in graph.inputs] == [(None, 16, 16, 3), (None, 8), (None, 8)]
    names = {layer.name for layer in graph.layers}
    assert {"mix_skd_branches_0", "mix_skd_joint_head"} <= names
