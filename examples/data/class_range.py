"""Some classes of a data set, as a data set of their own."""

import numpy as np

from examples.data.splits import labels_of, select


def of_classes(source, first, end):
    """Keeps the classes from `first` up to, not including, `end`.

    Args:
        source: `examples.data.splits.Source`.
        first: Integer, the label that becomes 0.
        end: Integer, the label after the last one.

    Returns:
        A `Source` with the images of these classes in file order. Classes keep their
        names, labels begin at 0.

    Raises:
        ValueError: If these are not two or more of its classes, or a split has no image
            of them.
    """
    count = len(source.label_names)
    if not first + 2 <= end <= count:
        raise ValueError(
            f"Expected --classes=first:end, two or more of the {count} classes of "
            f"{source.name}, such as 0:{count}. Received: --classes={first}:{end}"
        )
    splits = {name: _kept(split, first, end) for name, split in source.splits.items()}
    empty = [name for name, split in splits.items() if not split.count]
    if empty:
        raise ValueError(
            f"Expected images of the classes {first} to {end - 1} in all splits of "
            f"{source.name}. Received: none in {', '.join(empty)}"
        )
    note = f"Of {count} classes those from {first} up to {end - 1} (--classes)."
    return source._replace(
        splits=splits,
        label_names=source.label_names[first:end],
        notes=(*source.notes, note),
    )


def _kept(split, first, end):
    labels = np.fromiter(labels_of(split), int)
    positions = np.flatnonzero((first <= labels) & (labels < end))
    kept = select(split, positions)
    records = kept.records.map(lambda record, label: (record, label - first))
    return kept._replace(records=records)
