import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, SelfDistillationModel, distribution
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def test_none_is_the_default_strategy():
    strategy = distribution.strategy_by_name("none")
    assert strategy.num_replicas_in_sync == 1
    with strategy.scope():
        assert not tf.distribute.has_strategy()


def test_error_unknown_name():
    with pytest.raises(ValueError, match="'mirrored', 'multi_worker', 'none'"):
        distribution.strategy_by_name("horovod")


def test_sum_over_replicas(two_replicas):
    @tf.function
    def step():
        return two_replicas.run(
            lambda: distribution.sum_over_replicas(
                tf.distribute.get_replica_context().replica_id_in_sync_group + 1
            )
        )

    assert [int(v) for v in two_replicas.experimental_local_results(step())] == [3, 3]
    assert int(distribution.sum_over_replicas(tf.constant(5))) == 5


@pytest.mark.parametrize("condition", [True, False])
def test_either_on_replicas(two_replicas, condition):
    with two_replicas.scope():
        variable = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)

    @tf.function
    def step(flag):
        def replica(flag):
            distribution.either(
                flag,
                lambda value: variable.assign(value),
                lambda value: variable.assign(-value),
                args=(tf.constant(2.0),),
            )

        two_replicas.run(replica, args=(flag,))

    step(tf.constant(condition))
    assert float(variable.numpy()) == (4.0 if condition else -4.0)


def test_error_student_of_another_strategy(two_replicas):
    student = toys.classifier()
    with two_replicas.scope(), pytest.raises(ValueError, match="strategy"):
        SelfDistillationModel(student, FRSKD(width=1))
    with two_replicas.scope():
        student = toys.classifier()
    with pytest.raises(ValueError, match="inside the same"):
        SelfDistillationModel(student, FRSKD(width=1))


def test_error_xla_under_a_strategy(two_replicas):
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), FRSKD(width=1))
        model.compile("sgd", toys.cross_entropy(), jit_compile=True)
    with pytest.raises(ValueError, match="XLA does not work under"):
        model.fit(*toys.class_data(), verbose=0)


def test_self_teachers_batch_norm_is_synchronised_on_replicas_only(two_replicas):
    def flags(model):
        layers = model.method.self_teacher.layers
        return {x.synchronized for x in layers if hasattr(x, "synchronized")}

    assert flags(SelfDistillationModel(toys.classifier(), FRSKD(width=1))) == {False}
    with two_replicas.scope():
        model = SelfDistillationModel(toys.classifier(), FRSKD(width=1))
    assert flags(model) == {True}


def test_error_parameter_server(monkeypatch):
    servers = object.__new__(tf.distribute.ParameterServerStrategy)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: servers)
    with pytest.raises(ValueError, match="does not support ParameterServerStrategy"):
        distribution.check_strategy(None)
