"""Stands in for this folder where a runner is started by its path, from anywhere.

`python anywhere/examples/train_classifier.py` puts this folder first on Python's path,
not the one that holds it: `examples` is then this file, which hands over to the real
one. Without it Python would find a folder of that name which tf2onnx installs.
"""

import importlib
import pathlib
import sys

if __name__ == "examples":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])
    del sys.modules[__name__]
    importlib.import_module(__name__)
