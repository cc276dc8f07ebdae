"""MiniGrid's BabyAI bot with the same decisions at a fraction of the cost.

The stock bot recomputes its field of view in every step and searches paths cell by cell. This bot reads the field of
view from the environment's observation and searches paths with bitboards (see :mod:`experts.programs.bitboard_search`).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.verifier import ObjDesc
from minigrid.utils.baby_ai_bot import BabyAIBot, ExploreSubgoal, GoNextToSubgoal, OpenSubgoal, PickupSubgoal

from benchmarks.base.errors import GatitoError
from experts.programs.bitboard_search import SearchLayers

_LEFT, _RIGHT, _FORWARD = range(3)
_EAST = 0
_VECTORS = tuple(np.array(vector) for vector in ((1, 0), (0, 1), (-1, 0), (0, -1)))
_VIEW = 7
_COLUMNS = [slice(start, start + _VIEW) for start in range(0, _VIEW * _VIEW, _VIEW)]
_MAX_PLAN_CHANGES = 1_000  # within one step; ordinary plans need a few
_AS_DIGITS = bytes([48] + [49] * 255)

Accept = Callable[[tuple[int, int], Any], Any]


class Bot(BabyAIBot):
    """The stock bot's plans with faster vision and path search."""

    def __init__(self, level: Any) -> None:  # noqa: ANN401
        """Args: a BabyAI level (unwrapped), just reset."""
        super().__init__(level)
        self._width: int = level.width
        self._steps = (1, level.width, -1, -level.width)
        self._places = _places(level.width, level.height)
        self._seen = 0
        self.vis_mask: Any = _Seen(self)
        cells = level.grid.grid
        empty = int("".join(["1" if cell is None else "0" for cell in reversed(cells)]), 2)
        self._free, self._passable, self._closed, self._locked = empty, empty, 0, 0
        for place, cell in enumerate(cells):
            if cell is not None and cell.type != "wall":
                self._note(1 << place, cell)

    def decide(self, image: np.ndarray, last_action: int | None) -> int | None:
        """The next action, given the observation's image ``(7, 7, 3)`` and the last action (None at the start).

        The result is None if the plan has ended before the mission.

        Raises:
            Exception: of any type, in situations that the stock bot does not handle.
        """
        level = self.mission
        facing = level.agent_dir
        here = int(level.agent_pos[1]) * self._width + int(level.agent_pos[0])
        self._look(image, here, facing)
        self._check_erroneous_box_opening(last_action)
        ahead = here + self._steps[facing]
        cell = level.grid.grid[ahead]
        self._note(1 << ahead, cell)  # only the cell ahead can change
        self._here, self._facing, self._ahead = here, facing, ahead
        self._near, self._far = SearchLayers(1 << here, self._seen & self._free, self._width), None
        # Caches of queries that are repeated within a step.
        self._keys: dict[str, ObjDesc] = {}
        self._found: dict[int, tuple[SearchLayers, int] | None] = {}
        self._reached: dict[int, int | None] = {}
        self._nearest_objects: dict[tuple[ObjDesc, bool], tuple[Any, Any]] = {}
        vector = _VECTORS[facing]
        self._now = {"pos": level.agent_pos, "dir_vec": vector, "right_vec": _VECTORS[(facing + 1) % 4]}
        self._now |= {"fwd_pos": level.agent_pos + vector, "fwd_cell": cell, "carrying": level.carrying}
        if self.stack:
            self.stack[-1].__dict__.update(self._now)
            self.stack[-1].replan_after_action(last_action)
        while self.stack and self.stack[-1].is_exploratory():
            self.stack.pop()
        action = self._change_plan_until_it_acts()
        self.prev_agent_pos, self.prev_carrying, self.prev_fwd_cell = level.agent_pos, level.carrying, cell
        if cell and cell.type == "door":
            self.fwd_door_was_open = cell.is_open
        return action

    def _change_plan_until_it_acts(self) -> int | None:
        """The action of the top subgoal, which may first replace itself with others.

        A subgoal's behaviour depends only on the subgoal and the world, and the world does not change meanwhile. So the
        plan loops for ever once a subgoal is on top again and no subgoal below it has been on top in between.
        """
        turns: list[tuple[int, Any]] = []  # the stack's height and its top subgoal; heights never decrease
        known: set[Any] = set()  # the subgoals in turns
        for _ in range(_MAX_PLAN_CHANGES):
            if not self.stack:
                return None
            subgoal = self.stack[-1]
            while turns and turns[-1][0] > len(self.stack):
                known.discard(turns.pop()[1])
            if not isinstance(subgoal.datum, np.ndarray):  # arrays cannot be hashed
                identity = (type(subgoal), subgoal.reason, subgoal.datum)
                if identity in known:
                    break
                known.add(identity)
                turns.append((len(self.stack), identity))
            subgoal.__dict__.update(self._now)
            if type(subgoal) is GoNextToSubgoal:
                action = self._go_next_to(subgoal)
            elif type(subgoal) is ExploreSubgoal:
                action = self._explore()
            else:
                action = subgoal.replan_before_action()
            if action is not None:
                return int(action)
        raise GatitoError("the bot's plan loops for ever.")

    def _note(self, place: int, cell: Any) -> None:  # noqa: ANN401
        """Update the sets of free cells, of cells that become free when an object is moved away, and of doors."""
        others = ~place
        self._free &= others
        self._passable &= others
        self._closed &= others
        self._locked &= others
        if cell is None or (cell.type == "door" and cell.is_open):
            self._free |= place
            self._passable |= place
        elif cell.type != "door":
            self._passable |= place if cell.type != "wall" else 0
        elif cell.is_locked:
            self._locked |= place
        else:
            self._closed |= place

    def _look(self, image: np.ndarray, here: int, facing: int) -> None:
        """Add the visible cells to the seen ones; the image is zero where a cell is not visible."""
        columns = image.tobytes()[::3].translate(_AS_DIGITS)
        seen = 0
        for column, cells in zip(_spread(self._width, facing), _COLUMNS, strict=True):
            seen |= column[columns[cells]]
        self._seen |= (seen << here) >> ((_VIEW - 1) * (self._width + 1))

    def _go_next_to(self, goal: Any) -> Any:  # noqa: ANN401
        """The stock subgoal's action, with a shortcut for walking ahead and turning."""
        thing: Any = None
        if goal.reason == "PutNext":
            return goal.replan_before_action()
        if isinstance(goal.datum, ObjDesc):
            thing, place = self._find_obj_pos(goal.datum)
            if not place:
                self._push(ExploreSubgoal)
                return None
        elif isinstance(goal.datum, WorldObj):
            thing, place = goal.datum, goal.datum.cur_pos
        else:
            place = goal.datum
        assert place is not None
        target = int(place[1]) * self._width + int(place[0])
        locked = goal.reason == "Open" and thing is not None and thing.type == "door" and thing.is_locked
        if thing is not None and locked and not self.mission.carrying:
            self.stack.pop()
            self._push(GoNextToSubgoal, thing, "Open")
            self._push(PickupSubgoal)
            self._push(GoNextToSubgoal, self._key(thing.color))
            return None
        if target == self._here:
            return goal.replan_before_action()
        if target == self._ahead:
            self.stack.pop()
            return None
        found = self._find(1 << target)
        if found is None:
            self._push(ExploreSubgoal)
            return None
        first, _ = self._route(*found, 1 << target)
        if first == self._ahead:
            return _FORWARD if self._free >> first & 1 else goal.replan_before_action()
        turn = self._steps.index(first - self._here) - self._facing
        if turn % 2:
            return _RIGHT if turn % 4 == 1 else _LEFT
        to_the_right = self._closest_wall_or_door_given_dir(goal.pos, goal.right_vec)
        return _LEFT if self._closest_wall_or_door_given_dir(goal.pos, -goal.right_vec) > to_the_right else _RIGHT

    def _explore(self) -> None:
        """The stock subgoal's plan: the nearest unseen cell, else the nearest closed door, locked doors last."""
        place = self._nearest(~self._seen)
        if place is not None:
            self._push(GoNextToSubgoal, self._places[place], "Explore")
            return
        place = self._nearest(self._closed)
        if place is None:
            place = self._nearest(self._locked)
        assert place is not None, "nothing left to explore"
        door, carried = self.mission.grid.grid[place], self.mission.carrying
        has_key = carried and carried.type == "key" and carried.color == door.color
        self.stack.pop()
        self._push(OpenSubgoal, None, "KeepKey" if door.is_locked and has_key else None)
        self._push(GoNextToSubgoal, door, "Open")

    def _key(self, color: str) -> ObjDesc:
        """The description of a key with this colour, and all keys that match it."""
        if color not in self._keys:
            key = self._keys[color] = ObjDesc("key", color)
            cells = zip(self._places, self.mission.grid.grid, strict=True)
            found = [(place, cell) for place, cell in cells if cell and cell.type == "key" and cell.color == color]
            found.sort(key=operator.itemgetter(0))  # by columns, as in the stock bot
            key.obj_poss, key.obj_set = [place for place, _ in found], [cell for _, cell in found]
        return self._keys[color]

    def _nearest(self, targets: int) -> int | None:
        """The nearest target, through obstacles if necessary."""
        if targets not in self._reached:
            found = self._find(targets)
            self._reached[targets] = self._route(*found, targets)[1] if found else None
        return self._reached[targets]

    def _push(self, kind: type, datum: Any = None, reason: str | None = None) -> None:  # noqa: ANN401
        """Push a new subgoal without its constructor, which would compute the field of view."""
        subgoal: Any = object.__new__(kind)
        subgoal.bot, subgoal.datum, subgoal.reason, subgoal.actions = self, datum, reason, self.mission.actions
        self.stack.append(subgoal)

    def _shortest_path(self, accept_fn: Accept, try_with_blockers: bool = False) -> tuple[Any, Any, bool]:
        """The stock bot's method, but with the path's first step only: plans use no more of it."""
        layers: SearchLayers = self._near
        found = self._search(accept_fn, layers)
        if found is None and try_with_blockers:
            layers = self._beyond()
            found = self._search(accept_fn, layers)
        through = layers is self._far
        if found is None:
            return None, None, through
        distance, targets = found
        first, last = self._route(layers, distance, targets)
        return ([self._places[first]] if through or distance else []), self._places[last], through

    def _search(self, accept_fn: Accept, layers: SearchLayers) -> tuple[int, int] | None:
        """The distance of the nearest layer with accepted cells, and the set of these cells."""
        cells = self.mission.grid.grid
        for distance, layer in enumerate(layers):
            accepted = 0
            while layer:
                bit = layer & -layer
                place = bit.bit_length() - 1
                if accept_fn(self._places[place], cells[place]):
                    accepted |= bit
                layer ^= bit
            if accepted:
                return distance, accepted
        return None

    def _find_obj_pos(self, obj_desc: Any, adjacent: bool = False) -> tuple[Any, Any]:  # noqa: ANN401
        """The stock bot's method: the nearest seen object that matches the description, and its position."""
        if (obj_desc, adjacent) not in self._nearest_objects:
            self._nearest_objects[obj_desc, adjacent] = self._nearest_object(obj_desc, adjacent)
        return self._nearest_objects[obj_desc, adjacent]

    def _nearest_object(self, obj_desc: ObjDesc, adjacent: bool) -> tuple[Any, Any]:
        assert len(obj_desc.obj_set) > 0
        best: tuple[int, Any, Any] = (999, None, None)
        for target, place in zip(obj_desc.obj_set, obj_desc.obj_poss, strict=False):
            if target.type == "wall" or target is self.mission.carrying or not self.vis_mask[place]:
                continue
            distance = self._distance(1 << (place[1] * self._width + place[0]))
            if distance == 0:
                distance = 3 if adjacent else 2  # away from it and back
            elif distance == 1 and adjacent:
                distance = 3
            if distance < best[0]:
                best = (distance, target, place)
        return best[1], best[2]

    def _distance(self, place: int) -> int:
        """Steps to a cell, including the steps that clear the path."""
        found = self._find(place)
        assert found is not None
        layers, distance = found
        if layers is self._near:
            return distance
        return self._root(distance, place)[0] + distance + (7 if self.mission.carrying else 4)

    def _find(self, targets: int) -> tuple[SearchLayers, int] | None:
        """The search (without obstacles, else through them) that reaches a target, and the target's distance."""
        if targets not in self._found:
            layers = self._near
            distance = layers.depth(targets)
            if distance is None:
                layers = self._beyond()
                distance = layers.depth(targets)
            self._found[targets] = None if distance is None else (layers, distance)
        return self._found[targets]

    def _beyond(self) -> SearchLayers:
        """The search that starts from all freely reachable cells and passes through movable obstacles."""
        if self._far is None:
            self._far = SearchLayers(sum(self._near), self._seen & self._passable, self._width)
        return self._far

    def _route(self, layers: SearchLayers, distance: int, targets: int) -> tuple[int, int]:
        """First and last cell of the path to a target at this distance."""
        if layers is self._near:
            return self._near.walk(self._here, self._facing, distance, targets)
        depth, roots = self._root(distance, targets)
        first, root = self._near.walk(self._here, self._facing, depth, roots)
        further, last = layers.walk(root, _EAST, distance, targets)
        return (first if depth else further), last

    def _root(self, distance: int, targets: int) -> tuple[int, int]:
        """The depth and the cells at which a path through obstacles leaves the freely reachable cells."""
        roots = self._beyond().roots(distance, targets)
        return next((depth, layer & roots) for depth, layer in enumerate(self._near) if layer & roots)


