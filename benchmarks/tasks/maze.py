"""What an agent sees of a maze, byte for byte MiniGrid's own observation at a small part of its cost.

MiniGrid cuts the cells ahead out of the grid, turns them round object by object and asks each cell again which others
it lets be seen: two thirds of the time of a step. Here the places of the cells ahead are looked up, and what a row of
them lets be seen is a function of two small sets of bits, so it is computed once and remembered.
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
_FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))  # by direction; to the right is the next one's


def observe(level: Any) -> dict[str, Any]:  # noqa: ANN401
    """In place of ``MiniGridEnv.gen_obs``.

    Args:
        level: a level of MiniGrid (unwrapped).

    Returns:
        ``image`` (size, size, 3) uint8, across and from the farthest row to the agent's own; ``direction``;
        ``mission``.
    """
    size, grid, (x, y) = level.agent_view_size, level.grid, level.agent_pos
    window = _window(size, grid.width, grid.height, int(x), int(y), level.agent_dir)
    cells = window((*grid.grid, _OUTSIDE))
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
    # The agent sees at its own place what it carries, and nothing of what it stands on.
    image[size // 2, size - 1] = level.carrying.encode() if level.carrying else (OBJECT_TO_IDX["empty"], 0, 0)
    return {"image": image, "direction": level.agent_dir, "mission": level.mission}


@functools.cache
def _window(size: int, width: int, height: int, x: int, y: int, facing: int) -> Callable[[Sequence[Any]], Any]:
    """Takes the cells that are ahead of an agent, row by row from the farthest, out of those of a maze.

    The maze's cells are followed by one more that stands for all outside.
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
    """For each row of cells, from the farthest, the columns that are seen, as a set of bits."""
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
    """What is seen of a row, and from there of the next one, as ``Grid.process_vis`` has it.

    Args:
        reached: the columns that are seen from the row before.
        clear: those that can be seen through.
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
