"""Statistics of scores: aggregates over tasks, and intervals that hold with few training seeds.

Pure functions of arrays and an explicit ``numpy.random.Generator``. From episodes to an interval: :class:`Bootstrap`
resamples training seeds, then episodes, and gives :class:`Replicates` of every task's mean; any function of means maps
replicates to replicates (:func:`combine`); :func:`interval` computes the interval from them.

One training seed stands for one whole pipeline (experts, recordings, networks) and its own test episodes. It is
resampled for all agents and tasks together, so that common causes, such as a weak expert that a generalist copies, stay
common.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.base.seeds import derive

LEVEL = 0.95
_Key = TypeVar("_Key")
Sample = Mapping[int, np.ndarray]
"""One agent's scores on one task: training seed → shape ``(episodes,)``, in the order of the episodes' seeds."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Replicates:
    """A quantity, its values in resampled benchmarks, and the amount of data behind it.

    Attributes:
        estimate: shape ``(…)``, the quantity itself.
        resampled: shape ``(resamples, …)``, with training seeds and episodes resampled.
        episodes_only: shape ``(resamples, …)``, with the same resampled episodes of the original training seeds.
        seeds: training seeds; with 1, the variation between seeds is unknown and missing in intervals.
        episodes: episodes per training seed.
    """

    estimate: np.ndarray
    resampled: np.ndarray
    episodes_only: np.ndarray
    seeds: int
    episodes: int


def combine(function: Callable[..., np.ndarray], *parts: Replicates) -> Replicates:
    """Apply a function to replicates, such as ``combine(iqm, f)``.

    Args:
        function: maps arrays of shapes ``(…)`` or ``(resamples, …)`` alike, one for each of the parts.
        parts: the replicates to combine.
    """
    return Replicates(
        np.asarray(function(*(part.estimate for part in parts))),
        function(*(part.resampled for part in parts)),
        function(*(part.episodes_only for part in parts)),
        min((part.seeds for part in parts if part.seeds > 1), default=1),
        min(part.episodes for part in parts),
    )


class Bootstrap:
    """Resamples training seeds and the episodes of each (Efron and Tibshirani 1993; Davison and Hinkley 1997, 3.8).

    A resampled mean is the estimate, plus the deviation of the resampled seeds, plus the deviation of the resampled
    episodes of every seed.

    Resamples depend on the generator's initial state and on a sample's training seeds and number of episodes, not on
    the order of calls: agents with the same training seeds have the same resamples.
    """

    def __init__(self, rng: np.random.Generator, resamples: int = 10_000) -> None:
        self.resamples = resamples
        self._entropy = int(rng.integers(2**63))
        self._draws: dict[tuple[object, ...], np.ndarray] = {}

    def means(self, samples: Sequence[Sample]) -> Replicates:
        """Replicates of each sample's mean over its training seeds, shape ``(samples,)``.

        Args:
            samples: one agent's scores, a sample per task.
        """
        estimate = np.array([np.mean([values.mean() for values in sample.values()]) for sample in samples])
        noise = np.zeros((self.resamples, len(samples)))
        shift = np.zeros_like(noise)
        for columns, seeds in _alike([tuple(sample) for sample in samples]):
            by_seed = np.array([[samples[column][seed].mean() for column in columns] for seed in seeds])
            shift[:, columns] = self._seed_weights(seeds) @ by_seed
            for seed in seeds:
                noise[:, columns] += self.noise([samples[column] for column in columns], seed) / len(seeds)
        counts = [(len(sample), min(map(len, sample.values()))) for sample in samples]
        seeds = min((seeds for seeds, _ in counts if seeds > 1), default=1)
        resampled = estimate + shift + noise
        return Replicates(estimate, resampled, estimate + noise, seeds, min(episodes for _, episodes in counts))

    def noise(self, samples: Sequence[Sample], seed: int) -> np.ndarray:
        """Deviation of resampled means from the means of one training seed, shape ``(resamples, samples)``."""
        added = np.zeros((self.resamples, len(samples)))
        for columns, episodes in _alike([len(sample[seed]) for sample in samples]):
            values = np.stack([samples[column][seed] for column in columns], axis=1)
            added[:, columns] = self._episode_weights(seed, episodes) @ (values - values.mean(axis=0))
        return added

    def seed_counts(self, seeds: tuple[int, ...]) -> np.ndarray:
        """How often each training seed is resampled, shape ``(resamples, seeds)``."""
        return self._counts("seeds", seeds, size=len(seeds))

    def _seed_weights(self, seeds: tuple[int, ...]) -> np.ndarray:
        """Weights of deviations between seeds, scaled so that their variance is unbiased."""
        count = len(seeds)
        return (self.seed_counts(seeds) - 1) / count * math.sqrt(count / max(1, count - 1))

    def _episode_weights(self, seed: int, episodes: int) -> np.ndarray:
        counts = self._counts("episodes", seed, size=episodes)
        return counts / episodes * math.sqrt(episodes / max(1, episodes - 1))

    def _counts(self, *names: object, size: int) -> np.ndarray:
        if (*names, size) not in self._draws:
            rng = np.random.default_rng([self._entropy, derive(*names, size)])
            drawn = rng.integers(size, size=(self.resamples, size)) + size * np.arange(self.resamples)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=self.resamples * size)
            self._draws[*names, size] = counts.reshape(self.resamples, size).astype(np.float64)
        return self._draws[*names, size]


