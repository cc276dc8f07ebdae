"""Batches of windows from the recordings of many tasks, mixed by the tasks' weights.

The batch of a training step is a function of the seed and the step only, so training resumes in the middle of an epoch
without any state to restore, and each of several processes can sample its part of the batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task
from generalist.distill.mirror import mirrored
from generalist.distill.returns import critic_targets
from generalist.network.batches import Batch, Window
from generalist.network.network import Network

_HELD_OUT = 0.05  # share of a recording's episodes, from which the demonstration for evaluation is taken
_FROM_THE_END = 0.5  # share of prompts from an episode's end, as in Gato: the end shows the goal


@dataclass(frozen=True)
class Source:
    """A recording and its use in training.

    Attributes:
        task: the task.
        trajectories: the recording.
        weight: share of the windows, relative to the other sources.
        demonstrations: the expert's recording, from which prompts are taken; None if ``trajectories`` is that.
        share: share of the recording's episodes, from the first on, that is used.
        most: most episodes that are used; None: no limit.
        apart: the number of last episodes that are not learned, but validated.
        validates: whether these last episodes are sampled, and not the others.
        solved: whether only solved episodes are used, if there are any: a failed episode is often long, since the
            policy is stuck, so that most steps would come from failures.
        mirror: whether half of the windows are mirrored, if the task is a board game.
        search_values: share of the recorded values in the critic's targets, if there are any.
    """

    task: Task
    trajectories: Trajectories
    weight: float
    demonstrations: Trajectories | None = None
    share: float = 1.0
    most: int | None = None
    apart: int = 0
    validates: bool = False
    solved: bool = False
    mirror: bool = False
    search_values: float = 0.0


class Mixture:
    """Samples batches from sources."""

    def __init__(
        self,
        sources: Sequence[Source],
        network: Network,
        *,
        batch_size: int,
        sequence_length: int,
        seed: int,
        soft: bool = True,
        temperature: float = 1.0,
        prompts: float = 0.0,
    ) -> None:
        """Prepare the mixture.

        Args:
            sources: the recordings.
            network: collates the batches.
            batch_size: windows per batch.
            sequence_length: most tokens of a window.
            seed: the seed of all sampling.
            soft: whether the targets are the recorded distributions, if there are any, instead of the labels.
            temperature: of Q-values before their softmax (Rusu et al. 2015, arXiv:1511.06295, use 0.01).
            prompts: share of windows with a prompt; above 0, some episodes are held out for evaluation.

        Raises:
            GatitoError: if a weight is negative, or all are zero.
        """
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if (weights < 0).any() or weights.sum() <= 0:
            raise GatitoError("mixture weights must not be negative, and one must be above zero.")
        self._sources = sources
        self._network = network
        self._shares = weights / weights.sum()
        self._batch_size = batch_size
        self._sequence_length = sequence_length
        self._seed = seed
        self._soft = soft
        self._temperature = temperature
        self._prompts = prompts
        self._episodes = [self._chosen(source) for source in sources]
        self._ends = [
            np.cumsum(source.trajectories.lengths[chosen])
            for source, chosen in zip(sources, self._episodes, strict=True)
        ]
        codec = network.codec
        self._returns = [
            critic_targets(source.trajectories, codec.discount, source.search_values) if codec.critic > 0 else None
            for source in sources
        ]

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """The batch of a training step, or one of several parts of it; the parts together have the same windows."""
        chosen = np.sort(
            stream("mixture", self._seed, step).choice(len(self._shares), self._batch_size, p=self._shares)
        )
        numbers = range(part, self._batch_size, parts)
        rngs = [stream("mixture", self._seed, step, number) for number in numbers]
        windows = [self._sample(int(chosen[number]), rng) for number, rng in zip(numbers, rngs, strict=True)]
        return self._network.collate(windows, self._sequence_length, rngs)

    def loader(self, steps: range, parts: range, whole: int, *, num_workers: int = 0) -> Iterable[list[Batch]]:
        """Iterate over training steps; each item is this process's parts of the step's batch.

        Args:
            steps: the steps.
            parts: the indices of this process's parts.
            whole: the number of parts of a batch.
            num_workers: processes that sample batches ahead; 0 to sample in this process.
        """
        return DataLoader(
            _BatchParts(self, parts, whole),
            batch_size=None,
            sampler=steps,
            collate_fn=_identity,
            num_workers=num_workers,
            multiprocessing_context="fork" if num_workers else None,  # recordings are inherited, not sent
            generator=torch.Generator(),  # a separate one, since the loader takes a number from it
        )

    def _chosen(self, source: Source) -> np.ndarray:
        """The indices of the episodes that are used."""
        trajectories = source.trajectories
        count = len(trajectories)
        if source.validates:
            return np.arange(count - source.apart, count)
        if source.apart >= count:
            raise GatitoError(
                f"task {source.task.name}: distill.validation leaves none of {count} recorded episodes to learn: "
                "record more, or set distill.validation=0."
            )
        count -= source.apart
        if self._prompts and not source.demonstrations:
            count -= held_out(trajectories)
        chosen = np.arange(min(math.ceil(source.share * count), source.most or count))
        solved = chosen[[trajectories.successes[episode] is True for episode in chosen]]
        return solved if source.solved and len(solved) else chosen

    def _place(self, number: int, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map steps, counted over a source's chosen episodes, to their episodes and their indices in the recording."""
        trajectories, ends = self._sources[number].trajectories, self._ends[number]
        order = np.searchsorted(ends, step, side="right")
        episodes = self._episodes[number][order]
        remaining = ends[order] - step  # steps of the episode from this one on
        return episodes, trajectories.ends[episodes] - remaining

    def _sample(self, number: int, rng: np.random.Generator) -> Window:
        source, total_steps = self._sources[number], self._ends[number][-1]
        longest = self._network.steps_in(source.task, self._sequence_length)
        # A uniformly sampled step has a uniform position within its window, except near the episode's ends.
        episode, step = map(int, self._place(number, rng.integers(total_steps)))
        length = int(source.trajectories.lengths[episode])
        beginning = int(source.trajectories.ends[episode]) - length
        start = max(0, min(step - beginning - int(rng.integers(longest)), length - longest))
        prompted = rng.random() < self._prompts
        steps: slice | np.ndarray
        if prompted or self._remembers(source.task, rng):
            window = self._read(source, source.trajectories, episode, start, longest)
            steps = slice(beginning + start, beginning + start + len(window))
        else:
            # Without memory, independent steps make a more diverse batch than consecutive ones.
            _, steps = self._place(number, np.sort(rng.integers(total_steps, size=longest)))
            columns = self._columns(source.trajectories)
            window = self._window(source, source.trajectories, source.trajectories.scattered(steps, columns))
            window = replace(window, independent=True)
        prompt = self._prompt(source, episode, rng) if prompted else None
        returns = self._returns[number]
        window = replace(window, prompt=prompt, returns=None if returns is None else returns[steps])
        return mirrored(window) if source.mirror and rng.random() < 0.5 else window

    def _remembers(self, task: Task, rng: np.random.Generator) -> bool:
        """Whether a window of this task has consecutive steps."""
        share = self._network.codec.independent
        return self._network.remembers(task) and not (share and rng.random() < share)

    def _prompt(self, source: Source, window_episode: int, rng: np.random.Generator) -> Window:
        """Steps of another episode than the window's, which would reveal its labels, unless there is no other."""
        trajectories = source.demonstrations or source.trajectories
        longest = self._network.codec.prompt_steps
        count = len(trajectories) - held_out(trajectories)
        episode = int(rng.integers(count))
        if source.demonstrations is None and episode == window_episode:
            episode = (episode + 1) % count
        last = max(0, int(trajectories.lengths[episode]) - longest)
        start = last if rng.random() < _FROM_THE_END else int(rng.integers(last + 1))
        return self._read(source, trajectories, episode, start, longest)

    def _read(self, source: Source, trajectories: Trajectories, episode: int, start: int, length: int) -> Window:
        """Consecutive steps of an episode."""
        rows = trajectories.window(episode, start, length, self._columns(trajectories))
        window = self._window(source, trajectories, rows)
        if not start:
            return window
        earlier = trajectories.window(episode, start - 1, 1, ["actions", "rewards"])
        return replace(window, before=(earlier["actions"][0], float(earlier["rewards"][0])))

    def _columns(self, trajectories: Trajectories) -> list[str]:
        # Planners and scripts have no distribution, only labels.
        soft = self._soft and trajectories.has("distributions")
        further = [name for name, wanted in (("distributions", soft), ("masks", trajectories.has("masks"))) if wanted]
        return ["observations", "labels", "actions", "rewards", *further]

    def _window(self, source: Source, trajectories: Trajectories, rows: Mapping[str, np.ndarray]) -> Window:
        """Recorded steps as a training window."""
        distributions = rows.get("distributions")
        if distributions is not None and trajectories.facts["distribution_kind"] == "q":
            distributions = distributions / self._temperature
        return Window(
            source.task,
            rows["observations"],
            rows["labels"],
            distributions,
            rows["actions"],
            rows["rewards"],
            masks=rows.get("masks"),
        )


