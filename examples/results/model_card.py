"""A model card: what a network was trained on and how, and how good it is."""

import datetime

from keras_selfkd.files import staging

# Data sets that come with a dependency.
_DIGITS = (
    "UCI Optical Recognition of Handwritten Digits, CC BY 4.0, "
    "https://doi.org/10.24432/C50P49"
)
LICENSES = {"digits": _DIGITS, "digit_scenes": f"drawn from {_DIGITS}"}
UNKNOWN = "not stated: add it with --data_license"


def write(path, source, rows, outputs, input_dtype=None, data_license=None):
    """Writes a model card in Markdown.

    Args:
        path: Path of the file.
        source: `examples.students.trained.Trained`.
        rows: List of rows of strings about the exported files, the header first.
        outputs: What the files return, such as `"logits"`.
        input_dtype: Integers that int8 files take and return, or `None`.
        data_license: Licence of the data. Defaults to `None`: that of the data sets
            that come with a dependency, else a note that it is not stated.
    """
    files = _files(source, rows, outputs, input_dtype)
    sections = [_title(source), _model(source), files]
    if source.result:
        sections[2:2] = [_data(source, data_license), _scores(source)]
        sections.append(_recipe(source))
    with staging(path) as staged:
        staged.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def rows_of(measured, metric):
    """Returns rows of strings about exported files, the header first."""
    rows = [
        ("", "size", "largest difference", "same decisions", metric, "ms, 1 thread")
    ]
    for name, facts in measured.items():
        score = facts.get("score")
        median, _ = facts.get("milliseconds_1_threads", (None, None))
        rows.append(
            (
                name,
                f"{facts['bytes']:,} bytes",
                f"{facts['max_difference']:.2g}",
                f"{100 * facts['agreement']:.1f} % of {facts['samples']} images",
                "" if score is None else f"{100 * score:.2f} %",
                "" if median is None else f"{median:.2f}",
            )
        )
    return rows


def images_of(source):
    """Says which images the files were compared with Keras and rated on."""
    compared = "random pixels" if source.calibration is None else "the images given"
    compared = "training images" if source.result else compared
    tested = "no labelled images"
    if source.test is not None:
        tested = f"{len(source.test[0]):,} test images"
    return f"Compared with Keras on {compared}, and rated on {tested}."


def _title(source):
    on = f", trained on {source.result['dataset']}" if source.result else ""
    return f"# {source.student.name}{on}"


def _model(source):
    student, result = source.student, source.result
    method = list(result["scores"])[-1] if result else "unknown"
    task = "segments images" if len(student.output_shape) == 4 else "classifies images"
    return (
        f"A network that {task} of {' x '.join(map(str, student.input_shape[1:]))} "
        "(height x width x channels), pixel values of 0 to 255"
        f"{', normalised inside the files' if source.preprocess else ''}. "
        f"{student.count_params():,} parameters. Method of training: {method}"
        f"{' (keras_selfkd)' if result else ''}. Exported on "
        f"{datetime.date.today()}."
    )


def _data(source, data_license):
    result = source.result
    counts = ", ".join(f"{n:,} {name}" for name, n in result["images"].items())
    known = data_license or LICENSES.get(result["dataset"], UNKNOWN)
    return (
        f"## Data\n\n{result['dataset']}: {counts} images. Classes: "
        f"{', '.join(map(str, result['labels']))}.\n\nLicence of the data: {known}."
    )


def _scores(source):
    lines = ["## Results", "", "On the test images, in Keras, one training:", ""]
    note = source.result["note"]
    for method, score in source.result["scores"].items():
        if "void" in source.result:
            found = f"mean IoU {100 * score['mean_iou']:.2f} %"
        else:
            low, high = score["interval"]
            found = (
                f"accuracy {100 * score['accuracy']:.2f} % (95 % interval "
                f"{100 * low:.1f} - {100 * high:.1f} %), expected calibration error "
                f"{100 * score['calibration_error']:.2f} %"
            )
        lines.append(f"* {method}: {found}")
    return "\n".join([*lines, *([f"\n{note}: not a result."] if note else [])])


def _files(source, rows, outputs, input_dtype):
    header, *rest = (f"| {' | '.join(row)} |" for row in rows)
    rule = "|---" * len(rows[0]) + "|"
    integers = (
        f" int8 files take and return {input_dtype}, by the scales of their tensors."
        if input_dtype
        else ""
    )
    return "\n".join(
        [
            "## Files",
            "",
            f"They return {outputs}.{integers} {images_of(source)} Milliseconds, where "
            "measured: the median of one image, one thread, on the machine that "
            "exported them.",
            "",
            *[header, rule, *rest],
        ]
    )


def _recipe(source):
    lines = "\n".join(line for line in source.recipe if line)
    return f"## Recipe\n\nFlags of the run:\n\n```\n{lines}\n```"
