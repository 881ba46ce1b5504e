"""The report of camvid.py: tables of its runs."""

import json

from benchmarks import reports

CLASSES = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
]


def write(path, results, tuning, teacher, planned, hours, runs):
    """Writes the tables of what is finished.

    Args:
        path: Path of the Markdown file.
        results: Dict from leg to the name of its chosen candidate and its runs.
        tuning: Dict from leg to a dict from candidate to validation mean IoU.
        teacher: Result of the trained teacher, or `None`.
        planned: Number of runs when all are finished.
        hours: Hours of training so far.
        runs: Path of the directory of the runs; what lies beside it is listed, too.
    """
    finished = sum(len(found) for _, found in results.values())
    rest = " The same command goes on with the rest." * (finished < planned)
    each = "; ".join(
        f"{leg} {r['seed']}: {100 * r['mean_iou']:.2f}"
        for leg, (_, found) in results.items()
        for r in found
    )
    text = (
        f"`{reports.command()}`, {reports.machine()}; {hours:.1f} hours of training."
        f"\n\nImages of {runs.name} pixels (height x width). {finished} of "
        f"{planned} planned runs are finished.{rest}\n\n"
        f"{table(results, teacher)}\n\nEach run, by seed: {each}.\n\n"
        f"By class:\n\n{class_table(results)}\n\n"
        "Chosen on the validation images, one seed:\n\n"
        f"{tuning_table(tuning)}\n\n{other_sizes(runs)}\n"
    )
    reports.write_record(path, "CamVid, thin U-Net from scratch", text)


def table(results, teacher):
    lines = [
        "| method | weights | seeds | test mean IoU, % | gain, points "
        "| pixel accuracy, % |",
        "|---|---|---|---|---|---|",
    ]
    plain = {r["seed"]: 100 * r["mean_iou"] for r in results["plain"][1]}
    for leg, (name, runs) in results.items():
        if not runs:
            continue
        values = [100 * r["mean_iou"] for r in runs]
        gains = [100 * r["mean_iou"] - plain[r["seed"]] for r in runs]
        cells = [
            leg,
            name,
            str(len(runs)),
            reports.mean_std(values),
            "" if leg == "plain" else reports.mean_std(gains),
            reports.mean_std([100 * r["pixel_accuracy"] for r in runs]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if teacher:
        score = teacher["test"]
        lines.append(
            f"| the teacher of NFD | plain | 1 | {100 * score['mean_iou']:.2f} | | "
            f"{100 * score['pixel_accuracy']:.2f} |"
        )
        lines.append(
            "\nThe teacher, a U-Net of 24 to 192 channels, was trained by the same "
            f"command on the training images alone, {teacher['epochs']} epochs."
        )
    return "\n".join(lines)


def class_table(results):
    legs = {leg: runs for leg, (_, runs) in results.items() if runs}
    lines = [f"| IoU, % | {' | '.join(legs)} |", f"|---|{'---|' * len(legs)}"]
    for label, name in enumerate(CLASSES):
        cells = [
            reports.mean_std([100 * r["iou"][label] for r in runs], 1)
            for runs in legs.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tuning_table(tuning):
    lines = ["| leg | candidate | validation mean IoU, % |", "|---|---|---|"]
    for leg, found in tuning.items():
        lines += [f"| {leg} | {n} | {100 * v:.2f} |" for n, v in found.items()]
    return "\n".join(lines)


def other_sizes(runs):
    """A table of the runs at other sizes, which were made to find a recipe."""
    lines = []
    for folder in sorted(runs.parent.iterdir()):
        if folder == runs:
            continue
        lines += [
            f"Runs at {folder.name} pixels, one seed each:",
            "",
            "| leg | options | epochs | mean IoU, % | of |",
            "|---|---|---|---|---|",
        ]
        for path in sorted(folder.glob("*.json")):
            r = json.loads(path.read_text(encoding="utf-8"))
            given = ", ".join(f"{k} {v}" for k, v in r["options"].items())
            score = f"{100 * r['mean_iou']:.2f}"
            lines.append(
                f"| {r['leg']} | {given} | {r['epochs']} | {score} | {r['split']} |"
            )
    return "\n".join(lines)