@dataclass(frozen=True)
class _BatchParts(Dataset[list[Batch]]):
    """A process's parts of the batch of each training step."""

    mixture: Mixture
    parts: range
    whole: int

    def __getitem__(self, step: int) -> list[Batch]:
        return [self.mixture.batch(step, part, self.whole) for part in self.parts]


def _identity(batches: list[Batch]) -> list[Batch]:
    return batches


def held_out(trajectories: Trajectories) -> int:
    """The number of episodes at the end of a recording that are not used for training if there are prompts.

    Raises:
        GatitoError: if there are fewer than two episodes.
    """
    if len(trajectories) < 2:
        raise GatitoError(
            f"the recording of task {trajectories.facts['task']} has a single episode, so none can be held out as a "
            "prompt: raise record.env_steps, or set codec.conditioning=none."
        )
    return max(1, int(len(trajectories) * _HELD_OUT))


def demonstration(
    task: Task, trajectories: Trajectories, steps: int, *, count: int = 1, learned: bool = True
) -> Window:
    """The prompt for evaluation: the ends of several episodes, one after another.

    Args:
        task: the task.
        trajectories: the expert's recording.
        steps: most steps of an episode's end.
        count: the number of episodes.
        learned: whether the task is learned: then they are the best held-out ones (successful ones, if success is
            known), the best one last; otherwise the first of the recording.

    Returns:
        At most ``count * steps`` steps.

    Raises:
        GatitoError: if there are not as many episodes.
    """
    available = range(len(trajectories) - held_out(trajectories) if learned else 0, len(trajectories))
    if count > len(available):
        raise GatitoError(
            f"distill.demonstrations={count}, but the recording of task {task.name} has {len(available)} "
            f"{'that are not learned' if learned else 'episodes'}: lower it, or raise record.env_steps."
        )

    def merit(episode: int) -> tuple[bool, float]:
        return bool(trajectories.successes[episode]), trajectories.returns[episode]

    shown = sorted(available, key=merit, reverse=True)[:count][::-1] if learned else available[:count]
    columns = ["observations", "labels", "actions", "rewards"]
    ends = [
        trajectories.window(episode, max(0, int(trajectories.lengths[episode]) - steps), steps, columns)
        for episode in shown
    ]
    rows = {name: np.concatenate([end[name] for end in ends]) for name in columns}
    return Window(task, rows["observations"], rows["labels"], None, rows["actions"], rows["rewards"])
