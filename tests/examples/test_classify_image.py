import json

import keras
import numpy as np
import pytest
from PIL import Image

from examples import classify_image
from keras_selfkd import export_student

LABELS = ["left", "right", "top"]


def classifier(channels=1, name="dense"):
    """A network that tells where pictures of 4x6 pixels are bright."""
    where = np.zeros((4, 6, channels, 3), "float32")
    where[:, :3, :, 0] = where[:, 3:, :, 1] = where[:2, :, :, 2] = 1 / 64
    dense = keras.layers.Dense(3, use_bias=False)
    layers = [keras.Input((4, 6, channels)), keras.layers.Flatten(), dense]
    model = keras.Sequential(layers, name=name)
    dense.set_weights([where.reshape(-1, 3)])
    return model


def segmenter():
    """A network whose pixels are of class 1 where they are bright."""
    convolution = keras.layers.Conv2D(2, 1)
    model = keras.Sequential([keras.Input((4, 6, 1)), convolution])
    convolution.set_weights([np.array([[[[0.0, 1.0]]]]), np.array([0.0, -100.0])])
    return model


def picture(path, channels=1, factor=2):
    """Bright on the right, of twice the network's size."""
    pixels = np.zeros((4, 6, channels), "uint8")
    pixels[:, 3:] = 200
    pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def bright():
    pixels = np.zeros((8, 4, 6, 1), "float32")
    pixels[:, :, 3:] = 200
    pixels[4:] = 255 - pixels[4:]
    return pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif"])
