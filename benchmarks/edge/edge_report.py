"""The report of benchmarks/edge/edge.py: its tables and its picture."""

import numpy as np

from benchmarks import reports
from examples.results.latency import summary
from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS

ALLOWED_DROP, ALLOWED_RATIO, LARGE = 1.0, 0.30, 1_000_000


def write(path, found, students):
    """Writes the tables and the picture, and prints the tables.

    Args:
        path: Path of both, without a suffix.
        found: Dict from case to a dict from leg to a dict from kind of file to facts.
        students: Dict from case to its student's name.
    """
    text = (
        "# What is deployed\n\n"
        f"`{reports.command()}`, {reports.machine()}. Latency: "
        "milliseconds of one image, median (95th percentile) of 200 calls after 20 to "
        "warm up, all files of a student in turns. Memory: what loading and running a "
        "file adds to the peak of a fresh process, MiB. One training each, short, "
        "for comparing files, not methods; FRSKD has width 1 and ramped weights.\n\n"
        "## Self-distillation costs nothing here\n\n"
        "Ratios are to the plainly trained student's file: the median over the 200 "
        "turns. With 2 threads, on 2 cores, files of a tenth of a millisecond mostly "
        "wait, and times spread up to thirtyfold: only those of 1 thread compare."
        f"\n\n{leg_table(found, students)}\n\n"
        "## Files\n\n"
        f"Drop: points below float32. Marked with ✗: a drop above {ALLOWED_DROP} "
        f"point, or above {ALLOWED_RATIO:.2f} of the size where float32 has over 1 MB. "
        "Where int8 costs more than that, what was tried stands below it."
        f"\n\n{file_table(found, students)}\n\n![Size and latency]({path.name}.png)\n"
    )
    reports.write_text(path.with_suffix(".md"), text)
    draw(found, students, path.with_suffix(".png"))
    print(text)


def leg_table(found, students):
    lines = [
        "| data, student | trained by | score, % | operators | bytes; ratio "
        "| 1 thread; ratio | 2 threads; ratio | int8, 1 thread; ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, legs in found.items():
        if len(legs) == 1:
            continue
        plain = legs["plain"]
        for leg, files in legs.items():
            facts, base = files["float32"], plain["float32"]
            same = facts["operators"] == base["operators"]
            cells = [
                f"{name}, {students[name]}",
                leg,
                f"{100 * facts['score']:.2f}",
                "the same" if same else "OTHERS",
                f"{facts['bytes']:,}; {facts['bytes'] / base['bytes']:.4f}",
                timed(facts, base, 1),
                timed(facts, base, 2),
                timed(files["int8"], plain["int8"], 1),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def timed(facts, base, threads):
    row, other = (np.asarray(f[f"milliseconds_{threads}"]) for f in (facts, base))
    return f"{summary(row)}; {np.median(row / other):.2f}"


def file_table(found, students):
    lines = [
        "| data, student | file | bytes | of float32 | score, % | drop | 1 thread "
        "| 2 threads | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, legs in found.items():
        for leg, files in legs.items():
            base = files["float32"]
            for kind, facts in files.items():
                drop = 100 * (base["score"] - facts["score"])
                ratio = facts["bytes"] / base["bytes"]
                large = kind == "int8" and base["bytes"] > LARGE
                cells = [
                    f"{name}, {students[name]}, {leg}",
                    kind,
                    f"{facts['bytes']:,}",
                    f"{ratio:.3f}{' ✗' * (large and ratio > ALLOWED_RATIO)}",
                    f"{100 * facts['score']:.2f}",
                    f"{drop:.2f}{' ✗' * (drop > ALLOWED_DROP)}",
                    summary(facts["milliseconds_1"]),
                    summary(facts["milliseconds_2"]),
                    f"{facts['memory']:.1f}",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found, students, path):
    """Draws size and latency of each file of the plainly trained students."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(found)
    kinds = list(found[names[0]]["plain"])
    width = 0.8 / len(kinds)
    for i, (kind, color) in enumerate(zip(kinds, COLORS, strict=False)):
        files = [found[name]["plain"] for name in names]
        at = np.arange(len(names)) + (i - (len(kinds) - 1) / 2) * width
        sizes = [f[kind]["bytes"] / f["float32"]["bytes"] for f in files]
        times = [
            np.median(f[kind]["milliseconds_1"] / f["float32"]["milliseconds_1"])
            for f in files
        ]
        left.bar(at, sizes, width, label=kind, color=color)
        right.bar(at, times, width, label=kind, color=color)
    labels = [students[name] for name in names]
    left.set(title="size, float32 = 1")
    right.set(title="milliseconds an image, 1 thread, float32 = 1")
    for axes in (left, right):
        axes.set_xticks(range(len(names)), labels, rotation=20, ha="right")
        axes.axhline(1.0, color="0.5", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    handles, texts = left.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=5, frameon=False)
    with staging(path) as staged:
        figure.savefig(staged, format="png", dpi=150)
