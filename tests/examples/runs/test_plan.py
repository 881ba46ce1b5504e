import re

import pytest
from absl import flags
from absl.testing import flagsaver

from examples import train_classifier
from examples.runs import methods, plan
from examples.runs.task import build
from keras_selfkd.distributed.strategies import strategy_by_name


def printed(capsys, *arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["prog", *arguments])
        data = train_classifier.TASK.load()
        strategy = strategy_by_name("none")
        model = build(train_classifier.TASK, methods.METHOD.value, data, strategy)
        plan.show(data, model)
    return model.student, capsys.readouterr().out


def test_a_folder_and_a_student_of_long_memory(class_folders, capsys):
    root = class_folders("pets", {"cat": 20, "dog": 20}, (32, 32))
    student, output = printed(
        capsys,
        "--method=supervised",
        "--dataset=folder",
        f"--data_dir={root}",
        "--student=MobileNetV3Small",
        "--batch_size=8",
        "--epochs=50",
        "--nomirror",
    )
    for line in (
        "pets, 2 classes: cat, dog",
        "Images: 32 to train on, 4 to watch after each epoch, 4 to test on",
        "(--validation_share, --test_share)",
        "Images are 32x32 pixels, the images' own size (--image_size).",
        "not mirrored (--mirror)",
        "50 epochs of 4 steps, sgd, learning rate 0.1 (cosine",
        "BatchNorm: momentum 0.95 in 34 layers",  # 1 - 10 / 200
    ):
        assert line in output
    assert "Distilled" not in output
    assert student.get_layer("conv_bn").momentum == pytest.approx(0.95)


def test_what_a_method_will_remember(capsys):
    _, output = printed(capsys, "--method=pskd", "--memory_dtype=float16")
    count = int(re.search(r"Images: ([\d,]+) to train", output)[1].replace(",", ""))
    size = count * (10 * 2 + 4) / 1e6  # Probabilities in float16, and the labels.
    assert f"remembers {size:.1f} MB of {count:,} images, in each" in output


def test_what_a_method_asks_for_is_said(capsys):
    student, output = printed(capsys, "--method=mixskd", "--optimizer=adamw")
    assert "adamw, learning rate 0.001 (cosine schedule), weight decay 0.05" in output
    assert "rises for 5 epochs, as mixskd asks for; the baseline's, too" in output
    assert "Distilled at the layers stage1_block1_out, stage2_block1_out, " in output
    # 360 steps: the small ResNet's own memory of 10 steps is short enough.
    assert "BatchNorm" not in output
    assert student.get_layer("stem_bn").momentum == 0.9
