"""From what was met to what is learnt of it: advantages, and how large a task's rewards are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from generalist.network.batches import Window


@dataclass(frozen=True)
class Segment:
    """Consecutive steps of one episode: ``context`` of them are only read, the n after them are learnt from.

    Attributes:
        window: all of them.
        context: how many come first that an earlier update has learnt from.
        chosen: ``(n, …)``, the actions before they were clipped, see :mod:`generalist.network.distributions`.
        log_probs: ``(n,)``, of what was chosen, when it was.
        values: ``(n,)``, the returns that were expected, in units of the task's spread.
        last_value: that expected after the last step; 0 where the episode had come to its end.
    """

    window: Window
    context: int
    chosen: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    last_value: float

    def advantages(self, discount: float, decay: float, spread: "Spread") -> np.ndarray:
        """See :func:`gae`, of rewards in units of the spread."""
        rewards = self.window.rewards[self.context :] / spread.deviation
        return gae(rewards, self.values, self.last_value, discount, decay)


def gae(rewards: np.ndarray, values: np.ndarray, last_value: float, discount: float, decay: float) -> np.ndarray:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, equation 16).

    Args:
        rewards: shape ``(n,)``, what followed from each step.
        values: shape ``(n,)``, the returns expected before each.
        last_value: that expected after the last one: 0 after a termination; after a truncation, or where the steps are
            merely cut off, the critic's.
        discount: gamma.
        decay: lambda.

    Returns:
        Shape ``(n,)``, float64; with the values added, the critic's targets.
    """
    following = np.append(values[1:], last_value)
    errors = rewards + discount * following - values
    return np.asarray(lfilter([1.0], [1.0, -discount * decay], errors[::-1]))[::-1]


@dataclass
class Spread:
    """The running standard deviation of a task's discounted returns, as stable-baselines3's VecNormalize has it.

    Rewards divided by it are of one size in every task (Engstrom et al. 2020, arXiv:2005.12729, section 3).
    Gymnasium's RunningMeanStd starts from a variance of 1 with a small weight; this one holds the returns alone.

    Attributes:
        count: of returns so far.
        mean: theirs.
        squares: sum of the squared distances from it.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Take some more into account (Chan et al. 1979)."""
        more, center = len(values), float(np.mean(values))
        total, apart = self.count + more, center - self.mean
        self.squares += float(np.square(np.asarray(values) - center).sum()) + apart**2 * self.count * more / total
        self.mean += apart * more / total
        self.count = total

    @property
    def deviation(self) -> float:
        """1 as long as all returns were the same."""
        return float(np.sqrt(self.squares / self.count)) if self.squares > 0 else 1.0
