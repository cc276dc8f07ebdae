"""Scaling laws: how a network's loss, and what it lacks of its experts, fall with parameters, data and compute.

A power law y = floor + scale * x^-exponent (Hestness et al. 2017, arXiv:1712.00409; Kaplan et al. 2020,
arXiv:2001.08361) is fitted to each quantity on its own. The best size for a compute budget is the minimum of a parabola
in the logarithm of the size, among networks of equal compute (Hoffmann et al. 2022, arXiv:2203.15556, section 3.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scoring.statistics import Estimate

_RESAMPLES = 300
_ALIKE = 0.05  # relative difference up to which two amounts count as one
_STARTS = (0.0, 0.5, 0.9)  # first guesses of the floor, as shares of the lowest value


@dataclass(frozen=True)
class Point:
    """One trained network.

    Attributes:
        parameters: its parameters.
        data: environment steps that it learned from.
        flops: floating-point operations of its training.
        seed: its training seed.
        loss: nats per action on recorded episodes that it did not learn.
        shortfall: 1 less the interquartile mean of f.
    """

    parameters: int
    data: int
    flops: float
    seed: int
    loss: float
    shortfall: float


@dataclass(frozen=True)
class PowerLaw:
    """y = floor + scale * x^-exponent, with 95 % intervals over training seeds.

    Attributes:
        floor: the value that y approaches; 0 if there are too few different x to estimate it.
        scale: what is above the floor at x = 1.
        exponent: how fast it falls.
        x: the range of x that was measured.
    """

    floor: Estimate
    scale: float
    exponent: Estimate
    x: tuple[float, float]

    def __call__(self, x: float) -> float:
        """The law's value."""
        return self.floor.value + self.scale * x**-self.exponent.value


@dataclass(frozen=True)
class BestSize:
    """The size with the lowest loss at a compute budget.

    Attributes:
        flops: the budget.
        parameters: the best size and its interval; None if the loss has no minimum within the measured sizes.
        largest: whether the largest size was the best one that was measured.
    """

    flops: float
    parameters: Estimate | None
    largest: bool


def fit_power_law(groups: Sequence[tuple[float, Sequence[float]]], rng: np.random.Generator) -> PowerLaw | None:
    """Fit a power law to the values at each x, one for each training seed.

    Args:
        groups: x, and the values there; all above 0.
        rng: generator of the bootstrap over the values at each x.

    Returns:
        None with fewer than three different x.
    """
    groups = sorted(group for group in groups if len(group[1]))
    if len(groups) < 3:
        return None
    x = np.array([each for each, _ in groups], dtype=np.float64)

    def fitted(mean_of: Callable[[np.ndarray], float]) -> np.ndarray:
        return _fit(x, np.array([mean_of(np.asarray(values)) for _, values in groups]))

    best = fitted(np.mean)
    resampled = np.array([fitted(lambda values: rng.choice(values, len(values)).mean()) for _ in range(_RESAMPLES)])
    floor, exponent = (Estimate(float(best[i]), *_limits(resampled[:, i])) for i in (0, 2))
    return PowerLaw(floor, float(np.exp(best[1])), exponent, (float(x[0]), float(x[-1])))


def best_sizes(points: Sequence[Point], rng: np.random.Generator) -> list[BestSize]:
    """The best size of every budget at which three or more sizes were trained on all of the data."""
    found = []
    for flops, alike in grouped(grouped(points, "data")[-1][1], "flops"):
        groups = grouped(alike, "parameters")
        if len(groups) < 3:
            continue
        sizes = np.log([size for size, _ in groups])
        losses = [np.array([point.loss for point in of_size]) for _, of_size in groups]
        means = np.array([values.mean() for values in losses])
        resampled = [
            _lowest(sizes, np.array([rng.choice(values, len(values)).mean() for values in losses]))
            for _ in range(_RESAMPLES)
        ]
        best, inside = _lowest(sizes, means), np.array([size for size in resampled if size is not None])
        # With a minimum at an end in more than a twentieth of the resamples, its place is unknown.
        known = best is not None and len(inside) >= 0.95 * _RESAMPLES
        size = Estimate(*map(float, np.exp([best, *_limits(inside)]))) if known and best is not None else None
        found.append(BestSize(flops, size, int(means.argmin()) == len(means) - 1))
    return found


def grouped(points: Sequence[Point], quantity: str) -> list[tuple[float, list[Point]]]:
    """Points of nearly the same ``parameters``, ``data`` or ``flops``, with its mean, from the smallest on.

    Data differ by a few steps between training seeds, and compute by a few updates between sizes.
    """
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda point: getattr(point, quantity)):
        if not groups or getattr(point, quantity) > (1 + _ALIKE) * getattr(groups[-1][0], quantity):
            groups.append([])
        groups[-1].append(point)
    return [(float(np.mean([getattr(point, quantity) for point in group])), group) for group in groups]


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Floor, logarithm of the scale, and exponent, by least squares of the logarithm of y."""
    from scipy.optimize import least_squares

    with_floor = len(x) > 3
    top = y.min() * (0.999 if with_floor else 1e-9)
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    fits = [
        least_squares(
            lambda law: np.log(law[0] + np.exp(law[1] - law[2] * np.log(x))) - np.log(y),
            x0=[share * top, intercept, max(1e-3, -slope)],
            bounds=([0, -np.inf, 0], [max(top, 1e-12), np.inf, 5]),
        )
        for share in (_STARTS if with_floor else _STARTS[:1])
    ]
    return min(fits, key=lambda fit: fit.cost).x


def _lowest(sizes: np.ndarray, losses: np.ndarray) -> float | None:
    """Where the parabola through the losses has its minimum; None if that is outside the sizes."""
    curvature, slope, _ = np.polyfit(sizes, losses, 2)
    if curvature <= 0:
        return None
    lowest = -slope / (2 * curvature)
    return float(lowest) if sizes[0] <= lowest <= sizes[-1] else None


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
