"""Breadth-first search on a grid with bitboards: a set of cells is an integer with one bit per cell, row by row.

Four shifts move a whole set by one step, so the cost of a search grows with the length of the longest path instead of
the area. The grid's border must not be passable: steps would wrap around it.
"""

from collections.abc import Iterator

_TURNS = ((0, 1, 3, 2), (1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 0, 1))
"""By the direction in which the stock bot's search enters a cell, the directions in which it leaves, in order."""


class SearchLayers:
    """The layers of a breadth-first search: the cells at distance 0, 1, 2 and so on from the start.

    An impassable cell can be in a layer, but no path leads through it. Directions are 0 to 3: east, south, west, north
    (rows count downwards).
    """

    def __init__(self, start: int, passable: int, width: int) -> None:
        """Args: the set of start cells, the set of passable cells, and the grid's width in cells."""
        self._layers = [start]
        self._passable = passable
        self._width = width
        self._steps = (1, width, -1, -width)

    def __iter__(self) -> Iterator[int]:
        """The layers, computed on demand."""
        reached, width = 0, self._width
        for layer in self._layers:  # grows during the loop
            yield layer
            reached |= layer
            if layer is self._layers[-1]:
                leave = layer & self._passable
                further = (leave << 1 | leave >> 1 | leave << width | leave >> width) & ~reached
                if further:
                    self._layers.append(further)

    def depth(self, targets: int) -> int | None:
        """The distance of the nearest target; None if no target can be reached."""
        return next((depth for depth, layer in enumerate(self) if layer & targets), None)

    def roots(self, depth: int, targets: int) -> int:
        """The start cells from which shortest paths lead to targets in the layer at this depth."""
        return self._backward(depth, targets)[0]

    def walk(self, start: int, facing: int, depth: int, targets: int) -> tuple[int, int]:
        """The path from one start cell to a target in the layer at this depth.

        Among several shortest paths, the stock bot's search decides: the first turn in its order at every fork.

        Returns:
            The indices of the path's first cell (``start`` itself if the path is empty) and of its last cell.
        """
        sets = self._backward(depth, targets)
        here, first = start, start
        for step in range(1, depth + 1):
            facing = next(turn for turn in _TURNS[facing] if sets[step] >> (here + self._steps[turn]) & 1)
            here += self._steps[facing]
            if step == 1:
                first = here
                ends = sets[-1]
                if not ends & (ends - 1):  # a single target: the path's end is known
                    return first, ends.bit_length() - 1
        return first, here

    def _backward(self, depth: int, targets: int) -> list[int]:
        """By distance, the cells on shortest paths to the targets in the layer at this depth."""
        sets, width = [targets & self._layers[depth]], self._width
        for layer in reversed(self._layers[:depth]):
            near = sets[-1]
            sets.append((near << 1 | near >> 1 | near << width | near >> width) & layer & self._passable)
        return sets[::-1]
