import sys

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from keras_selfkd import FRSKD, SelfDistillationModel, Supervised
from keras_selfkd.plots import plot_attention, plot_history
from keras_selfkd.reliability_plot import plot_reliability

HISTORIES = {
    "plain": {"loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.5, 0.7]},
    "FRSKD": {
        "loss": [4.0, 3.0, 2.0],
        "soft_label_loss": [0.5, 0.4, 0.3],
        "accuracy": [0.2, 0.4, 0.8],
        "learning_rate": [0.1, 0.05, 0.0],
        "val_loss": [3.0, 2.5, 2.0],
        "val_accuracy": [0.1, 0.3, 0.6],
    },
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pictures" / "plot.png"


def student(channels=1, height=16):
    inputs = keras.Input((height, 16, channels))
    x = keras.layers.Conv2D(4, 3, 2, padding="same", name="fine")(inputs)
    x = keras.layers.Conv2D(8, 3, 2, padding="same", name="coarse")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))


def random(*shape):
    return np.random.default_rng(0).random(shape, "float32")


def test_history_has_a_panel_for_each_quantity(path, figures):
    plot_history(HISTORIES, path)
    panels = {axes.get_title(): axes for axes in figures[0].axes}
    assert list(panels) == ["accuracy", "loss", "soft label loss"]
    assert [axes.get_xlabel() for axes in panels.values()] == ["epoch"] * 3
    curves = [
        (line.get_color(), line.get_linestyle(), list(line.get_ydata()))
        for line in panels["accuracy"].lines
        if len(line.get_ydata())
    ]
    assert curves == [
        ("#0072B2", "--", [0.1, 0.5, 0.7]),
        ("#D55E00", "--", [0.2, 0.4, 0.8]),
        ("#D55E00", "-", [0.1, 0.3, 0.6]),
    ]
    # A run keeps its colour where another has no curve.
    (curve,) = [
        line for line in panels["soft label loss"].lines if len(line.get_xdata())
    ]
    assert (curve.get_color(), list(curve.get_xdata())) == ("#D55E00", [1, 2, 3])
    legend = [text.get_text() for text in figures[0].axes[0].get_legend().texts]
    assert legend == ["plain", "FRSKD", "training", "validation"]
    assert imread(path).shape[2] == 4
    assert [file.name for file in path.parent.iterdir()] == ["plot.png"]


@pytest.mark.parametrize(
    ("keys", "main"),
    [
        (["loss", "accuracy"], "accuracy"),
        (["loss", "pixel_accuracy", "mean_iou"], "mean IoU"),
        (["pixel_accuracy", "mean_io_u"], "mean IoU"),
        (["loss", "precision"], "precision"),
        (["task_loss", "loss"], "task loss"),
        (["val_loss"], "loss"),
    ],
)
def test_history_shows_one_quantity_large(path, figures, keys, main):
    plot_history({"run": {key: [1.0] for key in keys}}, path)
    assert figures[0].axes[0].get_title() == main
    assert len(figures[0].axes) == len(keys)
    # A single epoch is a dot, not an invisible line.
    drawn = [line for line in figures[0].axes[0].lines if len(line.get_ydata())]
    assert [line.get_marker() for line in drawn] == ["o"]


def test_a_spike_does_not_hide_the_rest_of_a_loss(path, figures):
    spiky = [40.0, *np.linspace(2.0, 1.0, 19)]
    run = {"accuracy": [0.0] * 19 + [1.0], "loss": spiky, "val_loss": spiky}
    plot_history({"run": run}, path)
    accuracy, loss = figures[0].axes
    low, high = loss.get_ylim()
    assert (0.9 < low < 1.0, 2.0 < high < 2.5) == (True, True)
    assert [text.get_text() for text in loss.texts] == ["cut off: up to 40"]
    assert (accuracy.get_ylim()[1], accuracy.texts[:]) == (pytest.approx(1.05), [])


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [1.0] * 9, [np.nan] * 3, [2.0]])
def test_a_loss_without_spikes_is_shown_whole(path, figures, values):
    plot_history({"run": {"accuracy": values, "loss": values}}, path)
    accuracy, loss = figures[0].axes
    assert loss.get_ylim() == accuracy.get_ylim()
    assert loss.texts[:] == []


@pytest.mark.parametrize(
    "histories",
    [{}, {"run": {}}, {"run": {"loss": []}}, {"a": {"loss": [1]}, "b": {"loss": []}}],
)
def test_history_refuses_nothing(path, histories):
    with pytest.raises(ValueError, match=r"at least one epoch each\. Received"):
        plot_history(histories, path)
    assert not path.parent.exists()


def test_attention_of_student_and_self_teacher_by_hand(path, figures):
    model = SelfDistillationModel(student(), FRSKD(channels=2), taps=["fine", "coarse"])
    images = random(3, 16, 16, 1)
    plot_attention(model, images, path, titles=["cat", "dog", "owl"])
    axes = np.reshape(figures[0].axes, (3, 5))
    assert [column.get_title() for column in axes[0]] == [
        "image",
        "fine\n8 x 8\nstudent",
        "fine\n8 x 8\nself-teacher",
        "coarse\n4 x 4\nstudent",
        "coarse\n4 x 4\nself-teacher",
    ]
    assert [row[0].get_ylabel() for row in axes] == ["cat", "dog", "owl"]
    features = model.outputs_of(images).features
    refined = model.method.self_teacher(features)[1:]
    maps = [features[0], refined[0], features[1], refined[1]]
    for column, feature in enumerate(maps, start=1):
        attention = (np.asarray(feature) ** 2).mean(-1)[1]
        low, high = attention.min(), attention.max()
        (drawn,) = axes[1, column].get_images()
        expected = (attention - low) / (high - low)
        np.testing.assert_allclose(drawn.get_array(), expected, atol=1e-6)
        assert drawn.get_extent() == [0, 16, 16, 0]
    (drawn,) = axes[1, 0].get_images()
    assert drawn.get_cmap().name == "gray"


