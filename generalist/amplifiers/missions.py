"""BabyAI's missions, taken apart by their words alone.

The grammar (Chevalier-Boisvert et al. 2019, arXiv:1810.08272, the Baby Language; the forms are those of
MiniGrid's ``envs/babyai/core/verifier.py``)::

    mission     := clause | clause ", then " clause | clause " after you " clause
    clause      := instruction | instruction " and " instruction
    instruction := "go to" things | "pick up" things | "open" things | "put" things "next to" things
    things      := ("the" | "a") [colour] ("ball" | "box" | "door" | "key" | "object") [place]
    place       := "in front of you" | "behind you" | "on your left" | "on your right"

No instruction has a joint's words in it, so that a mission can be read in one way only.
"""

from dataclasses import dataclass

_JOINTS = ((", then ", "ab"), (" after you ", "ba"), (" and ", "ab"))
"""From the one that binds least, and which side of each comes first: a, before it in the text, or b, behind it."""


@dataclass(frozen=True)
class Part:
    """One instruction of a mission.

    Attributes:
        text: the instruction, a mission of its own.
        path: the way to it from the whole mission, at every joint the side ``a`` or ``b``; empty: it is the whole.
    """

    text: str
    path: str = ""


def split(mission: str) -> tuple[Part, ...]:
    """The instructions of a mission in the order in which to carry them out.

    Of two that "and" joins, either may come first; it is the one that is named first. A text without joints, of
    whatever language, is one part.
    """
    for joint, order in _JOINTS:
        before, found, behind = mission.partition(joint)
        if found:
            sides = {"a": before, "b": behind}
            return tuple(Part(part.text, side + part.path) for side in order for part in split(sides[side]))
    return (Part(mission),)
