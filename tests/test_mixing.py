import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_selfkd import (
    FRSKD,
    CutMix,
    MixSKD,
    Mixup,
    SelfDistillationModel,
    Supervised,
)
from keras_selfkd.mixing import Drawn, MixedLabels, beta_quantiles, box_at
from keras_selfkd.supervision import Supervision
from tests import toys

BOTH = pytest.mark.parametrize("create", [Mixup, CutMix])
pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def batch_of(images, labels, **more):
    return {"x": images, "y": labels, "sample_weight": None, "valid": None} | more


def random_batch(count=4, size=6, masks=False, seed=0):
    random = np.random.default_rng(seed)
    images = random.random((count, size, size, 3)).astype("float32")
    shape = (count, size, size) if masks else (count,)
    return batch_of(images, random.integers(0, toys.CLASSES, shape).astype("int32"))


def test_mixup_is_the_papers_formula():
    batch = random_batch()
    order, share = np.array([2, 0, 1, 3]), 0.3
    mixed = Mixup().apply(batch, Drawn(order, share))
    expected = share * batch["x"] + (1 - share) * batch["x"][order]
    np.testing.assert_allclose(mixed["x"], expected, rtol=1e-6)
    np.testing.assert_array_equal(mixed["y"].own, batch["y"])
    np.testing.assert_array_equal(mixed["y"].partner, batch["y"][order])
    np.testing.assert_allclose(mixed["y"].share, np.full(4, 0.3), rtol=1e-6)


@pytest.mark.parametrize("axis", [False, True])
def test_cutmix_cuts_images_and_masks_at_the_same_place(axis):
    batch = random_batch(masks=True)
    labels = batch["y"][..., None] if axis else batch["y"]
    drawn = Drawn(np.array([1, 2, 3, 0]), 0.75, (0.5, 0.25))
    mixed = CutMix().apply({**batch, "y": labels}, drawn)
    # A quarter of the area is half of each side: rows 1.5 to 4.5, columns 0 to 3.
    box = np.zeros((6, 6), bool)
    box[np.ix_(np.abs(np.arange(6) + 0.5 - 3) < 1.5, np.arange(6) + 0.5 < 3)] = True
    for b, partner in enumerate([1, 2, 3, 0]):
        images = np.where(box[..., None], batch["x"][partner], batch["x"][b])
        masks = np.where(box, batch["y"][partner], batch["y"][b])
        np.testing.assert_array_equal(mixed["x"][b], images)
        np.testing.assert_array_equal(np.squeeze(mixed["y"])[b], masks)
    assert mixed["y"].shape == labels.shape


def test_cutmix_weighs_class_labels_by_the_area_inside_the_image():
    drawn = Drawn(np.array([1, 0]), 0.75, (0.0, 0.0))
    mixed = CutMix().apply(batch_of(np.ones((2, 8, 8, 1)), np.array([0, 1])), drawn)
    # The box of half of each side around a corner: a quarter of it is in the image.
    np.testing.assert_allclose(mixed["y"].share, [1 - 1 / 16] * 2, rtol=1e-6)


def test_cutmix_cuts_larger_masks_at_the_same_place():
    drawn = Drawn(np.array([1, 0]), 0.75, (0.3, 0.6))
    small, large = (np.array(box_at((n, n), drawn)) for n in (15, 45))
    np.testing.assert_array_equal(large[1::3, 1::3], small)


def test_mixup_masks_are_void_where_either_is():
    batch = random_batch(2, 2, masks=True)
    batch["valid"] = np.array([[[1, 1], [0, 0]], [[1, 0], [1, 0]]], bool)
    mixed = Mixup().apply(batch, Drawn(np.array([1, 0]), 0.6))
    expected = [[[True, False], [False, False]]] * 2
    np.testing.assert_array_equal(mixed["valid"], expected)


def test_cutmix_cuts_what_is_void_and_what_weighs():
    batch = random_batch(2, 4, masks=True)
    batch["valid"] = np.stack([np.ones((4, 4), bool), np.zeros((4, 4), bool)])
    batch["sample_weight"] = np.array([2.0, 3.0], "float32")
    drawn = Drawn(np.array([1, 0]), 0.75, (0.25, 0.25))
    mixed = CutMix().apply(batch, drawn)
    box = np.zeros((4, 4), bool)
    box[:2, :2] = True
    np.testing.assert_array_equal(mixed["valid"], [~box, box])
    np.testing.assert_array_equal(mixed["sample_weight"][0], np.where(box, 3.0, 2.0))
    np.testing.assert_array_equal(mixed["sample_weight"][1], np.where(box, 2.0, 3.0))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 6, 6), (4, 6, 6, 1)])