def test_attention_without_self_teacher_and_of_colour_images(path, figures):
    model = SelfDistillationModel(student(3, 8), Supervised(), taps=["fine"])
    images = 255 * random(2, 8, 16, 3)
    images[1] = 7.0  # An image of one colour can't be stretched.
    plot_attention(model, images, path)
    assert len(figures[0].axes) == 4
    shown = figures[0].axes[0].get_images()[0].get_array()
    assert (shown.min(), shown.max()) == (0.0, 1.0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_attention_under_mixed_precision(path, policy):
    keras.config.set_dtype_policy(policy)
    try:
        small = student()
    finally:
        keras.config.set_dtype_policy("float32")
    model = SelfDistillationModel(small, FRSKD(channels=2), taps=["fine", "coarse"])
    plot_attention(model, random(1, 16, 16, 1), path)
    assert path.exists()


def test_attention_names_layers_whole(path, figures):
    name = "conv3_block4_of_the_second_stage_preactivation_relu"
    inputs = keras.Input((16, 16, 1))
    fine = keras.layers.Conv2D(4, 3, 2, padding="same", name=name)(inputs)
    flat = keras.layers.GlobalAveragePooling2D()(fine)
    student = keras.Model(inputs, keras.layers.Dense(3)(flat))
    model = SelfDistillationModel(student, Supervised(), taps=[name])
    plot_attention(model, random(1, 16, 16, 1), path)
    image, tap = figures[0].axes
    header = tap.get_title().splitlines()
    assert header == [
        "conv3_block4_of_",
        "the_second_",
        "stage_",
        "preactivation_",
        "relu",
        "8 x 8",
        "student",
    ]
    below = tap.title.get_window_extent()
    assert below.x0 > image.get_window_extent().x1


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (random(16, 16, 1), None, r"shape=\(16, 16, 1\)"),
        (random(2, 16, 16, 2), None, r"shape=\(2, 16, 16, 2\)"),
        (random(0, 16, 16, 1), None, r"shape=\(0, 16, 16, 1\)"),
        (random(2, 16, 16, 1), ["a"], "a title for each.*1 titles"),
    ],
)
def test_attention_refuses_images(path, images, titles, message):
    model = SelfDistillationModel(student(), Supervised(), taps=["fine"])
    with pytest.raises(ValueError, match=message):
        plot_attention(model, images, path, titles)


def test_attention_needs_taps(path):
    model = SelfDistillationModel(student(), Supervised())
    with pytest.raises(ValueError, match=r"no taps.*taps=\[.*method=Supervised"):
        plot_attention(model, random(1, 16, 16, 1), path)


def test_reliability_by_hand(path, figures):
    # Two bins: (0.5, 1] of confidence 0.9 and 0.7, one right; (0, 0.5] is empty.
    outputs = [[0.9, 0.1], [0.3, 0.7]]
    plot_reliability(outputs, [0, 0], path, bins=2, from_logits=False, title="plain")
    top, bottom = figures[0].axes
    assert top.get_title() == "plain\naccuracy 50.0%, ECE 30.0%"
    accuracy, gap = top.containers
    heights = [bar.get_height() for bar in accuracy]
    np.testing.assert_allclose(heights, [np.nan, 0.5])
    np.testing.assert_allclose(gap[1].get_height(), 0.3, rtol=1e-5)
    assert gap[1].get_y() == 0.5
    assert [bar.get_height() for bar in bottom.patches] == [0.0, 1.0]
    assert [bar.get_x() for bar in bottom.patches] == [0.0, 0.5]
    assert path.exists()


def test_reliability_of_pixels_from_logits(path, figures):
    logits = np.zeros((2, 4, 4, 2))
    logits[..., 1] = np.log(3)  # Confidence 3/4.
    plot_reliability(logits, np.ones((2, 4, 4)), path)
    assert figures[0].axes[0].get_title() == "accuracy 100.0%, ECE 25.0%"


def test_reliability_of_several_labels(path, figures):
    logits = [[np.log(3), -np.log(3)], [np.log(3), np.log(3)]]  # All sure to 3/4.
    plot_reliability(logits, [[1, 0], [1, 0]], path, multi_label=True)
    assert figures[0].axes[0].get_title() == "accuracy 75.0%, ECE 0.0%"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [(np.zeros((0, 3)), r"shape \(0, 3\)"), ([[np.nan, 1.0]], "1 not finite")],
)
def test_reliability_refuses_outputs(path, outputs, message):
    with pytest.raises(ValueError, match=message):
        plot_reliability(outputs, np.zeros(len(outputs)), path)


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"end in .png. Received: path=.*plot.pdf"):
        plot_history(HISTORIES, tmp_path / "plot.pdf")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_picture_leaves_the_last_one(path, monkeypatch):
    plot_history(HISTORIES, path)
    before = path.read_bytes()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plot_history({"run": {"loss": [1.0, 0.5]}}, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["plot.png"]


def test_missing_matplotlib_says_how_to_install_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras_selfkd\[plots\]"):
        plot_history(HISTORIES, path)
