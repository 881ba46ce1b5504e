import pytest
from absl import flags
from absl.testing import flagsaver

from examples.runs import methods
from keras_selfkd import EveryKSteps, SigmoidRampUp, Supervised, losses


def with_flags(function, *arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["prog", *arguments])
        return function()


def built(name, *arguments):
    return with_flags(lambda: methods.build_method(name, 100), *arguments)


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_name_builds_its_method(name):
    assert type(built(name)).__name__.lower() == name


def test_every_k_steps_wraps_all_but_plain_training():
    method = built("frskd", "--every_k_steps=3", "--channels=8")
    assert (type(method), method.k, method.method.channels) == (EveryKSteps, 3, 8)
    assert isinstance(built("supervised", "--every_k_steps=3"), Supervised)


def test_both_distillation_weights_ramp_over_the_whole_training():
    weights = built("frskd", "--feature_ramp=sigmoid").loss_weights
    for term, peak in {"soft_label": 2.0, "feature": 100.0}.items():
        ramp = weights[term]
        assert isinstance(ramp, SigmoidRampUp)
        assert (ramp.start, ramp.end, ramp.peak) == (0, 100, peak)
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


def test_error_mixskd_with_cutmix():
    with pytest.raises(ValueError, match="blends maps"):
        built("mixskd", "--mixing=cutmix")


def test_error_teacher_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"Expected --teacher to be .*no\.keras"):
        built("nfd", f"--teacher={tmp_path / 'no.keras'}")


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
