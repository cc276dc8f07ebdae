"""Batches of windows from the recordings of many tasks, each task by its stated weight.

The batch of a training step is a function of the seed and the step alone, so training resumes in the middle of an epoch
with nothing to restore, and several processes can each draw a part of it.
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
from generalist.distill.returns import returns_to_go
from generalist.network.batches import Batch, Window
from generalist.network.network import Network

_HELD_OUT = 0.05  # of a recording's episodes, from which the demonstration comes that is shown when scores are made
_FROM_THE_END = 0.5  # of the prompts, as Gato's: there a demonstration shows what is to be reached


@dataclass(frozen=True)
class Source:
    """One recording and how it is taught.

    Attributes:
        task: the task.
        trajectories: the recording.
        weight: share of the windows, relative to the other sources.
        demonstrations: the expert's recording, which prompts are taken from; None: ``trajectories`` is.
        share: of the recording's episodes, the first ones, that is learnt from.
        solved: whether only solved episodes are learnt from, where there are any: who fails is often stuck, and stuck
            for long, so that most steps would be of failures.
    """

    task: Task
    trajectories: Trajectories
    weight: float
    demonstrations: Trajectories | None = None
    share: float = 1.0
    solved: bool = False


class Mixture:
    """Draws batches from sources."""

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
        """Begin at no step in particular.

        Args:
            sources: what is learnt from.
            network: makes the batches.
            batch_size: windows per batch.
            sequence_length: most tokens of a window.
            seed: of all draws.
            soft: whether the recorded distributions are taught where there are any, or the labels alone.
            temperature: of Q-values before their softmax (Rusu et al. 2015, arXiv:1511.06295, use 0.01).
            prompts: share of windows that follow a prompt; above 0, some episodes are held out for scores.

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
            returns_to_go(source.trajectories, codec.discount) if codec.critic > 0 else None for source in sources
        ]

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """The batch of a training step, or one of several parts of it: together they are the same windows."""
        chosen = np.sort(
            stream("mixture", self._seed, step).choice(len(self._shares), self._batch_size, p=self._shares)
        )
        numbers = range(part, self._batch_size, parts)
        rngs = [stream("mixture", self._seed, step, number) for number in numbers]
        windows = [self._draw(int(chosen[number]), rng) for number, rng in zip(numbers, rngs, strict=True)]
        return self._network.collate(windows, self._sequence_length, rngs)

    def drawn(self, steps: range, parts: range, whole: int, *, helpers: int = 0) -> Iterable[list[Batch]]:
        """Of the batches of training steps, some of ``whole`` parts, step after step.

        Args:
            steps: their numbers.
            parts: which of each step's parts.
            whole: how many parts a step has.
            helpers: processes that draw ahead of whoever uses the batches; 0: they are drawn when they are asked for.
        """
        return DataLoader(
            _Drawn(self, parts, whole),
            batch_size=None,
            sampler=steps,
            collate_fn=_as_it_is,
            num_workers=helpers,
            multiprocessing_context="fork" if helpers else None,  # what is learnt from is not sent to anybody
            generator=torch.Generator(),  # of its own: the loader draws a number from it
        )

    def _chosen(self, source: Source) -> np.ndarray:
        """The episodes to learn from, by number."""
        trajectories = source.trajectories
        count = len(trajectories)
        if self._prompts and not source.demonstrations:
            count -= held_out(trajectories)
        chosen = np.arange(math.ceil(source.share * count))
        solved = chosen[[trajectories.successes[episode] is True for episode in chosen]]
        return solved if source.solved and len(solved) else chosen

    def _place(self, number: int, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of steps counted over a source's chosen episodes: their episodes, and where in the recording they are."""
        trajectories, ends = self._sources[number].trajectories, self._ends[number]
        order = np.searchsorted(ends, step, side="right")
        episodes = self._episodes[number][order]
        left = ends[order] - step  # of the episode, with this one
        return episodes, trajectories.ends[episodes] - left

    def _draw(self, number: int, rng: np.random.Generator) -> Window:
        source, steps_in_all = self._sources[number], self._ends[number][-1]
        longest = self._network.steps_in(source.task, self._sequence_length)
        # A step drawn uniformly lies at a uniform place of its window, but for the episode's ends.
        episode, step = map(int, self._place(number, rng.integers(steps_in_all)))
        length = int(source.trajectories.lengths[episode])
        beginning = int(source.trajectories.ends[episode]) - length
        start = max(0, min(step - beginning - int(rng.integers(longest)), length - longest))
        prompted = rng.random() < self._prompts
        steps: slice | np.ndarray
        if prompted or self._network.remembers(source.task):
            window = self._read(source, source.trajectories, episode, start, longest)
            steps = slice(beginning + start, beginning + start + len(window))
        else:
            # Steps that do not see each other need not be neighbours, which are much alike.
            _, steps = self._place(number, np.sort(rng.integers(steps_in_all, size=longest)))
            columns = self._columns(source.trajectories)
            window = self._taught(source, source.trajectories, source.trajectories.scattered(steps, columns))
        prompt = self._prompt(source, episode, rng) if prompted else None
        known = self._returns[number]
        return replace(window, prompt=prompt, returns=None if known is None else known[steps])

    def _prompt(self, source: Source, own: int, rng: np.random.Generator) -> Window:
        """Steps of another episode than the window's ``own``, whose answers it would show, unless there is no other."""
        trajectories = source.demonstrations or source.trajectories
        longest = self._network.codec.prompt_steps
        count = len(trajectories) - held_out(trajectories)
        episode = int(rng.integers(count))
        if source.demonstrations is None and episode == own:
            episode = (episode + 1) % count
        last = max(0, int(trajectories.lengths[episode]) - longest)
        start = last if rng.random() < _FROM_THE_END else int(rng.integers(last + 1))
        return self._read(source, trajectories, episode, start, longest)

    def _read(self, source: Source, trajectories: Trajectories, episode: int, start: int, length: int) -> Window:
        """Consecutive steps of an episode."""
        rows = trajectories.window(episode, start, length, self._columns(trajectories))
        window = self._taught(source, trajectories, rows)
        if not start:
            return window
        earlier = trajectories.window(episode, start - 1, 1, ["actions", "rewards"])
        return replace(window, before=(earlier["actions"][0], float(earlier["rewards"][0])))

    def _columns(self, trajectories: Trajectories) -> list[str]:
        # Planners and scripts have no distribution: their labels are all there is to learn.
        soft = self._soft and trajectories.has("distributions")
        return ["observations", "labels", "actions", "rewards"] + (["distributions"] if soft else [])

    def _taught(self, source: Source, trajectories: Trajectories, rows: Mapping[str, np.ndarray]) -> Window:
        """Steps as they are to be learnt."""
        distributions = rows.get("distributions")
        if distributions is not None and trajectories.facts["distribution_kind"] == "q":
            distributions = distributions / self._temperature
        return Window(
            source.task, rows["observations"], rows["labels"], distributions, rows["actions"], rows["rewards"]
        )


@dataclass(frozen=True)
class _Drawn(Dataset[list[Batch]]):
    """Some parts of the batch of a training step, by the step's number."""

    mixture: Mixture
    parts: range
    whole: int

    def __getitem__(self, step: int) -> list[Batch]:
        return [self.mixture.batch(step, part, self.whole) for part in self.parts]


def _as_it_is(batches: list[Batch]) -> list[Batch]:
    return batches


def held_out(trajectories: Trajectories) -> int:
    """How many episodes, the last ones, are not learnt from where prompts are.

    Raises:
        GatitoError: if there are no two episodes.
    """
    if len(trajectories) < 2:
        raise GatitoError(
            f"the recording of task {trajectories.facts['task']} has a single episode, so none can be held out as a "
            "prompt: raise record.env_steps, or set codec.conditioning=none."
        )
    return max(1, int(len(trajectories) * _HELD_OUT))


def demonstration(task: Task, trajectories: Trajectories, steps: int) -> Window:
    """The end of the best held-out episode (a successful one, where success is known), to be shown at evaluation."""
    held = range(len(trajectories) - held_out(trajectories), len(trajectories))
    best = max(held, key=lambda episode: (bool(trajectories.successes[episode]), trajectories.returns[episode]))
    start = max(0, int(trajectories.lengths[best]) - steps)
    rows = trajectories.window(best, start, steps, ["observations", "labels", "actions", "rewards"])
    return Window(task, rows["observations"], rows["labels"], None, rows["actions"], rows["rewards"])
