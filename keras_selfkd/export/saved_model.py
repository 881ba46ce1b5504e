"""SavedModels that take images, or files of images."""

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.export.batches import in_batches
from keras_selfkd.export.orientation import decode_upright


def write_saved_model(model, path, signature, encoded):
    """Writes a Keras model as a SavedModel.

    Args:
        model: Functional model with one input and one output.
        path: Path of the folder.
        signature: List of the one `tf.TensorSpec` of the input.
        encoded: Whether to add a signature `serve_encoded` of encoded images.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
    if encoded:
        files = [tf.TensorSpec(signature[0].shape[:1], tf.string, "encoded")]
        archive.add_endpoint(
            "serve_encoded", lambda x: model(decoded(x, model), training=False), files
        )
    archive.write_out(str(path), verbose=False)


def predict_saved_model(path, images, batch_size):
    """Runs a SavedModel on an array of images, in batches of a size that it takes."""
    loaded = tf.saved_model.load(path)  # It owns the variables that serve reads.
    (entry,) = loaded.signatures["serve"].structured_input_signature[1].values()
    dtype = entry.dtype.as_numpy_dtype
    run = loaded.serve
    return in_batches(lambda x: run(x.astype(dtype)).numpy(), images, batch_size)


def predict_encoded(path, files, batch_size):
    """Runs a SavedModel on an array of encoded images, as `predict_saved_model`."""
    loaded = tf.saved_model.load(path)
    run = loaded.serve_encoded
    return in_batches(lambda x: run(tf.constant(x)).numpy(), files, batch_size)


def decoded(files, model):
    """Images as a model takes them, from a vector of encoded ones."""
    dtype = tf.as_dtype(model.inputs[0].dtype)
    shape = model.input_shape[1:]
    read = file_reader(shape, crop=len(model.output_shape) == 2)

    def image_of(file):
        image = read(file)
        return tf.cast(tf.round(image), dtype) if dtype.is_integer else image

    return tf.map_fn(image_of, files, fn_output_signature=tf.TensorSpec(shape, dtype))


def file_reader(shape, crop):
    """Builds a function from an encoded image of any kind to pixels of 0 to 255.

    Photographs are turned as their EXIF data say, by `decode_upright`.

    Args:
        shape: `(height, width, channels)` of the result, of 1 or 3 channels.
        crop: Whether to cut off what sticks out of the aspect ratio.

    Returns:
        Function from a string tensor to a float32 tensor of that shape.
    """
    height, width, channels = shape
    resize = keras.layers.Resizing(
        height, width, antialias=True, crop_to_aspect_ratio=crop, dtype="float32"
    )

    def read(file):
        image = resize(tf.cast(decode_upright(file), "float32"))
        # Luminance as of ITU-R 601, whose weights add up to 1.
        grey = tf.tensordot(image, [[0.299], [0.587], [0.114]], axes=1)
        return grey if channels == 1 else image

    return read


def check_encodable(model):
    """Refuses models for images that no file has."""
    if model.input_shape[-1] not in (1, 3):
        raise ValueError(
            "Encoded images have 1 or 3 channels. Received: encoded=True for a student "
            f"that takes {model.input_shape[1:]}"
        )


def random_files(model, count):
    """Random pixels as a model takes them, and as an array of PNG files."""
    shape = (count, *model.input_shape[1:])
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype="uint8")
    files = np.array([tf.io.encode_png(image).numpy() for image in pixels], object)
    return pixels.astype(model.inputs[0].dtype), files
