import numpy as np
import pytest
from matplotlib.image import imread

from keras_selfkd.mask_plots import colored, plot_masks

NAMES = ["sky", "road", "car"]


def arrays(count=2):
    random = np.random.default_rng(0)
    images = random.random((count, 8, 12, 3))
    masks = random.integers(0, 3, (count, 8, 12))
    masks[:, 0] = 255
    return images, masks, random.random((count, 4, 6)).astype("float32")


def test_a_row_for_each_image_and_a_column_for_each_header(tmp_path, figures):
    images, masks, attention = arrays()
    columns = {"truth": masks, "attention": attention}
    path = tmp_path / "masks.png"
    plot_masks(images, columns, path, NAMES, titles=["a", "b"])
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "image",
        "truth",
        "attention",
    ]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["a", "b"]
    drawn = figure.axes[4].images[0].get_array()
    np.testing.assert_allclose(drawn, colored(masks[1]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == NAMES
    assert imread(path).shape[0] > 100


def test_void_pixels_are_white_and_classes_are_not():
    _, masks, _ = arrays()
    picture = colored(masks[0])
    assert np.all(picture[0] == 1.0)
    assert not np.any(np.all(picture[1:] == 1.0, axis=-1))
    assert len(np.unique(picture[1:].reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize("rows", [0, 1])
def test_error_columns_of_another_length(tmp_path, rows):
    images, masks, _ = arrays()
    with pytest.raises(ValueError, match="in every column a mask or map for each"):
        plot_masks(images[:rows], {"truth": masks}, tmp_path / "x.png", NAMES)
    assert not (tmp_path / "x.png").exists()
