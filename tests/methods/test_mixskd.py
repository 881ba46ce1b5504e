import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from examples.students.convnets import resnet18
from keras_selfkd import CutMix, MixSKD, Mixup, Outputs, SelfDistillationModel
from keras_selfkd.mixing import Drawn
from keras_selfkd.networks import discriminator
from tests import toys
from tests.golden_arrays import GOLDEN, assert_parity, rule_kernel
from tests.methods import label_kinds
from tests.methods.batches import batch_of, cross_entropy

BRANCHES = 4


def variable(values):
    return tf.Variable(values, dtype="float32")


def set_kernels(network):
    """As `set_rule_weights`, of a network that is not trained."""
    for layer in ("hidden", "logits"):
        kernel = network.get_layer(layer).kernel
        kernel.assign(rule_kernel(kernel.shape))


def given(maps, logits, of_mixture, of_mixed, drawn, valid=None):
    """A method whose networks return given maps and logits, and its arguments."""
    method = MixSKD(adversarial=False)
    method.branches = [
        lambda tap, training, i=i: (maps[i], logits[i]) for i in range(len(maps) - 1)
    ]
    method.joint_head = lambda maps: ops.concatenate([of_mixture, of_mixed])
    method.discriminators = [
        discriminator(tap.shape[-1], adversarial=False) for tap in maps
    ]
    for network in method.discriminators:
        set_kernels(network)
    method._last = len(maps) - 1
    batch = {"drawn": drawn, "both_valid": valid}
    return method, Outputs(logits[-1], list(maps)), batch


def golden(name):
    return tf.Variable(GOLDEN[f"mixskd.{name}"], dtype="float32")


def test_terms_and_gradients_are_those_of_the_papers_code():
    maps = [golden(f"features{i}") for i in range(BRANCHES)]
    logits = [golden(f"logits{i}") for i in range(BRANCHES)]
    method, student, batch = given(
        maps,
        logits,
        golden("teacher_logits_of_mixed_features"),
        golden("teacher_logits_of_mixup_images"),
        Drawn(GOLDEN["mixskd.index"], float(GOLDEN["mixskd.lam"])),
    )
    batch["y"] = GOLDEN["mixskd.targets"]
    with tf.GradientTape() as tape:
        terms = method.loss_terms(student, batch, cross_entropy)
        terms = {name: tf.reduce_mean(term) for name, term in terms.items()}
        total = sum(terms.values())
    for name, value in {
        "cls": terms["task"],
        "mixcls": terms["mixed_task"],
        "div": terms["soft_label"] + terms["teacher_soft_label"],
        "fea": terms["feature"],
        "gan": terms["discrimination"],
    }.items():
        assert_parity(value, GOLDEN[f"mixskd.loss_{name}"])
    assert_parity(total, GOLDEN["mixskd.total"])
    of_maps, of_logits = tape.gradient(total, (maps, logits))
    for i in range(BRANCHES):
        assert_parity(of_maps[i], GOLDEN[f"mixskd.grad_features{i}"])
        assert_parity(of_logits[i], GOLDEN[f"mixskd.grad_logits{i}"])


def test_maps_learn_to_deceive_the_discriminators():
    """Their gradient is the opposite of that of the released code."""
    pooled = tf.Variable(np.random.default_rng(0).normal(size=(4, 6)), dtype="float32")
    gradients = []
    for adversarial in (False, True):
        network = discriminator(6, adversarial)
        set_kernels(network)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(network(pooled)[:, 0])
        gradients.append(tape.gradient(loss, pooled).numpy())
        assert len(network.trainable_variables) == (4 if adversarial else 0)
    assert np.any(gradients[0])
    np.testing.assert_array_equal(gradients[1], -gradients[0])


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def divergence(target, prediction, temperature=3.0):
    p, q = log_softmax(target / temperature), log_softmax(prediction / temperature)
    return temperature**2 * np.sum(np.exp(p) * (p - q), -1)


def test_weighted_terms_count_each_image_by_its_share():
    """The formulas in NumPy: a mixed image weighs what its two images weigh."""
    random = np.random.default_rng(0)
    rows, classes, share = 5, 3, 0.3
    order, y = np.array([2, 0, 1, 4, 3]), np.array([0, 1, 2, 0, 1])
    weight = random.random(rows)
    maps = [random.normal(size=(2 * rows, 2, 2, 6)) for _ in range(2)]
    logits = [random.normal(size=(2 * rows, classes)) for _ in range(2)]
    h = random.normal(size=(2, rows, classes))
    method, student, batch = given(
        [tf.constant(m, tf.float32) for m in maps],
        [tf.constant(z, tf.float32) for z in logits],
        *(tf.constant(z, tf.float32) for z in h),
        Drawn(tf.constant(order), share),
    )
    terms = method.loss_terms(student, {**batch, "y": tf.constant(y)}, cross_entropy)

    def mix(values):
        return share * values + (1 - share) * values[order]

    def nll(z, labels):
        return -log_softmax(z)[np.arange(rows), labels]

    both = mix(weight)
    clean, mixed = (
        [z[half] for z in logits] for half in (slice(rows), slice(rows, 10))
    )
    expected = {
        "task": sum(nll(z, y) for z in clean) @ weight,
        "mixed_task": sum(
            share * nll(z, y) @ weight + (1 - share) * nll(z, y[order]) @ weight[order]
            for z in [*mixed, *h]
        ),
        "feature": sum(
            np.mean((mix(m[:rows]) - m[rows:]) ** 2, axis=(1, 2, 3)) for m in maps
        )
        @ both,
        "soft_label": (
            divergence(mixed[0], mix(clean[0])) + divergence(mix(clean[0]), mixed[0])
        )
        @ both,
        "teacher_soft_label": (
            divergence(h[1], mix(clean[1])) + divergence(h[0], mixed[1])
        )
        @ both,
    }
    for name, value in expected.items():
        actual = np.array(terms[name]) @ weight
        np.testing.assert_allclose(actual, value, rtol=1e-5, err_msg=name)