def test_prints_the_likeliest_classes(tmp_path, capsys, channels, suffix):
    file = tmp_path / "student.tflite"
    export_student(classifier(channels), file, labels=LABELS)
    path = picture(tmp_path / f"photo{suffix}", channels)
    assert classify_image.main([str(file), str(path), "--top=2"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{path}:"
    assert [line.split()[-1] for line in lines] == ["right", "top"]


@pytest.mark.parametrize("head", [None, "softmax", "argmax"])
@pytest.mark.parametrize("dtype", [None, "uint8", "int8"])
def test_understands_every_kind_of_file(tmp_path, capsys, head, dtype):
    file = tmp_path / "student.tflite"
    quantize = dtype and "int8"
    options = {"labels": LABELS, "head": head}
    export_student(classifier(), file, quantize, bright(), dtype, **options)
    classify_image.main([str(file), str(picture(tmp_path / "photo.png"))])
    _, line, *more = capsys.readouterr().out.splitlines()
    assert line.split()[-1] == "right"
    assert len(more) == (0 if head == "argmax" else 2)
    if head != "argmax":
        z = np.array([0, 200 * 12, 200 * 6]) / 64
        share = 1 / np.exp(z - z[1]).sum()
        assert float(line.split()[0]) == pytest.approx(100 * share, abs=0.5)


def test_normalises_as_the_file_beside_says(tmp_path):
    file = tmp_path / "student.tflite"
    export_student(classifier(), file, labels=LABELS, normalization=([100.0], [10.0]))
    photo = Image.open(picture(tmp_path / "photo.png", factor=1))
    outputs = classify_image.Classifier(file)(photo)
    np.testing.assert_allclose(outputs, [-120 / 64, 120 / 64, 0.0], atol=1e-4)


def test_takes_the_middle_of_a_wide_picture(tmp_path):
    export_student(classifier(), tmp_path / "s.tflite")
    wide = np.zeros((4, 60), "uint8")
    wide[:, :20] = wide[:, 40:] = 255
    run = classify_image.Classifier(tmp_path / "s.tflite")
    np.testing.assert_allclose(run(Image.fromarray(wide)), 0.0, atol=1e-5)


def test_without_names_classes_have_numbers(tmp_path, capsys):
    file = tmp_path / "student.tflite"
    export_student(classifier(), file, batch_size=3, head="argmax")
    classify_image.main([str(file), str(picture(tmp_path / "photo.png"))])
    assert capsys.readouterr().out.splitlines()[1].strip() == "class 1"


def test_one_logit_is_two_classes(tmp_path, capsys):
    images = keras.Input((4, 6, 1))
    logit = keras.layers.Dense(1, kernel_initializer="ones", name="logit")
    binary = keras.Model(images, -logit(classifier()(images)))
    export_student(binary, tmp_path / "s.tflite", labels=["dark", "bright"])
    classify_image.main(
        [str(tmp_path / "s.tflite"), str(picture(tmp_path / "photo.png"))]
    )
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "dark"


@pytest.mark.parametrize("head", [None, "softmax", "argmax"])
def test_writes_a_mask_as_large_as_the_picture(tmp_path, capsys, head):
    file, path = tmp_path / "student.tflite", picture(tmp_path / "photo.png", factor=3)
    export_student(segmenter(), file, labels=["dark", "bright"], head=head)
    assert classify_image.main([str(file), str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-1] for line in lines[1:3]] == ["dark", "bright"]
    mask = np.array(Image.open(tmp_path / "photo.png-mask.png"))
    assert mask.shape == (12, 18, 3)
    assert np.all(mask[:, :8] == mask[0, 0])
    assert np.all(mask[:, 10:] == mask[0, -1])
    assert np.any(mask[0, 0] != mask[0, -1])


def test_files_that_are_no_images_are_named_and_the_rest_goes_on(tmp_path, capsys):
    export_student(classifier(), tmp_path / "s.tflite", labels=LABELS)
    (tmp_path / "text.png").write_text("no image")
    files = [tmp_path / "text.png", tmp_path / "none.png", picture(tmp_path / "p.png")]
    assert classify_image.main([str(tmp_path / "s.tflite"), *map(str, files)]) == 1
    printed = capsys.readouterr()
    assert "right" in printed.out
    assert "text.png: not an image that can be read" in printed.err
    assert "none.png: not an image that can be read" in printed.err


@pytest.mark.parametrize("content", [None, "no model"])
def test_error_model(tmp_path, capsys, content):
    if content:
        (tmp_path / "s.tflite").write_text(content)
    with pytest.raises(SystemExit):
        classify_image.main([str(tmp_path / "s.tflite"), "photo.png"])
    assert "s.tflite" in capsys.readouterr().err


def test_error_file_that_takes_no_images(tmp_path, capsys):
    layers = [keras.Input((4, 6, 2)), keras.layers.Flatten(), keras.layers.Dense(2)]
    export_student(keras.Sequential(layers), tmp_path / "s.tflite")
    with pytest.raises(SystemExit):
        classify_image.main([str(tmp_path / "s.tflite"), "photo.png"])
    assert "1 or 3 channels" in capsys.readouterr().err


def test_the_json_says_what_the_file_returns(tmp_path, capsys):
    file = tmp_path / "student.tflite"
    export_student(classifier(), file, head="softmax")
    path = picture(tmp_path / "photo.png")
    classify_image.main([str(file), str(path)])
    z = np.array([0, 200 * 12, 200 * 6]) / 64
    share = 1 / np.exp(z - z[1]).sum()
    line = capsys.readouterr().out.splitlines()[1]
    assert float(line.split()[0]) == pytest.approx(100 * share, abs=0.5)
    about = file.with_suffix(".json")
    about.write_text(json.dumps({"output": "softmax", "labels": LABELS}))
    classify_image.main([str(file), str(path)])
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "right"
    about.write_text("{")
    with pytest.raises(SystemExit):
        classify_image.main([str(file), str(path)])
    assert "student.json is no JSON file" in capsys.readouterr().err


def test_16_bit_pixels_are_scaled(tmp_path):
    export_student(classifier(), tmp_path / "s.tflite")
    pixels = np.zeros((4, 6), "uint16")
    pixels[:, 3:] = 200 * 257
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    outputs = classify_image.Classifier(tmp_path / "s.tflite")(
        classify_image.load(tmp_path / "deep.png")
    )
    np.testing.assert_allclose(outputs, np.array([0, 200 * 12, 200 * 6]) / 64)
