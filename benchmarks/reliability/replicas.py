"""One device, two replicas, two workers: `python -m benchmarks.reliability.replicas`.

Trains tiny students without BatchNorm with every method under every condition of
tests/equality.py, on one device, on two replicas of one process, and on two worker
processes of this machine, and writes the largest differences of their weights into
reliability.md. In float64, so that a mistake stands out from rounding; the last table
shows FRSKD in float32. About an hour on 2 cores. What was trained is kept in
--run_dir, so that an interrupted benchmark goes on; empty it after changing the code.
"""

import pathlib
import tempfile

import keras
import tensorflow as tf
from absl import app, flags

from benchmarks import reports
from keras_selfkd.files import staging
from tests import equality
from tests.methods.cases import EXACT
from tests.processes import workers

RUN_DIR = flags.DEFINE_string("run_dir", "runs/replicas", "Where weights are kept.")


def two_replicas():
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def kept(name, train):
    """Dict from case to weights, of `train()` or of an earlier run."""
    path = pathlib.Path(RUN_DIR.value) / f"{name.replace(', ', '-')}.npz"
    if path.exists():
        print(f"{name}: kept in {path}", flush=True)
    else:
        results = train()
        with staging(path) as staged:
            equality.save(staged, results)
    return equality.load(path)


def weights_on(strategy, name, cases):
    """Dict from case to weights, with a line of progress for each case."""

    def train():
        results = {}
        for number, case in enumerate(cases, start=1):
            weights, losses = equality.train(*case, strategy)
            results[case] = weights | losses
            print(f"{name}, {number} of {len(cases)}: {', '.join(case)}", flush=True)
        return results

    return kept(name, train)


def weights_of_workers():
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{index}.npz" for index in (0, 1)]
        processes = workers.start("tests.equality", [[file] for file in files])
        outputs = workers.outputs_of(processes, timeout=7200)
        if any(process.returncode for process in processes):
            raise RuntimeError(f"A worker failed: {outputs}")
        first, second = (equality.load(file) for file in files)
    for case, weights in first.items():
        if equality.difference(weights, second[case]):
            raise RuntimeError(f"The workers' weights differ after {case}")
    return first


def table(weights, expected):
    """The largest difference to one device's weights, for each condition and method.

    Args:
        weights: Dict from case to weights.
        expected: Dict from case to one device's weights.
    """
    methods = [m for m in EXACT if any(m == method for method, _ in expected)]
    lines = [f"| condition | {' | '.join(methods)} |", f"|---|{'---|' * len(methods)}"]
    for condition in equality.CONDITIONS:
        cases = [(method, condition) for method in methods]
        cells = [
            f"{equality.difference(weights[case], expected[case]):.0e}"
            if case in expected
            else "classes only"
            for case in cases
        ]
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_report(tables):
    """Writes the tables, a dict from what was trained, and how, to a table."""
    text = (
        f"`{reports.command()}`, {reports.machine()}.\n\nThe largest "
        "difference of any weight or loss from one device's, after an epoch of 3 "
        "batches of 8. The students have no BatchNorm (the self-teacher has it, "
        "synchronised). The two workers' weights agree to the last bit. float32 shows "
        "rounding: synchronised BatchNorm takes its variance as a difference of sums.\n"
    )
    for name, rows in tables.items():
        text += f"\n{name}:\n\n{rows}\n"
    reports.write_between_markers(
        "benchmarks/reliability/reliability.md", "replicas", text
    )


def main(_):
    strategy, one = two_replicas(), tf.distribute.get_strategy()
    every = equality.cases()
    frskd = [(method, condition) for method, condition in every if method == "frskd"]
    tables = {}
    for dtype, cases in {"float64": every, "float32": frskd}.items():
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        expected = weights_on(one, f"{dtype}, one device", cases)
        found = weights_on(strategy, f"{dtype}, two replicas", cases)
        tables[f"2 replicas, {dtype}"] = table(found, expected)
        write_report(tables)
        if dtype == "float64":
            print("Two workers train ...", flush=True)
            workers_weights = kept(f"{dtype}, two workers", weights_of_workers)
            tables[f"2 workers, {dtype}"] = table(workers_weights, expected)
            write_report(tables)


if __name__ == "__main__":
    app.run(main)
