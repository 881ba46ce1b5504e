"""The classifier runner in a process that kills itself, as `kill -9`, at a set point.

    python -m tests.processes.kill_itself POINT CALL --flags ...

kills at the CALL-th call of what POINT names.
"""

import importlib
import os
import signal
import sys

# Module, class or None, function, and whether to kill after the call, not before it.
POINTS = {
    "step": ("examples.runs.training", "Recorder", "on_train_batch_begin", False),
    "writing": ("h5py", "Group", "create_dataset", False),
    "renaming": ("keras_selfkd.files", None, "_move", False),
    "export": ("keras", "Model", "export", True),
    "saved model": ("keras_selfkd.export.student", None, "write_saved_model", True),
}


def arm(point, call):
    """Has this process killed at the `call`-th call of a point, counted from 1."""
    module, owner, name, afterwards = POINTS[point]
    owner = importlib.import_module(module) if owner is None else owner
    if isinstance(owner, str):
        owner = getattr(importlib.import_module(module), owner)
    function, calls = getattr(owner, name), 0

    def deadly(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and afterwards:
            function(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, deadly)


if __name__ == "__main__":
    from examples import train_classifier
    from examples.runs import training

    arm(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    training.start(train_classifier.main)
