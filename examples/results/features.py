"""How good a student's features are: other classes, told by them as they are."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.results.study_table import compare, groups, mean_std

IMAGES = 5_000  # Of each kind, at most.
NEIGHBOURS = 20
SCORES = {"linear": "linear probe", "neighbours": f"{NEIGHBOURS} nearest neighbours"}


def adapted(pixels, shape, mean, std):
    """Turns one data set's images into those of a student of another.

    Args:
        pixels: Array `(images, height, width, 1 or 3)` of 0 to 255, of the student's
            height and width.
        shape: `(height, width, channels)` of the student's images.
        mean: Array `(channels,)`, what the student's images are normalised by.
        std: Array `(channels,)`, likewise.

    Returns:
        float32 array `(images, *shape)`: grey is repeated, colours are averaged.
    """
    if pixels.shape[-1] != shape[-1]:
        grey = pixels.mean(-1, keepdims=True)
        pixels = np.repeat(grey, shape[-1], -1)
    return ((pixels - mean) / std).astype("float32")


def probe(train, test):
    """Rates features by what a linear classifier, and neighbours, make of them.

    The linear classifier is scikit-learn's logistic regression with its default L2 on
    standardised features; the neighbours are the nearest by cosine, weighted by
    their closeness.

    Args:
        train: Pair of arrays: features `(images, channels)` and labels `(images,)`.
        test: Such a pair.

    Returns:
        Dict with the accuracies `linear` and `neighbours` on the test images, in
        [0, 1].

    References:
        - Alain, Bengio, [Understanding intermediate layers using linear classifier
          probes](https://arxiv.org/abs/1610.01644), 2016
    """
    count = min(NEIGHBOURS, len(train[0]))
    models = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "neighbours": KNeighborsClassifier(count, metric="cosine", weights="distance"),
    }
    return {name: float(m.fit(*train).score(*test)) for name, m in models.items()}


def table(rows, baseline):
    """Lays out, in Markdown, what each leg's features are worth.

    Args:
        rows: List of dicts with `leg`, `seed`, `budget` and the accuracies of `probe`.
        baseline: Name of the leg that the others are compared with.
    """
    header = ["leg", "seeds"]
    for text in SCORES.values():
        header += [f"{text}: accuracy, %", "difference, points"]
    lines = [header, ["---"] * len(header)]
    gains = {
        name: {one.leg: one for one in compare(rows, name, baseline)} for name in SCORES
    }
    for (_, leg), own in groups(rows).items():
        cells = [leg.replace("|", r"\|"), str(len(own))]
        for name in SCORES:
            cells.append(mean_std([100 * row[name] for row in own]))
            cells.append(_difference(gains[name].get(leg)))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(gain):
    if gain is None or gain.mean is None:
        return ""
    text = f"{100 * gain.mean:+.2f}"
    if gain.interval:
        low, high = gain.interval
        text += f" [{100 * low:+.2f}, {100 * high:+.2f}]"
    return text
