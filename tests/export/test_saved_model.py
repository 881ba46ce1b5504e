import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_selfkd import export_saved_model
from keras_selfkd.export import saved_model
from tests.export.conftest import SHAPE, build_student


@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_saved_model_serves_images(student, images, tmp_path, batch_size):
    path = tmp_path / "saved_model"
    rescale = keras.layers.Rescaling(1 / 255)
    for _ in range(2):  # The second one replaces the first.
        report = export_saved_model(student, path, rescale, batch_size)
    loaded = tf.saved_model.load(path)
    outputs = loaded.serve(255 * images[:3])
    expected = student.predict(images[:3], verbose=0)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert report.agreement == 1.0
    assert report.max_difference < 1e-6
    assert report.bytes == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model"]


def test_a_saved_model_replaces_nothing_else(student, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="Expected `path` to be free"):
        export_saved_model(student, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_interrupted_saved_model_leaves_the_last_one(
    student, tmp_path, monkeypatch, images
):
    path = tmp_path / "saved_model"
    export_saved_model(student, path)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "in_batches", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(build_student(), path)
    loaded = tf.saved_model.load(path)
    assert loaded.serve(images).shape == (40, 5)
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "jpg"])
def test_every_kind_of_encoded_image_is_served(tmp_path, channels, suffix):
    layers = [keras.Input((4, 6, channels)), keras.layers.Flatten()]
    mean = keras.Sequential([*layers, keras.layers.Dense(1, kernel_initializer="ones")])
    export_saved_model(mean, tmp_path / "m", encoded=True)
    picture = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (6, 4), (10, 200, 90)).save(picture, quality=100)
    outputs = tf.saved_model.load(tmp_path / "m").signatures["serve_encoded"]
    (pixels,) = outputs(tf.constant([picture.read_bytes()])).values()
    expected = 0.299 * 10 + 0.587 * 200 + 0.114 * 90 if channels == 1 else 300
    np.testing.assert_allclose(pixels, [[24 * expected]], rtol=0.03)


def test_it_is_checked_on_the_images_that_are_given(student, images, tmp_path):
    report = export_saved_model(student, tmp_path / "m", representative_data=images)
    assert report.samples == 40


@pytest.mark.parametrize("batch_size", [None, 3])
def test_encoded_images_are_served(student, tmp_path, batch_size):
    rescale = keras.layers.Rescaling(1 / 255)
    export_saved_model(student, tmp_path / "m", rescale, batch_size, encoded=True)
    loaded = tf.saved_model.load(tmp_path / "m")
    rng = np.random.default_rng(0)
    small = rng.integers(256, size=(3, *SHAPE), dtype="uint8")
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    for pixels in (small, large):  # Averaged, pixels that stand twice are the same.
        files = [tf.io.encode_png(image) for image in pixels]
        outputs = loaded.signatures["serve_encoded"](tf.stack(files))
        expected = student.predict(small / 255, verbose=0)
        tolerance = 1e-5 if pixels is small else 0.05
        np.testing.assert_allclose(*outputs.values(), expected, atol=tolerance)
    files = [tf.io.encode_jpeg(image, quality=100) for image in small]
    outputs = loaded.serve_encoded(tf.stack(files))
    np.testing.assert_allclose(outputs, expected, atol=0.05)


def test_encoded_photographs_are_turned_as_the_camera_was_held(tmp_path):
    layers = [keras.Input((4, 6, 1)), keras.layers.Conv2D(1, 1, use_bias=False)]
    itself = keras.Sequential(layers)
    itself.set_weights([np.ones((1, 1, 1, 1))])
    export_saved_model(itself, tmp_path / "m", encoded=True)
    tags = Image.Exif()
    tags[0x0112] = 6  # The sensor's left is the top.
    stored = np.zeros((6, 4), "uint8")
    stored[:, :2] = 200
    Image.fromarray(stored).save(tmp_path / "photo.jpg", exif=tags, quality=100)
    served = tf.saved_model.load(tmp_path / "m").signatures["serve_encoded"]
    (pixels,) = served(tf.constant([(tmp_path / "photo.jpg").read_bytes()])).values()
    np.testing.assert_allclose(pixels[0, :2], 200.0, atol=10)
    np.testing.assert_allclose(pixels[0, 2:], 0.0, atol=10)


def test_encoded_colours_become_the_bytes_that_a_model_takes(tmp_path):
    inputs = keras.Input((4, 6, 3), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    student = keras.Model(inputs, keras.layers.Dense(2)(x))
    export_saved_model(student, tmp_path / "m", encoded=True, head="softmax")
    grey = np.full((8, 12, 1), 77, "uint8")
    loaded = tf.saved_model.load(tmp_path / "m")
    outputs = loaded.serve_encoded(tf.stack([tf.io.encode_jpeg(grey, quality=100)]))
    expected = student(np.full((1, 4, 6, 3), 77, "uint8"))
    np.testing.assert_allclose(outputs, tf.nn.softmax(expected), atol=0.01)


def test_error_encoded_images_of_two_channels(tmp_path):
    layers = [keras.Input((4, 6, 2)), keras.layers.Flatten(), keras.layers.Dense(2)]
    with pytest.raises(ValueError, match=r"1 or 3 channels.*\(4, 6, 2\)"):
        export_saved_model(keras.Sequential(layers), tmp_path / "m", encoded=True)
    assert not list(tmp_path.iterdir())
