"""Peak memory of one file's own runtime: `python -m benchmarks.edge.edge_memory FILE`.

Prints the MiB that loading a LiteRT or ONNX file and running it twice add to a process
that has imported the runtime. Imports nothing else of this project, nor TensorFlow.
"""

import pathlib
import sys

import numpy as np


def peak():
    """Highest resident memory of this process so far, in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_onnx(path):
    import onnxruntime

    yield
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    image = np.zeros((1, *entry.shape[1:]), "float32")
    yield session.run(None, {entry.name: image})


def run_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    yield
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
    interpreter.invoke()
    yield interpreter.invoke()


if __name__ == "__main__":
    steps = (run_onnx if sys.argv[1].endswith(".onnx") else run_litert)(sys.argv[1])
    next(steps)
    before = peak()
    next(steps)
    print(peak() - before)
