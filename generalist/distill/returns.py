"""Targets of the critic: the discounted return from each recorded step on.

In self-play a reward is for the player whose move it was, and the next position belongs to the other player: what is
good there is bad here. So the return is a step's reward less the discounted return of the next step.
"""

import numpy as np

from benchmarks.play.trajectories import Trajectories

_MOST_CUT_OFF = 0.5


def critic_targets(trajectories: Trajectories, discount: float, search_values: float = 0.0) -> np.ndarray:
    """What the critic learns of every step, ``(steps,)``: :func:`returns_to_go`, mixed with a search's values.

    A game's outcome also depends on the random moves that were played for variety; a search's value does not, but
    it rests on the critic itself.

    Args:
        trajectories: the recording.
        discount: of the returns.
        search_values: the share of recorded values, where the recording has them.
    """
    returns = returns_to_go(trajectories, discount)
    if not search_values or not trajectories.has("values"):
        return returns
    values = trajectories.scattered(np.arange(len(returns)), ["values"])["values"]
    return ((1 - search_values) * returns + search_values * values).astype(np.float32)


def returns_to_go(trajectories: Trajectories, discount: float) -> np.ndarray:
    """The discounted returns of all steps for the player to move, episode after episode, ``(steps,)``.

    NaN where unknown: in a truncated episode, these are the steps for which more than half of the total discounted
    weight lies beyond the truncation.
    """
    from scipy.signal import lfilter  # slow to import, and most commands do not need it

    sign = -1.0 if trajectories.facts.get("self_play") else 1.0
    episodes = []
    for episode, length in enumerate(trajectories.lengths):
        rows = trajectories.window(episode, 0, int(length), ["rewards", "terminated"])
        returns = np.asarray(lfilter([1.0], [1.0, -sign * discount], rows["rewards"][::-1]), np.float32)[::-1].copy()
        if not rows["terminated"][-1]:
            weight_beyond_end = discount ** np.arange(length, 0, -1.0)
            returns[weight_beyond_end > _MOST_CUT_OFF] = np.nan
        episodes.append(returns)
    return np.concatenate(episodes)
