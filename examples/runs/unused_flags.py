"""Flags that have no use in a run: refused by name instead of ignored."""

from absl import flags

_RULES = []


def used_only(flag, condition, remedy):
    """Says when a flag has a use; stands beside the flag's definition.

    Args:
        flag: `absl.flags.FlagHolder`.
        condition: Function without arguments, of the values of other flags.
        remedy: String, the flags that give this one a use.
    """
    _RULES.append((flag.name, condition, remedy))


def refuse_unused():
    """Refuses flags that were set although others leave them without a use.

    A flag with its default value says nothing: `flags.cfg` holds all flags of a run.

    Raises:
        ValueError: If there are such flags; the message names them all.
    """
    unused = {
        flags.FLAGS[name].serialize(): remedy
        for name, condition, remedy in _RULES
        if flags.FLAGS[name].value != flags.FLAGS[name].default and not condition()
    }
    if unused:
        listed = ", ".join(f"{flag} (only {why})" for flag, why in unused.items())
        raise ValueError(
            "Expected only flags that have a use in this run; leave the others out. "
            f"Received: {listed}"
        )