def interval(
    replicates: Replicates, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of each quantity, ``(low, high)`` in the shape of the estimate.

    A percentile interval with three corrections, without which its coverage is far below 95 %:

    - Seeds differ also because their episodes do, so resampling both counts the episodes' noise twice. The variance is
      that of ``resampled`` less that of ``episodes_only`` (which is also its floor), and deviations are scaled to it.
    - Few seeds: the deviations are widened from the normal distribution's quantile to Student's (Hesterberg 2015,
      "expanded percentile"), with the seeds' degrees of freedom, or the episodes' if these are the floor. With two
      seeds that is not enough: in simulations, the coverage is 85 to 90 %.
    - Noise biases kinks and extremes (an optimality gap, a worst decile): the bias that resampling adds is subtracted
      once (Efron and Tibshirani 1993, ch. 10).

    Args:
        replicates: replicates of any shape.
        bounds: the least and greatest possible value of the quantity.
    """
    from scipy import special  # slow to import, and most commands do not need it

    spread = replicates.resampled.var(axis=0)
    noise = replicates.episodes_only.var(axis=0)
    variance = np.maximum(spread - noise, noise) if replicates.seeds > 1 else spread
    freedom = np.where(
        (variance > noise) & (replicates.seeds > 1),
        max(1, replicates.seeds - 1),
        max(1, replicates.seeds * (replicates.episodes - 1)),
    )
    share = np.divide(variance, spread, out=np.zeros_like(spread), where=spread > 0)
    tail = (1 - LEVEL) / 2
    scale = np.sqrt(share) * special.stdtrit(freedom, 1 - tail) / special.ndtri(1 - tail)
    centre = replicates.resampled.mean(axis=0)
    unbiased = replicates.estimate - share * (centre - replicates.estimate)
    low, high = (
        unbiased + scale * (quantile - centre)
        for quantile in np.quantile(replicates.resampled, [tail, 1 - tail], axis=0)
    )
    # The estimate itself is always inside: a kink can push the corrected interval past it.
    return (
        np.clip(np.minimum(low, replicates.estimate), *bounds),
        np.clip(np.maximum(high, replicates.estimate), *bounds),
    )


def count_interval(replicates: Replicates) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of counts and shares, such as a threshold curve: percentiles of the resampled values.

    Counts are discrete; the corrections of :func:`interval` are for smooth quantities and would reduce the coverage.
    """
    tail = (1 - LEVEL) / 2
    low = np.quantile(replicates.resampled, tail, axis=0, method="lower")
    high = np.quantile(replicates.resampled, 1 - tail, axis=0, method="higher")
    return np.minimum(low, replicates.estimate), np.maximum(high, replicates.estimate)


def iqm(f: np.ndarray) -> np.ndarray:
    """Interquartile mean over tasks, the last axis: the mean without the lowest and highest quarter of the tasks.

    Each quarter is rounded down to whole tasks (Agarwal et al. 2021, arXiv:2108.13264; there over tasks and runs).
    """
    low = f.shape[-1] // 4
    high = f.shape[-1] - low
    return np.partition(f, (low, high - 1), axis=-1)[..., low:high].mean(axis=-1)


def mean(f: np.ndarray) -> np.ndarray:
    """Mean over tasks, the last axis."""
    return f.mean(axis=-1)


def median(f: np.ndarray) -> np.ndarray:
    """Median over tasks, the last axis."""
    return np.median(f, axis=-1)


def worst_decile(f: np.ndarray) -> np.ndarray:
    """Mean over the lowest tenth of the tasks, at least one; tasks are on the last axis."""
    count = math.ceil(f.shape[-1] / 10)
    return np.sort(f, axis=-1)[..., :count].mean(axis=-1)


def optimality_gap(f: np.ndarray) -> np.ndarray:
    """Mean distance below the expert, max(0, 1 - f), over tasks (Agarwal et al. 2021); 0 is best."""
    return np.maximum(0.0, 1.0 - f).mean(axis=-1)


def share_at_or_above(f: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """The threshold curve: the share of tasks whose f is at or above each threshold, ``(…, thresholds)``.

    This is how Gato is reported (Reed et al. 2022, arXiv:2205.06175, fig. 5).
    """
    return np.stack([(f >= threshold).mean(axis=-1) for threshold in thresholds], axis=-1)


def improvement(bootstrap: Bootstrap, x: Sequence[Sample], y: Sequence[Sample]) -> Replicates:
    """Probability that a training seed of agent X scores above one of agent Y on a random task.

    A tie counts half (Agarwal et al. 2021, "probability of improvement").

    Args:
        bootstrap: resamples both agents.
        x: agent X's scores, a sample per task.
        y: agent Y's scores on the same tasks.

    Returns:
        One number between 0 and 1, shape ``()``.
    """
    agents = []
    for samples in (x, y):
        seeds = tuple(samples[0])
        means = [np.array([sample[seed].mean() for sample in samples]) for seed in seeds]
        draws = [mean_ + bootstrap.noise(samples, seed) for mean_, seed in zip(means, seeds, strict=True)]
        agents.append((means, draws, bootstrap.seed_counts(seeds) / len(seeds)))
    estimate, resampled, episodes_only = 0.0, np.zeros(bootstrap.resamples), np.zeros(bootstrap.resamples)
    for mean_x, draws_x, share_x in zip(agents[0][0], agents[0][1], agents[0][2].T, strict=True):
        for mean_y, draws_y, share_y in zip(agents[1][0], agents[1][1], agents[1][2].T, strict=True):
            wins = (np.sign(draws_x - draws_y).mean(axis=-1) + 1) / 2
            estimate += (np.sign(mean_x - mean_y).mean() + 1) / 2
            resampled += share_x * share_y * wins
            episodes_only += wins
    pairs = len(x[0]) * len(y[0])
    episodes = min(len(values) for sample in (*x, *y) for values in sample.values())
    seeds = min((len(sample) for sample in (x[0], y[0]) if len(sample) > 1), default=1)
    return Replicates(np.asarray(estimate / pairs), resampled, episodes_only / pairs, seeds, episodes)


def standard_error(sample: Sample) -> float:
    """Standard error of a sample's mean, in the unit of its scores.

    It is the variation between training seeds, with that of the episodes as its lower bound; 0 for a single episode.
    """
    within = np.mean([values.var(ddof=1) / len(values) if len(values) > 1 else 0.0 for values in sample.values()])
    between = np.var([values.mean() for values in sample.values()], ddof=1) if len(sample) > 1 else 0.0
    return math.sqrt(max(float(between), float(within)) / len(sample))


def fieller(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a ratio of means, in closed form (Fieller 1954): a cross-check of the bootstrap.

    Args:
        numerator: shape ``(n,)``, such as S - R of every training seed (of every episode, if there is one seed).
        denominator: shape ``(n,)``, such as E - R of the same seeds or episodes.

    Returns:
        ``(-inf, inf)`` if the denominator is not significantly different from zero, or n is 1.
    """
    from scipy import special  # slow to import, and most commands do not need it

    count = len(numerator)
    a, b = float(numerator.mean()), float(denominator.mean())
    if count < 2 or b == 0:
        return -math.inf, math.inf
    (var_a, covariance), (_, var_b) = np.cov(numerator, denominator) / count
    t = float(special.stdtrit(count - 1, 0.5 + LEVEL / 2))  # Student's quantile
    g = t**2 * var_b / b**2
    if g >= 1:
        return -math.inf, math.inf
    ratio = a / b
    inner = var_a - 2 * ratio * covariance + ratio**2 * var_b
    if var_b > 0:
        inner -= g * (var_a - covariance**2 / var_b)
        ratio -= g * covariance / var_b
    half = t / abs(b) * math.sqrt(max(0.0, float(inner)))
    return float((ratio - half) / (1 - g)), float((ratio + half) / (1 - g))


def _alike(keys: Sequence[_Key]) -> list[tuple[list[int], _Key]]:
    """Group the indices of equal keys."""
    places: dict[_Key, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [(where, key) for key, where in places.items()]
