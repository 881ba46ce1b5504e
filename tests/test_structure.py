import keras
import numpy as np
import pytest
from keras import ops

from keras_selfkd import FRSKD, Late, MixSKD, SelfDistillationModel
from keras_selfkd.method import Method
from keras_selfkd.methods import DKS, MeanTeacher
from keras_selfkd.structure import structure_of
from tests import toys
from tests.methods.cases import CASES


def structure(method, create=toys.classifier, **options):
    return structure_of(SelfDistillationModel(create(**options), method))


def named(points):
    return {f"{point.group}/{point.name}" for point in points}


def terms_of(found):
    return {t.name: (named(t.learns), named(t.teaches)) for t in found.terms}


def test_self_teacher_by_hand():
    found = structure(FRSKD(width=1, depth=1), stages=toys.FEW_STAGES)
    assert found.student == (
        ("student", "out2", (8, 8, 6)),
        ("student", "out3", (4, 4, 8)),
        ("student", "embedding", (8,)),
        ("student", "logits", (4,)),
    )
    (teacher,) = found.parts
    assert teacher.name == "self_teacher"
    assert [named(one) for one in teacher.reads] == [{"student/out2"}, {"student/out3"}]
    shapes = [(point.name, point.shape) for point in teacher.returns]
    assert shapes == [("logits", (4,)), ("map 1", (8, 8, 6)), ("map 2", (4, 4, 8))]
    assert terms_of(found) == {
        "task": ({"student/logits"}, {"data/labels"}),
        "teacher_task": ({"self_teacher/logits"}, {"data/labels"}),
        "soft_label": ({"student/logits"}, {"self_teacher/logits"}),
        "feature": (
            {"student/out2", "student/out3"},
            {"self_teacher/map 1", "self_teacher/map 2"},
        ),
    }


def test_branches_that_teach_each_other():
    ends = {"student/logits", "branches[0]/logits"}
    found = structure(DKS(), stages=toys.FEW_STAGES)
    assert terms_of(found)["soft_label"] == (ends, ends)


def test_what_is_computed_of_a_part_is_traced_through_mixing():
    found = structure(MixSKD(), stages=toys.FEW_STAGES)
    reads = {part.name: [named(one) for one in part.reads] for part in found.parts}
    assert reads == {
        "branches[0]": [{"student/out2"}],
        "joint_head": [{"branches[0]/map"}, {"student/out3"}],
        "discriminators[0]": [{"branches[0]/map"}],
        "discriminators[1]": [{"student/out3"}],
    }
    learns, teaches = terms_of(found)["teacher_soft_label"]
    assert (learns, teaches) == ({"student/logits"}, {"joint_head/logits"})


def test_the_path_of_a_decoder_is_in_the_order_of_the_computation():
    found = structure(
        FRSKD(channels=2, depth=1), toys.segmenter, stages=toys.FEW_STAGES
    )
    sizes = [point.shape[0] for point in found.student]
    assert sizes == sorted(sizes)
    # A size that is computed with is no target.
    assert terms_of(found)["task"] == ({"student/logits"}, {"data/labels"})


@pytest.mark.parametrize(
    "method", [MeanTeacher(start=0.5), Late(FRSKD(width=1, depth=1), start=0.5)]
)
def test_methods_that_begin_later_are_shown_as_they_are_then(method):
    model = SelfDistillationModel(toys.classifier(stages=toys.FEW_STAGES), method)
    terms = terms_of(structure_of(model))
    teacher = {"prepared/teacher_logits", "self_teacher/logits"}
    assert terms["soft_label"][0] == {"student/logits"}
    assert len(terms["soft_label"][1] & teacher) == 1
    assert not model.method.begun


class Remembers(Method):
    """Compares with numbers that it holds itself, by a layer and a network."""

    terms = ("task", "past")

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.rows = self.add_weight((4, 3), "ones", trainable=False, name="rows")
        self.narrow = keras.layers.Dense(3)
        self.narrow.build(outputs.logits.shape)

    def loss_terms(self, student, batch, supervise):
        near = ops.take(self.rows, batch["y"], axis=0) - self.narrow(student.logits)
        return {
            "task": supervise(batch["y"], student.logits),
            "past": ops.mean(ops.square(near), axis=-1),
        }


def test_a_strangers_layer_and_memory():
    found = structure(Remembers())
    (part,) = found.parts
    assert part.returns == (("narrow", "output", (3,)),)
    assert terms_of(found)["past"] == (
        {"narrow/output"},
        {"memory/rows", "data/labels"},
    )


@pytest.mark.parametrize("name", CASES)
def test_every_term_of_every_method_has_a_learner_and_nothing_changes(name):
    case = CASES[name]
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = SelfDistillationModel(student, case.method())
    before = [variable.numpy() for variable in model.variables]
    found = structure_of(model)
    assert [term.name for term in found.terms] == [*model.method.loss_weights]
    assert all(term.learns for term in found.terms)
    # Each network that is trained is one that some term's gradient leads back to.
    reached = {point.group for term in found.terms for point in term.learns}
    reads = {p.name: {q.group for one in p.reads for q in one} for p in found.parts}
    for _ in found.parts:
        reached |= {group for name in reached for group in reads.get(name, ())}
    trained = {part.name for part in found.parts if part.layer.trainable_weights}
    assert trained <= reached
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert model.losses == []
