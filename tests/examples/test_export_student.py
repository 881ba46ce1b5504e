"""Exporting a run, a file, and running what came out without TensorFlow."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from examples import export_student
from examples.results.mask_results import score_masks
from examples.students import trained
from keras_selfkd import SelfDistillationModel, Supervised
from keras_selfkd.export.litert import describe_input, predict_tflite

ROOT = pathlib.Path(__file__).parents[2]
NAMES = [str(digit) for digit in range(10)]


def finished_run(folder, **more):
    """The directory of a finished run on the digits, of an untrained student."""
    keras.utils.set_random_seed(0)
    size = 64 if "void" in more else 32
    images = keras.Input((size, size, 1))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(images)
    if "void" in more:
        student = keras.Model(images, keras.layers.Conv2D(11, 1)(x), name="tiny")
    else:
        x = keras.layers.GlobalAveragePooling2D()(x)
        student = keras.Model(images, keras.layers.Dense(10)(x), name="tiny")
    folder.mkdir()
    student.save(folder / "student.keras")
    score = {"accuracy": 0.5, "interval": [0.4, 0.6], "calibration_error": 0.1}
    result = {
        "note": "",
        "dataset": "digits",
        "images": {"train": 300, "test": 1297},
        "student": "tiny",
        "labels": NAMES,
        "mean": [70.0],
        "std": [90.0],
        "scores": {"supervised": score, "frskd": score},
    } | more
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "flags.cfg").write_text("--batch_size=16\n--fast\n--method=frskd\n")
    return folder, student


def finished_mask_run(folder):
    """The same of an untrained segmenter on scenes of digits."""
    score = {"mean_iou": 0.25, "pixel_accuracy": 0.5}
    labels, scores = ["ground", *NAMES], {"supervised": score, "frskd": score}
    more = {"dataset": "digit_scenes", "labels": labels, "scores": scores}
    return finished_run(folder, void=255, **more)


def export(*arguments):
    with flagsaver.flagsaver():
        command = ["export_student", *arguments]
        sys_argv, sys.argv = sys.argv, command
        try:
            export_student.main(flags.FLAGS(command))
        finally:
            sys.argv = sys_argv


def digit_picture(path, size=(48, 64)):
    """A picture of a digit, in colours and larger than the network takes it."""
    from sklearn import datasets

    digit = datasets.load_digits().images[0] * 255 / 16
    Image.fromarray(digit.astype("uint8")).resize(size).convert("RGB").save(path)
    return path


def test_a_run_becomes_files_that_are_rated_on_its_test_images(tmp_path, capsys):
    run, student = finished_run(tmp_path / "run")
    export(f"--model={run}", "--quantize=float32,int8", "--benchmark")
    folder = run / "export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "export.json",
        "model_card.md",
        "saved_model",
        "student-float32.json",
        "student-float32.tflite",
        "student-int8.json",
        "student-int8.tflite",
        "student.onnx",
    ]
    measured = json.loads((folder / "export.json").read_text())
    assert [*measured] == ["LiteRT, float32", "LiteRT, int8", "SavedModel", "ONNX"]
    with flagsaver.flagsaver():
        source = trained.open_run(run, 100)
    images, labels = source.test
    assert (images.dtype, len(images)) == ("uint8", 100)  # As many as --fast keeps.
    logits = student.predict((images - 70.0) / 90.0, verbose=0)
    accuracy = np.mean(logits.argmax(-1) == labels)
    for name, facts in measured.items():
        assert facts["score"] == pytest.approx(accuracy, abs=0.05 * ("int8" in name))
        assert ("milliseconds_1_threads" in facts) == (name != "SavedModel")
    outputs = predict_tflite(folder / "student-float32.tflite", images)
    np.testing.assert_allclose(outputs, logits, atol=1e-4)
    printed = capsys.readouterr().out
    card = (folder / "model_card.md").read_text()
    for text in (f"{100 * accuracy:.2f} %", "LiteRT, int8", "ONNX"):
        assert text in printed
        assert text in card
    for text in ("CC BY 4.0", "frskd: accuracy 50.00 %", "--batch_size=16", "tiny"):
        assert text in card


def test_files_and_their_precision_are_chosen(tmp_path):
    run, _ = finished_run(tmp_path / "run")
    output = tmp_path / "elsewhere"
    options = ["--quantize=int8", "--input_dtype=uint8", "--head=argmax"]
    export(f"--model={run}", f"--output={output}", "--formats=litert", *options)
    files = sorted(path.name for path in output.iterdir())
    assert files[-2:] == ["student-int8.json", "student-int8.tflite"]
    assert describe_input(output / files[-1])["dtype"] == "uint8"
    about = json.loads((output / files[-2]).read_text())
    assert (about["output"], about["labels"]) == ("argmax", NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["none", "argmax"])
def test_a_segmenters_files_are_rated_by_their_masks(tmp_path, capsys, head):
    run, student = finished_mask_run(tmp_path / "run")
    options = ["--formats=litert", "--quantize=float32", f"--head={head}"]
    export(f"--model={run}", *options)
    with flagsaver.flagsaver():
        source = trained.open_run(run, 10_000)
    images, masks = source.test
    logits = student.predict((images - 70.0) / 90.0, verbose=0)
    predicted = np.array(tf.image.resize(logits, (64, 64))).argmax(-1)
    expected = score_masks(predicted, masks, 11, 255)["mean_iou"]
    facts = json.loads((run / "export" / "export.json").read_text())
    assert facts["LiteRT, float32"]["score"] == pytest.approx(expected, abs=1e-3)
    assert "mean IoU" in capsys.readouterr().out
    card = (run / "export" / "model_card.md").read_text()
    assert "frskd: mean IoU 25.00 %" in card
    assert "drawn from UCI" in card


@pytest.mark.parametrize("options", [[], ["--mean=70", "--std=90"]])
def test_a_file_is_calibrated_on_a_folder_of_images(tmp_path, options):
    run, student = finished_run(tmp_path / "run")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(9):
        pixels = rng.integers(256, size=(40, 32, 3), dtype="uint8")
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    file = run / "student.keras"
    export(f"--model={file}", f"--images={pictures}", "--quantize=int8", *options)
    images = rng.integers(256, size=(5, 32, 32, 1))
    taken = (images - 70.0) / 90.0 if options else images
    expected = student.predict(taken.astype("float32"), verbose=0)
    outputs = predict_tflite(run / "export" / "student-int8.tflite", images)
    np.testing.assert_allclose(outputs, expected, atol=0.05 * np.abs(expected).max())
    card = (run / "export" / "model_card.md").read_text()
    assert ("normalised inside" in card) == bool(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected --model="),
        (["--model=no.keras"], "Expected --model to be .*no.keras"),
        (["--model=."], "Expected a finished run"),
        (["--model=run", "--dataset=folder", "--data_dir=no"], "data_dir.*no"),
        (["--model=run/student.keras", "--mean=1"], "--mean and --std, or neither"),
        (["--model=run", "--mean=1", "--std=1"], "of its own. Received: --mean"),
        (["--model=run", "--quantize=dynamic", "--input_dtype=int8"], "add --quantize"),
        (["--model=run/student.keras"], "int8 files are calibrated on.*add --images"),
        (["--model=run/student.keras", "--quantize=int16x8"], "int16x8 files are"),
        (["--model=run", "--head=sigmoid"], "run's classes exclude each other"),
        (["--model=run", "--multi_label"], "run's classes exclude each other"),
        (["--model=run/student.keras", "--images=run"], "Expected images only"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, monkeypatch, arguments, message):
    finished_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        export(*arguments)
    assert not (tmp_path / "run" / "export").exists()


def test_error_data_that_have_other_classes_now(tmp_path):
    run, _ = finished_run(tmp_path / "run", labels=[*NAMES[1:], "0"])
    with pytest.raises(SystemExit, match="other classes than when"):
        export(f"--model={run}")


def test_error_data_that_are_not_where_the_run_saw_them(tmp_path, monkeypatch):
    run, _ = finished_run(tmp_path / "run")
    recipe = run / "flags.cfg"
    recipe.write_text(recipe.read_text() + "--dataset=folder\n--data_dir=photos\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="Say where they are now") as error:
        export(f"--model={run}")
    seen = f"{run} was trained on cannot be read: --data_dir=photos, seen from "
    assert f"{seen}{tmp_path}" in str(error.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("flags.cfg", None),
        ("flags.cfg", "--flag_of_another_version=1"),
        ("result.json", "{"),
    ],
)
def test_error_run_of_another_version(tmp_path, file, content):
    run, _ = finished_run(tmp_path / "run")
    (run / file).unlink()
    if content:
        (run / file).write_text(content)
    with pytest.raises(SystemExit, match=r"Expected a run of this version.*cannot be"):
        export(f"--model={run}")


def test_the_student_of_a_training_model_is_exported(tmp_path):
    _, student = finished_run(tmp_path / "run")
    model = SelfDistillationModel(student, Supervised())
    model.save(tmp_path / "model.keras")
    options = ["--formats=litert", "--quantize=float32"]
    export(f"--model={tmp_path / 'model.keras'}", *options)
    images = np.ones((1, 32, 32, 1), "float32")
    outputs = predict_tflite(tmp_path / "export" / "student-float32.tflite", images)
    np.testing.assert_allclose(outputs, student(images), atol=1e-5)


def test_labels_of_a_file_that_do_not_exclude_each_other(tmp_path):
    run, student = finished_run(tmp_path / "run")
    options = ["--formats=litert", "--quantize=float32", "--head=sigmoid"]
    export(f"--model={run / 'student.keras'}", *options)
    path = run / "export" / "student-float32.tflite"
    images = np.random.default_rng(0).random((3, 32, 32, 1), "float32")
    expected = keras.activations.sigmoid(student(images))
    np.testing.assert_allclose(predict_tflite(path, images), expected, atol=1e-5)
    assert json.loads(path.with_suffix(".json").read_text())["multi_label"]
    card = (run / "export" / "model_card.md").read_text()
    assert "return a probability of each label" in card


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        (None, [[-1.0], [0.2], [3.0]]),
        ("softmax", [[0.7, 0.3], [0.45, 0.55], [0.05, 0.95]]),
        ("sigmoid", [[0.3], [0.55], [0.95]]),
        ("argmax", [0, 1, 1]),
    ],
)
def test_one_logit_is_rated_as_two_classes(head, outputs):
    truth, outputs = np.array([0, 1, 0]), np.array(outputs)
    classes = trained.Trained(None, labels=["no", "yes"], test=(None, truth))
    assert classes.score(outputs, head) == pytest.approx(2 / 3)
    pixels = classes._replace(test=(None, truth[:, None, None]), void=255)
    # Of three pixels the first class has one of two, the second one of two.
    score = pixels.score(outputs.reshape(3, 1, 1, *outputs.shape[1:]), head)
    assert score == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("tf2onnx", r"pip install keras_selfkd\[onnx\]"),
        ("ai_edge_litert.interpreter", r"pip install keras_selfkd\[litert\]"),
    ],
)
def test_error_missing_package_is_said_first(tmp_path, monkeypatch, module, message):
    run, _ = finished_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=message):
        export(f"--model={run}")
    assert not (run / "export").exists()


@pytest.mark.parametrize("flag", ["--quantize=int4", "--formats=litert,coreml"])
def test_flags_out_of_range_are_refused_by_name(flag):
    with flagsaver.flagsaver(), pytest.raises(flags.Error, match="Expected some of"):
        flags.FLAGS(["export_student", flag])


@pytest.mark.slow
def test_a_runner_starts_by_its_path_from_anywhere(tmp_path):
    # The folder `examples` that tf2onnx installs is not taken for this one.
    runner = ROOT / "examples" / "export_student.py"
    done = subprocess.run(
        [sys.executable, runner], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].startswith("export_student: Expected --model=")


@pytest.mark.slow
def test_files_run_where_there_is_no_tensorflow(tmp_path):
    """Needs a package index: it fills an environment of its own."""
    classes, _ = finished_run(tmp_path / "classes")
    export(f"--model={classes}", "--formats=litert")
    masks, _ = finished_mask_run(tmp_path / "masks")
    options = [
        "--head=argmax",
        "--formats=litert",
        f"--model={masks / 'student.keras'}",
    ]
    export(*options, "--quantize=float32")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    needed = ["ai-edge-litert", "numpy", "pillow"]
    subprocess.run([python, "-m", "pip", "install", "-q", *needed], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list"], capture_output=True, text=True
    )
    assert "tensorflow" not in listed.stdout
    assert "keras" not in listed.stdout
    picture = digit_picture(tmp_path / "digit.png")
    for file in (
        classes / "export" / "student-int8.tflite",
        masks / "export" / "student-float32.tflite",
    ):
        done = subprocess.run(
            [python, ROOT / "examples" / "classify_image.py", file, picture],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "digit.png:" in done.stdout
        assert "%  " in done.stdout
    with Image.open(masks / "export" / "masks" / "digit.png-mask.png") as mask:
        assert mask.size == (48, 64)
