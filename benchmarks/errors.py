"""The one kind of error that a person is meant to read: a single line that says what is wrong and the way out."""

import difflib
from collections.abc import Iterable


class GatitoError(Exception):
    """Something that the person at the keyboard can mend; its text is one line and names the way out."""


def check_at_least(group: str, config: object, **minimums: float) -> None:
    """Refuse settings below their minimum: ``check_at_least("record", config, steps=1)``.

    Raises:
        GatitoError: naming the first one.
    """
    for name, minimum in minimums.items():
        value = getattr(config, name)
        if not value >= minimum:
            raise GatitoError(f"{group}.{name} must be at least {minimum:g}, not {value}.")


def unknown(kind: str, name: object, valid: Iterable[object]) -> GatitoError:
    """The answer to a name that does not exist: the nearest valid one and all the others.

    Args:
        kind: what was looked for, such as ``"task"``.
        name: what was asked for.
        valid: every name that would have worked.
    """
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return GatitoError(f"unknown {kind} '{name}'.{hint} Valid: {', '.join(names) or '(none)'}.")
