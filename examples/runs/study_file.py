"""What a study's file and command line say, checked before anything is done."""

import csv
import difflib
import io
import pathlib
import tomllib

from absl import flags

from examples.runs import recipe
from examples.runs.study import flags_of, flags_set, slug

# What the study itself decides.
_OWN = ("seed", "epochs", "run_dir", "resume", "overwrite", "baseline", "export")
_KINDS = {
    "task": (str,),
    "seeds": (int, list),
    "budgets": (int, list),
    "equal_time": (bool,),
    "baseline": (str,),
    "base": (dict,),
    "legs": (dict,),
}


def given_flags(task, others):
    """Returns a dict from name to text of the trainer's flags on the command line.

    Raises:
        ValueError: For flags of other tasks' trainers, and those of the study itself.
    """
    known = flags_of(task)
    foreign = {name: flag for other in others for name, flag in flags_of(other).items()}
    foreign = [n for n, flag in foreign.items() if flag.present and n not in known]
    if foreign:
        raise ValueError(
            f"Expected flags of {task.name}. Received: --{', --'.join(foreign)}"
        )
    given = {name: flag.serialize() for name, flag in known.items() if flag.present}
    free = (recipe.RUN_DIR.name, recipe.OVERWRITE.name)
    _refuse_own(given.keys() - set(free), "the command line")
    return {name: text for name, text in given.items() if name not in free}


def legs_of(task, tables, base, given):
    """Returns the legs as `Study` has them.

    Args:
        task: `Task`.
        tables: Dict from a leg's name to a dict from flag to value.
        base: Dict from flag to value, which legs inherit.
        given: Dict from flag to text, which goes before the base.

    Raises:
        ValueError: For flags that the trainer has not, that the study decides, or of
            values that it refuses; and for names that would share a directory.
    """
    if not tables:
        raise ValueError("Expected at least one leg. Received: none")
    common = {**_texts(task, base, "[base]"), **given}
    legs, names = {}, {}
    for name, table in tables.items():
        place = f"[legs.{name}]"
        if slug(name) in names:
            raise ValueError(
                "Expected legs of different names. Received: "
                f"{names[slug(name)]!r} and {name!r}"
            )
        names[slug(name)] = name
        legs[name] = tuple({**common, **_texts(task, table, place)}.values())
        try:
            with flags_set(task, legs[name]):
                pass
        except flags.Error as error:
            raise ValueError(f"{place}: {error}") from error
    return legs


def _texts(task, table, place):
    known = flags_of(task)
    for name in table:
        if name not in known:
            closest = difflib.get_close_matches(name, known)
            raise ValueError(
                f"Expected flags of {task.name} in {place}. The closest names: "
                f"{closest}. Received: {name}"
            )
    _refuse_own(table, place)
    return {name: _text(known[name], value, place) for name, value in table.items()}


def _text(flag, value, place):
    name = flag.name
    if isinstance(value, bool) and flag.boolean:
        return f"--{name}" if value else f"--no{name}"
    if isinstance(value, list):
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(value)
        return f"--{name}={text.getvalue()}"
    if isinstance(value, dict):
        raise ValueError(
            f"Expected a number, a text or a list for {name} in {place}. "
            f"Received: {value}"
        )
    return f"--{name}={value}"


def _refuse_own(names, place):
    own = sorted(set(names) & set(_OWN))
    if own:
        raise ValueError(
            f"A study sets {', '.join(own)} itself: leave them out of {place}, and "
            "give `seeds` and `budgets`."
        )


def read_file(path):
    """Returns what a study's TOML file says, a dict.

    Raises:
        ValueError: If it is no TOML, has keys that no study has, or values of other
            types.
    """
    path = pathlib.Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected {path} to be TOML: {error}") from error
    unknown = content.keys() - _KINDS.keys()
    if unknown:
        raise ValueError(
            f"Expected {path} to hold {', '.join(_KINDS)}. Received: "
            f"{', '.join(sorted(unknown))}"
        )
    for name, value in content.items():
        kinds = _KINDS[name]
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(
                f"Expected {name} in {path} to be {expected}. Received: {value!r}"
            )
    for name, table in content.get("legs", {}).items():
        if not isinstance(table, dict):
            raise ValueError(
                f"Expected [legs.{name}] in {path} to be a table of flags. Received: "
                f"{table!r}"
            )
    return content


def seeds_of(value):
    """Returns the seeds that their number, or a list of them, says."""
    return _numbers(range(value) if isinstance(value, int) else value, "seeds")


def budgets_of(value):
    """Returns the budgets that a number of epochs, or a list of them, says."""
    values = value if isinstance(value, list) else [value]
    values = [int(n) if isinstance(n, str) and n.isdecimal() else n for n in values]
    budgets = _numbers(values, "budgets")
    if min(budgets) < 1:
        raise ValueError(f"Expected budgets of 1 epoch or more. Received: {budgets}")
    return budgets


def _numbers(values, name):
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in values)
    if not values or not whole or min(values) < 0 or len(set(values)) < len(values):
        raise ValueError(
            f"Expected {name} to be different whole numbers. Received: {values}"
        )
    return tuple(values)
