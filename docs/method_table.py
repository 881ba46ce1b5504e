"""Writes the tables of methods in README.md and docs/methods/README.md.

    python -m docs.method_table

Each row is what the method's own page, docs/methods/<its module>.md, says at its top.
"""

import dataclasses
import os
import pathlib
import re

import keras_selfkd
from benchmarks.reports import write_between_markers

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
# Beside those of `methods.__all__`: plain training, and what holds another method.
METHODS = ("Supervised", *sorted(keras_selfkd.methods.__all__, key=str.lower), "Late")
HEADER = r"# .*?: (.+)\n\n\| needs .*\n\|[-|]+\n\| (.+) \| (.+) \| (.+) \| (.+) \|\n\n"


@dataclasses.dataclass
class Card:
    """What the top of a method's page says.

    Attributes:
        name: Its class.
        page: Path of the page.
        teaches: What teaches what, the title behind the name.
        needs: What student and data must have.
        students: The kinds that it trains.
        step: Time of a step on ResNet-18, plain training's = 1.
        when: What to take it for.
    """

    name: str
    page: pathlib.Path
    teaches: str
    needs: str
    students: str
    step: str
    when: str

    def row(self, beside, *cells):
        """A line of a table in a page of the folder `beside`."""
        link = pathlib.Path(os.path.relpath(self.page, beside)).as_posix()
        return f"| [{self.name}]({link}) | {' | '.join(cells)} |\n"


def card(name):
    """Reads the card of a method, a name of the package."""
    module = getattr(keras_selfkd, name).__module__.rsplit(".", 1)[-1]
    page = PAGES / f"{'supervised' if module == 'method' else module}.md"
    found = re.match(HEADER, page.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(
            "Expected a title `# Name: what teaches what` and a table of needs, "
            f"students, step and what to take it for at the top. Received: {page}"
        )
    return Card(name, page, *found.groups())


def short_table():
    """README's: which method, with what, at what cost, for what."""
    head = "| method | needs | step | take it for |\n|---|---|---|---|\n"
    cards = map(card, METHODS)
    return head + "".join(c.row(ROOT, c.needs, c.step, c.when) for c in cards)


def full_table():
    """That of docs/methods/README.md."""
    head = "| method | what teaches what | needs | students | step | take it for |\n"
    head += "|---|---|---|---|---|---|\n"
    rows = [
        c.row(PAGES, c.teaches, c.needs, c.students, c.step, c.when)
        for c in map(card, METHODS)
    ]
    return head + "".join(rows)


if __name__ == "__main__":
    write_between_markers(ROOT / "README.md", "methods", short_table())
    write_between_markers(PAGES / "README.md", "methods", full_table())
