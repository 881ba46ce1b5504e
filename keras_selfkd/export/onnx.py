"""ONNX files: converting a model to one, running it, reading what is in it."""

import collections
import contextlib
import importlib
import logging
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.export.batches import image_batches, in_batches
from keras_selfkd.export.deployment import all_layers
from keras_selfkd.export.litert import with_batch_size

# TensorFlow's operators that ONNX can say by others, in its own text format. Exact GELU
# is written with Erfc, CELU with Expm1.
_FUNCTIONS = (
    "Erfc (x) => (y) {one = Constant<value_float=1.0>() z = Erf(x) y = Sub(one, z)}",
    "Expm1 (x) => (y) {one = Constant<value_float=1.0>() z = Exp(x) y = Sub(z, one)}",
    "Log1p (x) => (y) {one = Constant<value_float=1.0>() z = Add(x, one) y = Log(z)}",
)


def write_onnx(model, path, signature):
    """Converts a Keras model to an ONNX file.

    Args:
        model: Functional float32 model with one input and one output.
        path: Path of the file, ending in `.onnx`.
        signature: List of the one `tf.TensorSpec` of the input.

    Raises:
        ValueError: If a layer needs an operator that ONNX hasn't.
    """
    # Where it cannot drop a transposition it logs a stack trace, and goes on.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with (
        constant_normalizations(model),
        inlined_functions(),
        warnings.catch_warnings(),
    ):
        # Keras asks NumPy for a name that is only to come.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        with_batch_size(model, signature).export(
            str(path), format="onnx", verbose=False, input_signature=signature
        )
    onnx = import_onnx("onnx")
    written = decomposed(onnx.load(str(path)))
    onnx.save(written, str(path))
    _check_graph(written.graph, onnx.defs)


def decomposed(model):
    """Returns an ONNX model with `_FUNCTIONS` put in the place of their operators."""
    parser, inliner = (import_onnx(f"onnx.{name}") for name in ("parser", "inliner"))
    version = next(entry.version for entry in model.opset_import if not entry.domain)
    head = f'<domain: "", opset_import: ["": {version}]>'
    model.functions.extend(
        parser.parse_function(f"{head} {text}") for text in _FUNCTIONS
    )
    return inliner.inline_local_functions(model)


def _check_graph(graph, known):
    """Refuses inputs that are no images, and operators that ONNX hasn't."""
    if len(graph.input) != 1:
        names = [entry.name for entry in graph.input[1:]]
        raise ValueError(
            "A layer of the student computes with a tensor that is no weight, and "
            "which ONNX would take as an input. Make it a weight or a NumPy array. "
            f"Received: further inputs {names}"
        )
    for node in graph.node:
        if not known.has(node.op_type, node.domain):
            raise ValueError(
                f"ONNX has no operator for {node.op_type} (in {node.name}). Replace "
                "the layer that uses it, or keep it out of the exported model."
            )


@contextlib.contextmanager
def inlined_functions():
    """Has TensorFlow trace functions in a function as if they were written there.

    Keras compiles grouped convolutions on CPUs, as a call that ONNX has no name for.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def constant_normalizations(model):
    """Has a model's Normalization layers compute with arrays for a while.

    Their tensors, which are no weights, would become inputs of an ONNX file.
    """
    layers = [
        layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.Normalization)
    ]
    kept = [(layer.mean, layer.variance) for layer in layers]
    for layer, (mean, variance) in zip(layers, kept, strict=True):
        layer.mean, layer.variance = np.array(mean), np.array(variance)
    try:
        yield
    finally:
        for layer, tensors in zip(layers, kept, strict=True):
            layer.mean, layer.variance = tensors


def predict_onnx(path, images, batch_size=32):
    """Runs an ONNX file with ONNX Runtime.

    Args:
        path: Path of the `.onnx` file.
        images: As for `litert.predict_tflite`.
        batch_size: Number of images of a call, where the file leaves it open.
            Defaults to 32.

    Returns:
        Array `(images, ...)` of the file's outputs.

    Raises:
        ValueError: If there are no images, or if they are not of the file's shape.
        ImportError: If `onnxruntime` is missing.
    """
    session = import_onnx("onnxruntime").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    (source,) = session.get_inputs()
    fixed, *shape = source.shape
    size = fixed if isinstance(fixed, int) else batch_size
    dtype = dtype_of(source)

    def run(batch):
        return session.run(None, {source.name: batch.astype(dtype)})[0]

    batches = image_batches(images, tuple(shape))
    return np.concatenate([in_batches(run, batch, size) for batch in batches])


def dtype_of(entry):
    """Returns the dtype of a session's input, such as `"float32"`."""
    name = entry.type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32"}.get(name, name)


def count_onnx_operators(path):
    """Returns how often each operator occurs in an ONNX file: `{name: count}`."""
    graph = import_onnx("onnx").load(str(path)).graph
    counts = collections.Counter(node.op_type for node in graph.node)
    return dict(counts.most_common())


def check_onnx():
    """Raises an `ImportError` unless ONNX files can be written and run here."""
    for module in ("onnx", "onnxruntime", "tf2onnx"):
        import_onnx(module)


def import_onnx(module):
    """Returns `onnx`, `onnxruntime` or `tf2onnx`, or says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"ONNX files are written and run with the package `{module}`. Install it "
            "with `pip install keras_selfkd[onnx]`."
        ) from error
