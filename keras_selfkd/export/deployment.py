"""The model that is deployed: the student, its preprocessing in front, in float32."""

import itertools
import os
import pathlib
import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.distributed.layers import derive_constants
from keras_selfkd.export.batches import image_batches
from keras_selfkd.export.head import HEADS, with_head

# What Keras raises for files that are cut off, unknown or forbidden.
_UNREADABLE = (
    AttributeError,
    EOFError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,  # And NotImplementedError, of unknown kinds of compression.
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
LOW_PRECISION = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


def deployed_model(model_or_student, preprocess=None, head=None):
    """Builds the model that is deployed from what was trained.

    Args:
        model_or_student: A `SelfDistillationModel`, a Keras model with one input and
            one output, or the path of a `.keras` file that holds either, or of a
            folder in which it is called `student.keras`.
        preprocess: Layer or model that is applied to the input first. A layer gets
            what the student takes; a model says itself what it takes. Defaults to
            `None`.
        head: What becomes of the logits: `"softmax"`, probabilities, and `"argmax"`,
            int32 classes, both of the two classes that a single logit stands for;
            `"sigmoid"`, a probability for each logit, alone: that of the second of two
            classes, or that of each label where an image may have several. All are at
            the size of the images where the student is a pixel classifier. Defaults to
            `None`, the student's logits as they are.

    Returns:
        A functional float32 model with the weights of the student, which it shares
        with the student unless that computes in a lower precision.

    Raises:
        ValueError: If the argument isn't a model with one input of known size and one
            output.
    """
    if head not in HEADS:
        raise ValueError(f"Expected `head` to be one of {HEADS}. Received: {head!r}")
    student = find_student(model_or_student)
    entry = single_input(preprocess if _is_functional(preprocess) else student)
    images = keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)
    inputs = images if preprocess is None else preprocess(images)
    model = keras.Model(images, student(inputs), name=student.name)
    if len(model.outputs) != 1:
        raise ValueError(
            "Expected a student with one output. "
            f"Received: {student.name} with {len(model.outputs)} outputs"
        )
    model = _in_float32(model)
    if head is None:
        return model
    outputs = with_head(model.output, head, images.shape[1:3])
    return keras.Model(model.input, outputs, name=model.name)


def input_signature(model, batch_size):
    """Returns the signature of `model`: a list of one `tf.TensorSpec`.

    Args:
        model: Model with one input.
        batch_size: Number of images of a call, `None` for any.

    Raises:
        ValueError: If the batch size isn't a positive integer or `None`.
    """
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            "Expected `batch_size` to be None or a positive integer. "
            f"Received: batch_size={batch_size!r}"
        )
    entry = model.inputs[0]
    return [tf.TensorSpec((batch_size, *entry.shape[1:]), entry.dtype, entry.name)]


def sample_images(model, data, limit, seed=0):
    """Returns up to `limit` checked images of `data`, or random ones if it is `None`.

    Args:
        model: Model that takes the images.
        data: As for `litert.image_batches`, or `None` for images drawn evenly from
            [0, 1), from 0 to 255 if the model takes integers.
        limit: Largest number of images to return.
        seed: Seed of the random images. Defaults to 0.

    Returns:
        Array `(images, height, width, channels)` of the dtype that the model takes.

    Raises:
        ValueError: If the images aren't of the model's shape, finite and varied, or if
            there are none.
    """
    dtype, shape = model.inputs[0].dtype, model.input_shape[1:]
    if data is None:
        drawn = np.random.default_rng(seed).random((limit, *shape))
        return (drawn * 256 if "int" in dtype else drawn).astype(dtype)
    counted, batches = 0, []
    for batch in image_batches(data, shape):
        batches.append(batch)
        counted += len(batch)
        if counted >= limit:
            break
    images = np.concatenate(batches)[:limit]
    if images.min() == images.max():
        raise ValueError(
            "Expected representative images. Received: images in which every value is "
            f"{images.flat[0]}"
        )
    cast = images.astype(dtype)
    if "int" in dtype and not np.array_equal(cast, images):
        raise ValueError(
            f"Expected whole numbers that {dtype} holds, as the model takes them. "
            f"Received: images of {images.dtype} from {images.min()} to {images.max()}"
        )
    return cast


def load_file(path, name="the file"):
    """Loads a model from a `.keras` file, without running code that it brings.

    Args:
        path: Path of the file.
        name: What messages call it. Defaults to `"the file"`.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ValueError: If it is no whole `.keras` file, one of a Keras or of classes that
            are not known here, or one that brings code.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(
            f"Expected {name} to be a trained model's `.keras` file, such as `student."
            f"keras` in a run's folder. Received: {path}, where no file is"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except _UNREADABLE as error:
        cause, *_ = [*str(error).strip().splitlines(), type(error).__name__]
        raise ValueError(
            f"Expected {name} to be a whole `.keras` file that this Keras can read. "
            f"Received: {path}. The cause: {cause}"
        ) from error


def find_student(source):
    """Returns the student in a model, or in the file or folder of one."""
    if isinstance(source, (str, os.PathLike)):
        path = pathlib.Path(source)
        source = load_file(path / "student.keras" if path.is_dir() else path)
    student = getattr(source, "student", source)
    if not isinstance(student, keras.Model):
        raise ValueError(
            "Expected a SelfDistillationModel, a keras.Model or the path of a `.keras` "
            f"file. Received: {source!r}"
        )
    return student


def _is_functional(layer):
    return bool(getattr(layer, "inputs", None))


def single_input(model):
    """Returns the one input of a model, of known size, or refuses the model."""
    inputs = model.inputs if _is_functional(model) else []
    if len(inputs) != 1 or None in inputs[0].shape[1:]:
        raise ValueError(
            "Expected a model with one input of known size. Fix an open size with "
            "`keras.Sequential([keras.Input((height, width, channels)), model])`. "
            f"Received: {model.name} with input shapes {[x.shape for x in inputs]}"
        )
    return inputs[0]


def _in_float32(model):
    """Returns the model itself, or a float32 copy where a layer computes in less."""
    layers = list(all_layers(model))
    if not any(layer.compute_dtype in LOW_PRECISION for layer in layers):
        return model
    config = _float32_config(keras.saving.serialize_keras_object(model))
    # Unregistered layers can't be found by name, and must not hide Keras's own.
    own = {type(x) for x in layers if not type(x).__module__.startswith("keras.")}
    copy = keras.saving.deserialize_keras_object(
        config, custom_objects={c.__name__: c for c in own}, safe_mode=False
    )
    copy.set_weights(model.get_weights())
    derive_constants(copy)
    return copy


def _float32_config(config):
    if isinstance(config, dict):
        # Compiling the copy too would only cost memory, for its optimizer.
        kept = {key: value for key, value in config.items() if key != "compile_config"}
        return {key: _float32_config(value) for key, value in kept.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_float32_config, config))
    is_low = isinstance(config, str) and config in LOW_PRECISION
    return "float32" if is_low else config


def all_layers(model):
    """Returns an iterator over a model's layers and those of the models in it."""
    nested = (all_layers(x) for x in model.layers if isinstance(x, keras.Model))
    return itertools.chain(model.layers, *nested)