def test_parameters_are_as_many_as_the_paper_says():
    model = SelfDistillationModel(resnet18((32, 32, 3), 100), MixSKD())
    networks = {
        "backbone": [model.student],
        "branches": model.method.branches,
        "self_teacher": [model.method.joint_head],
        "discriminators": model.method.discriminators,
    }
    count = {part: trainable_parameters(these) for part, these in networks.items()}
    for part, parameters in count.items():
        assert parameters == GOLDEN[f"count.mixskd_resnet18.{part}"], part
    # The paper's sum leaves the discriminators out: its code does not train them.
    assert (
        trainable_parameters([model]) - count["discriminators"]
        == GOLDEN["count.mixskd_resnet18.total"]
    )


def trainable_parameters(networks):
    weights = [weight for network in networks for weight in network.trainable_weights]
    return sum(np.prod(weight.shape) for weight in weights)


def test_views_go_through_the_student_in_one_batch():
    method = MixSKD()
    images, labels = toys.class_data(4)
    batch = batch_of(images, labels)
    prepared = method.prepare(batch)
    drawn = prepared["drawn"]
    np.testing.assert_array_equal(prepared["x"][:4], images)
    np.testing.assert_allclose(prepared["x"][4:], drawn.blend(images), rtol=1e-6)
    np.testing.assert_array_equal(prepared["y"], labels)


def test_pixels_of_a_mixture_are_valid_where_both_images_are():
    images, labels = toys.pixel_data(4)
    valid = np.random.default_rng(0).random(labels.shape) < 0.5
    batch = batch_of(images, labels, valid=valid)
    prepared = MixSKD().prepare(batch)
    both = valid & valid[np.array(prepared["drawn"].order)]
    np.testing.assert_array_equal(prepared["both_valid"], both)
    np.testing.assert_array_equal(prepared["valid"], valid)


def test_void_pixels_of_either_image_change_no_distillation_term():
    random = np.random.default_rng(0)
    maps = [random.normal(size=(4, 2, 2, 3)).astype("float32") for _ in range(2)]
    logits = [random.normal(size=(4, 4, 4, 3)).astype("float32") for _ in range(2)]
    h = random.normal(size=(2, 2, 4, 4, 3)).astype("float32")
    labels = np.zeros((2, 4, 4), "int32")
    valid = np.ones((2, 4, 4), bool)
    valid[:, :2, :2] = False

    def terms():
        arguments = [tf.constant(a) for a in (*maps, *logits, *h)]
        method, student, batch = given(
            arguments[:2],
            arguments[2:4],
            *arguments[4:],
            Drawn([1, 0], 0.7),
            valid=tf.constant(valid),
        )
        found = method.loss_terms(student, {**batch, "y": labels}, cross_entropy)
        return {name: np.array(found[name]) for name in found if "task" not in name}

    before = terms()
    for values in maps:
        values[:, 0, 0] += 5.0
    for values in [*logits, *h]:
        values[:, :2, :2] += random.normal(size=values[:, :2, :2].shape)
    for name, values in terms().items():
        np.testing.assert_allclose(values, before[name], rtol=1e-5, err_msg=name)
    valid[:] = True
    for name, values in terms().items():
        assert np.max(np.abs(values - before[name])) > 0.01, name


def test_deployed_accuracy_is_the_students_own():
    model = SelfDistillationModel(toys.classifier(), MixSKD())
    model.compile("sgd", toys.cross_entropy(), metrics=["accuracy"])
    images, labels = toys.class_data()
    model.fit(images, labels, verbose=0)
    predicted = model.student.predict(images, verbose=0).argmax(-1)
    accuracy = model.evaluate(images, labels, return_dict=True, verbose=0)["accuracy"]
    assert accuracy == pytest.approx(np.mean(predicted == labels))


def test_one_hot_labels_are_as_good_as_integers():
    integers, one_hot = label_kinds.logs_of_both(MixSKD)
    assert integers == pytest.approx(one_hot, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_images_of_other_types_and_a_batch_of_one(dtype):
    images, labels = toys.class_data(9)
    images = (100 * np.clip(images, 0, 2)).astype(dtype)
    model = SelfDistillationModel(toys.classifier(), MixSKD())
    model.compile(keras.optimizers.SGD(1e-4), toys.cross_entropy())
    history = model.fit(images, labels, batch_size=4, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


def test_a_student_of_one_logit():
    images, labels = toys.class_data()
    model = SelfDistillationModel(toys.classifier(classes=1), MixSKD())
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    logs = model.train_on_batch(images, labels[:, None] % 2, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert logs["soft_label_loss"] > 0


@pytest.mark.parametrize("mixing", [CutMix(), Mixup])
def test_error_mixing_that_does_not_blend(mixing):
    with pytest.raises(ValueError, match="Mixup"):
        MixSKD(mixing=mixing)


def test_error_temperature():
    with pytest.raises(ValueError, match="temperature to be a finite number above 0"):
        MixSKD(temperature=0)
