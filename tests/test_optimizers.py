import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_selfkd import SelfDistillationModel, Supervised
from keras_selfkd.optimizers import AdamWAtTwoRates, SGDWithL2
from tests import toys


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_restated_in_numpy(nesterov):
    rate, momentum, l2 = 0.1, 0.9, 0.05
    weight, velocity = np.array([1.0, -2.0]), np.zeros(2)
    variable = keras.Variable(weight)
    optimizer = SGDWithL2(rate, momentum, nesterov, l2)
    for gradient in np.array([[0.5, 1.0], [-1.0, 0.25], [0.0, 2.0]]):
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        total = gradient + l2 * weight
        velocity = momentum * velocity - rate * total
        weight = weight + (momentum * velocity - rate * total if nesterov else velocity)
        np.testing.assert_allclose(to_numpy(variable), weight, rtol=1e-6)


def test_l2_acts_on_every_trainable_variable():
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    before = [to_numpy(v) + 1 for v in model.trainable_variables]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    optimizer = SGDWithL2(0.5, l2=0.1)
    zeros = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable, start in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_allclose(
            to_numpy(variable), start * (1 - 0.5 * 0.1), rtol=1e-6
        )


def test_l2_equals_keras_regularizer_of_half_the_strength():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(12, 4)), generator.normal(size=(12, 2))
    start = generator.normal(size=(4, 2))

    def train(optimizer, regularizer):
        dense = keras.layers.Dense(2, use_bias=False, kernel_regularizer=regularizer)
        model = keras.Sequential([keras.Input((4,)), dense])
        dense.kernel.assign(start)
        model.compile(optimizer, "mse")
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return to_numpy(dense.kernel)

    ours = train(SGDWithL2(0.1, momentum=0.9, l2=0.3), None)
    keras_own = train(
        keras.optimizers.SGD(0.1, momentum=0.9), keras.regularizers.L2(0.15)
    )
    decoupled = train(keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.3), None)
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5)
    assert not np.allclose(ours, decoupled, rtol=1e-3)


def test_without_l2_it_is_keras_sgd():
    variables = [keras.Variable([1.0, 2.0]) for _ in range(2)]
    gradient = keras.ops.convert_to_tensor([0.3, -0.1])
    for optimizer, variable in zip(
        (SGDWithL2(0.1, momentum=0.9), keras.optimizers.SGD(0.1, momentum=0.9)),
        variables,
        strict=True,
    ):
        optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(*map(to_numpy, variables))


def test_negative_l2_is_refused():
    with pytest.raises(ValueError, match=r"`l2` to be at least 0\. Received: l2=-0\.1"):
        SGDWithL2(l2=-0.1)


def two_steps(optimizer, weights):
    """Two variables, `slow` and `fast`, after two steps of one gradient."""
    variables = [keras.Variable(weights, name=name) for name in ("slow", "fast")]
    gradient = keras.ops.convert_to_tensor([0.5, -1.0])
    for _ in range(2):
        optimizer.apply([gradient, gradient], variables)
    return [to_numpy(variable) for variable in variables]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "create",
    [
        lambda rate, **options: SGDWithL2(rate, 0.9, l2=0.05, **options),
        lambda rate, **options: AdamWAtTwoRates(rate, weight_decay=0.3, **options),
    ],
    ids=["sgd", "adamw"],
)
def test_a_slow_variable_trains_as_at_a_lower_learning_rate(create, share):
    start = [1.0, -2.0]
    options = {"slow_variables": ["slow"], "slow_rate": share}
    slow, fast = two_steps(create(0.1, **options), start)
    np.testing.assert_allclose(fast, two_steps(create(0.1), start)[1], rtol=1e-6)
    expected, _ = two_steps(create(0.1 * share), start)
    np.testing.assert_allclose(slow, expected, rtol=1e-6)
    assert (slow == start).all() == (share == 0)


def test_two_rates_without_slow_variables_are_keras_adamw():
    ours, theirs = (
        two_steps(kind(0.1, weight_decay=0.3), [1.0, -2.0])
        for kind in (AdamWAtTwoRates, keras.optimizers.AdamW)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_variables_without_weight_decay_have_none_at_a_low_rate_either():
    optimizer = AdamWAtTwoRates(
        0.1, weight_decay=0.3, slow_variables=["slow"], slow_rate=0.5
    )
    optimizer.exclude_from_weight_decay(var_names=["slow"])
    slow, _ = two_steps(optimizer, [1.0, -2.0])
    expected, _ = two_steps(keras.optimizers.Adam(0.05), [1.0, -2.0])
    np.testing.assert_allclose(slow, expected, rtol=1e-6)


def slow_model(student):
    slow = [v.path for v in student.trainable_variables if "logits" not in v.path]
    model = SelfDistillationModel(student, Supervised())
    optimizer = SGDWithL2(0.1, 0.9, slow_variables=slow, slow_rate=0.1)
    model.compile(optimizer, toys.cross_entropy())
    return model


def sequential_student():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.Sequential([keras.layers.Conv2D(4, 3, name="conv")], name="stem"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(toys.CLASSES, name="logits"),
        ]
    )


# A file's Sequential has other paths than the one that was saved.
@pytest.mark.parametrize(
    "student", [lambda: toys.classifier(stages=toys.FEW_STAGES), sequential_student]
)
def test_two_rates_survive_a_file_and_go_on_bit_for_bit(tmp_path, student):
    student = student()
    images, labels = toys.class_data(8)
    batch = images[:, :, :, : student.input_shape[-1]], labels
    model = slow_model(student)
    model.train_on_batch(*batch)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, loaded):
        one.train_on_batch(*batch)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_two_rates_on_two_replicas_are_those_on_one_device(double, two_replicas):
    images, labels = toys.class_data(8)
    batch = images.astype("float64"), labels

    def trained():
        keras.utils.set_random_seed(0)
        student = toys.classifier(stages=toys.FEW_STAGES, batch_norm=False)
        model = slow_model(student)
        start = model.get_weights()
        for _ in range(2):
            model.train_on_batch(*batch)
        return start, model.get_weights()

    start, alone = trained()
    with two_replicas.scope():
        _, together = trained()
    for before, one, two in zip(start, alone, together, strict=True):
        assert np.any(one != before)
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)


def test_building_again_swaps_no_rates():
    optimizer = AdamWAtTwoRates(0.1, slow_variables=["slow"], slow_rate=0.0)
    slow, fast = (keras.Variable([1.0], name=name) for name in ("slow", "fast"))
    optimizer.build([slow, fast])
    optimizer.build([fast, slow])
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], [slow, fast])
    assert (float(slow[0]), float(fast[0]) < 1.0) == (1.0, True)


def test_error_two_decays_at_two_rates():
    with pytest.raises(ValueError, match="Expected `l2` or `weight_decay` beside"):
        SGDWithL2(0.1, l2=0.1, weight_decay=0.1, slow_variables=["slow"], slow_rate=0.1)


def test_error_a_slow_variable_that_is_not_there():
    optimizer = SGDWithL2(0.1, slow_variables=["slow", "no/kernel"], slow_rate=0.5)
    with pytest.raises(ValueError, match=r"`variable.path`. Received: \['no/kernel'\]"):
        two_steps(optimizer, [1.0, 2.0])


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_error_a_slow_rate_out_of_range(share):
    with pytest.raises(ValueError, match=rf"in \[0, 1\]. Received: slow_rate={share}"):
        SGDWithL2(slow_rate=share)
