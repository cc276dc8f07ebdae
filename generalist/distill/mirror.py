"""Mirrored board games: the rules treat a position and its mirror image alike, so one recorded game teaches two.

AlphaGo Zero (Silver et al. 2017, doi:10.1038/nature24270) samples the symmetries of its board in the same way.
"""

from dataclasses import replace

import numpy as np

from benchmarks.tasks.games.boards import make_board
from generalist.network.batches import Window


def mirrored(window: Window) -> Window:
    """A window of a board game as it would have been recorded in the mirrored game; of another task, unchanged."""
    if window.task.family != "games":
        return window
    board = make_board(window.task.env_id, window.task.name)
    counterparts = board.mirrored_actions

    def options(rows: np.ndarray | None) -> np.ndarray | None:
        return None if rows is None else rows[:, counterparts]  # a mirror image's mirror image is the position itself

    before = window.before
    return replace(
        window,
        observations=board.mirrored(window.observations),
        labels=counterparts[window.labels],
        distributions=options(window.distributions),
        actions=counterparts[window.actions],
        masks=options(window.masks),
        before=None if before is None else (counterparts[before[0]], before[1]),
        prompt=None if window.prompt is None else mirrored(window.prompt),
    )
