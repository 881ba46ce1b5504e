import functools
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import (
    FRSKD,
    CutMix,
    Method,
    Mixup,
    SelfDistillationModel,
    Supervised,
)
from tests import toys
from tests.methods.strangers import Deeper

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def frskd(student=None, method=None):
    """Two taps: it is its self-teacher that takes long to trace."""
    student, method = student or toys.classifier(), method or FRSKD(width=1, depth=1)
    return SelfDistillationModel(student, method, taps=["out2", "out3"])


def deeper(**options):
    """Two terms and taps without a network: traced in a third of the time."""
    return SelfDistillationModel(toys.classifier(**options), Deeper())


def compiled(model=None, optimizer="sgd", **options):
    model = model or deeper()
    options = {"loss": toys.cross_entropy(), **options}
    model.compile(optimizer, **options)
    return model


@pytest.mark.parametrize("options", [{}, {"regularizer": "l2", "dropout": 0.3}])
@pytest.mark.parametrize("weighted", [False, True])
def test_supervised_is_plain_fit_bit_for_bit(options, weighted):
    images, labels = toys.class_data(22)
    weight = np.random.default_rng(0).random(22) if weighted else None
    trained = []
    for wrap in (lambda s: s, lambda s: SelfDistillationModel(s, Supervised())):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(3)
        student = toys.classifier(**options)
        model = wrap(student)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(
            optimizer, toys.cross_entropy(), metrics=["accuracy"], jit_compile=False
        )
        logs = model.fit(
            images, labels, batch_size=8, epochs=2, verbose=0, sample_weight=weight
        ).history
        trained.append((student.get_weights(), logs))
    (plain, plain_logs), (ours, our_logs) = trained
    for one, other in zip(plain, ours, strict=True):
        np.testing.assert_array_equal(one, other)
    for name in plain_logs:
        assert plain_logs[name] == our_logs[name], name


def test_data_sets_weights_metrics_and_callbacks(tmp_path):
    images, labels = toys.class_data()
    model = compiled(
        metrics={"logits": ["accuracy", "sparse_top_k_categorical_accuracy"]},
        weighted_metrics=["accuracy"],
    )
    data = tf.data.Dataset.from_tensor_slices((images, labels, np.ones(16))).batch(6)
    history = model.fit(
        data,
        shuffle=False,
        epochs=2,
        verbose=0,
        validation_data=(images, labels),
        callbacks=[
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss"),
            keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True),
        ],
    ).history
    assert {"val_loss", "val_accuracy", "weighted_accuracy"} <= set(history)
    assert not [name for name in history if name.startswith("val_") and "task" in name]
    assert keras.models.load_model(tmp_path / "best.keras").taps == model.taps


def test_class_weight_is_sample_weight():
    images, labels = toys.class_data()
    weights = {0: 2.0, 1: 0.0, 2: 1.0, 3: 0.5}
    trained = []
    for options in (
        {"class_weight": weights},
        {"sample_weight": np.array([weights[label] for label in labels])},
    ):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = compiled()
        model.fit(images, labels, shuffle=False, verbose=0, **options)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_apply_to_every_term():
    images, labels = toys.class_data()
    for model in (frskd(), SelfDistillationModel(toys.classifier(), Supervised())):
        compiled(model)
        logs = model.train_on_batch(
            images, labels, sample_weight=np.zeros(16), return_dict=True
        )
        assert set(logs.values()) == {0.0}


def test_sum_reduction_is_honoured():
    images, labels = toys.class_data()
    mean, total = (
        compiled(loss=toys.cross_entropy(reduction=reduction))
        for reduction in ("sum_over_batch_size", "sum")
    )
    total.set_weights(mean.get_weights())
    one = mean.train_on_batch(images, labels, return_dict=True)
    sixteen = total.train_on_batch(images, labels, return_dict=True)
    for name in one:
        np.testing.assert_allclose(sixteen[name], 16 * one[name], rtol=1e-4)


def test_use_ema():
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = compiled(optimizer=optimizer)
    for _ in range(3):
        model.train_on_batch(*toys.class_data())
    trained = model.student.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_weights)
    assert np.any(trained[0] != model.student.get_weights()[0])


