"""What a second worker brings, as far as 2 cores can show.

    python -m benchmarks.cost.scaling

Every process is pinned to a core of its own and trains the thin ResNet-18 with FRSKD on
batches of 64 per process. Measured in turns: one process; two processes that know
nothing of each other (what the machine itself allows, memory and clock shared); two
workers of one training, which sum their gradients over 127.0.0.1 in every step. Writes
benchmarks/cost/scaling.md. About five minutes.
"""

import os
import statistics
import sys

ROUNDS, STEPS, BATCH = 3, 30, 64


def work(core):
    """Trains in this process, pinned to a core; prints its images a second."""
    os.sched_setaffinity(0, {core})

    import keras
    import numpy as np
    import tensorflow as tf

    from benchmarks.cost.clock import seconds
    from examples.students.by_name import build_student
    from keras_selfkd import FRSKD, SelfDistillationModel
    from keras_selfkd.distributed.strategies import strategy_by_name

    strategy = strategy_by_name("multi_worker" if "TF_CONFIG" in os.environ else "none")
    keras.utils.set_random_seed(0)
    with strategy.scope():
        student = build_student("thin_resnet18", (32, 32, 3), 100)
        model = SelfDistillationModel(student, FRSKD())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)

    def batches(context):
        images = np.random.default_rng(0).normal(size=(BATCH, 32, 32, 3))
        batch = images.astype("float32"), np.arange(BATCH)
        return tf.data.Dataset.from_tensors(batch).repeat()

    data = strategy.distribute_datasets_from_function(batches)
    seconds(model, data, steps=5)
    print(BATCH * STEPS / seconds(model, data, STEPS))


def images_a_second(processes):
    from tests.processes import workers

    outputs = workers.outputs_of(processes)
    if any(process.returncode for process in processes):
        raise RuntimeError(f"A process failed: {outputs}")
    return sum(float(output.splitlines()[-1]) for output in outputs)


def measure():
    """Images a second of one round: one process, two apart, two together."""
    import subprocess

    from tests.processes import workers

    def alone(core):
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cost.scaling", str(core)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    together = workers.start("benchmarks.cost.scaling", [["0"], ["1"]])
    return (
        images_a_second(together),
        images_a_second([alone(0)]),
        images_a_second([alone(0), alone(1)]),
    )


def main():
    from benchmarks import reports

    rounds = []
    for _ in range(ROUNDS):
        rounds.append(measure())
        print("together, one, apart:", *(f"{speed:.1f}" for speed in rounds[-1]))
    together, one, apart = (
        statistics.median(speeds) for speeds in zip(*rounds, strict=True)
    )
    gain = statistics.median(t / o for t, o, _ in rounds)
    share = statistics.median(t / a for t, _, a in rounds)
    text = (
        f"`{reports.command()}`, {reports.machine()}. FRSKD on "
        f"the thin ResNet-18, batches of {BATCH} a process, one core a process, "
        f"median of {ROUNDS} rounds.\n\n"
        "| processes | images/s |\n|---|---|\n"
        f"| 1 | {one:.1f} |\n"
        f"| 2 that know nothing of each other | {apart:.1f} |\n"
        f"| 2 workers of one training | {together:.1f} |\n\n"
        f"A second worker makes {gain:.2f} times one process's images a second, "
        f"{100 * share:.0f} % of what two processes apart make.\n"
    )
    reports.write_record("benchmarks/cost/scaling.md", "Scaling", text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]))
    else:
        main()
