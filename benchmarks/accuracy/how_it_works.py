"""Draws the figure of README: `python -m benchmarks.accuracy.how_it_works`."""

import pathlib

from absl import app

from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS

STUDENT, TEACHER, LOSS = COLORS[0], COLORS[1], "0.25"
HEIGHTS = (1.5, 1.1, 0.75, 0.5)  # A stage each, as its map's size.
STUDENT_Y, TEACHER_Y = 1.0, 4.2


def box(axes, x, y, height, color, text=""):
    from matplotlib.patches import FancyBboxPatch

    style = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "fc": color, "ec": color}
    corner = (x - 0.3, y - height / 2)
    axes.add_patch(FancyBboxPatch(corner, 0.6, height, alpha=0.9, **style))
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=9)


def arrow(axes, start, end, color, style="-|>", line="-"):
    look = {"arrowstyle": style, "color": color, "linestyle": line, "lw": 1.4}
    axes.annotate("", xy=end, xytext=start, arrowprops=look)


def draw(axes):
    columns = [1.6 + 1.5 * i for i in range(4)]
    head = columns[-1] + 1.5
    for i, (x, height) in enumerate(zip(columns, HEIGHTS, strict=True)):
        box(axes, x, STUDENT_Y, height, STUDENT, f"$F_{i + 1}$")
        box(axes, x, TEACHER_Y, height, TEACHER, f"$T_{i + 1}$")
        low, high = STUDENT_Y + height / 2, TEACHER_Y - height / 2
        arrow(axes, (x - 0.12, low + 0.05), (x - 0.12, high - 0.05), TEACHER)
        arrow(axes, (x + 0.12, high - 0.05), (x + 0.12, low + 0.05), LOSS, line="--")
        after = columns[i + 1] if i < 3 else head
        arrow(axes, (x + 0.33, STUDENT_Y), (after - 0.33, STUDENT_Y), STUDENT)
        between = "<|-|>" if i < 3 else "-|>"
        arrow(axes, (x + 0.33, TEACHER_Y), (after - 0.33, TEACHER_Y), TEACHER, between)
    arrow(axes, (0.75, STUDENT_Y), (columns[0] - 0.33, STUDENT_Y), STUDENT)
    axes.text(0.7, STUDENT_Y, "image", ha="right", va="center")
    box(axes, head, STUDENT_Y, 0.5, STUDENT, "$z_s$")
    box(axes, head, TEACHER_Y, 0.5, TEACHER, "$z_t$")
    arrow(axes, (head, TEACHER_Y - 0.3), (head, STUDENT_Y + 0.3), LOSS, line="--")
    for y in (STUDENT_Y, TEACHER_Y):
        arrow(axes, (head + 1.35, y), (head + 0.33, y), LOSS, line="--")
        axes.text(head + 1.4, y, "label", va="center", color=LOSS)
    middle = (STUDENT_Y + TEACHER_Y) / 2
    axes.text(columns[0] - 0.25, middle, "taps", ha="right", color=TEACHER)
    axes.text(columns[0] + 0.25, middle, "attention", color=LOSS)
    axes.text(head + 0.12, middle, "soft labels", color=LOSS)
    note = "self-teacher (BiFPN): trained along, thrown away afterwards"
    axes.text(columns[0] - 0.3, TEACHER_Y + 0.95, note, color=TEACHER, weight="bold")
    note = "student: any functional Keras model, deployed as it is"
    axes.text(columns[0] - 0.3, STUDENT_Y - 1.15, note, color=STUDENT, weight="bold")


def main(_):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set(xlim=(-0.2, 9.6), ylim=(-0.5, 5.6), aspect="equal")
    axes.axis("off")
    with staging(pathlib.Path("benchmarks/accuracy/how_it_works.png")) as staged:
        figure.savefig(staged, format="png", dpi=120)


if __name__ == "__main__":
    app.run(main)
