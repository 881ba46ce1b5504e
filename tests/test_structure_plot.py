from matplotlib.image import imread

from keras_selfkd import FRSKD, PSKD, Ramp, SelfDistillationModel
from tests import toys


def drawn(method, path, figures, create=toys.classifier):
    model = SelfDistillationModel(create(stages=toys.FEW_STAGES), method)
    model.plot(path)
    (axes,) = figures[0].axes
    return axes, {text.get_text(): text.get_position() for text in axes.texts}


def marks(axes):
    """`(x, y)` of the hollow and of the filled dots of the terms' columns."""
    found = {9: set(), 5: set()}
    for line in axes.lines:
        if line.get_marker() == "o" and line.get_markersize() in found:
            face = line.get_markerfacecolor()
            if line.get_markersize() == 9 or face == "#D55E00":
                found[line.get_markersize()].add(
                    (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
                )
    return found[9], found[5]


def test_rows_and_columns_of_a_self_teacher(tmp_path, figures):
    method = FRSKD(width=1, depth=1, feature_weight=Ramp(50.0))
    axes, texts = drawn(method, tmp_path / "plot.png", figures)
    assert {"task", "teacher_task", "2 · soft_label", "Ramp · feature"} <= set(texts)
    assert {"out2", "8 x 8 x 6", "out3", "map 1", "labels"} <= set(texts)
    headers = [text for text in texts if "weights" in text]
    size = method.self_teacher.count_params()
    assert headers == [
        "student toy: 1,614 weights, images 16 x 16 x 3",
        f"self_teacher: {size:,} weights",
    ]
    hollow, filled = marks(axes)
    column = round(texts["2 · soft_label"][0] + 0.04, 6)
    learners, teachers = (
        {round(y, 3) for x, y in dots if round(x, 6) == column}
        for dots in (filled, hollow)
    )
    # Of the rows, the 4th is the student's logits, the 6th the self-teacher's.
    assert (learners, teachers) == ({4 * 0.25 - 0.125}, {6 * 0.25 - 0.125})
    assert imread(tmp_path / "plot.png").shape[2] == 4


def test_all_texts_lie_inside_of_the_picture_and_beside_each_other(tmp_path, figures):
    method = FRSKD(channels=2, depth=1)
    drawn(method, tmp_path / "plot.png", figures, toys.segmenter)
    (figure,) = figures
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    whole = figure.bbox
    for box in boxes:
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1
    level = [t.get_window_extent() for t in axes.texts if not t.get_rotation()]
    for i, box in enumerate(level):
        assert not any(box.overlaps(other) for other in level[i + 1 :])


def test_what_is_prepared_and_a_memory(tmp_path, figures):
    _, texts = drawn(PSKD(24), tmp_path / "plot.png", figures)
    assert {"computed before the student's pass", "past"} <= set(texts)
    assert "memory: 96 weights, not trained" in texts
