"""How long one image takes in an exported file's own runtime."""

import time

import numpy as np

from keras_selfkd.export.litert import allocate, import_litert
from keras_selfkd.export.onnx import dtype_of, import_onnx

WARM_UP = 20


def runner(path, threads):
    """Returns a function that runs a LiteRT or ONNX file on one random image.

    Args:
        path: Path of a `.tflite` or `.onnx` file.
        threads: Number of threads that it may use.
    """
    if path.suffix == ".onnx":
        return _onnx_runner(path, threads)
    interpreter = import_litert("interpreter").Interpreter(
        model_path=str(path), num_threads=threads
    )
    (entry,) = interpreter.get_input_details()
    allocate(interpreter)
    interpreter.set_tensor(entry["index"], _image(entry["shape"], entry["dtype"]))
    return interpreter.invoke


def _onnx_runner(path, threads):
    runtime = import_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = runtime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    (entry,) = session.get_inputs()
    feeds = {entry.name: _image((1, *entry.shape[1:]), dtype_of(entry))}
    return lambda: session.run(None, feeds)


def _image(shape, dtype):
    return np.random.default_rng(0).integers(0, 128, shape).astype(dtype)


def milliseconds(runs, count=200):
    """Times several functions in turns, so that a busy machine is fair to all.

    Args:
        runs: List of functions.
        count: Number of timed calls of each. Defaults to 200.

    Returns:
        Array `(len(runs), count)`, in milliseconds.
    """
    for run in runs:
        for _ in range(WARM_UP):
            run()
    taken = np.empty((len(runs), count))
    for turn in range(count):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            taken[i, turn] = 1000 * (time.perf_counter() - start)
    return taken


def summary(taken):
    """Returns median and 95th percentile of a row of `milliseconds`, as text."""
    return f"{np.median(taken):.2f} ({np.percentile(taken, 95):.2f})"
