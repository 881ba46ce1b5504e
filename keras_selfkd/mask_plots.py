"""Pictures of semantic segmentation: images beside masks and attention."""

import numpy as np

from keras_selfkd.plots import COLORS, draw_picture, new_figure, save

# Void pixels are white.
_COLORS = (
    *COLORS[:6],
    *("#F0E442", "#7F7F7F", "#8C564B", "#1B1B3A", "#98DF8A", "#9467BD", "#C49C94"),
    *("#17BECF", "#BCBD22", "#FF9896", "#393B79", "#637939", "#843C39", "#DBDB8D"),
)


def plot_masks(images, columns, path, names, void=255, titles=None):
    """Draws a row for each image: the image, then masks and maps beside it.

    Args:
        images: A few images, `(images, height, width, 1 or 3)`. Each is shown from its
            own smallest to its own largest value.
        columns: `{header: array}` in the order of drawing; integers `(images, height,
            width)` are masks of classes, floats are maps such as attention, each
            scaled to [0, 1].
        path: Path of the PNG file to write.
        names: Names of the classes, by label.
        void: Label of the pixels that belong to no class, left white. Defaults to 255.
        titles: A text for each image. Defaults to `None`.

    Raises:
        ValueError: If a column has not as many rows as there are images, or there are
            none.
    """
    images = np.asarray(images)
    columns = {header: np.asarray(column) for header, column in columns.items()}
    if not len(images) or any(
        len(column) != len(images) for column in columns.values()
    ):
        shapes = {header: column.shape for header, column in columns.items()}
        raise ValueError(
            "Expected at least one image, and in every column a mask or map for each. "
            f"Received: images of shape {images.shape}, columns={shapes}"
        )
    height, width = images.shape[1:3]
    size = 1.6 * (len(columns) + 1), 1.6 * len(images) * height / width + 1.2
    figure = new_figure(*size)
    grid = figure.subplots(len(images), len(columns) + 1, squeeze=False)
    extent = (0, width, height, 0)
    for row, image in zip(grid, images, strict=True):
        draw_picture(row[0], image, extent)
    for axes, header in zip(grid[0][1:], columns, strict=True):
        axes.set_title(header, fontsize="small")
    for index, column in enumerate(columns.values(), start=1):
        for axes, picture in zip(grid[:, index], column, strict=True):
            _draw(axes, picture, extent, void)
    grid[0][0].set_title("image", fontsize="small")
    for axes, title in zip(grid[:, 0], titles or [""] * len(images), strict=True):
        axes.set_ylabel(title, fontsize="small")
    _legend(figure, names)
    save(figure, path)


def _draw(axes, picture, extent, void):
    if not np.issubdtype(picture.dtype, np.integer):
        draw_picture(axes, picture, extent)
        return
    axes.imshow(colored(picture, void), interpolation="nearest", extent=extent)
    axes.set(xticks=[], yticks=[])


def colored(mask, void=255):
    """A mask as an RGB picture `(height, width, 3)` in [0, 1], void pixels white.

    Example:
    >>> print(colored(np.array([[0, 255]]))[0, 1])
    [1. 1. 1.]
    """
    palette = np.array([_rgb(color) for color in _COLORS])
    picture = palette[np.asarray(mask) % len(_COLORS)]
    return np.where((np.asarray(mask) == void)[..., None], 1.0, picture)


def mask_colors(classes):
    """The colours of labels in `plot_masks`, such as `"#0072B2"`; few repeat."""
    return [_COLORS[label % len(_COLORS)] for label in range(classes)]


def _rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _legend(figure, names):
    from matplotlib.patches import Patch

    patches = [
        Patch(color=color, label=name)
        for color, name in zip(mask_colors(len(names)), names, strict=True)
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(names), 6),
        fontsize="x-small",
        frameon=False,
    )