def test_a_weight_goes_with_its_label(shape):
    """`lam w_i CE(y_i) + (1 - lam) w_j CE(y_j)`, restated in NumPy."""
    masks = len(shape) > 2
    batch = random_batch(masks=masks)
    weight = np.random.default_rng(1).random(shape).astype("float32")
    weight[0] = 0.0
    order, share = np.array([1, 0, 3, 2]), 0.3
    mixed = Mixup().apply({**batch, "sample_weight": weight}, Drawn(order, share))
    logits = (
        np.random.default_rng(2)
        .normal(size=(*batch["y"].shape, toys.CLASSES))
        .astype("float32")
    )
    values = Supervision(toys.cross_entropy())(mixed["y"], logits)
    found = np.array(values) * np.array(mixed["sample_weight"])
    log_sum = np.log(np.exp(logits).sum(-1))

    def cross_entropy(labels):
        picked = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
        return log_sum - picked

    flat = weight.reshape(batch["y"].shape)
    expected = share * flat * cross_entropy(batch["y"])
    expected += (1 - share) * flat[order] * cross_entropy(batch["y"][order])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_metrics_take_the_label_of_larger_weight():
    labels = MixedLabels(
        tf.constant([1, 2]), tf.constant([3, 4]), tf.constant([0.6, 0.4])
    )
    np.testing.assert_array_equal(labels.larger(), [1, 4])
    one_hot = MixedLabels(tf.eye(2), tf.eye(2)[::-1], tf.constant([0.6, 0.4]))
    np.testing.assert_array_equal(one_hot.larger(), [[1, 0], [1, 0]])


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    quantiles = np.sort(np.random.default_rng(0).beta(alpha, alpha, 400_000))
    shares = beta_quantiles(alpha)
    every = np.interp(
        (np.arange(len(shares)) + 0.5) / len(shares),
        (np.arange(len(quantiles)) + 0.5) / len(quantiles),
        quantiles,
    )
    np.testing.assert_allclose(shares, every, atol=0.005)


@BOTH
def test_draws_differ_and_follow_the_seed(create):
    drawn = []
    for seed in (1, 1, 2):
        mixing = create(seed=seed)
        drawn.append([mixing.draw(8) for _ in range(3)])
    shares = [[float(one.share) for one in draws] for draws in drawn]
    orders = [[tuple(np.array(one.order)) for one in draws] for draws in drawn]
    assert shares[0] == shares[1] != shares[2]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(shares[0])) == len(set(orders[0])) == 3
    assert all(sorted(order) == list(range(8)) for order in orders[0])


@BOTH
def test_xla_compiles_the_draw(create):
    mixing = create(seed=0)

    @tf.function(jit_compile=True)
    def mix(images, labels):
        return mixing.mix(batch_of(images, labels))["x"]

    batch = random_batch()
    assert not np.array_equal(mix(batch["x"], batch["y"]), batch["x"])


