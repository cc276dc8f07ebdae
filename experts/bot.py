"""MiniGrid's BabyAI bot, decision for decision, at a tenth of its cost.

The stock bot sees the world anew in every step, although the environment's observation says what it saw, and searches
paths cell by cell. Here what was seen comes from the observation, and paths are found by sets of cells: a set is an
integer with a bit for each cell of the maze, and all cells that are one step further are four shifts away.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from minigrid.utils.baby_ai_bot import BabyAIBot

from benchmarks.errors import GatitoError

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_TURNS = ((0, 1, 3, 2), (1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 0, 1))
"""The order in which the search leaves a cell that it entered in a direction: straight on first, back last."""
_VECTORS = tuple(np.array(vector) for vector in ((1, 0), (0, 1), (-1, 0), (0, -1)))
_VIEW = 7
_MOST_ROUNDS = 1_000
"""Changes of plan within one step. Sane plans need a few; the stock bot can go on for ever."""

Accept = Callable[[tuple[int, int], Any], Any]


class Bot(BabyAIBot):
    """The stock bot with other eyes and legs; its plans are inherited."""

    def __init__(self, level: Any) -> None:  # noqa: ANN401
        """Args: a BabyAI level (unwrapped), just reset."""
        self._width, self._height = level.width, level.height
        # Rows of cells with a margin, so that what is ahead of the agent never leaves the array.
        margin = _VIEW - 1
        self._padded = np.zeros((level.height + 2 * margin, level.width + 2 * margin), dtype=bool)
        self._inside = self._padded[margin:-margin, margin:-margin]
        self._ahead = _ahead(self._padded.shape[1])
        self._places = [(cell % level.width, cell // level.width) for cell in range(level.width * level.height)]
        super().__init__(level)
        self.vis_mask = self._inside.T
        cells = level.grid.grid
        self._free = _board(cell is None or (cell.type == "door" and cell.is_open) for cell in cells)
        self._passable = _board(cell is None or cell.type not in ("wall", "door") or _is_open(cell) for cell in cells)

    def decide(self, image: np.ndarray, last_action: int | None) -> int | None:
        """The next action, given the observation's image ``(7, 7, 3)`` and what was done last (None at the start).

        None where the plan has come to its end and the mission has not: the bot has nothing left to do.

        Raises:
            Exception: of many kinds, where the bot meets what it was not made for.
        """
        level = self.mission
        x, y = int(level.agent_pos[0]), int(level.agent_pos[1])
        facing = level.agent_dir
        self._look(image, x, y, facing)
        self._check_erroneous_box_opening(last_action)
        ahead = level.agent_pos + _VECTORS[facing]
        cell = level.grid.get(*ahead)
        self._note(int(ahead[1]) * self._width + int(ahead[0]), cell)
        now = {"pos": level.agent_pos, "dir_vec": _VECTORS[facing], "right_vec": _VECTORS[(facing + 1) % 4]}
        now |= {"fwd_pos": ahead, "fwd_cell": cell, "carrying": level.carrying}
        for subgoal in self.stack:
            subgoal.__dict__.update(now)

        self._here, self._facing = y * self._width + x, facing
        self._rings: list[int] = [1 << self._here]
        self._rings_through: list[int] = []
        if self.stack:
            self.stack[-1].replan_after_action(last_action)
        while self.stack and self.stack[-1].is_exploratory():
            self.stack.pop()
        action = None
        for _ in range(_MOST_ROUNDS):
            if not self.stack:
                return None
            action = self.stack[-1].replan_before_action()
            if action is not None:
                break
        if action is None:
            raise GatitoError("the bot changes its plan for ever.")

        self.prev_agent_pos, self.prev_carrying, self.prev_fwd_cell = level.agent_pos, level.carrying, cell
        if cell and cell.type == "door":
            self.fwd_door_was_open = cell.is_open
        return int(action)

    def _look(self, image: np.ndarray, x: int, y: int, facing: int) -> None:
        """Remember which cells were seen: the image is zero where nothing is."""
        here = (y + _VIEW - 1) * self._padded.shape[1] + x + _VIEW - 1
        self._padded.ravel()[here + self._ahead[facing][image[:, :, 0] != 0]] = True
        self._seen = int.from_bytes(np.packbits(self._inside, bitorder="little").tobytes(), "little")

    def _note(self, place: int, cell: Any) -> None:  # noqa: ANN401
        """Keep the sets of cells up to date: only what is ahead of the agent ever changes."""
        bit = 1 << place
        self._free = self._free | bit if cell is None or _is_open(cell) else self._free & ~bit
        passable = cell is None or cell.type not in ("wall", "door") or _is_open(cell)
        self._passable = self._passable | bit if passable else self._passable & ~bit

    def _shortest_path(self, accept_fn: Accept, try_with_blockers: bool = False) -> tuple[Any, Any, bool]:
        """As the stock bot's, but of the path its first step alone, which is all that a plan asks for."""
        found = self._search(accept_fn, self._reach())
        if found is not None:
            distance, places = found
            first, last = self._walk(self._rings, self._open(), self._here, self._facing, distance, places)
            return ([self._places[first]] if distance else []), self._places[last], False
        if not try_with_blockers:
            return None, None, False
        found = self._search(accept_fn, self._reach_through())
        if found is None:
            return None, None, True
        distance, places = found
        through = self._seen & self._passable
        roots = self._back(self._rings_through, through, distance, places)[0]
        depth, nearest = next((depth, ring & roots) for depth, ring in enumerate(self._rings) if ring & roots)
        first, root = self._walk(self._rings, self._open(), self._here, self._facing, depth, nearest)
        beyond, last = self._walk(self._rings_through, through, root, _EAST, distance, places)
        return [self._places[first if depth else beyond]], self._places[last], True

    def _find_obj_pos(self, obj_desc: Any, adjacent: bool = False) -> tuple[Any, Any]:  # noqa: ANN401
        """As the stock bot's: the nearest object that is described and seen, and where it is."""
        assert len(obj_desc.obj_set) > 0
        best = (999, None, None)
        for thing, place in zip(obj_desc.obj_set, obj_desc.obj_poss, strict=False):
            if thing.type == "wall" or thing is self.mission.carrying or not self.vis_mask[place]:
                continue
            distance = self._distance(place[1] * self._width + place[0])
            if distance == 0:
                distance = 3 if adjacent else 2  # away from it and back
            elif distance == 1 and adjacent:
                distance = 3
            if distance < best[0]:
                best = (distance, thing, place)
        return best[1], best[2]

    def _distance(self, place: int) -> int:
        """Steps to a cell, with what it takes to clear the way."""
        bit = 1 << place
        for distance, ring in enumerate(self._reach()):
            if ring & bit:
                return distance
        for beyond, ring in enumerate(self._reach_through()):
            if ring & bit:
                roots = self._back(self._rings_through, self._seen & self._passable, beyond, bit)[0]
                distance = next(depth for depth, ring in enumerate(self._rings) if ring & roots)
                return distance + beyond + (7 if self.mission.carrying else 4)
        raise AssertionError("what is seen can be reached")

    def _open(self) -> int:
        return self._seen & self._free

    def _reach(self) -> Iterator[int]:
        """Rings of cells around the agent: at no distance, at one step, and so on."""
        return self._grow(self._rings, self._open())

    def _reach_through(self) -> Iterator[int]:
        """The same from all of these cells together, through what could be carried out of the way."""
        if not self._rings_through:
            self._rings_through.append(sum(self._reach()))
        return self._grow(self._rings_through, self._seen & self._passable)

    def _grow(self, rings: list[int], through: int) -> Iterator[int]:
        width = self._width
        reached = 0
        for ring in rings:  # which grows meanwhile
            yield ring
            reached |= ring
            if ring is rings[-1]:
                leave = ring & through
                further = (leave << 1 | leave >> 1 | leave << width | leave >> width) & ~reached
                if further:
                    rings.append(further)

    def _search(self, accept_fn: Accept, reach: Iterator[int]) -> tuple[int, int] | None:
        """The distance of the nearest ring with cells that are accepted, and the set of these cells."""
        target = _target(accept_fn)
        if target is not None:
            bit = 1 << (int(target[1]) * self._width + int(target[0]))
            return next(((distance, bit) for distance, ring in enumerate(reach) if ring & bit), None)
        cells = self.mission.grid.grid
        for distance, ring in enumerate(reach):
            accepted = 0
            while ring:
                bit = ring & -ring
                place = bit.bit_length() - 1
                if accept_fn(self._places[place], cells[place]):
                    accepted |= bit
                ring ^= bit
            if accepted:
                return distance, accepted
        return None

    def _back(self, rings: list[int], through: int, distance: int, places: int) -> list[int]:
        """By distance, the cells of the rings that lie on shortest paths to some places in the last one."""
        width = self._width
        sets = [places]
        for ring in reversed(rings[:distance]):
            near = sets[-1]
            sets.append((near << 1 | near >> 1 | near << width | near >> width) & ring & through)
        return sets[::-1]

    def _walk(
        self, rings: list[int], through: int, start: int, facing: int, distance: int, places: int
    ) -> tuple[int, int]:
        """First and last cell of the path that a breadth-first search finds: at every fork the first turn in its order."""
        sets = self._back(rings, through, distance, places)
        steps = (1, self._width, -1, -self._width)
        here, first = start, start
        for depth in range(1, distance + 1):
            facing = next(turn for turn in _TURNS[facing] if sets[depth] >> (here + steps[turn]) & 1)
            here += steps[facing]
            if depth == 1:
                first = here
                if not places & (places - 1):  # one place only: where the path ends is known
                    return first, places.bit_length() - 1
        return first, here


def _ahead(width: int) -> list[np.ndarray]:
    """For each direction, where the cells of an image ``(7, 7)`` are, relative to the agent, in rows of ``width``."""
    across, along = np.meshgrid(np.arange(_VIEW) - _VIEW // 2, _VIEW - 1 - np.arange(_VIEW), indexing="ij")
    offsets = []
    for facing in range(4):
        forward, right = _VECTORS[facing], _VECTORS[(facing + 1) % 4]
        x, y = (forward[axis] * along + right[axis] * across for axis in range(2))
        offsets.append(y * width + x)
    return offsets


def _board(flags: Iterator[bool]) -> int:
    return sum(1 << place for place, flag in enumerate(flags) if flag)


def _is_open(cell: Any) -> bool:  # noqa: ANN401
    return cell.type == "door" and cell.is_open


def _target(accept_fn: Accept) -> tuple[int, int] | None:
    """The place that a stock ``lambda pos, cell: pos == target_pos`` asks for; None for any other function."""
    code = getattr(accept_fn, "__code__", None)
    if code is None or code.co_freevars != ("target_pos",) or code.co_name != "<lambda>":
        return None
    return accept_fn.__closure__[0].cell_contents  # type: ignore[attr-defined]
