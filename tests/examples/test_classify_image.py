import json

import keras
import numpy as np
import pytest
from PIL import Image

from examples import classify_image
from examples.data.image_files import decode_file
from keras_selfkd import export_student
from keras_selfkd.mask_plots import colored

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


def multi_label(bias):
    """Labels of the left and right half, none of which excludes the other."""
    images, logits = keras.Input((4, 6, 1)), keras.layers.Dense(3, name="labels")
    model = keras.Model(images, logits(classifier()(images)))
    logits.set_weights([np.eye(3), np.array(bias)])
    return model


@pytest.mark.parametrize("head", [None, "sigmoid"])
@pytest.mark.parametrize("dtype", [None, "uint8"])
def test_labels_that_do_not_exclude_each_other_are_told_each_alone(
    tmp_path, capsys, head, dtype
):
    # Of the picture these make the logits -1, 2 and 1.
    model, file = multi_label([-1.0, 2 - 37.5, 1 - 18.75]), tmp_path / "s.tflite"
    options = {"labels": LABELS, "head": head, "multi_label": True}
    export_student(model, file, dtype and "int8", bright(), dtype, **options)
    path = picture(tmp_path / "photo.png", factor=1)
    classify_image.main([str(file), str(path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[2:] for row in rows] == [
        ["yes", "right"],
        ["yes", "top"],
        ["no", "left"],
    ]
    expected = 100 / (1 + np.exp(-np.array([2.0, 1.0, -1.0])))
    found = [float(row[0]) for row in rows]
    np.testing.assert_allclose(found, expected, atol=6 if dtype else 0.01)


@pytest.mark.parametrize("head", [None, "softmax", "sigmoid"])
def test_the_probability_of_one_logit_is_that_of_the_second_class(
    tmp_path, capsys, head
):
    student = keras.Sequential([keras.Input((4, 6, 1)), keras.layers.Flatten()])
    student.add(keras.layers.Dense(1, kernel_initializer="zeros"))
    student.layers[-1].bias.assign([np.log(4.0)])
    file = tmp_path / "s.tflite"
    export_student(student, file, labels=["no", "yes"], head=head)
    classify_image.main([str(file), str(picture(tmp_path / "photo.png"))])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["80.00", "%", "yes"], ["20.00", "%", "no"]]


def mask_student(classes):
    """Pixels that are bright are of class 1; of one logit, or two."""
    if classes == 2:
        return segmenter()
    convolution = keras.layers.Conv2D(1, 1)
    model = keras.Sequential([keras.Input((4, 6, 1)), convolution])
    convolution.set_weights([np.ones((1, 1, 1, 1)), np.array([-100.0])])
    return model


@pytest.mark.parametrize(
    ("classes", "head"),
    [
        *[(2, None), (2, "softmax"), (2, "argmax")],
        *[(1, None), (1, "softmax"), (1, "argmax"), (1, "sigmoid")],
    ],
)
def test_writes_a_mask_as_large_as_the_picture(tmp_path, capsys, classes, head):
    photos, device = tmp_path / "photos", tmp_path / "device"
    photos.mkdir()
    file, path = device / "student.tflite", picture(photos / "photo.png", factor=3)
    export_student(mask_student(classes), file, labels=["dark", "bright"], head=head)
    assert classify_image.main([str(file), str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-1] for line in lines[1:3]] == ["dark", "bright"]
    assert [float(line[0]) for line in lines[1:3]] == pytest.approx([50, 50], abs=6)
    mask = np.array(Image.open(device / "masks" / "photo.png-mask.png"))
    assert mask.shape == (12, 18, 3)
    # As plot_masks draws the two classes in the pictures of a run.
    expected = np.round(255 * colored(np.array([[0, 1]])))[0]
    np.testing.assert_array_equal(mask[:, :8], np.broadcast_to(expected[0], (12, 8, 3)))
    np.testing.assert_array_equal(
        mask[:, 10:], np.broadcast_to(expected[1], (12, 8, 3))
    )
    assert [entry.name for entry in photos.iterdir()] == ["photo.png"]


def test_a_pixel_may_have_several_labels_or_none(tmp_path, capsys):
    convolution = keras.layers.Conv2D(2, 1)
    student = keras.Sequential([keras.Input((4, 6, 1)), convolution])
    # The first label needs some light, the second, which wins then, a lot.
    weights = np.array([0.01, 0.03]).reshape(1, 1, 1, 2)
    convolution.set_weights([weights, np.array([-0.5, -3.0])])
    file, path = tmp_path / "device" / "s.tflite", tmp_path / "photo.png"
    export_student(student, file, labels=["dim", "lit"], multi_label=True)
    pixels = np.repeat(np.array([[0, 90, 200]], "uint8"), 2, axis=1).repeat(4, axis=0)
    Image.fromarray(pixels).save(path)
    classify_image.main([str(file), str(path), "--output", str(tmp_path / "drawn")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert rows == [["66.67", "%", "dim"], ["33.33", "%", "lit"]]
    mask = np.array(Image.open(tmp_path / "drawn" / "photo.png-mask.png"))
    colours = np.round(255 * colored(np.array([[255, 0, 1]])))[0]  # The first is white.
    np.testing.assert_array_equal(mask[0, [0, 2, 4]], colours)


def test_masks_of_several_folders_lie_as_the_images_do(tmp_path):
    names = ["a/1.png", "b/1.png", "b/c/1.png"]
    files = [tmp_path / name for name in names]
    targets = classify_image.mask_files(files, tmp_path / "masks")
    expected = [tmp_path / "masks" / f"{name}-mask.png" for name in names]
    assert targets == expected


def test_error_masks_beside_the_images(tmp_path, capsys):
    export_student(segmenter(), tmp_path / "s.tflite")
    path = picture(tmp_path / "photo.png")
    with pytest.raises(SystemExit):
        classify_image.main(
            [str(tmp_path / "s.tflite"), str(path), f"--output={tmp_path}"]
        )
    assert "Expected another folder than the images'" in capsys.readouterr().err


def test_photographs_are_turned_as_in_training(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    for name in ("photo.jpg", "photo.png"):
        Image.new("L", (16, 8)).save(tmp_path / name, exif=tags)
        size = classify_image.load(tmp_path / name).size
        trained = decode_file(str(tmp_path / name)).shape
        assert (*size[::-1], 3) == trained
    assert trained == (8, 16, 3)  # A PNG file is no photograph.


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