@BOTH
@pytest.mark.parametrize(
    "loss",
    [
        "sparse",
        pytest.param("one-hot", marks=pytest.mark.slow),
        pytest.param("smoothed", marks=pytest.mark.slow),
    ],
)
def test_any_loss_trains_on_mixed_images(create, loss):
    images, labels = toys.class_data()
    compiled = toys.cross_entropy()
    if loss != "sparse":
        labels = np.eye(toys.CLASSES, dtype="float32")[labels]
        compiled = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=0.1 * (loss == "smoothed")
        )
    model = SelfDistillationModel(toys.classifier(), Supervised(mixing=create(seed=0)))
    model.compile(keras.optimizers.Adam(0.01), compiled, metrics=["accuracy"])
    history = model.fit(images, labels, epochs=40, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert model.evaluate(images, labels, verbose=0)[1] > 0.8


@BOTH
def test_uint8_images_and_dynamic_batches(create):
    images, labels = toys.class_data(9)
    pixels = np.clip(images * 100 + 100, 0, 255).astype("uint8")
    model = SelfDistillationModel(toys.classifier(), FRSKD(width=1, mixing=create()))
    model.compile("sgd", toys.cross_entropy())
    assert np.isfinite(
        model.fit(pixels, labels, batch_size=4, verbose=0).history["loss"]
    )


class Remembering(Mixup):
    """Mixup that keeps each replica's last share."""

    def __init__(self):
        super().__init__(1.0)
        self.last = tf.Variable(
            0.0,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.NONE,
        )

    def draw(self, count):
        drawn = super().draw(count)
        self.last.assign(drawn.share)
        return drawn


def test_replicas_draw_differently_and_the_same_in_each_run(two_replicas):
    def shares_of_a_training():
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(3)
        with two_replicas.scope():
            mixing = Remembering()
            model = SelfDistillationModel(toys.classifier(), Supervised(mixing=mixing))
            model.compile("sgd", toys.cross_entropy())
        model.fit(*toys.class_data(8), batch_size=8, verbose=0)
        values = two_replicas.experimental_local_results(mixing.last)
        return [float(value) for value in values]

    first, second = shares_of_a_training(), shares_of_a_training()
    assert first[0] != first[1]
    assert first == second


def test_error_mixing_built_outside_of_the_strategy(two_replicas):
    mixing = Mixup()
    with two_replicas.scope(), pytest.raises(ValueError, match=r"strategy.scope\(\)"):
        SelfDistillationModel(toys.classifier(), Supervised(mixing=mixing))


@pytest.mark.parametrize("mixing", [Mixup, 0.2, "mixup"])
def test_error_mixing_that_is_none(mixing):
    with pytest.raises(ValueError, match="Expected mixing to be an object"):
        Supervised(mixing=mixing)


def test_error_a_loss_of_the_whole_batch():
    images, labels = toys.class_data(4)
    model = SelfDistillationModel(toys.classifier(), Supervised(mixing=Mixup()))

    def loss(y, z):
        return keras.losses.dice(y, keras.ops.softmax(z))

    model.compile("sgd", loss)
    one_hot = np.eye(toys.CLASSES, dtype="float32")[labels]
    with pytest.raises(ValueError, match="Mixing needs a compiled loss with a value"):
        model.fit(images, one_hot, verbose=0)


class Fixed(Mixup):
    """Mixup with a draw that is the same for every batch of 4."""

    def draw(self, count):
        return Drawn(ops.convert_to_tensor([1, 2, 3, 0]), 0.7)


class FixedCut(CutMix):
    def draw(self, count):
        return Drawn(ops.convert_to_tensor([1, 2, 3, 0]), 0.7, (0.3, 0.6))


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore:The student's layers after:UserWarning")
@pytest.mark.parametrize("kind", ["class", "pixel"])
@pytest.mark.parametrize(
    "create",
    [
        lambda: FRSKD(width=1, depth=1, mixing=Fixed()),
        lambda: Supervised(mixing=FixedCut()),
        lambda: MixSKD(mixing=Fixed()),
    ],
    ids=["mixup", "cutmix", "mixskd"],
)
def test_two_replicas_with_equal_halves_train_as_one_on_that_half(
    two_replicas, create, kind
):
    pixels = kind == "pixel"
    images, labels = (toys.pixel_data if pixels else toys.class_data)(4)
    if pixels:
        labels[:2, :5] = 255
    weight = np.array([0.5, 1.0, 2.0, 0.0], "float32")
    weights = []
    for strategy, repeats in ((tf.distribute.get_strategy(), 1), (two_replicas, 2)):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        with strategy.scope():
            create_student = toys.segmenter if pixels else toys.classifier
            student = create_student(batch_norm=False, stages=toys.FEW_STAGES)
            model = SelfDistillationModel(student, create())
            ignore = {"ignore_class": 255} if pixels else {}
            loss = toys.cross_entropy(**ignore)
            model.compile(keras.optimizers.SGD(0.05), loss)
        data = [np.concatenate([a] * repeats) for a in (images, labels, weight)]
        for _ in range(3):
            model.fit(
                *data[:2],
                sample_weight=data[2],
                batch_size=4 * repeats,
                shuffle=False,
                verbose=0,
            )
        weights.append([v.numpy() for v in model.trainable_variables])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@BOTH
@pytest.mark.parametrize("alpha", [0, -1.0, float("nan")])
def test_error_alpha(create, alpha):
    with pytest.raises(
        ValueError, match="Expected alpha to be a finite number above 0"
    ):
        create(alpha)


@pytest.mark.parametrize("mixing", [Mixup, CutMix])
@pytest.mark.parametrize("masks", [False, True], ids=["classes", "masks"])
def test_images_of_a_size_that_only_the_step_knows(mixing, masks):
    """From a generator; the draws, and so the weights, are those of known sizes."""
    images, labels = (toys.pixel_data if masks else toys.class_data)(4)
    trained = []
    for shape in (images.shape, (None, None, None, 3)):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        student = (toys.segmenter if masks else toys.classifier)()
        model = SelfDistillationModel(student, Supervised(mixing=mixing(seed=1)))
        model.compile("sgd", toys.cross_entropy())
        data = tf.data.Dataset.from_generator(
            lambda: itertools.repeat((images, labels)),
            output_signature=(
                tf.TensorSpec(shape, "float32"),
                tf.TensorSpec((None,) * labels.ndim, "int32"),
            ),
        )
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
        trained.append(student.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
