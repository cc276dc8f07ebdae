"""Selection trials: a network plays on selection seeds, and its scores are compared with the start's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.policy import Policy
from benchmarks.play.rollout import rollout
from benchmarks.scoring.scores import metric_value
from benchmarks.tasks import Task


@dataclass(frozen=True)
class Trial:
    """The scores of the starting network, the reference for gains.

    Attributes:
        means: mean scores by task name.
        units: the unit of gains by task name: the absolute mean, or the standard deviation over episodes if that is
            larger; 1 if both are 0, and for success.
    """

    means: dict[str, float]
    units: dict[str, float]

    @staticmethod
    def of(tasks: Sequence[Task], scores: Mapping[str, Sequence[float]]) -> "Trial":
        """The reference from the start's scores by task name."""
        means = {name: float(np.mean(values)) for name, values in scores.items()}
        sizes = {name: max(abs(means[name]), float(np.std(values))) for name, values in scores.items()}
        return Trial(means, {task.name: 1.0 if task.metric == "success" else sizes[task.name] or 1.0 for task in tasks})

    def gain(self, scores: Mapping[str, Sequence[float]]) -> float:
        """The mean gain over tasks of another trial's scores, on the symlog scale.

        Small gains count linearly, large ones by their logarithm: a task that starts near 0 can gain hundreds of units,
        and would otherwise dominate all others.
        """
        gains = [(np.mean(scores[name]) - self.means[name]) / self.units[name] for name in self.means]
        return float(np.mean([np.sign(gain) * np.log1p(abs(gain)) for gain in gains]))


def try_out(
    policy: Policy, tasks: Sequence[Task], episodes: int, seed: int, cost_weight: float = 0.0
) -> tuple[dict[str, list[float]], int]:
    """Play episodes of each task on the selection seeds of a training seed; scores are minus the weighted hidden cost.

    Returns:
        The metric of each episode by task name, and the number of environment steps.
    """
    seeds = {task: [episode_seed(Purpose.SELECTION, index, seed) for index in range(episodes)] for task in tasks}
    metrics = {task.name: task.metric for task in tasks}
    scores: dict[str, list[float]] = {task.name: [] for task in tasks}
    steps = 0
    for episode in rollout(policy, seeds, envs_per_task=episodes):
        penalty = cost_weight * (episode.cost or 0.0)
        scores[episode.task].append(metric_value(metrics[episode.task], episode) - penalty)
        steps += episode.length
    return scores, steps
