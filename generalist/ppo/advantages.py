"""Advantages, and the scale of a task's rewards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from generalist.network.batches import Window


@dataclass(frozen=True)
class Segment:
    """Consecutive steps of one episode: the first ``context`` are input only, the n after them are trained on.

    Attributes:
        window: all steps.
        context: the number of leading steps that an earlier update has trained on.
        chosen: ``(n, …)``, the actions before clipping, see :mod:`generalist.network.distributions`.
        log_probs: ``(n,)``, their log-probabilities at the time.
        values: ``(n,)``, the critic's values at the time, in units of the task's spread.
        last_value: the critic's value after the last step; 0 if the episode terminated there.
    """

    window: Window
    context: int
    chosen: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    last_value: float

    @property
    def legal(self) -> np.ndarray | None:
        """``(n, options)`` bool, which options of discrete actions were legal; None: all."""
        return None if self.window.masks is None else self.window.masks[self.context :]

    def advantages(self, discount: float, decay: float, spread: "Spread") -> np.ndarray:
        """See :func:`gae`, with rewards in units of the spread."""
        rewards = self.window.rewards[self.context :] / spread.deviation
        return gae(rewards, self.values, self.last_value, discount, decay)


def gae(rewards: np.ndarray, values: np.ndarray, last_value: float, discount: float, decay: float) -> np.ndarray:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, equation 16).

    Args:
        rewards: shape ``(n,)``, the reward of each step.
        values: shape ``(n,)``, the critic's value before each step.
        last_value: the value after the last step: 0 after a termination, the critic's value after a truncation or in
            the middle of an episode.
        discount: gamma.
        decay: lambda.

    Returns:
        Shape ``(n,)``, float64; advantages plus values are the critic's targets.
    """
    from scipy.signal import lfilter  # slow to import, and most commands do not need it

    following = np.append(values[1:], last_value)
    errors = rewards + discount * following - values
    return np.asarray(lfilter([1.0], [1.0, -discount * decay], errors[::-1]))[::-1]


@dataclass
class Spread:
    """The running standard deviation of a task's discounted returns, as in stable-baselines3's VecNormalize.

    Rewards divided by it have the same scale in every task (Engstrom et al. 2020, arXiv:2005.12729, section 3).
    Gymnasium's RunningMeanStd starts from a variance of 1 with a small weight; this one uses the returns only.

    Attributes:
        count: the number of returns so far.
        mean: their mean.
        squares: the sum of their squared distances from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Add more returns (Chan et al. 1979)."""
        more, center = len(values), float(np.mean(values))
        total, distance = self.count + more, center - self.mean
        self.squares += float(np.square(np.asarray(values) - center).sum()) + distance**2 * self.count * more / total
        self.mean += distance * more / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The standard deviation; 1 while all returns are equal."""
        return float(np.sqrt(self.squares / self.count)) if self.squares > 0 else 1.0
