import json
import re
import shlex

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from examples import train_segmenter
from examples.data.segmentation_data import load_masked_data
from examples.runs.task import build, student_name
from examples.runs.unused_flags import refuse_unused
from examples.students.by_name import segmenter_builders
from examples.students.convnets import small_resnet
from keras_selfkd.distributed.layers import batch_norms
from keras_selfkd.distributed.strategies import strategy_by_name
from tests.examples.runner import history, trial


def run_main(*arguments):
    """Runs the runner in this process."""
    with flagsaver.flagsaver():
        argv = flags.FLAGS(["train_segmenter", "--verbose=0", *arguments])
        train_segmenter.main(argv)


@pytest.fixture(scope="module")
def fast_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trial"
    return trial("examples.train_segmenter", folder)


@pytest.mark.slow
def test_a_trial_writes_every_file_and_nothing_else(fast_run):
    folder, _ = fast_run
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "baseline.json",
        "baseline.keras",
        "baseline.tflite",
        "curves.png",
        "flags.cfg",
        "history.csv",
        "masks.png",
        "result.json",
        "saved_model",
        "student.json",
        "student.keras",
        "student.tflite",
    ]


@pytest.mark.slow
def test_a_trial_prints_progress_and_the_tables(fast_run):
    _, output = fast_run
    assert "2 epochs of 2 steps, sgd, learning rate 0.05" in output
    assert "BatchNorm: momentum 0 in " in output  # 4 steps remember one.
    assert "Training thin_unet with supervised, 2 epochs" in output
    assert "Tracing supervised ..." in output
    assert "Training thin_unet with frskd, 2 epochs" in output
    assert "val_mean_iou" in output
    assert "IoU, %  supervised  frskd" in output
    assert "points of mean IoU against supervised, one seed" in output
    agreeing = re.search(r"(\S+) % of the pixels of 16 images agree with Keras", output)
    assert float(agreeing[1]) > 99.9
    assert "\nFAST: this shows that it runs" in output


@pytest.mark.slow
def test_a_trial_without_a_terminal_prints_a_line_an_epoch_and_no_noise(fast_run):
    _, output = fast_run
    assert set("\x1b\b\r").isdisjoint(output)
    epochs = [line for line in output.splitlines() if line.startswith("Epoch")]
    assert [line.split(":")[0] for line in epochs] == ["Epoch 1/2", "Epoch 2/2"] * 2
    for note in ("oneDNN", "cuda", "absl", "cpu_feature_guard", "Warning"):
        assert note not in output