def test_images_of_a_dict_with_index():
    images, labels = toys.class_data()
    seen = []

    class Spy(Supervised):
        def prepare(self, batch):
            seen.append(sorted(batch))
            return batch

    model = compiled(SelfDistillationModel(toys.classifier(), Spy()))
    x = {"image": images, "index": np.arange(16)}
    model.fit(x, labels, verbose=0)
    own = ["copies", "labelled", "progress", "sample_weight", "valid", "x", "y"]
    assert seen[-1] == sorted(["index", *own])
    np.testing.assert_allclose(
        model.evaluate(x, labels, verbose=0), model.evaluate(images, labels, verbose=0)
    )


class Counter(keras.metrics.Metric):
    """Counts examples, and is not reset."""

    def __init__(self, name="counter"):
        super().__init__(name=name)
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y, y_pred, sample_weight=None):
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y)[0], "float32"))

    def reset_state(self):
        pass

    def result(self):
        return self.count


@pytest.mark.parametrize("eagerly", [False, True])
def test_metrics_see_no_invented_examples(eagerly):
    images, labels = toys.class_data(22)
    model = compiled(metrics=[Counter()], run_eagerly=eagerly)
    history = model.fit(images, labels, batch_size=8, epochs=2, verbose=0).history
    assert history["counter"] == [22.0, 44.0]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_a_loss_of_one_value_is_weighted_as_by_keras(weight):
    def loss(y, z):
        return tf.reduce_mean(
            keras.losses.categorical_crossentropy(y, z, from_logits=True)
        )

    images, labels = toys.class_data(8)
    one_hot, trained = np.eye(toys.CLASSES)[labels], []
    for wrap in (lambda s: s, lambda s: SelfDistillationModel(s, Supervised())):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        student = toys.classifier(batch_norm=False)
        model = compiled(wrap(student), loss=loss)
        model.train_on_batch(images, one_hot, sample_weight=np.full(8, weight))
        trained.append(student.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def weighted_binary(y, z):
    return tf.nn.weighted_cross_entropy_with_logits(y, z, 5.0)


@pytest.mark.parametrize("masks", [False, True], ids=["labels", "masks"])
def test_a_loss_of_each_logit_is_averaged_as_by_keras(masks):
    images, labels = (toys.pixel_data if masks else toys.class_data)(8)
    one_hot = np.eye(toys.CLASSES, dtype="float32")[labels]
    trained = []
    for wrap in (lambda s: s, lambda s: SelfDistillationModel(s, Supervised())):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        student = (toys.segmenter if masks else toys.classifier)(batch_norm=False)
        model = compiled(wrap(student), loss=weighted_binary)
        model.train_on_batch(images, one_hot)
        trained.append(student.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


class Unsplit(Supervised):
    """Forgets that its batch has two views."""

    def prepare(self, batch):
        return {**batch, "x": keras.ops.concatenate([batch["x"]] * 2)}

    def loss_terms(self, student, batch, supervise):
        y = keras.ops.concatenate([batch["y"]] * 2)
        return {"task": supervise(y, student.logits)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_error_terms_of_all_views(known, weighted):
    images, labels = toys.class_data(16 if known else 12)
    model = compiled(SelfDistillationModel(toys.classifier(), Unsplit()))
    before = model.get_weights()
    data = (images, labels, np.ones(len(labels)))[: 2 + weighted]
    kind = ValueError if known else tf.errors.InvalidArgumentError
    with pytest.raises(kind, match=r"The term .?'task.?' must be a scalar"):
        model.fit(
            tf.data.Dataset.from_tensor_slices(data).batch(8, drop_remainder=known),
            shuffle=False,
            verbose=0,
        )
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_terms_add_up_to_the_loss():
    method = FRSKD(width=1, depth=1, soft_label_weight=0.5, feature_weight=7.0)
    model = compiled(frskd(method=method))
    logs = model.train_on_batch(*toys.class_data(8), return_dict=True)
    terms = {name: value for name, value in logs.items() if name != "loss"}
    assert len(terms) == 4
    assert sum(terms.values()) == pytest.approx(logs["loss"], rel=1e-6)


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_weight_of_0_leaves_a_term_out(zero):
    """Not computed: a feature loss that fails is not met."""

    def failing(target, prediction, mask=None):
        raise AssertionError("not wanted")

    images, labels = toys.class_data(8)
    method = FRSKD(width=1, depth=1, feature_weight=zero, soft_label_weight=zero)
    method.feature_loss = failing
    model = compiled(frskd(method=method))
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert set(logs) == {"loss", "task_loss", "teacher_task_loss"}


@pytest.mark.parametrize("call", ["fit", "train_on_batch", "evaluate"])
def test_error_metrics_in_the_place_of_loss_weights(call):
    model = frskd()
    model.compile("sgd", toys.cross_entropy(), ["accuracy"])
    with pytest.raises(ValueError, match=r"write `compile\(optimizer, loss, metrics="):
        getattr(model, call)(*toys.class_data(8))


def multi_label_data(count=8):
    images, labels = toys.class_data(count)
    return images, np.stack([labels % 2, labels // 2], -1).astype("float32")


@pytest.mark.parametrize("classes", [1, 2])
def test_binary_and_multi_label_students(classes):
    images, labels = multi_label_data()
    labels = labels[:, :classes]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model = compiled(
        frskd(toys.classifier(classes=classes, batch_norm=False)),
        loss=loss,
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    student = model.outputs_of(images, training=True)
    teacher, *_ = model.method.self_teacher(student.features, training=True)
    p, q = (1 / (1 + np.exp(-np.array(z) / 4.0)) for z in (teacher, student.logits))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert logs["task_loss"] == pytest.approx(float(loss(labels, student.logits)), 1e-5)
    assert logs["soft_label_loss"] == pytest.approx(32 * divergence.mean(), 1e-3)
    right = (np.array(student.logits) > 0) == labels
    assert logs["binary_accuracy"] == pytest.approx(right.mean())


def test_binary_masks_with_and_without_a_last_axis():
    images, masks = toys.pixel_data(8)
    masks, logs = np.minimum(masks, 1), []
    weight = np.random.default_rng(0).random(masks.shape).astype("float32")
    for labels in (masks, masks[..., None], masks.astype(bool), masks.astype("uint8")):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        segmenter = toys.segmenter(batch_norm=False)
        head = keras.layers.Conv2D(1, 1)(segmenter.get_layer("decoded2").output)
        student = keras.Model(segmenter.input, head)  # Half as large as the masks.
        model = compiled(
            frskd(student), loss=keras.losses.BinaryCrossentropy(from_logits=True)
        )
        data = tf.data.Dataset.from_tensors((images, labels, weight))
        fitted = model.fit(data, verbose=0, shuffle=False).history
        logs.append({**fitted, **model.evaluate(data, verbose=0, return_dict=True)})
    for other in logs[1:]:
        assert other.keys() == logs[0].keys()
        for name in other:
            np.testing.assert_allclose(other[name], logs[0][name], rtol=1e-6)


class Poison(keras.callbacks.Callback):
    def __init__(self):
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(logs)


class Steep(keras.layers.Layer):
    """Returns its images; a picture with a pixel of 5 has a NaN for its gradient."""

    def build(self, shape):
        self.weight = self.add_weight(shape=(), name="weight")

    def call(self, images):
        five = keras.ops.any(images == 5.0, axis=(1, 2, 3), keepdims=True)
        root = keras.ops.sqrt(keras.ops.where(five, 0.0 * self.weight, 1.0))
        return images + root - keras.ops.where(five, 0.0, 1.0)


def steep_classifier():
    images = keras.Input((16, 16, 3))
    return keras.Model(images, toys.classifier()(Steep()(images)))


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_batch_that_is_not_finite_changes_nothing(replicas, two_replicas):
    """Not finite is in turn the loss, a gradient, the variance of BatchNorm."""
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        optimizer = keras.optimizers.Adam()
        method, taps = FRSKD(width=1, depth=1), ["toy/out2", "toy/out3"]
        model = SelfDistillationModel(steep_classifier(), method, taps)
        compiled(model, optimizer)
    images, labels = toys.class_data()
    model.fit(images, labels, verbose=0)
    before = model.get_weights() + [
        keras.ops.convert_to_numpy(v.value) for v in optimizer.variables
    ]
    for pixel in (np.nan, 5.0, 1e30):  # One model: none of them changes it.
        images[-1] = pixel
        spy = Poison()
        callbacks = [keras.callbacks.TerminateOnNaN(), spy]
        options = {"epochs": 3, "shuffle": False, "callbacks": callbacks}
        model.fit(images, labels, verbose=0, **options)
        after = model.get_weights() + [
            keras.ops.convert_to_numpy(v.value) for v in optimizer.variables
        ]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(pixel))
        assert len(spy.logs) == 1
        assert np.isnan(spy.logs[0]["loss"])
        assert np.isnan(spy.logs[0]["task_loss"]) == np.isnan(pixel)


@pytest.mark.usefixtures("double")
def test_activity_regularizers_count_each_replica_once(two_replicas):
    """Means over the batch since Keras 3.14; sums, which no replica knows, before."""
    images, labels = toys.class_data(8)
    trained = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        with strategy.scope():
            x = pictures = keras.Input((16, 16, 3))
            x = keras.layers.Conv2D(4, 3, strides=2, activity_regularizer="l2")(x)
            x = keras.layers.GlobalAveragePooling2D()(x)
            student = keras.Model(pictures, keras.layers.Dense(toys.CLASSES)(x))
            model = compiled(SelfDistillationModel(student, Supervised()))
        model.fit(images, labels, batch_size=8, verbose=0, shuffle=False)
        trained.append([variable.numpy() for variable in student.trainable_variables])
    for one, two in zip(*trained, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-12)


def test_uneven_replicas(two_replicas):
    images, labels = toys.class_data(11)
    with two_replicas.scope():
        model = compiled(deeper(batch_norm=False))
    history = model.fit(images, labels, batch_size=8, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert all(np.all(np.isfinite(weight)) for weight in model.get_weights())


def test_mixed_float16_scales_its_loss(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    student = toys.classifier()
    keras.config.set_dtype_policy("float32")
    model = compiled(frskd(student))
    assert model.dtype_policy.name == "mixed_float16"
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.train_on_batch(*toys.class_data())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.method.self_teacher.layers[3].compute_dtype == "float16"


def test_loads_with_safe_mode_and_no_custom_objects(tmp_path):
    model = compiled(frskd())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded) is SelfDistillationModel
    assert loaded.compiled
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert config["registered_name"] == "keras_selfkd>SelfDistillationModel"


def test_the_student_is_saved_once(tmp_path):
    model = frskd()
    ids = [id(variable) for variable in model.variables]
    assert len(ids) == len(set(ids))
    parts = model.student.count_params() + model.method.self_teacher.count_params()
    assert model.count_params() == parts


def test_summary_and_call_are_the_students():
    model = frskd()
    images = toys.class_data(3)[0]
    np.testing.assert_array_equal(model(images), model.student(images))
    lines = []
    model.summary(print_fn=lines.append)
    assert any("toy" in line for line in lines)


def test_explicit_xla_on_a_cpu_warns():
    student = SelfDistillationModel(toys.classifier(), Supervised())
    model = compiled(student, jit_compile=True)
    with pytest.warns(UserWarning, match="Compile with `jit_compile=False`"):
        model.fit(*toys.class_data(), verbose=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_step_is_traced_once_also_for_a_last_partial_batch(streamed, weighted):
    traces = []

    class Spy(Supervised):
        def prepare(self, batch):
            traces.append(batch["x"].shape)
            return batch

    model = compiled(
        SelfDistillationModel(toys.classifier(), Spy()), metrics=["accuracy"]
    )
    data = [*toys.class_data(22), *[np.ones(22, "float32")] * weighted]
    if streamed:
        dataset = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(8)
        history = model.fit(dataset, epochs=3, shuffle=False, verbose=0)
    else:
        history = model.fit(
            *data[:2],
            sample_weight=data[2] if weighted else None,
            batch_size=8,
            epochs=3,
            verbose=0,
        )
    assert len(traces) == 1
    assert history.history["accuracy"][0] > 0.0


def test_error_lists_of_one_array():
    images, labels = toys.class_data()
    model = compiled(SelfDistillationModel(toys.classifier(), Supervised()))
    for name, x, y in (("x", [images], labels), ("y", images, [labels])):
        with pytest.raises(
            ValueError, match=rf"Pass what the list holds: `{name}\[0\]`"
        ):
            model.train_on_batch(x, y)
    with pytest.raises(ValueError, match="Expected x to be one array"):
        model.fit([images], labels, verbose=0)


@pytest.mark.parametrize("taps", ["out1", ["out1", "out1"], [3]])
def test_error_taps_are_no_list_of_names(taps):
    with pytest.raises(ValueError, match="Expected taps to be a list of layer names"):
        SelfDistillationModel(toys.classifier(), FRSKD(width=1, depth=1), taps=taps)


def test_error_undeclared_terms():
    class Broken(Supervised):
        def loss_terms(self, student, batch, supervise):
            return {"tusk": supervise(batch["y"], student.logits)}

    model = compiled(SelfDistillationModel(toys.classifier(), Broken()))
    with pytest.raises(ValueError, match=r"\['task'\]. Received: \['tusk'\]"):
        model.fit(*toys.class_data(), verbose=0)


def test_error_labels_in_a_dict():
    images, labels = toys.class_data(4)
    with pytest.raises(ValueError, match="Expected y to be one array"):
        compiled().fit(images, {"logits": labels}, verbose=0)


@pytest.mark.parametrize("mixing", [Mixup, CutMix])
def test_error_mixing_of_tokens(mixing):
    images = keras.Input((16, 16, 3))
    tokens = keras.layers.Reshape((16, 3))(keras.layers.Conv2D(3, 4, 4)(images))
    with pytest.raises(ValueError, match=r"Reshape\(\(height, width, classes\)\)"):
        SelfDistillationModel(keras.Model(images, tokens), Supervised(mixing=mixing()))


def test_error_methods_without_hooks():
    model = compiled(SelfDistillationModel(toys.classifier(), Method()))
    with pytest.raises(NotImplementedError, match="must define `loss_terms`"):
        model.train_on_batch(*toys.class_data(4))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "1", None, True])
def test_error_weight_of_a_term(weight):
    class Heavy(Supervised):
        @property
        def loss_weights(self):
            return {"task": weight}

    with pytest.raises(ValueError, match="Expected the weight of heavy's 'task' to be"):
        SelfDistillationModel(toys.classifier(), Heavy())


@pytest.mark.parametrize("of", ["labels", "weights"])
@pytest.mark.parametrize("known", [True, False])
def test_error_more_of_one_than_images(known, of):
    images, _ = toys.class_data(8)
    labels = np.ones(9 if of == "labels" else 8)
    weights = np.ones(9 if of == "weights" else 8)
    batch = images, labels, weights
    shapes = [(None, *array.shape[1:]) for array in batch]
    signature = tuple(tf.TensorSpec(shape, "float32") for shape in shapes)
    data = tf.data.Dataset.from_generator(lambda: [batch], output_signature=signature)
    model = compiled()
    before = model.get_weights()
    kind = ValueError if known else tf.errors.InvalidArgumentError
    train = (
        functools.partial(model.train_on_batch, *batch)
        if known
        else functools.partial(model.fit, data, shuffle=False, verbose=0)
    )
    with pytest.raises(kind, match="as many of each in a batch"):
        train()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_error_label_out_of_range_in_fit():
    images, labels = toys.class_data()
    model = compiled()
    before = model.get_weights()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"Labels must lie in \[0, 4\)"
    ):
        model.fit(images, labels + 1, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_error_loss_on_probabilities_in_fit():
    model = compiled(loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="from_logits=True"):
        model.fit(*toys.class_data(), verbose=0)


@pytest.mark.parametrize("create", [Supervised, lambda: FRSKD(width=1, depth=1)])
def test_a_batch_of_void_pixels_gives_zero(create):
    images, labels = toys.pixel_data()
    model = SelfDistillationModel(toys.segmenter(), create())
    model = compiled(model, loss=toys.cross_entropy(ignore_class=255))
    logs = model.train_on_batch(images, np.full_like(labels, 255), return_dict=True)
    assert set(logs.values()) == {0.0}
    labels[:, :8] = 255
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert all(np.isfinite(value) and value > 0.0 for value in logs.values())
