"""Runners and their parts: students, data and optimizers.

Each runner is started as `python -m examples.<name>`; nothing in the package
`keras_selfkd` imports from here.
"""

import os

# TensorFlow logs when it starts, also that there is no GPU, as an error. What goes
# wrong comes as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
