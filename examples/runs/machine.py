"""What ran a training or a benchmark, for whoever reads its numbers."""

import datetime
import os
import pathlib
import platform

import keras
import tensorflow as tf


def machine():
    """Returns the machine, the versions and the date, as one line."""
    info = pathlib.Path("/proc/cpuinfo")  # On Linux.
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    cpu = names[0] if names else platform.processor()
    return (
        f"{os.cpu_count()} cores of an {cpu}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"{datetime.date.today()}"
    )
