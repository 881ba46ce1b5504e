"""Packaging of keras_selfkd; the tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# Every minimum is the oldest version that the tests were run with.
PLOTS = ["matplotlib>=3.9"]
KERAS_HUB = ["keras-hub>=0.26"]
KERAS_CV = ["keras-cv>=0.9"]
LITERT = ["ai-edge-litert>=1.2"]
ONNX = ["onnx>=1.23", "onnxruntime>=1.32", "tf2onnx>=1.17"]
RUNNERS = [
    "absl-py>=2.1",
    # TFDS 4.9 imports it to prepare a data set, but does not ask for it.
    "importlib-resources>=6.0",
    "pillow>=10.3",
    "scikit-learn>=1.5",
    "tensorboard>=2.20",
    "tabulate>=0.9",
    # TFDS needs a TensorFlow that lets protobuf be as new as its metadata's, and
    # before 4.9.10 it fails with such a protobuf.
    "tensorflow>=2.20",
    "tensorflow-datasets>=4.9.10",
    *LITERT,
    *ONNX,
    *PLOTS,
]
# Not in DEV: no test builds the site, `make docs` does.
DOCS = [
    "griffelib>=2.4",
    "mkdocs-material>=9.8",
    "mkdocstrings>=1.0",
    "mkdocstrings-python>=2.0",
    "ruff>=0.17",  # Breaks the lines of signatures.
]
DEV = [
    "hypothesis>=6.100",
    "pytest>=8.2",
    "pytest-xdist>=3.6",
    "pyyaml>=6.0",
    "ruff>=0.17",
    *RUNNERS,
    *KERAS_HUB,
    *KERAS_CV,
]


def version():
    """Reads `__version__` without importing the package, which needs TensorFlow."""
    source = (ROOT / "keras_selfkd" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE).group(1)


def long_description():
    """Returns the README, or nothing where only the package was copied.

    A package index shows it apart from the repository, so that pictures and links to
    files of that would lead nowhere: the links' texts, names of files, are left.
    """
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    beside = r"\((?!\s*https?:)[^)]*\)"
    text = re.sub(rf"!\[[^]]*\]{beside}\n*", "", text)
    return re.sub(rf"\[([^]]*)\]{beside}", r"\1", text)


setup(
    name="keras_selfkd",
    version=version(),
    description="Self-knowledge distillation for any functional Keras model",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # An editable install becomes a path, not an import hook: Python asks hooks last,
    # and would take a clone beside a script, named like it, for the package.
    package_dir={"": "."},
    packages=find_packages(include=["keras_selfkd", "keras_selfkd.*"]),
    python_requires=">=3.11",
    install_requires=["tensorflow>=2.18", "keras>=3.13", "scipy>=1.13"],
    extras_require={
        "runners": RUNNERS,
        "examples": RUNNERS,  # Their name before.
        "litert": LITERT,
        "keras-hub": KERAS_HUB,
        "keras-cv": KERAS_CV,
        "onnx": ONNX,
        "plots": PLOTS,
        "docs": DOCS,
        "dev": DEV,
    },
    keywords="keras tensorflow knowledge-distillation self-distillation frskd",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
