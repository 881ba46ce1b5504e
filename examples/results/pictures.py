"""The pictures of a run: curves of every loss, attention maps, reliability."""

import itertools

import numpy as np

from keras_selfkd.plots import plot_attention, plot_history
from keras_selfkd.reliability_plot import plot_reliability

_ROWS = 6


def draw(run, model, data, labels, logits):
    """Draws all pictures of a run into its directory.

    Args:
        run: `examples.runs.run.Run` with its history.
        model: The trained `SelfDistillationModel` of the run's own method.
        data: `examples.data.prepared.Data`.
        labels: Integer array of the test set's labels.
        logits: Dict from method to the test set's logits, the run's own method last.
    """
    histories = {title(run, method): history(run.rows(method)) for method in logits}
    plot_history(histories, run.path / "curves.png")
    *_, (method, outputs) = logits.items()
    reliability = run.path / "reliability.png"
    named = f"{title(run, method)}, {len(labels):,} test images"
    plot_reliability(outputs, labels, reliability, title=named)
    if model.taps:
        images, names = one_of_each_class(data, labels)
        names = [title(run, name) for name in names]
        plot_attention(model, images, run.path / "attention.png", names)


def history(rows):
    """Turns a method's rows into `{log: values of the epochs}`, as Keras has them."""
    logs = {name for row in rows for name, value in row.items() if value != ""}
    logs = sorted(logs - {"note", "method", "epoch"})
    return {name: [float(row[name]) for row in rows] for name in logs}


def one_of_each_class(data, labels):
    """Returns the first test image of each of the first classes, and their names."""
    classes, positions = np.unique(labels, return_index=True)
    chosen = dict(itertools.islice(zip(positions, classes, strict=True), _ROWS))
    images = {
        position: image.numpy()
        for position, (image, _) in enumerate(data.test.unbatch().take(max(chosen) + 1))
        if position in chosen
    }
    names = [data.label_names[label] for label in chosen.values()]
    return np.stack([images[position] for position in chosen]), names


def title(run, name):
    """A picture of a trial says so."""
    return f"{name} ({run.note})" if run.note else name
