import keras
import numpy as np
import pytest

from keras_selfkd import FRSKD_SLA, Mixup, SelfDistillationModel
from keras_selfkd.losses import attention_transfer, soft_label
from keras_selfkd.methods.frskd_sla import aggregate, joint_label, of_rotation
from keras_selfkd.mixing import MixedLabels
from keras_selfkd.supervision import Supervision
from tests import toys
from tests.golden_arrays import GOLDEN, assert_parity
from tests.methods import label_kinds
from tests.methods.batches import batch_of

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def test_aggregation_is_the_papers():
    rows = GOLDEN["sla.joint_logits"].reshape(5, 4, 40)
    assert_parity(aggregate(list(rows.swapaxes(0, 1))), GOLDEN["sla.aggregated_logits"])


def test_joint_labels():
    """Logit `4 y + r` of `y` and rotation `r` stands where the label says."""
    joint = np.arange(12.0)[None]  # Three classes.
    for r in range(4):
        turned = np.array(of_rotation(joint, r))
        assert sorted(turned[0]) == list(range(12))
        for y in range(3):
            assert turned[0, joint_label([y], 3)[0]] == 4 * y + r
            one_hot = joint_label(np.eye(3)[[y]], 3)
            assert turned[0] @ np.array(one_hot)[0] == 4 * y + r
    mixed = joint_label(MixedLabels([2, 0], [0, 2], 0.3), 3)
    np.testing.assert_array_equal(mixed.partner, [0, 2])
    assert mixed.share == 0.3


def test_ignored_labels_are_ignored_in_every_head():
    """Labels above and below `ignore_class / 4` are not mistaken for it."""
    ignored = 10  # As 4 y + 2 of class 2.
    loss = toys.cross_entropy(ignore_class=ignored)
    model = SelfDistillationModel(toys.classifier(), FRSKD_SLA(width=1, depth=1))
    model.compile("sgd", loss)
    images, labels = toys.class_data(4)
    terms = []
    for own in (labels, np.full_like(labels, ignored), np.full_like(labels, 2)):
        batch = model.method.prepare(batch_of(images, own))
        student = model.outputs_of(batch["x"])
        found = model.method.loss_terms(student, batch, Supervision(loss))
        terms.append({name: np.array(value) for name, value in found.items()})
    for name in ("task", "teacher_task", "joint_task", "teacher_joint_task"):
        assert np.all(terms[0][name] > 0), name
        assert np.all(terms[1][name] == 0), name
        assert np.all(terms[2][name] > 0), name


def test_views_are_the_images_and_their_rotations():
    images, labels = toys.class_data(2)
    batch = batch_of(images, labels)
    views = np.split(np.array(FRSKD_SLA().prepare(batch)["x"]), 5)
    np.testing.assert_array_equal(views[0], images)
    for k in range(4):
        np.testing.assert_array_equal(views[1 + k], np.rot90(images, k, axes=(1, 2)))


def test_terms_are_the_papers_formula():
    method = FRSKD_SLA(width=1, depth=1, temperature=3.0)
    model = SelfDistillationModel(toys.classifier(), method)
    images, labels = toys.class_data(3)
    batch = batch_of(images, labels)
    batch = method.prepare(batch)
    student = model.outputs_of(batch["x"], training=True)

    def supervise(y, z):
        return keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)

    terms = method.loss_terms(student, batch, supervise)
    teacher, *refined = method.self_teacher(student.features, training=True)
    plain, aggregated, joint = [], [], []
    pairs = ((student.logits, student.features[-1]), (teacher, refined[-1]))
    for head, (logits, coarsest) in zip(method.joint_heads, pairs, strict=True):
        rows = np.array(head(coarsest)).reshape(5, 3, 4, 4)[1:]  # rotation, b, c, r
        plain.append(np.array(logits)[:3])
        aggregated.append(np.mean([rows[r, :, :, r] for r in range(4)], axis=0))
        joint.append(
            np.mean(
                [supervise(4 * labels + r, rows[r].reshape(3, 16)) for r in range(4)]
            )
        )
    feature = sum(
        attention_transfer(t, f) for t, f in zip(refined, student.features, strict=True)
    )
    expected = {
        "task": np.mean(supervise(labels, plain[0])),
        "teacher_task": np.mean(supervise(labels, plain[1])),
        "joint_task": joint[0],
        "teacher_joint_task": joint[1],
        "aggregation": sum(
            np.mean(soft_label(a, z, 3.0))
            for a, z in zip(aggregated, plain, strict=True)
        ),
        "soft_label": np.mean(
            soft_label(
                np.concatenate([plain[1], aggregated[1]]),
                np.concatenate([plain[0], aggregated[0]]),
                3.0,
            )
        ),
        "feature": np.mean(feature),
    }
    assert set(terms) == set(expected) == set(method.loss_weights)
    for name, value in expected.items():
        np.testing.assert_allclose(np.mean(terms[name]), value, rtol=1e-5, err_msg=name)


def test_one_hot_labels_are_as_good_as_integers_also_mixed():
    integers, one_hot = label_kinds.logs_of_both(
        lambda: FRSKD_SLA(width=1, depth=1, mixing=Mixup())
    )
    assert integers == pytest.approx(one_hot, rel=1e-5)


@pytest.mark.parametrize(
    "create",
    [
        toys.segmenter,
        lambda: toys.classifier((16, 32, 3)),
        lambda: toys.classifier(classes=1),
    ],
)
def test_error_students_whose_images_cannot_be_rotated(create):
    with pytest.raises(
        ValueError, match=r"classifier of square images|is for classifiers"
    ):
        SelfDistillationModel(create(), FRSKD_SLA(width=1))


def test_error_several_labels():
    images, labels = toys.class_data(4)
    model = SelfDistillationModel(toys.classifier(), FRSKD_SLA(width=1))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="several labels an image mean nothing to it"):
        model.train_on_batch(images, np.eye(toys.CLASSES)[labels])
