"""Rendered rooms of BabyAI, with captions and questions that are true by construction.

A room is MiniGrid's picture of 7 x 7 cells with one to three objects. :data:`HELD_OUT` are three pairs of colour and
kind that no training episode shows or names; every test episode shows one, or asks for one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.words.items import SIDE, Item
from benchmarks.tasks.words.metrics import MISSING

COLOURS = ("blue", "green", "grey", "purple", "red", "yellow")
KINDS = ("ball", "box", "key")
HELD_OUT = (("green", "key"), ("purple", "ball"), ("red", "box"))
_CELLS = 7  # a side of a room with its walls
_MOST = 3  # objects in a room
_PLACES = {"top left": (1, 1), "top right": (4, 1), "bottom left": (1, 4), "bottom right": (4, 4)}  # corners of 2 x 2

Thing = tuple[str, str]
"""A colour and a kind."""
Cell = tuple[int, int]
"""Column and row, from the top left."""

_PAIRS = tuple((colour, kind) for colour in COLOURS for kind in KINDS)
_SEEN = tuple(pair for pair in _PAIRS if pair not in HELD_OUT)


class Captions:
    """Name all objects of a room, sorted by colour and kind: ``blue key, red ball``."""

    metric, has_images, forced, digest = "named", True, False, ""
    longest_prompt = 0
    longest_answer = len(", ".join(["purple ball"] * _MOST))

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """One to three different objects; in tests, one of them is held out."""
        count = int(rng.integers(1, _MOST + 1))
        pool = list(_PAIRS if test else _SEEN)
        things = [_pick(rng, HELD_OUT)] if test else []
        while len(things) < count:
            things.append(pool[int(rng.integers(len(pool)))])
            things = list(dict.fromkeys(things))
        return Item("", (caption(things),), _room(rng, things))


class Questions:
    """Answer a question about a room: a colour, a number, a place, or yes and no."""

    metric, has_images, forced, digest = "exact", True, False, ""
    longest_prompt = len("where is the purple ball?")
    longest_answer = len("bottom right")

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """One of four kinds of questions; in tests, it is about a held-out pair."""
        asked = _pick(rng, HELD_OUT if test else _SEEN)
        ask: Callable[[np.random.Generator, Thing, bool], Item] = _pick(rng, (_colour, _count, _place, _is_there))
        return ask(rng, asked, test)


def caption(things: Sequence[Thing]) -> str:
    """The caption of a room with these objects."""
    return ", ".join(f"{colour} {kind}" for colour, kind in sorted(things))


def _colour(rng: np.random.Generator, asked: Thing, test: bool) -> Item:
    colour, kind = asked
    others = [pair for pair in _pairs(test) if pair[1] != kind]
    things = [asked, *_some(rng, others, int(rng.integers(_MOST)))]
    return Item(f"what colour is the {kind}?", (colour,), _room(rng, things))


def _count(rng: np.random.Generator, asked: Thing, test: bool) -> Item:
    kind = asked[1]
    count = int(rng.integers(1 if test else 0, _MOST + 1))  # a test's room has at least the held-out object
    same, others = ([pair for pair in _pairs(test) if (pair[1] == kind) == alike] for alike in (True, False))
    things = [asked] if test else []
    things += _some(rng, same, count - len(things))
    return Item(f"how many {_plural(kind)}?", (str(count),), _room(rng, things + _some(rng, others, _MOST - count)))


def _place(rng: np.random.Generator, asked: Thing, test: bool) -> Item:
    place = _pick(rng, tuple(_PLACES))
    column, row = _PLACES[place]
    cell = (column + int(rng.integers(2)), row + int(rng.integers(2)))
    others = _some(rng, [pair for pair in _pairs(test) if pair != asked], int(rng.integers(_MOST)))
    return Item(f"where is the {' '.join(asked)}?", (place,), _room(rng, [asked, *others], cell))


def _is_there(rng: np.random.Generator, asked: Thing, test: bool) -> Item:
    there = bool(rng.integers(2))
    others = _some(rng, [pair for pair in _pairs(test) if pair != asked], int(rng.integers(1, _MOST)))
    article = "an" if asked[0][0] in "aeiou" else "a"
    question = f"is there {article} {' '.join(asked)}?"
    return Item(question, ("yes" if there else "no",), _room(rng, [asked, *others] if there else others))


def _pairs(test: bool) -> Sequence[Thing]:
    return _PAIRS if test else _SEEN


def _some(rng: np.random.Generator, pairs: Sequence[Thing], count: int) -> list[Thing]:
    """Pairs drawn with repetition."""
    return [_pick(rng, pairs) for _ in range(count)]


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:  # noqa: ANN401
    return options[int(rng.integers(len(options)))]


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("x") else f"{kind}s"


def _room(rng: np.random.Generator, things: Sequence[Thing], first: Cell | None = None) -> np.ndarray:
    """The picture ``(SIDE, SIDE, 3)`` of a room with these objects; ``first``: the cell of the first one."""
    inside = [(column, row) for column in range(1, _CELLS - 1) for row in range(1, _CELLS - 1)]
    if first is not None:
        inside.remove(first)
    chosen = [inside[index] for index in rng.permutation(len(inside))[: len(things)]]
    cells = chosen if first is None else [first, *chosen]
    tiles = _tiles()
    picture = np.empty((_CELLS, _CELLS, *tiles["floor"].shape), np.uint8)
    picture[:] = tiles["wall"]
    picture[1:-1, 1:-1] = tiles["floor"]
    for thing, (column, row) in zip(things, cells, strict=False):
        picture[row, column] = tiles[" ".join(thing)]
    return picture.swapaxes(1, 2).reshape(SIDE, SIDE, 3)


@functools.cache
def _tiles() -> dict[str, np.ndarray]:
    """MiniGrid's pictures of a wall, the floor and every object, by name, ``(12, 12, 3)`` each.

    Raises:
        GatitoError: if MiniGrid is missing.
    """
    try:
        from minigrid.core.grid import Grid
        from minigrid.core.world_object import Ball, Box, Key, Wall
    except ImportError as error:
        raise GatitoError(f"pictures of rooms need a package that is not installed ({error}): {MISSING}.") from None
    size = SIDE // _CELLS
    made = {"ball": Ball, "box": Box, "key": Key}
    shown = {" ".join(pair): made[pair[1]](pair[0]) for pair in _PAIRS} | {"wall": Wall(), "floor": None}
    return {name: Grid.render_tile(thing, tile_size=size).astype(np.uint8) for name, thing in shown.items()}
