"""Breadth-first search over a grid by sets of cells: a set is an integer with a bit for each cell, row by row.

All cells that are one step further are then four shifts away, so a search costs as much as its longest path, not as its
area. The grid's border must not be passable: steps would wrap around it.
"""

from collections.abc import Iterator

_TURNS = ((0, 1, 3, 2), (1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 0, 1))
"""The order in which the stock bot's search leaves a cell that it entered in a direction: straight on first."""


class Rings:
    """Cells around some start, by their distance: those at no distance, at one step, and so on.

    A cell that cannot be passed is in a ring, but no way leads through it. Directions are 0 to 3: east, south, west,
    north (rows count downwards).
    """

    def __init__(self, start: int, passable: int, width: int) -> None:
        """Args: the set of cells to start from, the set of those that can be passed, and the grid's width in cells."""
        self._rings = [start]
        self._passable = passable
        self._width = width
        self._steps = (1, width, -1, -width)

    def __iter__(self) -> Iterator[int]:
        """The rings; each is searched for when it is first asked for."""
        reached, width = 0, self._width
        for ring in self._rings:  # grows meanwhile
            yield ring
            reached |= ring
            if ring is self._rings[-1]:
                leave = ring & self._passable
                further = (leave << 1 | leave >> 1 | leave << width | leave >> width) & ~reached
                if further:
                    self._rings.append(further)

    def depth(self, places: int) -> int | None:
        """The distance of the nearest of some places; None if none can be reached."""
        return next((depth for depth, ring in enumerate(self) if ring & places), None)

    def roots(self, depth: int, places: int) -> int:
        """The cells of the start from which shortest ways lead to some places in the ring of that depth."""
        return self._back(depth, places)[0]

    def walk(self, start: int, facing: int, depth: int, places: int) -> tuple[int, int]:
        """The way from one cell of the start to the nearest of some places in the ring of that depth.

        Of several ways it is the one that the stock bot's search finds: at every fork the first turn in its order.

        Returns:
            The numbers of the first cell of the way (``start`` itself if there is none to go) and of the last.
        """
        sets = self._back(depth, places)
        here, first = start, start
        for step in range(1, depth + 1):
            facing = next(turn for turn in _TURNS[facing] if sets[step] >> (here + self._steps[turn]) & 1)
            here += self._steps[facing]
            if step == 1:
                first = here
                ends = sets[-1]
                if not ends & (ends - 1):  # a single place: where the way ends is known
                    return first, ends.bit_length() - 1
        return first, here

    def _back(self, depth: int, places: int) -> list[int]:
        """By distance, the cells of the rings that lie on shortest ways to some places in the ring of that depth."""
        sets, width = [places & self._rings[depth]], self._width
        for ring in reversed(self._rings[:depth]):
            near = sets[-1]
            sets.append((near << 1 | near >> 1 | near << width | near >> width) & ring & self._passable)
        return sets[::-1]
