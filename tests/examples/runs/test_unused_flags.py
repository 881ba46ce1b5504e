import pytest
from absl import flags
from absl.testing import flagsaver

from examples.data import inputs  # noqa: F401 (it defines flags)
from examples.runs import methods, recipe  # noqa: F401 (they define flags)
from examples.runs.unused_flags import refuse_unused


def refuse(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["prog", *arguments])
        refuse_unused()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method=mixskd", "--channels=64"],
            r"--channels=64 \(only with",
        ),
        (["--method=mixskd", "--depth=7"], r"--depth=7 \(only with"),
        (["--method=mixskd", "--feature_loss=normalized_mse"], "--feature_loss"),
        (["--method=mixskd", "--ramp_start=0.5"], "--ramp_start"),
        (["--method=supervised", "--temperature=2"], "--temperature"),
        (["--method=supervised", "--late=0.5"], "--late"),
        (["--method=nfd", "--feature_loss=normalized_mse"], "--feature_loss"),
        (["--method=nfd", "--noadversarial"], r"--noadversarial \(only .*=mixskd\)"),
        (["--method=taught", "--teacher=x", "--depth=3"], "--depth=3"),
        (["--teacher=x.keras"], r"--teacher=x.keras \(only with --method=taught\)"),
        (["--teacher_taps=a,b"], "--teacher_taps=a,b"),
        (["--feature_ramp=none", "--ramp_start=0.5"], "--feature_ramp=sigmoid"),
        (["--drops=0.5"], r"--drops=0.5 \(only with --schedule=step\)"),
        (
            ["--nosynchronize_batch_norm"],
            "only with --strategy=mirrored",
        ),
        (["--data_dir=x"], r"--data_dir=x \(only with --dataset=folder"),
        (["--bad_images=skip"], "only with --dataset=folder"),
        (["--freeze_until=x"], r"--freeze_until=x \(only with the --weights"),
        (["--backbone_rate=0.1"], r"--backbone_rate=0.1 \(only with --weights"),
        (["--test_share=0.3"], "only with --dataset=folder or the name of a TFDS"),
    ],
)
def test_error_a_flag_that_nothing_reads(arguments, message):
    with pytest.raises(ValueError, match=message):
        refuse(*arguments)


def test_all_are_named_at_once():
    with pytest.raises(ValueError, match=r"--depth=7 .*--drops=0.1 \("):
        refuse("--method=mixskd", "--depth=7", "--drops=0.1")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--method=frskd_sla", "--channels=64", "--ramp_start=0.5"],
        ["--method=mixskd", "--mixing_alpha=0.2", "--noadversarial"],
        ["--method=taught", "--teacher=x", "--teacher_taps=a", "--temperature=2"],
        ["--method=supervised", "--mixing=cutmix", "--mixing_alpha=0.5"],
        ["--schedule=step", "--drops=0.5"],
        ["--dataset=folder", "--data_dir=x", "--bad_images=skip", "--test_share=0.2"],
        ["--dataset=cifar10", "--data_dir=x", "--nodownload"],
        ["--weights=x", "--freeze_until=y", "--backbone_rate=0.1"],
        # As the flags of an earlier run, which are all in its flags.cfg.
        ["--method=mixskd", "--width=1", "--drops=0.5,0.75", "--ramp_start=0.0"],
    ],
)
def test_flags_with_a_use_pass(arguments):
    refuse(*arguments)
