"""Splitting of BabyAI's missions into instructions, by their words only.

The grammar (Chevalier-Boisvert et al. 2019, arXiv:1810.08272, the Baby Language; the forms are those of
MiniGrid's ``envs/babyai/core/verifier.py``)::

    mission     := clause | clause ", then " clause | clause " after you " clause
    clause      := instruction | instruction " and " instruction
    instruction := "go to" things | "pick up" things | "open" things | "put" things "next to" things
    things      := ("the" | "a") [colour] ("ball" | "box" | "door" | "key" | "object") [place]
    place       := "in front of you" | "behind you" | "on your left" | "on your right"

No instruction contains the words of a conjunction, so the split is unambiguous.
"""

from dataclasses import dataclass

_CONJUNCTIONS = ((", then ", "ab"), (" after you ", "ba"), (" and ", "ab"))
"""The loosest first, each with the order of its sides: a is the text before it, b the text after it."""


@dataclass(frozen=True)
class Part:
    """One instruction of a mission.

    Attributes:
        text: the instruction, itself a valid mission.
        path: its path in the mission, the side ``a`` or ``b`` at every conjunction; empty for the whole mission.
    """

    text: str
    path: str = ""


def split(mission: str) -> tuple[Part, ...]:
    """The instructions of a mission in the order of their execution.

    "And" allows any order; the first-named instruction comes first. A text without conjunctions is one part.
    """
    for conjunction, order in _CONJUNCTIONS:
        before, found, after = mission.partition(conjunction)
        if found:
            sides = {"a": before, "b": after}
            return tuple(Part(part.text, side + part.path) for side in order for part in split(sides[side]))
    return (Part(mission),)
