"""The pictures of a segmentation run: curves, and masks beside attention."""

import numpy as np

from examples.results.mask_results import classes_at
from examples.results.pictures import history, title
from keras_selfkd.mask_plots import plot_masks
from keras_selfkd.plots import attention_columns, plot_history

_ROWS = 6


def draw(run, model, data, masks, predicted):
    """Draws all pictures of a run into its directory.

    Args:
        run: `examples.runs.run.Run` with its history.
        model: The trained `SelfDistillationModel` of the run's own method.
        data: `examples.data.prepared.Data`.
        masks: Integer array of the test set's masks.
        predicted: Dict from method to the masks it predicts, the run's own method
            last.
    """
    histories = {title(run, method): history(run.rows(method)) for method in predicted}
    plot_history(histories, run.path / "curves.png")
    rows = varied(masks, data.void)
    images = np.stack(
        [
            image.numpy()
            for position, (image, _) in enumerate(
                data.test.unbatch().take(max(rows) + 1)
            )
            if position in rows
        ]
    )
    columns = {"truth": masks[rows]}
    columns |= {title(run, method): found[rows] for method, found in predicted.items()}
    if hasattr(model.method, "self_teacher"):
        columns["self-teacher"] = self_teachers_masks(model, images, masks.shape[1:3])
    if model.taps:
        columns |= dict(attention_columns(model, images)[:4])
    path = run.path / "masks.png"
    plot_masks(images, columns, path, data.label_names, data.void)


def varied(masks, void):
    """Positions of the masks that show the most classes, in order."""
    classes = [len(set(np.unique(mask)) - {void}) for mask in masks]
    return sorted(np.argsort(classes, kind="stable")[-_ROWS:].tolist())


def self_teachers_masks(model, images, size):
    """What the self-teacher itself predicts for images."""
    features = model.outputs_of(images).features
    logits, *_ = model.method.self_teacher(features, training=False)
    return classes_at(logits, size).numpy()
