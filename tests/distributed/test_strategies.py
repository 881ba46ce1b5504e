import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, SelfDistillationModel, Supervised
from keras_selfkd.distributed import layers, strategies, update
from tests import equality, toys
from tests.methods.strangers import Deeper
from tests.replica_values import local, run

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def test_none_is_the_default_strategy():
    strategy = strategies.strategy_by_name("none")
    assert strategy.num_replicas_in_sync == 1
    with strategy.scope():
        assert not tf.distribute.has_strategy()


def test_one_device_trains():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = SelfDistillationModel(toys.classifier(), Deeper())
        model.compile("sgd", toys.cross_entropy())
    assert np.isfinite(model.fit(*toys.class_data(9), verbose=0).history["loss"][0])


def test_error_unknown_name():
    with pytest.raises(ValueError, match="'mirrored', 'multi_worker', 'none'"):
        strategies.strategy_by_name("horovod")


def test_sum_of_gradients_keeps_what_has_none(two_replicas):
    optimizer = keras.optimizers.SGD()

    def step(gradient):
        summed = update.sum_of_gradients([gradient, None], optimizer)
        assert summed[1] is None
        return summed[0]

    assert run(two_replicas, step, [tf.constant(1.0), tf.constant(2.0)]) == [[3], [3]]


@pytest.mark.parametrize("condition", [True, False])
def test_apply_if_on_replicas(two_replicas, condition):
    optimizer = keras.optimizers.SGD()
    with two_replicas.scope():
        variable = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)

    @tf.function
    def step(flag):
        def replica(flag):
            update.apply_if(
                flag,
                lambda value: variable.assign(value),
                args=(tf.constant(2.0),),
                optimizer=optimizer,
            )

        two_replicas.run(replica, args=(flag,))

    step(tf.constant(condition))
    assert float(variable.numpy()) == (4.0 if condition else 0.0)
    part = update.replicated_parent(keras.optimizers.SGD)
    assert part.__name__ == "TFOptimizer"
    assert all(
        getattr(part, name).__qualname__.startswith(part.__name__)
        for name in update.HOOKS
    )


def test_dropout_is_reproducible_on_replicas(two_replicas):
    weights = []
    for _ in range(2):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        with two_replicas.scope():
            student = toys.classifier(dropout=0.5, batch_norm=False)
            model = SelfDistillationModel(student, Supervised())
            model.compile("sgd", toys.cross_entropy())
        model.fit(*toys.class_data(16), batch_size=8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("synchronised", [True, False])
def test_synchronised_batch_norm_equals_one_device(two_replicas, synchronised):
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        with strategy.scope():
            student = toys.nested_classifier()
            if synchronised:
                assert layers.synchronize_batch_norm(student) is student
            model = SelfDistillationModel(student, Supervised())
            model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
        model.fit(*toys.class_data(8), batch_size=8, shuffle=False, verbose=0)
        weights.append({v.path: v.numpy() for v in model.variables})
    difference = equality.difference(*weights)
    assert difference < 1e-6 if synchronised else difference > 1e-3


@pytest.mark.parametrize("eagerly", [False, True])
def test_evaluation_counts_every_example_once(two_replicas, eagerly):
    images, labels = toys.class_data(21)
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), Supervised())
        model.compile(
            "sgd", toys.cross_entropy(), metrics=["accuracy"], run_eagerly=eagerly
        )
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(20)
    logs = model.evaluate(data, return_dict=True, verbose=0)
    logits = np.concatenate([model.student(images[i : i + 7]) for i in (0, 7, 14)])
    assert logs["accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == labels))
    assert logs["loss"] == pytest.approx(float(toys.cross_entropy()(labels, logits)))
    np.testing.assert_allclose(model.predict(data, verbose=0), logits, rtol=1e-4)


@pytest.mark.slow
def test_an_empty_replica_trains_eagerly(two_replicas):
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), Deeper())
        model.compile("sgd", toys.cross_entropy(), run_eagerly=True)
    history = model.fit(*toys.class_data(3), batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"][0])


class ReplicaWeights:
    """Every replica's copy of every variable of a model."""

    def __init__(self, strategy, model):
        copies = [local(strategy, variable.value) for variable in model.variables]
        self.copies = list(zip(*copies, strict=True))

    def assert_equal(self, other):
        for ours, theirs in zip(self.copies, other.copies, strict=True):
            for one, two in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_what_is_not_finite_on_one_replica_skips_the_step_on_all(two_replicas, policy):
    keras.config.set_dtype_policy(policy)
    try:
        with two_replicas.scope():
            method, taps = FRSKD(width=1, depth=1), ["out2", "out3"]
            model = SelfDistillationModel(toys.classifier(), method, taps)
            model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels = toys.class_data(8)
    before = ReplicaWeights(two_replicas, model)
    for value in (np.nan, np.inf):  # One model: neither changes it.
        images[7] = value
        history = model.fit(
            images,
            labels,
            batch_size=8,
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()],
        ).history
        before.assert_equal(ReplicaWeights(two_replicas, model))
        assert len(history["loss"]) == 1
        assert not np.isfinite(history["task_loss"][0])


