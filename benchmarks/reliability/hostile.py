"""Odd students, data and settings: `python -m benchmarks.reliability.hostile`.

Draws cases (tests/odd_input.py) and tries a step of each, eagerly and traced. A step is
finite and trains; or is refused with a message before any weight has changed; or is not
finite, says so in its logs and changes nothing. Anything else is a finding, and so is a
loss on probabilities, a label out of range or an unknown key that trains, or an
ordinary case that does not (tests/hostile.py).
Writes counts, refusals and findings into reliability.md. About 40 minutes on 2 CPU
cores.
"""

import collections

import hypothesis
from absl import app, flags
from hypothesis import HealthCheck, Phase

from benchmarks import reports
from tests import hostile

EAGER = flags.DEFINE_integer("eager", 1700, "Cases that run eagerly.", lower_bound=1)
TRACED = flags.DEFINE_integer("traced", 300, "Cases in a graph.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Decides the cases.")


def tried(count, eager):
    """Counter of outcomes, dict of refusals' beginnings to counts, and findings."""
    kinds, refusals, findings = collections.Counter(), collections.Counter(), []

    @hypothesis.seed(SEED.value)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(hostile.cases())
    def try_case(case):
        try:
            kind, message = hostile.outcome(case, eager)
        except Exception as error:  # noqa: BLE001, each is written down and counted
            kind, message = "finding", f"{type(error).__name__}: {error}"
            findings.append(f"{case}: {message.splitlines()[0]}")
        if kind == "refused":
            refusals[beginning(message)] += 1
        kinds[kind] += 1
        done = kinds.total()
        if done % 50 == 0:
            print(f"{done} of {count}: {dict(kinds)}", flush=True)

    try_case()
    return kinds, refusals, findings


def beginning(message):
    """The first words of a refusal, without what is particular to the case."""
    message = message.partition("Summarized data: b")[2].strip("'\"") or message
    return message.split(". ")[0].split("[0,")[0].splitlines()[0][:90]


def main(_):
    text = (
        f"`{reports.command()}`, {reports.machine()}.\n\nSkipped: the loss, a gradient "
        "or a statistic was not finite, as the logs show, and no weight changed.\n\n"
        "| steps | trained | refused | skipped | wrong |\n|---|---|---|---|---|\n"
    )
    refusals, findings = collections.Counter(), []
    for name, count in (("eager", EAGER.value), ("traced", TRACED.value)):
        kinds, some_refusals, some_findings = tried(count, name == "eager")
        cells = [kinds[k] for k in ("trained", "refused", "skipped", "finding")]
        text += f"| {name} | {' | '.join(map(str, cells))} |\n"
        refusals += some_refusals
        findings += some_findings
    text += "\nRefused with:\n\n| message begins | times |\n|---|---|\n"
    text += "".join(f"| {m} | {count} |\n" for m, count in refusals.most_common())
    text += "".join(f"\n* {finding}" for finding in findings)
    reports.write_between_markers(
        "benchmarks/reliability/reliability.md", "hostile", f"{text}\n"
    )


if __name__ == "__main__":
    app.run(main)
