"""Pixel students: void pixels, weights and masks larger than the logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import (
    FRSKD,
    NFD,
    PixelAccuracy,
    SelfDistillationModel,
    Supervised,
    Taught,
)
from tests import toys

VOID = 255
pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")
METHODS = pytest.mark.parametrize(
    "create",
    [
        lambda: FRSKD(width=1, depth=1),
        pytest.param(Supervised, marks=pytest.mark.slow),
        pytest.param(lambda: NFD(width=1, depth=1), marks=pytest.mark.slow),
        pytest.param(lambda: Taught(toys.segmenter()), marks=pytest.mark.slow),
    ],
)


def build(create, student=None, **options):
    model = SelfDistillationModel(student or toys.segmenter(), create())
    model.compile(
        keras.optimizers.SGD(0.05),
        toys.cross_entropy(ignore_class=VOID),
        metrics=[
            PixelAccuracy(VOID),
            keras.metrics.MeanIoU(
                toys.CLASSES, name="iou", ignore_class=VOID, sparse_y_pred=False
            ),
        ],
        **options,
    )
    return model


def small_segmenter():
    """A segmenter whose logits are half as large as the images."""
    student = toys.segmenter()
    return keras.Model(
        student.input, keras.layers.AveragePooling2D(2)(student.output), name="small"
    )


def enlarged(masks):
    return masks.repeat(2, axis=1).repeat(2, axis=2)


@METHODS
def test_a_batch_that_is_all_void_adds_nothing_to_terms_and_gradients(create):
    model = build(create)
    images, masks = toys.pixel_data(8)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(images, np.full_like(masks, VOID), return_dict=True)
    losses = {name: value for name, value in logs.items() if "loss" in name}
    assert losses == dict.fromkeys(losses, 0.0)
    for old, new in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)


@METHODS
def test_a_void_pixels_label_and_logits_do_not_count(create):
    """What the student says at void pixels changes no term, if nothing else sees it."""
    images, masks = toys.pixel_data(8)
    masks[:, :8] = VOID
    model = build(create)
    batch = {"x": images, "y": masks, "sample_weight": None, "valid": masks != VOID}
    from keras_selfkd.supervision import Supervision

    supervise = Supervision(model.loss)
    student = model.outputs_of(images)
    batch = model.method.prepare(batch)
    changed = student._replace(
        logits=tf.where((masks == VOID)[..., None], 7.0, student.logits)
    )
    terms = [model.method.loss_terms(s, batch, supervise) for s in (student, changed)]
    for name in terms[0]:
        one, other = (
            float(supervise.reduce(t[name], None, tf.constant(batch["valid"])))
            for t in terms
        )
        assert one == pytest.approx(other, rel=1e-6), name


def test_void_pixels_count_in_no_metric_of_fit_or_evaluate():
    images, masks = toys.pixel_data(8)
    masks[:, ::2] = VOID
    model = build(lambda: FRSKD(width=1, depth=1))
    logs = model.evaluate(images, masks, return_dict=True, verbose=0)
    predicted = model.predict(images, verbose=0).argmax(-1)
    known = masks != VOID
    accuracy = (predicted == masks)[known].mean()
    assert logs["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    ious = [
        ((predicted == c) & (masks == c)).sum()
        / ((predicted[known] == c) | (masks[known] == c)).sum()
        for c in range(toys.CLASSES)
        if np.any(predicted[known] == c) or np.any(masks[known] == c)
    ]
    assert logs["iou"] == pytest.approx(np.mean(ious), rel=1e-5)
    assert set(logs) == {"loss", "pixel_accuracy", "iou"}


@METHODS
def test_smaller_logits_are_resized_to_the_masks(create):
    images, masks = toys.pixel_data(8)
    model = build(create, small_segmenter())
    history = model.fit(images, masks, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    logits = model.predict(images, verbose=0)
    assert logits.shape == (8, 8, 8, toys.CLASSES)
    resized = tf.image.resize(logits, (16, 16))
    expected = toys.cross_entropy(ignore_class=VOID)(masks, resized)
    logs = model.evaluate(images, masks, return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(float(expected), rel=1e-4)
    accuracy = np.mean(np.argmax(resized, -1) == masks)
    assert logs["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-3)


def test_smaller_logits_are_trained_as_resized_ones_would_be():
    """A student that resizes its own logits learns the same, step by step."""
    images, masks = toys.pixel_data(8)
    trained = []
    for resizes in (False, True):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        student = small_segmenter()
        if resizes:
            student = keras.Model(
                student.input,
                keras.ops.image.resize(student.output, (16, 16)),
            )
        model = build(Supervised, student)
        model.fit(images, masks, epochs=3, verbose=0)
        trained.append([weight.numpy() for weight in model.trainable_weights])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axis", [(), (1,)])
def test_a_pixel_of_weight_zero_is_like_void_to_the_supervised_loss(axis):
    images, masks = toys.pixel_data(8)
    masks, void = masks.reshape(masks.shape + axis), masks.copy()
    weight = np.ones(void.shape, "float32")
    weight[:, :4] = 0.0
    void[:, :4] = VOID
    gradients = []
    for labels, sample_weight in ((masks, weight), (void, None)):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = build(Supervised)
        before = [w.numpy() for w in model.trainable_weights]
        model.train_on_batch(images, labels, sample_weight=sample_weight)
        after = [w.numpy() for w in model.trainable_weights]
        gradients.append([b - a for a, b in zip(after, before, strict=True)])
    # Weights divide by all pixels, void by the known ones: 16 rows against 12.
    for weighted, ignored in zip(*gradients, strict=True):
        np.testing.assert_allclose(weighted, 0.75 * ignored, atol=2e-6)


def test_error_masks_smaller_than_the_logits():
    images, masks = toys.pixel_data(4)
    with pytest.raises(ValueError, match=r"Masks may be larger than the logits"):
        build(Supervised).fit(images, masks[:, ::2, ::2], verbose=0)


def test_error_label_out_of_range():
    images, masks = toys.pixel_data(4)
    masks[0, 0, 0] = 7
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"in \[0, 4\)"):
        build(Supervised).fit(images, masks, verbose=0)


def test_error_masks_that_are_not_whole_numbers():
    images, masks = toys.pixel_data(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers"):
        build(Supervised).fit(images, masks + 0.5, verbose=0)


def test_whole_masks_of_floats_are_taken():
    images, masks = toys.pixel_data(4)
    history = build(Supervised).fit(images, masks.astype("float32"), verbose=0).history
    assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize("form", ["arrays", "dataset", "last axis"])
def test_error_class_weights_of_masks_name_the_remedy(form):
    images, masks = toys.pixel_data(4)
    data = images, masks
    if form != "arrays":
        masks = masks[..., None] if form == "last axis" else masks
        data = (tf.data.Dataset.from_tensors((images, masks)),)
    with pytest.raises(ValueError, match="with_class_weights"):
        build(Supervised).fit(*data, class_weight={0: 2.0}, shuffle=False, verbose=0)


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 16, 16), (8, 16, 16, 1)])
def test_weights_of_examples_and_pixels_in_fit_and_evaluate(shape):
    images, masks = toys.pixel_data(8)
    weight = np.random.default_rng(0).random(shape).astype("float32")
    model = SelfDistillationModel(toys.segmenter(), Supervised())
    iou = keras.metrics.MeanIoU(
        toys.CLASSES, name="iou", sparse_y_pred=False, dtype="float32"
    )
    model.compile(
        keras.optimizers.SGD(0.0),
        toys.cross_entropy(),
        weighted_metrics=[iou, PixelAccuracy()],
    )
    logits = model.predict(images, verbose=0)
    flat = np.broadcast_to(
        weight.reshape(8, -1) if len(shape) < 3 else weight.reshape(8, 256), (8, 256)
    ).reshape(8, 16, 16)
    losses = toys.cross_entropy(reduction=None)(masks, logits)
    right = logits.argmax(-1) == masks
    for split in ("evaluate", "validation"):
        if split == "evaluate":
            logs = model.evaluate(
                images, masks, sample_weight=weight, return_dict=True, verbose=0
            )
        else:
            history = model.fit(
                images,
                masks,
                sample_weight=weight,
                batch_size=8,
                validation_data=(images, masks, weight),
                verbose=0,
            ).history
            logs = {
                name.removeprefix("val_"): values[0]
                for name, values in history.items()
                if name.startswith("val_")
            }
            assert np.isfinite(history["iou"][0])
            assert "pixel_accuracy" in history
            # BatchNorm's averages have moved.
            logits = model.predict(images, verbose=0)
            losses = toys.cross_entropy(reduction=None)(masks, logits)
            right = logits.argmax(-1) == masks
        assert logs["loss"] == pytest.approx(np.mean(flat * losses), rel=1e-4)
        accuracy = (flat * right).sum() / flat.sum()
        assert logs["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-4)


def test_masks_of_unknown_size():
    images, masks = toys.pixel_data(8)

    def unknown(images, masks):
        shape = (None, None, None)
        return images, tf.compat.v1.placeholder_with_default(masks, shape)

    data = tf.data.Dataset.from_tensors((images, masks)).map(unknown)
    assert data.element_spec[1].shape.as_list() == [None, None, None]
    model = build(lambda: FRSKD(width=1, depth=1), small_segmenter())
    logs = model.fit(data, shuffle=False, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    evaluated = model.evaluate(data, return_dict=True, verbose=0)
    known = model.evaluate(images, masks, return_dict=True, verbose=0)
    assert evaluated["loss"] == pytest.approx(known["loss"], rel=1e-5)


def test_binary_students_of_pixels():
    images, masks = toys.pixel_data(8)
    masks = (masks > 0).astype("int32")[..., None]
    student = toys.segmenter()
    decoded = student.get_layer("full").output
    binary = keras.Model(student.input, keras.layers.Conv2D(1, 1)(decoded))
    model = SelfDistillationModel(binary, FRSKD(width=1, depth=1))
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[PixelAccuracy()],
    )
    history = model.fit(images, masks, epochs=5, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    logits = model.predict(images, verbose=0)
    logits -= np.median(logits)
    metric = PixelAccuracy()
    metric.update_state(masks, logits)
    assert float(metric.result()) == pytest.approx(np.mean((logits > 0) == masks))


def test_error_evaluating_on_masks_smaller_than_the_logits():
    images, masks = toys.pixel_data(4)
    with pytest.raises(ValueError, match="Masks may be larger than the logits, not"):
        build(Supervised).evaluate(images, masks[:, ::2, ::2], verbose=0)


def test_error_weights_of_another_shape():
    images, masks = toys.pixel_data(4)
    with pytest.raises(ValueError, match="with_class_weights"):
        build(Supervised).fit(images, masks, sample_weight=np.ones((4, 16)), verbose=0)