class _Seen:
    """The stock bot's mask of seen cells, by ``(column, row)``."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def __getitem__(self, place: tuple[int, int]) -> int:
        return self._bot._seen >> (int(place[1]) * self._bot._width + int(place[0])) & 1


@functools.cache
def _places(width: int, height: int) -> list[tuple[int, int]]:
    """Column and row of every cell."""
    return [(cell % width, cell // width) for cell in range(width * height)]


@functools.cache
def _spread(width: int, facing: int) -> list[dict[bytes, int]]:
    """For each image column, the set of maze cells of every visibility pattern.

    A pattern has seven digits, from the farthest cell to the agent's row; the agent is in the middle of that row. Sets
    are relative to the agent, whose cell is bit ``6 * (width + 1)``.
    """
    forward, right = _VECTORS[facing], _VECTORS[(facing + 1) % 4]
    origin = (_VIEW - 1) * (width + 1)
    columns = []
    for across in range(-(_VIEW // 2), _VIEW // 2 + 1):
        offsets = [forward * along + right * across for along in reversed(range(_VIEW))]
        bits = [1 << (origin + int(offset[1]) * width + int(offset[0])) for offset in offsets]
        patterns = (format(pattern, f"0{_VIEW}b") for pattern in range(2**_VIEW))
        columns.append(
            {
                pattern.encode(): sum(bit for bit, digit in zip(bits, pattern, strict=True) if digit == "1")
                for pattern in patterns
            }
        )
    return columns
