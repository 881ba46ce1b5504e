import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from examples.runs import methods
from keras_selfkd import (
    Late,
    MeanTeacher,
    Ramp,
    SelfDistillationModel,
    Supervised,
    losses,
)
from keras_selfkd.method import arguments_of
from tests import toys


def with_flags(function, *arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["prog", *arguments])
        return function()


def built(name, *arguments, dense=False):
    of_data = {"examples": 24}
    return with_flags(lambda: methods.build_method(name, dense, of_data), *arguments)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A flag that names a trained network, which some methods cannot do without."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    toys.classifier().save(path)
    return f"--teacher={path}"


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_name_builds_its_method(name, dense, teacher):
    assert type(built(name, teacher, dense=dense)).__name__.lower() == name


def test_every_argument_of_a_constructor_is_a_flag():
    for kind in methods.METHODS.values():
        # A function of images cannot be written in a flag; a teacher can hold it.
        assert {*arguments_of(kind)} - {"preprocess", "augmentation"} <= set(
            flags.FLAGS
        )


def test_the_number_of_images_is_the_datas_unless_told():
    assert built("pskd").examples == 24
    assert built("pskd", "--examples=30").examples == 30


def test_averages_take_the_last_weights_place_where_asked():
    def kept(*arguments):
        keras.utils.set_random_seed(0)
        model = SelfDistillationModel(toys.classifier(), MeanTeacher(start=0))
        model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
        model.fit(*toys.class_data(), epochs=2, verbose=0)
        averages = model.averaged_student.get_weights()
        with_flags(lambda: methods.take_averages(model), *arguments)
        pairs = zip(model.student.get_weights(), averages, strict=True)
        return all(np.array_equal(weight, average) for weight, average in pairs)

    assert kept("--method=meanteacher", "--averaged")
    assert not kept("--method=meanteacher")


def test_error_averages_that_never_begin():
    def check():
        methods.check_begins(MeanTeacher(start=0.5), epochs=1)

    with pytest.raises(ValueError, match=r"--epochs=1, start=0\.5"):
        with_flags(check, "--method=meanteacher", "--averaged")
    with_flags(check, "--method=meanteacher")


def test_late_wraps_all_but_plain_training():
    method = built("frskd", "--late=0.5", "--channels=8")
    assert (type(method), method.start, method.method.channels) == (Late, 0.5, 8)
    assert isinstance(built("supervised", "--late=0.5"), Supervised)


def test_masks_have_the_papers_weights_unless_told():
    def weights(*arguments):
        method = built("frskd", "--feature_ramp=none", *arguments, dense=True)
        return method.soft_label_weight, method.feature_weight, method.temperature

    assert weights() == (1, 50, 1)
    assert weights("--soft_label_weight=3", "--feature_weight=7") == (3, 7, 1)
    own = losses.normalized_mse.default_weight
    assert weights("--feature_loss=normalized_mse") == (1, own, 1)


def test_both_distillation_weights_ramp_over_the_whole_training():
    weights = built("frskd", "--feature_ramp=sigmoid").loss_weights
    for term, peak in {"soft_label": 2.0, "feature": 100.0}.items():
        ramp = weights[term]
        assert isinstance(ramp, Ramp)
        assert (ramp.start, ramp.end, ramp.peak) == (0, 1, peak)
    assert weights["task"] == weights["teacher_task"] == 1.0


def test_without_a_ramp_the_weights_are_the_flags():
    arguments = ["--soft_label_weight=3", "--feature_weight=200"]
    weights = built("frskd", "--feature_ramp=none", *arguments).loss_weights
    assert (weights["soft_label"], weights["feature"]) == (3.0, 200.0)


def test_feature_loss_brings_its_own_weight():
    method = built("frskd", "--feature_loss=normalized_mse", "--feature_ramp=none")
    assert method.feature_loss is losses.normalized_mse
    assert method.feature_weight == losses.normalized_mse.default_weight


def test_sizes_of_the_self_teacher_come_from_the_flags():
    method = built("frskd", "--width=3", "--channels=64", "--temperature=2")
    assert (method.width, method.channels, method.temperature) == (3, 64, 2.0)


@pytest.mark.parametrize(
    ("arguments", "alpha"),
    [
        ([], 0.4),
        (["--mixing=mixup"], 0.4),
        (["--mixing_alpha=0.2"], 0.2),
        (["--mixing=mixup", "--mixing_alpha=0.2"], 0.2),
    ],
)
def test_mixskd_mixes_as_its_paper_unless_told(arguments, alpha):
    assert built("mixskd", *arguments).mixing.alpha == alpha


def test_mixskd_takes_its_own_defaults():
    method = built("mixskd", "--feature_weight=0.5", "--noadversarial")
    assert (method.temperature, method.adversarial) == (3.0, False)
    assert method.loss_weights["feature"] == 0.5
    assert method.loss_weights["soft_label"] == 1.0


def test_fitnet_hint_needs_a_weight():
    arguments = ["--feature_loss=fitnet_hint", "--feature_ramp=none"]
    with pytest.raises(ValueError, match="has no default weight"):
        built("frskd", *arguments)
    assert built("frskd", *arguments, "--feature_weight=0.5").feature_weight == 0.5


def test_a_teacher_is_read_from_a_file(teacher):
    arguments = [teacher, "--teacher_taps=out1,out2", "--soft_label_weight=0"]
    method = built("taught", *arguments)
    assert method.teacher_taps == ["out1", "out2"]
    assert method.teacher.count_params() == toys.classifier().count_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width=wide"], "Expected width to be an integer.*'wide'"),
        (
            ["--temperature=-1"],
            "Expected temperature to be .* Received: temperature=-1",
        ),
        (["--feature_loss=l3"], "Expected --feature_loss to be one of attention_"),
        (["--mixing_alpha=0.3"], "Expected --mixing_alpha only with"),
    ],
)
def test_error_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        built("frskd", *arguments)


def test_error_mixskd_with_cutmix():
    with pytest.raises(ValueError, match="blends maps"):
        built("mixskd", "--mixing=cutmix")


def test_error_teacher_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"Expected --teacher to be .*no\.keras"):
        built("taught", f"--teacher={tmp_path / 'no.keras'}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["supervised", "frskd"]),
        (["--nobaseline"], ["frskd"]),
        (["--method=supervised"], ["supervised"]),
    ],
)
def test_baseline_comes_first_and_once(arguments, expected):
    assert with_flags(methods.methods_to_train, *arguments) == expected