def test_gradients_that_overflow_on_one_replica_skip_the_step_on_all(two_replicas):
    """Keras's loss scaling looks at the first replica only."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with two_replicas.scope():
            model = SelfDistillationModel(toys.classifier(), Supervised())
            optimizer = keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1), initial_scale=2.0**15
            )
            model.compile(optimizer, toys.cross_entropy())
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels = toys.class_data(8)
    images[4:] *= 3000.0
    before = [weight.numpy() for weight in model.trainable_variables]
    history = model.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0])
    for one, weight in zip(before, model.trainable_variables, strict=True):
        for copy in local(two_replicas, weight.value):
            np.testing.assert_array_equal(copy, one)
    assert optimizer.dynamic_scale.numpy() == 2.0**14


@pytest.mark.slow
def test_without_the_optimizers_hooks_keras_sums_the_gradients(
    two_replicas, monkeypatch
):
    monkeypatch.setattr(update, "HOOKS", ("_gone",))
    weights = [
        equality.train("plain", "momentum", strategy)[0]
        for strategy in (tf.distribute.get_strategy(), two_replicas)
    ]
    assert equality.difference(*weights) < 1e-5


def test_error_without_the_hooks_that_several_workers_need(two_replicas, monkeypatch):
    monkeypatch.setattr(update, "HOOKS", ("_gone",))
    monkeypatch.setattr(strategies, "is_multi_worker", lambda strategy: True)
    with two_replicas.scope(), pytest.raises(ValueError, match=r"Install Keras 3\.13"):
        SelfDistillationModel(toys.classifier(), Supervised())


class Penalty(keras.layers.Layer):
    """Adds the mean brightness of what it gets to the loss."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(keras.ops.abs(inputs)))
        return inputs


def penalised():
    """A student whose layers add losses, before and after replicas meet."""
    images = keras.Input((16, 16, 3))
    x = Penalty()(keras.layers.Conv2D(4, 3, strides=2)(images))
    x = keras.layers.BatchNormalization(synchronized=True)(x)
    x = keras.layers.Conv2D(4, 3, strides=2, kernel_regularizer="l2")(x)
    x = Penalty()(keras.layers.BatchNormalization(synchronized=True)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(toys.CLASSES)(x))


def mean_loss(y, logits):
    return tf.reduce_mean(
        keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    )


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("loss", [toys.cross_entropy(), mean_loss], ids=["each", "one"])
@pytest.mark.parametrize("first", [8, 5, 1])
def test_losses_of_layers_and_uneven_first_batches_equal_one_device(
    two_replicas, first, loss
):
    trained = []
    images, labels = toys.class_data(first)
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        with strategy.scope():
            model = SelfDistillationModel(penalised(), Supervised())
            model.compile(keras.optimizers.SGD(0.1), loss)
        logs = model.fit(images, labels, batch_size=8, verbose=0).history
        weights = {v.path: v.numpy() for v in model.trainable_variables}
        trained.append((weights, logs["loss"][0]))
    (one, one_loss), (two, two_loss) = trained
    assert equality.difference(one, two) < 1e-12
    assert two_loss == pytest.approx(one_loss, rel=1e-12)


def test_error_student_of_another_strategy(two_replicas):
    student = toys.classifier()
    with two_replicas.scope(), pytest.raises(ValueError, match="strategy"):
        SelfDistillationModel(student, FRSKD(width=1, depth=1))
    with two_replicas.scope():
        student = toys.classifier()
    with pytest.raises(ValueError, match="inside the same"):
        SelfDistillationModel(student, FRSKD(width=1, depth=1))


def test_error_xla_under_a_strategy(two_replicas):
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), FRSKD(width=1, depth=1))
        model.compile("sgd", toys.cross_entropy(), jit_compile=True)
    with pytest.raises(ValueError, match="XLA does not work under"):
        model.fit(*toys.class_data(), verbose=0)


def test_self_teachers_batch_norm_is_synchronised_on_replicas_only(two_replicas):
    def flags(model):
        layers = model.method.self_teacher.layers
        return {x.synchronized for x in layers if hasattr(x, "synchronized")}

    assert flags(SelfDistillationModel(toys.classifier(), FRSKD(width=1, depth=1))) == {
        False
    }
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), FRSKD(width=1, depth=1))
    assert flags(model) == {True}


def test_error_parameter_server(monkeypatch):
    servers = object.__new__(tf.distribute.ParameterServerStrategy)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: servers)
    with pytest.raises(ValueError, match="does not support ParameterServerStrategy"):
        strategies.check_strategy([])
