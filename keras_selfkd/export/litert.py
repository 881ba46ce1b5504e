"""LiteRT files: converting a model to one, running it, reading what is in it."""

import collections
import importlib
import pathlib
import re

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.export.batches import image_batches, in_batches, whole_batches
from keras_selfkd.export.quiet import without_line

QUANTIZATIONS = (None, "float16", "dynamic", "int8", "int16x8")
CALIBRATED = ("int8", "int16x8")


def write_tflite(model, path, signature, quantize=None, images=None, dtype=None):
    """Converts a Keras model to a LiteRT file of built-in operators only.

    Args:
        model: Functional float32 model with one input and one output.
        path: Path of the file, ending in `.tflite`.
        signature: List of the one `tf.TensorSpec` of the input.
        quantize: One of `QUANTIZATIONS`. Defaults to `None`.
        images: Array of images that calibrate `"int8"` and `"int16x8"`. Defaults to
            `None`.
        dtype: `"uint8"` or `"int8"` for the input and output of an `"int8"` file,
            `None` for float32. Defaults to `None`.

    Raises:
        ValueError: If a layer needs an operator that isn't built in.
    """
    returns_classes = "int" in model.outputs[0].dtype
    options = _converter_options(quantize, dtype, returns_classes)
    if quantize in CALIBRATED:
        options["representative_dataset"] = lambda: (
            [batch] for batch in whole_batches(images, signature[0].shape[0] or 1)
        )
    batched = with_batch_size(model, signature)
    try:
        with without_line("fully_quantize: "):
            batched.export(
                str(path),  # Keras 3.13 takes no path object.
                format="litert",
                verbose=False,
                input_signature=signature,
                **options,
            )
    except Exception as error:
        message = str(error)
        missing = re.findall(r"(?:TF Select|Flex|Custom) ops: (.+)", message)
        if not missing:
            raise
        raise ValueError(_explain(", ".join(missing), message)) from error


def predict_tflite(path, images, batch_size=32):
    """Runs a LiteRT file, also one with integer inputs and outputs, on images.

    Args:
        path: Path of the `.tflite` file.
        images: Array `(images, height, width, channels)`, or an iterable of batches of
            images or `(images, labels)`, such as a `tf.data.Dataset`; always in the
            units of the model before it was quantised.
        batch_size: Number of images of a call, where the file leaves it open.
            Defaults to 32.

    Returns:
        Array `(images, ...)` of the file's outputs: float32, or integers where it
        returns classes.

    Raises:
        ValueError: If there are no images, or if they are not of the file's shape.
        ImportError: If `ai_edge_litert` is missing.
    """
    interpreter = import_litert("interpreter").Interpreter(model_path=str(path))
    (source,) = interpreter.get_input_details()
    (result,) = interpreter.get_output_details()
    fixed, *shape = source["shape_signature"].tolist()
    size = batch_size if fixed < 0 else fixed
    if fixed < 0:
        interpreter.resize_tensor_input(source["index"], (size, *shape))
    allocate(interpreter)

    def run(batch):
        interpreter.set_tensor(source["index"], _to_file(batch, source))
        interpreter.invoke()
        return _from_file(interpreter.get_tensor(result["index"]), result)

    batches = image_batches(images, tuple(shape))
    return np.concatenate([in_batches(run, batch, size) for batch in batches])


def describe_input(path):
    """Returns shape, dtype and quantization of a LiteRT file's input.

    In the shape -1 stands for any size; an input of floats has a scale of 0.
    """
    interpreter = import_litert("interpreter").Interpreter(model_path=str(path))
    (source,) = interpreter.get_input_details()
    scale, zero_point = source["quantization"]
    return {
        "shape": source["shape_signature"].tolist(),
        "dtype": np.dtype(source["dtype"]).name,
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def count_operators(path):
    """Returns how often each operator occurs in a LiteRT file: `{name: count}`."""
    schema = import_litert("schema_py_generated")
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = schema.ModelT.InitFromPackedBuf(pathlib.Path(path).read_bytes(), 0)
    # An operator whose number fits one byte may stand in the older field alone.
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    operators = (operator for graph in model.subgraphs for operator in graph.operators)
    counts = collections.Counter(names[codes[op.opcodeIndex]] for op in operators)
    return dict(counts.most_common())


def allocate(interpreter):
    """Makes an interpreter ready to run, without its note on how it will run."""
    with without_line("Created TensorFlow Lite XNNPACK delegate"):
        interpreter.allocate_tensors()


def import_litert(module):
    """Returns a module of `ai_edge_litert`, or says how to install the package."""
    try:
        return importlib.import_module(f"ai_edge_litert.{module}")
    except ImportError as error:
        raise ImportError(
            "LiteRT files are run with the package `ai_edge_litert`. Install it with "
            "`pip install keras_selfkd[litert]`."
        ) from error


def _converter_options(quantize, dtype, returns_classes):
    kinds = tf.lite.OpsSet
    operators = {
        "int8": kinds.TFLITE_BUILTINS_INT8,
        "int16x8": kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    target = {"supported_ops": [operators.get(quantize, kinds.TFLITE_BUILTINS)]}
    options = {"target_spec": target}
    if quantize is not None:
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    if dtype is not None:
        options["inference_input_type"] = tf.as_dtype(dtype)
        if not returns_classes:
            options["inference_output_type"] = tf.as_dtype(dtype)
    return options


def with_batch_size(model, signature):
    """The model on an input of the signature's shape; Keras 3.13 reads no signature.

    It is called for inference: preprocessing layers, which are never given a mode when
    a file is traced, would take training's, and hand it on to what follows.
    """
    entry = signature[0]
    images = keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)
    return keras.Model(images, model(images, training=False), name=model.name)


def _explain(operators, message):
    """Names the operators that LiteRT hasn't, and where the converter met one."""
    place = re.search(rf'"{operators.split(",")[0]}:", "([^"@]+)', message)
    where = f" (in {place[1]})" if place else ""
    return (
        f"LiteRT has no built-in operator for {operators}{where}. Replace the layer "
        "that uses it, or keep it out of the exported model."
    )


def _to_file(images, tensor):
    """Brings images to the dtype of a LiteRT input, quantising for an integer one."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return images.astype(tensor["dtype"])
    limits = np.iinfo(tensor["dtype"])
    steps = np.round(images / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(tensor["dtype"])


def _from_file(values, tensor):
    """Brings the values of a quantised LiteRT output to float32."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values
    return (values.astype("float32") - zero_point) * np.float32(scale)