@pytest.mark.slow
def test_the_flags_of_a_trial_are_no_foreign_flags(fast_run, tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(["train_segmenter", f"--flagfile={fast_run[0]}/flags.cfg"])
        refuse_unused()


@pytest.mark.slow
def test_history_has_the_metrics_of_masks(fast_run):
    for row in history(fast_run[0]):
        assert {"mean_iou", "val_mean_iou", "pixel_accuracy"} <= row.keys()
        assert 0.0 <= float(row["val_mean_iou"]) <= 1.0


@pytest.mark.slow
def test_the_result_is_that_of_the_saved_student(fast_run):
    folder, _ = fast_run
    result = json.loads((folder / "result.json").read_text())
    score = result["scores"]["frskd"]
    data = load_masked_data(fast=True, batch_size=8)
    metric = keras.metrics.MeanIoU(11, ignore_class=255, sparse_y_pred=False)
    student = keras.models.load_model(folder / "student.keras")
    for images, masks in data.test:
        logits = keras.ops.image.resize(student(images), (64, 64))
        metric.update_state(masks, logits)
    assert score["mean_iou"] == pytest.approx(float(metric.result()), rel=1e-5)
    assert score["parameters"] == student.count_params()
    assert len(score["iou"]) == len(result["labels"]) == 11


@pytest.mark.slow
def test_learns_from_an_earlier_runs_student(fast_run, tmp_path):
    run_main(
        "--fast",
        "--method=taught",
        f"--teacher={fast_run[0]}/baseline.keras",
        "--taps=up1_2_out",
        "--teacher_taps=up1_2_out",
        "--nobaseline",
        "--noexport",
        f"--run_dir={tmp_path}/taught",
    )
    rows = history(tmp_path / "taught")
    assert [row["method"] for row in rows] == ["taught", "taught"]
    assert all(float(row["feature_loss"]) > 0 for row in rows)
    assert all(float(row["soft_label_loss"]) > 0 for row in rows)
    assert "teacher_task_loss" not in rows[0]


@pytest.mark.slow
def test_camvids_public_layout_with_mixing_accumulation_and_clipping(tmp_path):
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for name in (split, f"{split}annot"):
            (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng(number)
            pixels = random.integers(0, 256, (36, 48, 3), "uint8")
            mask = np.where(pixels[..., 0] > 128, 1, 0).astype("uint8")
            mask[:4] = 11
            file = f"{number}.png"
            Image.fromarray(pixels).save(tmp_path / "data" / split / file)
            Image.fromarray(mask).save(tmp_path / "data" / f"{split}annot" / file)
    run_main(
        "--dataset=folder",
        f"--data_dir={tmp_path}/data",
        "--void=11",
        "--image_size=32,40",
        "--label_names=dark,bright",
        "--mixing=cutmix",
        "--batch_size=2",
        "--gradient_accumulation_steps=2",
        "--clipvalue=2",
        "--ramp_start=0.5",
        "--epochs=2",
        "--nobaseline",
        f"--run_dir={tmp_path}/run",
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["images"] == {"train": 8, "validation": 2, "test": 2}
    assert result["labels"] == ["dark", "bright"]
    assert result["litert"]["agreeing"] > 0.999


@pytest.fixture
def cells(tmp_path):
    """White squares as masks, on brighter squares of images, in masks/ and images/."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(20):
        random = np.random.default_rng(number)
        pixels = random.integers(0, 100, (32, 32, 3), "uint8")
        mask = np.zeros((32, 32), "uint8")
        top, left = random.integers(0, 16, 2)
        mask[top : top + 16, left : left + 16] = 255
        pixels[mask > 0] += 100
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}_mask.png")
    return ["--dataset=folder", f"--data_dir={tmp_path}", f"--run_dir={tmp_path}/run"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--binary"], ["--noexport"]])
def test_masks_of_black_and_white_from_images_to_pictures(cells, tmp_path, how):
    run_main(
        *cells,
        *how,
        "--mask_values=0,255",
        "--label_names=ground,cell",
        "--batch_size=4",
        "--epochs=6",
        "--nobaseline",
    )
    folder = tmp_path / "run"
    result = json.loads((folder / "result.json").read_text())
    assert result["images"] == {"train": 16, "validation": 2, "test": 2}
    binary = how == ["--binary"]
    assert (result["labels"], result["binary"]) == (["ground", "cell"], binary)
    score = result["scores"]["frskd"]
    assert score["mean_iou"] == np.mean(score["iou"]) > 0.7
    if binary:
        assert result["litert"]["agreeing"] > 0.999
        found = result["litert"]["mean_iou"]
        assert found == pytest.approx(score["mean_iou"], abs=1e-3)
    student = keras.models.load_model(folder / "student.keras")
    assert student.output.shape[-1] == (1 if binary else 2)
    assert (folder / "masks.png").exists()
    assert float(history(folder)[-1]["val_mean_iou"]) > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"at least two classes .* --mask_values=0,255\. Received: .* 255 is void"),
        (["--void=254"], "Where the values are .* --mask_values=0,255; else name all"),
        (["--void=nil"], "Expected --void .* or none"),
        (["--mask_values=0,a"], "Expected --mask_values .* Received: .*0,a"),
        (["--mask_values=0,1"], "hold values in between. Received: .* 255, too"),
    ],
)
def test_error_masks_of_black_and_white(cells, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message) as error:
        run_main(*cells, *arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_documented_commands_are_accepted():
    text = train_segmenter.__doc__.replace("\n      --", " --").replace("\\\n", "")
    commands = [
        line for line in text.splitlines() if "examples.train_segmenter" in line
    ]
    assert len(commands) == 7
    for command in commands:
        with flagsaver.flagsaver():
            rest = flags.FLAGS(shlex.split(command)[2:])
            assert len(rest) == 1, command
            name = student_name(train_segmenter.TASK)
            assert name in {*segmenter_builders(), "backbone_fpn"}, command


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--image_size=64,x", "Expected --image_size=height,width"),
        ("--image_size=0", "Expected --image_size=height,width"),
        ("--student=thinunett", "The closest names: .*thin_unet"),
        ("--dataset=folder", "Expected `data_dir` to hold the folders"),
        ("--binary", "Expected two classes with --binary.* 11 classes: ground, 0"),
        ("--mask_key=masks", r"--mask_key=masks \(only with the name of a TFDS"),
        ("--image_key=images", r"--image_key=images \(only with the name of a TFDS"),
        ("--taps=up1,up2_2_out", "Unknown tap 'up1'"),
        ("--void=3", "void pixels of another number"),
    ],
)
def test_error_flags(argument, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run_main(argument, f"--run_dir={tmp_path}/run")
    assert not (tmp_path / "run").exists()


def test_error_no_teacher(tmp_path):
    with pytest.raises(SystemExit, match="Expected --teacher to be a trained model"):
        run_main("--method=taught", "--teacher=x.keras", f"--run_dir={tmp_path}/run")


def test_averages_span_a_tenth_of_the_steps():
    with flagsaver.flagsaver():
        flags.FLAGS(["prog", "--method=supervised", "--epochs=5", "--batch_size=8"])
        data = train_segmenter.TASK.load()
        strategy = strategy_by_name("none")
        student = build(train_segmenter.TASK, "supervised", data, strategy).student
    momenta = {layer.momentum for layer in batch_norms(student)}
    assert momenta == {1 - 10 / (5 * 8)}


def test_a_trained_classifier_is_the_backbone(tmp_path, capsys):
    classifier = small_resnet((32, 32, 1), classes=10)
    classifier.save(tmp_path / "student.keras")
    for path in (tmp_path, tmp_path / "student.keras"):  # A run's folder, or a file.
        with flagsaver.flagsaver():
            flags.FLAGS(["train_segmenter", "--fast", f"--backbone={path}"])
            assert student_name(train_segmenter.TASK) == "backbone_fpn"
            student = train_segmenter.build("backbone_fpn", (64, 64, 1), 11)
        assert tuple(student.output.shape) == (None, 64, 64, 11)
        kernel = classifier.get_layer("stage1_block1_conv1").kernel
        own = student.get_layer("stage1_block1_conv1").kernel
        np.testing.assert_array_equal(own, kernel)
        assert "Backbone: small_resnet of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone=nowhere"], "Expected --backbone to be a trained model's"),
        (["--backbone={rgb}"], "Expected a backbone for images of 1 channels"),
        (["--backbone={rgb}", "--student=unet"], "only without --student"),
    ],
)
def test_a_backbone_that_does_not_fit_ends_in_one_line(arguments, message, tmp_path):
    small_resnet((32, 32, 3), classes=10).save(tmp_path / "rgb.keras")
    given = [argument.format(rgb=tmp_path / "rgb.keras") for argument in arguments]
    with pytest.raises(SystemExit, match=message):
        run_main("--fast", *given, f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
