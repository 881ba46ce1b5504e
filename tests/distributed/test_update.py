import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SelfDistillationModel, Supervised, Taught
from keras_selfkd.distributed.update import Writes
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def test_writes_are_held_back():
    model = toys.classifier()
    statistics = model.get_layer("bn1").moving_mean
    before = statistics.numpy()
    with Writes() as writes:
        model(toys.class_data(4)[0], training=True)
        during = keras.ops.convert_to_numpy(statistics)
        statistics.assign_add(1.0)
    np.testing.assert_array_equal(statistics.numpy(), before)
    assert np.any(during != before)
    assert {v.path for v in writes.variables} == {
        v.path for v in model.non_trainable_variables
    }
    held = dict(zip(map(id, writes.variables), writes.values(), strict=True))
    np.testing.assert_allclose(held[id(statistics)], during + 1.0)


def test_losses_of_layers_are_those_of_this_pass():
    images = keras.Input((4, 4, 1))
    layer = keras.layers.Conv2D(2, 3, activity_regularizer="l2")
    model = keras.Model(images, layer(images))
    with Writes() as writes:
        outputs = model(tf.ones((2, 4, 4, 1)))
        model(tf.zeros((2, 4, 4, 1)))
        (loss,) = writes.losses  # Keras forgets those of an earlier pass, too.
    assert float(loss) == 0.0
    assert np.any(outputs != 0.0)
    assert model.losses == []


def test_a_layer_that_replaces_its_own_weights_trains_as_plainly():
    def student():
        images = keras.Input((8, 8, 3))
        x = keras.layers.SpectralNormalization(keras.layers.Conv2D(4, 3))(images)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(images, keras.layers.Dense(4)(x))

    images, labels = toys.class_data(8, size=8)
    trained = []
    for wrap in (lambda s: s, lambda s: SelfDistillationModel(s, Supervised())):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        net = student()
        model = wrap(net)
        model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
        model.fit(images, labels, batch_size=4, verbose=0, shuffle=False)
        trained.append(net.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_frozen_teacher_is_neither_written_nor_looked_at():
    teacher = toys.classifier()
    model = SelfDistillationModel(
        toys.classifier(), Taught(teacher, soft_label_weight=0)
    )
    with Writes() as writes:
        batch = model.method.prepare(
            {"x": toys.class_data(4)[0], "y": None, "sample_weight": None}
        )
        model.outputs_of(batch["x"], training=True)
    own = {v.path for v in model.student.non_trainable_variables}
    assert {v.path for v in writes.variables} == own
    assert not {id(v) for v in writes.variables} & {id(v) for v in teacher.variables}
