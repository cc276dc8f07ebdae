"""A faster implementation of MiniGrid's observation with identical bytes.

MiniGrid slices the cells ahead out of the grid, rotates them object by object and computes the visibility of each cell
anew: two thirds of the time of a step. Here the indices of the cells ahead are looked up, and the visibility of a row,
a function of two small bit sets, is cached.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.world_object import Wall

_UNSEEN, _EMPTY = (bytes([OBJECT_TO_IDX[kind], 0, 0]) for kind in ("unseen", "empty"))
_WALLS = {color: bytes([OBJECT_TO_IDX["wall"], index, 0]) for color, index in COLOR_TO_IDX.items()}
_OUTSIDE = Wall()
_FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))  # by direction; the next entry is to the right


def observe(level: Any) -> dict[str, Any]:  # noqa: ANN401
    """Replace ``MiniGridEnv.gen_obs``.

    Args:
        level: a level of MiniGrid (unwrapped).

    Returns:
        ``image`` (size, size, 3) uint8, by column and by row from the farthest to the agent's own; ``direction``;
        ``mission``.
    """
    size, grid, (x, y) = level.agent_view_size, level.grid, level.agent_pos
    select = _view(size, grid.width, grid.height, int(x), int(y), level.agent_dir)
    cells = select((*grid.grid, _OUTSIDE))
    seen = _seen(cells, size) if not level.see_through_walls else [(1 << size) - 1] * size
    codes = []
    for row, mask in enumerate(seen):
        if not mask:
            codes.append(_UNSEEN * size)
            continue
        for column, cell in enumerate(cells[row * size : (row + 1) * size]):
            if not mask >> column & 1:
                codes.append(_UNSEEN)
            elif cell is None:
                codes.append(_EMPTY)
            elif type(cell) is Wall:
                codes.append(_WALLS[cell.color])
            else:
                codes.append(bytes(cell.encode()))
    image = np.frombuffer(b"".join(codes), np.uint8).reshape(size, size, 3).transpose(1, 0, 2).copy()
    # At its own cell, the agent sees the object that it carries instead of the cell's content.
    image[size // 2, size - 1] = level.carrying.encode() if level.carrying else (OBJECT_TO_IDX["empty"], 0, 0)
    return {"image": image, "direction": level.agent_dir, "mission": level.mission}


@functools.cache
def _view(size: int, width: int, height: int, x: int, y: int, facing: int) -> Callable[[Sequence[Any]], Any]:
    """Selects the cells ahead of an agent, row by row from the farthest, from a maze's cells.

    The maze's cells are followed by one cell that represents the outside.
    """
    (ahead_x, ahead_y), (right_x, right_y) = _FORWARD[facing], _FORWARD[(facing + 1) % 4]
    places = []
    for ahead in reversed(range(size)):
        for right in range(-(size // 2), size - size // 2):
            column = x + ahead * ahead_x + right * right_x
            row = y + ahead * ahead_y + right * right_y
            inside = 0 <= column < width and 0 <= row < height
            places.append(row * width + column if inside else width * height)
    return operator.itemgetter(*places)


def _seen(cells: Sequence[Any], size: int) -> list[int]:
    """For each row of cells, from the farthest, the visible columns as a bit set."""
    rows = [0] * size
    reached = 1 << (size // 2)
    for row in reversed(range(size)):
        clear = 0
        for column, cell in enumerate(cells[row * size : (row + 1) * size]):
            if cell is None or cell.see_behind():
                clear |= 1 << column
        rows[row], reached = _row(reached, clear, size)
        if not reached:
            break
    return rows


@functools.cache
def _row(reached: int, clear: int, size: int) -> tuple[int, int]:
    """The visible columns of a row and those reached in the next row, as ``Grid.process_vis`` computes them.

    Args:
        reached: the columns that are visible from the previous row.
        clear: the transparent columns.
        size: columns of a row.
    """
    seen, further = reached, 0
    for column in range(size - 1):
        if seen & clear & 1 << column:
            seen |= 2 << column
            further |= 3 << column
    for column in reversed(range(1, size)):
        if seen & clear & 1 << column:
            seen |= 1 << (column - 1)
            further |= 3 << (column - 1)
    return seen, further
