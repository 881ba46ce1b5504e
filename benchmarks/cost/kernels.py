"""Ways to compute the self-teacher's parts: `python -m benchmarks.cost.kernels`.

Times forward and backward of BatchNorm, of 1x1 convolutions and of a fusion of
two maps, each written in several ways, in turns, on maps of ResNet-18's BiFPNc at batch
64. Every way must give the first one's numbers. The ways that lost stay here, so that
nobody has to try them again. Writes kernels.md. Nothing else may run beside it.
"""

import statistics
import time
from functools import partial

import keras
import tensorflow as tf
from absl import app, flags
from keras import ops

from benchmarks import reports
from benchmarks.cost.clock import in_turns
from keras_selfkd.networks.bifpn import upsample
from keras_selfkd.networks.faster_layers import FusedBatchNormalization

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 9, "Turns of all ways.", lower_bound=1)
flags.DEFINE_integer("repeats", 4, "Calls of each way in a turn.", lower_bound=1)
flags.DEFINE_string("output", "benchmarks/cost/kernels.md", "Table.")

# Of each level: (height and width, channels).
MAPS = ((32, 128), (16, 256), (8, 512), (4, 1024))


def batch_norms(size, channels):
    """Inputs and the ways of BatchNorm."""

    def by(create):
        layer = create(epsilon=1e-5)
        layer.build((None, size, size, channels))
        return lambda x: layer(x, training=True)

    ways = {
        "Keras's BatchNormalization": by(keras.layers.BatchNormalization),
        "one operation (kept)": by(FusedBatchNormalization),
    }
    return [maps(size, channels) + 1.0], ways


def pointwise_convs(size, channels):
    """Inputs and the ways of a 1x1 convolution."""
    kernel = 0.05 * tf.random.normal((1, 1, channels, channels))
    ways = {
        "convolution": lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"),
        "matrix product (kept)": lambda x, k: ops.matmul(x, k[0, 0]),
    }
    return [maps(size, channels), kernel], ways


def fusions(size, channels):
    """Inputs and the ways to add a map and one of half its size, weighed."""

    def large(x):
        return upsample(x, (size, size))

    def repeated(x):
        return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)

    def broadcast(w, a, b):
        n, half = tf.shape(a)[0], size // 2
        fine = tf.reshape(a, (n, half, 2, half, 2, channels))
        coarse = tf.reshape(b, (n, half, 1, half, 1, channels))
        return tf.reshape(w[0] * fine + w[1] * coarse, tf.shape(a))

    ways = {
        "enlarge by `repeat`, then weigh": lambda w, a, b: (
            w[0] * a + w[1] * repeated(b)
        ),
        "weigh, then enlarge by `repeat`": lambda w, a, b: (
            w[0] * a + repeated(w[1] * b)
        ),
        "weigh, then enlarge by joining copies (so enlarged)": lambda w, a, b: (
            w[0] * a + large(w[1] * b)
        ),
        "enlarge by the gradient of average pooling": lambda w, a, b: (
            w[0] * a + spread(w[1] * b)
        ),
        "broadcast instead of repeating": broadcast,
        "weights' gradients as dot products": lambda w, a, b: (
            scaled(w[0], a) + large(scaled(w[1], b))
        ),
    }
    weights = tf.constant([0.4, 0.6])
    return [weights, maps(size, channels), maps(size // 2, channels)], ways


def normalized_fusions(size, channels):
    """Inputs and the ways to add two such maps after BatchNorm and ReLU, weighed."""
    norms = [FusedBatchNormalization(epsilon=1e-5) for _ in range(2)]
    for norm in norms:
        norm.build((None, size, size, channels))
    sizes = (size, size // 2)

    def outside(w, *inputs):
        parts = zip(norms, inputs, tf.unstack(w), strict=True)
        return added(
            share * ops.relu(norm(x, training=True)) for norm, x, share in parts
        )

    def inside(w, *inputs):
        parts = zip(norms, inputs, tf.unstack(w), strict=True)
        return added(
            ops.relu(norm(x, training=True, share=share)) for norm, x, share in parts
        )

    def added(parts):
        fine, coarse = parts
        return fine + upsample(coarse, (size, size))

    ways = {"weigh the maps": outside, "weigh scale and offset (kept)": inside}
    return [tf.constant([0.4, 0.6]), *(maps(side, channels) for side in sizes)], ways


def maps(size, channels):
    return tf.random.normal((64, size, size, channels))


@tf.custom_gradient
def scaled(weight, x):
    def gradient(g):
        dot = tf.matmul(tf.reshape(x, (1, -1)), tf.reshape(g, (-1, 1)))
        return tf.reshape(dot, ()), weight * g

    return weight * x, gradient


@tf.custom_gradient
def spread(x):
    """Repeats each position two by two."""
    sides = [1, 2, 2, 1]
    shape = tf.shape(x) * sides
    large = tf.raw_ops.AvgPoolGrad(
        orig_input_shape=shape, grad=4 * x, ksize=sides, strides=sides, padding="VALID"
    )
    return large, lambda g: 4 * tf.nn.avg_pool2d(g, 2, 2, "VALID")


def step(way):
    """The traced function of a way's result and gradients."""

    @tf.function(jit_compile=False)
    def forward_and_backward(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = way(*inputs)
        weights = sorted(tape.watched_variables(), key=lambda weight: weight.name)
        sources = [*inputs, *weights]
        return [result, *tape.gradient(result, sources, output_gradients=upstream)]

    return forward_and_backward


def seconds(function, inputs, upstream):
    start = time.perf_counter()
    for _ in range(FLAGS.repeats):
        results = function(inputs, upstream)
    ops.convert_to_numpy(results[0])
    return time.perf_counter() - start


def compare(name, inputs, ways):
    """Median milliseconds of each way; all must agree."""
    upstream = tf.random.normal(next(iter(ways.values()))(*inputs).shape)
    steps = {way: step(function) for way, function in ways.items()}
    results = [function(inputs, upstream) for function in steps.values()]
    for other in results[1:]:
        for ours, first in zip(other, results[0], strict=True):
            error = tf.reduce_max(tf.abs(ours - first)) / tf.reduce_max(tf.abs(first))
            assert error < 1e-4, name
    turns = {way: partial(seconds, f, inputs, upstream) for way, f in steps.items()}
    times = in_turns(turns, FLAGS.rounds, name)
    scale = 1e3 / FLAGS.repeats
    return {way: scale * statistics.median(each) for way, each in times.items()}


PARTS = {
    "BatchNorm": batch_norms,
    "1x1 convolution": pointwise_convs,
    "fusion of two maps": fusions,
    "the same after BatchNorm and ReLU": normalized_fusions,
}


def main(_):
    text = (
        f"`{reports.command()}`, {reports.machine()}. Milliseconds of forward and "
        f"backward at batch 64, medians of {FLAGS.rounds} turns.\n"
    )
    for part, make in PARTS.items():
        columns = {}
        for size, channels in MAPS:
            keras.utils.set_random_seed(0)
            shape = f"{size}x{size}x{channels}"
            columns[shape] = compare(f"{part}, {shape}", *make(size, channels))
        text += f"\n| {part} | {' | '.join(columns)} | sum |\n"
        text += f"|---{'|---' * (len(columns) + 1)}|\n"
        for way in next(iter(columns.values())):
            cells = [column[way] for column in columns.values()]
            shown = " | ".join(f"{cell:.1f}" for cell in [*cells, sum(cells)])
            text += f"| {way} | {shown} |\n"
    reports.write_record(FLAGS.output, "Ways to compute a part", text)


if __name__ == "__main__":
    app.run(main)
