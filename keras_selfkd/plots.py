"""Pictures of a training: learning curves, attention maps, reliability.

Matplotlib is imported when a picture is drawn, and only its object interface is used:
no window opens and the figures of `pyplot` stay as they are.
"""

import itertools
import math
import pathlib
import re

import numpy as np

from keras_selfkd.files import staging

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_IOU = "(?<![a-z])io_?u"  # Keras calls the mean one mean_io_u.


def plot_history(histories, path):
    """Draws learning curves: one large panel for the metric, small ones for the rest.

    Each run keeps its colour; training is dashed, validation solid.

    Args:
        histories: `{run name: {log key: values of the epochs}}`, as in
            `model.fit(...).history`. `val_<key>` is drawn in the panel of `<key>`.
        path: Path of the PNG file to write.

    Raises:
        ValueError: If a run has no epochs, or there is no run.
    """
    keys = [key.removeprefix("val_") for run in histories.values() for key in run]
    keys = [key for key in dict.fromkeys(keys) if key != "learning_rate"]
    if not keys or not all(any(map(len, run.values())) for run in histories.values()):
        raise ValueError(
            "Expected `histories` to be {run name: {log key: values}}, at least one "
            f"run with at least one epoch each. Received: histories={histories}"
        )
    # Of masks not the accuracy: a large background flatters it.
    ranks = ("(?<!loss)$", _IOU, "acc")
    main = min(keys, key=lambda key: [not re.search(rank, key) for rank in ranks])
    keys.remove(main)
    columns, rows = min(len(keys), 2), max(1, math.ceil(len(keys) / 2))
    figure = new_figure(4.8 + 2.6 * columns, max(3.6, 2.0 * rows))
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.9] + [1] * columns)
    places = [grid[:, 0]] + [grid[i // 2, 1 + i % 2] for i in range(len(keys))]
    for key, place in zip([main, *keys], places, strict=True):
        _draw_curves(figure.add_subplot(place), histories, key, small=key != main)
    figure.axes[0].legend(handles=_legend(histories), frameon=False)
    save(figure, path)


def plot_attention(model, images, path, titles=None):
    """Draws where the student and its self-teacher look: a row for each image.

    The attention of a feature map is the mean of its squares over the channels, here
    scaled to [0, 1] and enlarged to the image. Beside each tap of the student stands
    the self-teacher's refined map, where the method has a self-teacher.

    Args:
        model: A `SelfDistillationModel`.
        images: A few images, `(images, height, width, 1 or 3)`, as the model takes
            them. Each is shown from its own smallest to its own largest value.
        path: Path of the PNG file to write.
        titles: A text for each image, such as its class. Defaults to `None`.

    Raises:
        ValueError: If the images have another shape or not as many titles.
    """
    images = np.asarray(images)
    titles = [""] * len(images) if titles is None else titles
    are_images = images.size and images.ndim == 4 and images.shape[-1] in (1, 3)
    if not are_images or len(titles) != len(images):
        raise ValueError(
            "Expected images of shape (images, height, width, 1 or 3) and a title for "
            f"each. Received: shape={images.shape}, {len(titles)} titles"
        )
    columns = [("image", images), *attention_columns(model, images)]
    height, width = images.shape[1:3]
    lines = max(header.count("\n") + 1 for header, _ in columns)
    tall = 1.7 * len(images) * height / width + 0.2 * lines
    figure = new_figure(1.7 * len(columns), tall)
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (header, pictures) in zip(grid.T, columns, strict=True):
        column[0].set_title(header, fontsize=9)
        for axes, picture in zip(column, pictures, strict=True):
            draw_picture(axes, picture, (0, width, height, 0))
    for axes, title in zip(grid[:, 0], titles, strict=True):
        axes.set_ylabel(title)
    save(figure, path)


def new_figure(width, height):
    """A Matplotlib figure of a size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures are drawn with Matplotlib. Install it with "
            "`pip install keras_selfkd[plots]`."
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path):
    """Writes a figure as PNG, whole or not at all."""
    if pathlib.Path(path).suffix != ".png":
        raise ValueError(f"Expected `path` to end in .png. Received: path={path}")
    with staging(path) as staged:
        figure.savefig(staged, format="png", dpi=150)


def _draw_curves(axes, histories, key, small):
    """Draws a quantity over the epochs, of all runs."""
    from matplotlib.ticker import MaxNLocator

    for color, run in zip(_colors(histories), histories.values(), strict=True):
        for name, style in {key: "--", f"val_{key}": "-"}.items():
            values = run.get(name, ())
            style += "o" if len(values) == 1 else ""
            axes.plot(range(1, len(values) + 1), values, style, color=color, lw=1.2)
    if key.endswith("loss"):
        _leave_out_spikes(axes)
    title = re.sub(_IOU, "IoU", key).replace("_", " ")
    axes.set_title(title, fontsize="medium" if small else "large")
    axes.set_xlabel("epoch", fontsize="small" if small else "medium")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize="small" if small else "medium")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _leave_out_spikes(axes):
    """Ends the axis above nine tenths of the values, where few are far above them."""
    values = np.concatenate([np.ravel(line.get_ydata()) for line in axes.lines])
    values = values[np.isfinite(values.astype("float64"))].astype("float64")
    if not values.size:
        return
    low, most, high = np.quantile(values, [0, 0.9, 1])
    top = most + 0.25 * (most - low)
    if high - low <= 2.5 * (top - low) or top <= low:
        return
    axes.set_ylim(low - 0.05 * (top - low), top)
    text = f"cut off: up to {high:.3g}"
    axes.text(0.98, 0.98, text, ha="right", va="top", transform=axes.transAxes)


def _legend(histories):
    from matplotlib.lines import Line2D

    runs = zip(histories, _colors(histories), strict=True)
    lines = [Line2D([], [], color=color, label=name) for name, color in runs]
    for label, style in {"training": "--", "validation": "-"}.items():
        lines.append(Line2D([], [], color="0.4", linestyle=style, label=label))
    return lines


def _colors(histories):
    return itertools.islice(itertools.cycle(COLORS), len(histories))


def attention_columns(model, images):
    """Returns a list of (header, attention maps), each tap before its refined map."""
    if not model.taps:
        raise ValueError(
            "The model has no taps to draw. Name some layers of the student with "
            "`SelfDistillationModel(student, method, taps=[...])`. "
            f"Received: method={type(model.method).__name__}"
        )
    features = model.outputs_of(images, training=False).features
    self_teacher = getattr(model.method, "self_teacher", None)
    refined = [] if self_teacher is None else self_teacher(features, training=False)[1:]
    columns = []
    for index, (name, tap) in enumerate(zip(model.taps, features, strict=True)):
        about = f"{_wrapped(name)}\n{tap.shape[1]} x {tap.shape[2]}"
        columns.append((f"{about}\nstudent", _attention(tap)))
        if refined:
            columns.append((f"{about}\nself-teacher", _attention(refined[index])))
    return columns


def draw_picture(axes, picture, extent):
    """Draws an image as it is, a map of attention smoothly enlarged."""
    is_map = picture.ndim == 2
    axes.imshow(
        _stretched(picture),
        cmap="viridis" if is_map else "gray",
        vmin=0,
        vmax=1,
        interpolation="bilinear" if is_map else "nearest",
        extent=extent,
    )
    axes.set(xticks=[], yticks=[])


def _attention(features):
    return np.mean(np.square(np.asarray(features, "float32")), axis=-1)


def _stretched(values):
    """Scales to [0, 1]; constant values become 0."""
    values = np.asarray(values, "float32")
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, np.finfo("float32").tiny)


def _wrapped(name, width=16):
    """A layer's whole path, on lines of at most `width` characters where it allows."""
    lines = [""]
    for part in re.findall(r"[^/_]+[/_]*|[/_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
