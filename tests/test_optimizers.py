import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_selfkd.optimizers import SGDWithL2


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
