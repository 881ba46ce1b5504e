"""Runners and their parts: students, data and optimizers.

Each runner is started as `python -m examples.<name>`; nothing in the package
`keras_selfkd` imports from here.
"""

import importlib
import os
import sys
import tempfile

_NOTES = ("I0000", "WARNING: All log messages before absl::InitializeLog()")


def _import_without_notes(module):
    """Imports a module whose libraries write notes to stderr while they are loaded.

    No setting silences those. All other lines are passed on.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as written:
        stderr = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            importlib.import_module(module)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            lines = [line for line in written if not line.startswith(_NOTES)]
            sys.stderr.write("".join(lines))


# Who sets the level wants to see what TensorFlow logs.
if "TF_CPP_MIN_LOG_LEVEL" not in os.environ and sys.stderr is not None:
    # Later it logs as an error that there is no GPU; real errors are exceptions.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _import_without_notes("tensorflow")
