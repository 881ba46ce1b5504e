"""A picture of what a method hangs on a student, and of what its losses connect."""

from keras_selfkd.plots import COLORS, new_figure, save
from keras_selfkd.structure import structure_of

# Inches, on paper and in the picture's coordinates alike.
ROW, COLUMN, LETTER, ARCS = 0.25, 0.42, 0.1, 1.1
GROUPS = {
    "prepared": "computed before the student's pass",
    "memory": "remembered",
    "data": "from the data set",
}


def plot_structure(model, path):
    """Draws what hangs where on a model's own student, by tracing one step.

    At the left the student's path from the images through its taps to its logits, and
    each part of the method with what it reads; at the right a column for each term of
    the loss: what learns from it, and what it is taught by. Nothing is trained and the
    model need not be compiled.

    Args:
        model: A `SelfDistillationModel`.
        path: Path of the PNG file to write.
    """
    structure = structure_of(model)
    rows = rows_of(model, structure)
    terms = structure.terms
    text = max(len(f"{name}  {shape}") for _, name, shape in rows)
    matrix = ARCS + 0.4 + LETTER * text
    width = max(matrix + COLUMN * len(terms) + 0.9, 6.5)
    top = 0.4 + LETTER * 0.65 * max(len(_heading(model, term)) for term in terms)
    height = top + ROW * len(rows) + 0.45
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height - top, -top))
    axes.axis("off")
    at = {point: i * ROW + ROW / 2 for i, (point, _, _) in enumerate(rows)}
    _draw_rows(axes, rows, matrix - 0.2, matrix + COLUMN * len(terms) - 0.1)
    _draw_path(axes, [at[point] for point in structure.student if point in at], at)
    _draw_reads(axes, structure.parts, at)
    for i, term in enumerate(terms):
        _draw_term(axes, term, _heading(model, term), matrix + COLUMN * i, at)
    _draw_legend(axes, ARCS + 0.15, ROW * len(rows) + 0.25)
    save(figure, path)


def rows_of(model, structure):
    """List of rows `(point or header's name, text, shape)`, from top to bottom."""
    terms, parts = structure.terms, structure.parts
    used = {point for term in terms for point in (*term.learns, *term.teaches)}
    used |= {point for part in parts for one in part.reads for point in one}
    student = model.student
    size = _size(student.inputs[0].shape[1:])
    labels = {point for point in used if point.group == "data"}
    rows = [
        ("student", f"student {student.name}: {_count(student)}, images {size}", "")
    ]
    own = [p for p in structure.student if p in used or p.name != "embedding"]
    rows += [(point, point.name, _size(point.shape)) for point in own]
    for part in parts:
        rows.append((part.name, f"{part.name}: {_count(part.layer)}", ""))
        rows += [(point, point.name, _size(point.shape)) for point in part.returns]
    for group, title in GROUPS.items():
        points = [p for p in dict.fromkeys(_all_of(terms, parts)) if p.group == group]
        rows += [(group, title, "")] if points else []
        rows += [(point, point.name, _size(point.shape)) for point in points]
    # Masks may be larger than the logits for which the step was traced.
    return [(p, text, "" if p in labels else size) for p, text, size in rows]


def _all_of(terms, parts):
    for term in terms:
        yield from (*term.learns, *term.teaches)
    for part in parts:
        for one in part.reads:
            yield from one


def _size(shape):
    return " x ".join("?" if side is None else str(side) for side in shape)


def _count(layer):
    return f"{layer.count_params():,} weights" + (
        "" if layer.trainable_weights else ", not trained"
    )


def _heading(model, term):
    weight = model.method.loss_weights[term.name]
    if callable(weight):
        return f"{type(weight).__name__} · {term.name}"
    return term.name if weight == 1 else f"{weight:g} · {term.name}"


def _draw_rows(axes, rows, end, right):
    """The rows' texts; headers in bold on a grey band."""
    from matplotlib.patches import Rectangle

    for i, (point, name, shape) in enumerate(rows):
        y, header = i * ROW, isinstance(point, str)
        if header:
            axes.add_patch(Rectangle((ARCS, y), right - ARCS, ROW, color="0.92", lw=0))
        weight = "bold" if header else "normal"
        options = {"va": "center", "fontsize": 9, "weight": weight}
        axes.text(ARCS + (0.05 if header else 0.3), y + ROW / 2, name, **options)
        if shape:
            axes.text(end, y + ROW / 2, shape, ha="right", color="0.35", **options)


def _draw_path(axes, ys, at):
    """The student's own way, from the images at its header down to its logits."""
    x, start = ARCS + 0.15, at["student"] + ROW / 2
    axes.plot([x, x], [start, ys[-1]], "-", color="0.3", lw=1.5)
    axes.plot([x] * len(ys), ys, "s", color="0.3", ms=5)


def _draw_reads(axes, parts, at):
    """An arrow to each part from everything that it reads."""
    for number, part in enumerate(parts):
        color = COLORS[number % len(COLORS)]
        points = dict.fromkeys(p for one in part.reads for p in one if p in at)
        for point in points:
            start, end = (ARCS, at[point]), (ARCS, at[part.name])
            far = min(0.95, 0.15 + 0.09 * abs(end[1] - start[1]) / ROW)
            _draw_bend(axes, start, end, far, color)
        for point in part.returns:
            axes.plot([ARCS + 0.15], [at[point]], "o", color=color, ms=5)


def _draw_bend(axes, start, end, far, color):
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (x, a), (_, b) = start, end
    bend = Path(
        [(x, a), (x - far * 1.33, a), (x - far * 1.33, b), (x, b)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": color, "lw": 1.1}
    axes.add_patch(FancyArrowPatch(path=bend, **style))


def _draw_term(axes, term, heading, x, at):
    """A column: dots where it is read, a line that joins them, its name above."""
    ys = [at[point] for point in (*term.learns, *term.teaches)]
    if ys:
        axes.plot([x, x], [min(ys), max(ys)], "-", color="0.6", lw=1, zorder=1)
    for point in term.teaches:
        axes.plot([x], [at[point]], **_mark("teaches"))
    for point in term.learns:
        axes.plot([x], [at[point]], **_mark("learns"))
    axes.text(x - 0.04, -0.08, heading, rotation=50, fontsize=9, ha="left", va="bottom")


def _mark(kind):
    """Filled learns, hollow teaches; one in the other does both."""
    teaches = kind == "teaches"
    return {
        "marker": "o",
        "markersize": 9 if teaches else 5,
        "markerfacecolor": "white" if teaches else COLORS[1],
        "markeredgecolor": COLORS[0] if teaches else COLORS[1],
        "markeredgewidth": 1.5 if teaches else 0,
        "linestyle": "",
        "zorder": 2 if teaches else 3,
    }


def _draw_legend(axes, x, y):
    for kind, text in {"learns": "learns", "teaches": "teaches (no gradient)"}.items():
        axes.plot([x], [y], **_mark(kind))
        axes.text(x + 0.12, y, text, fontsize=9, va="center")
        x += 0.8
    axes.text(x + 1.4, y, "curved arrows: what a part reads", fontsize=9, va="center")
