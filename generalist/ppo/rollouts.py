"""What a network meets while it learns from rewards: environments of all tasks, stepped behind one batched call.

An episode goes on over updates of the network; what the network remembers of it would then be stale. Before each
collection it therefore reads the last steps of every episode again, and training shows it the very same steps: both see
the same numbers, as long as the weights are the same.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.base.seeds import stream, training_seed
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task, make_env, spaces
from benchmarks.tasks.observations import packer, stack
from generalist.network.batches import Window
from generalist.network.choice import drawn
from generalist.network.policy import NetworkPolicy
from generalist.ppo.advantages import Segment, Spread


@dataclass
class Experience:
    """What one collection has brought.

    Attributes:
        segments: to learn from.
        returns: of the episodes that ended, by task name.
    """

    segments: list[Segment] = field(default_factory=list)
    returns: dict[str, list[float]] = field(default_factory=dict)


class Lanes:
    """Environments of several tasks, each with the episode that it is in.

    Attributes:
        spreads: of discounted returns, by task name.
        episodes: how many each environment has begun; a training that is taken up again begins new ones.
    """

    def __init__(
        self,
        tasks: Mapping[Task, int],
        lanes: int,
        seed: int,
        discount: float,
        prompts: Mapping[str, Window],
        make: Callable[[Task], gym.Env] = make_env,
    ) -> None:
        """Make the environments.

        Args:
            tasks: what is played, and how many steps of an episode's past are read again.
            lanes: environments per task.
            seed: the training seed.
            discount: of returns.
            prompts: demonstrations that the network is shown, by task name.
            make: makes a task's environment.
        """
        self.spreads = {task.name: Spread() for task in tasks}
        self._seed, self._discount, self._prompts = seed, discount, prompts
        self._lanes: list[_Slot] = []
        for task, context in tasks.items():
            self._lanes += [_Slot(len(self._lanes) + row, task, make(task), context) for row in range(lanes)]
        self.episodes = [0] * len(self._lanes)

    def close(self) -> None:
        """End the environments."""
        for slot in self._lanes:
            slot.env.close()

    def collect(self, policy: NetworkPolicy, steps: int, *names: object) -> Experience:
        """Play so many steps on every slot; ``names`` are those of the random streams that actions are drawn from.

        Raises:
            GatitoError: if an environment raises; the line names task and seed.
        """
        for slot in self._lanes:
            slot.rng = stream(*names, slot.index)
        memory = policy.initial_state(len(self._lanes))
        self._read_again(policy, memory)
        met, sums = Experience(), {name: [] for name in self.spreads}
        for _ in range(steps):
            cut = []
            for slot in self._lanes:
                if slot.observation is None:
                    self._begin(slot)
            for slot, decision, row, drawn_here in self._act(policy, memory, self._lanes):
                if slot.step(decision, row, *drawn_here):
                    slot.last_value = 0.0
                elif slot.truncated:
                    cut.append(slot)
                slot.discounted = self._discount * slot.discounted + slot.reward
                sums[slot.task.name].append(slot.discounted)
            self._foresee(policy, memory, cut)
            for slot in self._lanes:
                if slot.terminated or slot.truncated:
                    met.segments.append(slot.close(self._prompts))
                    met.returns.setdefault(slot.task.name, []).append(slot.total)
                    slot.end()
        going = [slot for slot in self._lanes if slot.steps]
        self._foresee(policy, memory, going)
        met.segments += [slot.close(self._prompts) for slot in going]
        for name, values in sums.items():
            self.spreads[name].add(values)
        return met

    def _begin(self, slot: "_Slot") -> None:
        number = self.episodes[slot.index]
        self.episodes[slot.index] += 1
        slot.begin(training_seed("ppo", slot.task.name, self._seed, slot.index, number))

    def _read_again(self, policy: NetworkPolicy, memory: Any) -> None:  # noqa: ANN401
        """Bring the network's memory to where every episode is, with its weights of now."""
        longest = max(len(slot.context) for slot in self._lanes)
        for ago in range(longest, 0, -1):
            reading = [slot for slot in self._lanes if len(slot.context) >= ago]
            groups = _by_task(reading)
            policy.act([_observed(task, group, ago) for task, group in groups], memory)
            for task, group in groups:
                actions = np.stack([slot.context[-ago].action for slot in group])
                policy.remember(memory, task, np.array([slot.index for slot in group]), actions)
        for slot in self._lanes:
            slot.episode_start = not slot.context
            slot.reward = slot.context[-1].reward if slot.context else 0.0

    def _act(
        self,
        policy: NetworkPolicy,
        memory: Any,  # noqa: ANN401
        lanes: Sequence["_Slot"],
    ) -> Iterator[tuple["_Slot", PolicyOutput, int, tuple[np.ndarray, float]]]:
        """Each slot with what it does: a row of a decision, what was chosen and its log-probability."""
        noted: list[tuple[np.ndarray, np.ndarray]] = []

        def choose(logits: torch.Tensor, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
            options = drawn(logits, rngs)
            logs = logits.float().log_softmax(dim=-1).gather(-1, options[..., None])[..., 0]
            noted.append((options.view(len(options), -1).numpy(), logs.view(len(options), -1).sum(dim=-1).numpy()))
            return options

        groups = _by_task(lanes)
        decisions, _ = policy.act([_observed(task, group) for task, group in groups], memory, choose)
        for (_, group), decision, (options, logs) in zip(groups, decisions, noted, strict=True):
            for row, slot in enumerate(group):
                yield slot, decision, row, (options[row], float(logs[row]))

    def _foresee(self, policy: NetworkPolicy, memory: Any, lanes: Sequence["_Slot"]) -> None:  # noqa: ANN401
        """Ask what the critic expects after the last step of these lanes."""
        if not lanes:
            return
        groups = _by_task(lanes)
        decisions, _ = policy.act([_observed(task, group) for task, group in groups], memory)
        for (_, group), decision in zip(groups, decisions, strict=True):
            assert decision.values is not None
            for slot, value in zip(group, decision.values, strict=True):
                slot.last_value = float(value)


@dataclass(frozen=True)
class _Step:
    observation: np.ndarray
    action: np.ndarray
    reward: float
    chosen: np.ndarray
    log_probability: float
    value: float


class _Slot:
    """One environment and the episode that it is in."""

    def __init__(self, index: int, task: Task, env: gym.Env, context: int) -> None:
        self.index, self.task, self.env = index, task, env
        self.context: deque[_Step] = deque(maxlen=context)
        self.steps: list[_Step] = []
        self._pack = packer(env.observation_space)
        self.observation: Any = None
        self.rng = np.random.default_rng(0)
        self.last_value = 0.0

    def begin(self, seed: int) -> None:
        observation, _ = self.env.reset(seed=seed)
        self.observation = np.array(self._pack(observation))  # some environments write over it
        self.terminated = self.truncated = False
        self.episode_start, self.reward, self.total, self.discounted = True, 0.0, 0.0, 0.0

    def end(self) -> None:
        self.context.clear()
        self.observation = None

    def step(self, decision: PolicyOutput, row: int, chosen: np.ndarray, log_probability: float) -> bool:
        """Take one step; whether it was the last one that there is."""
        action = decision.actions[row]
        sent = int(action) if isinstance(spaces(self.task)[1], gym.spaces.Discrete) else action
        observation, reward, self.terminated, self.truncated, _ = self.env.step(sent)
        assert decision.values is not None
        value = float(decision.values[row])
        self.steps.append(_Step(self.observation, action, float(reward), chosen, log_probability, value))
        self.observation = np.array(self._pack(observation))
        self.episode_start, self.reward = False, float(reward)
        self.total += self.reward
        return self.terminated

    def close(self, prompts: Mapping[str, Window]) -> Segment:
        """The steps since the last time, after those that were read before them."""
        seen = [*self.context, *self.steps]
        actions = np.stack([step.action for step in seen])
        window = Window(
            self.task,
            stack([step.observation for step in seen]),
            actions,
            None,
            actions,
            np.array([step.reward for step in seen]),
            prompt=prompts.get(self.task.name),
        )
        segment = Segment(
            window,
            len(self.context),
            np.stack([step.chosen for step in self.steps]),
            np.array([step.log_probability for step in self.steps], dtype=np.float32),
            np.array([step.value for step in self.steps]),
            self.last_value,
        )
        self.context.extend(self.steps)
        self.steps = []
        return segment


def _by_task(lanes: Sequence[_Slot]) -> list[tuple[Task, list[_Slot]]]:
    return [(task, list(group)) for task, group in itertools.groupby(lanes, key=lambda slot: slot.task)]


def _observed(task: Task, lanes: Sequence[_Slot], ago: int = 0) -> PolicyInput:
    """What lanes show now, or showed so many steps ago; the oldest step that is kept looks like an episode's first."""
    if ago:
        episode_start = [len(slot.context) == ago for slot in lanes]
        earlier = [
            0.0 if new else slot.context[-ago - 1].reward for slot, new in zip(lanes, episode_start, strict=True)
        ]
        observations = [slot.context[-ago].observation for slot in lanes]
    else:
        episode_start, earlier = [slot.episode_start for slot in lanes], [slot.reward for slot in lanes]
        observations = [slot.observation for slot in lanes]
    return PolicyInput(
        task=task,
        observations=stack(observations),
        env_ids=np.array([slot.index for slot in lanes]),
        episode_start=np.array(episode_start),
        rewards=np.array(earlier),
        rngs=[slot.rng for slot in lanes],
        envs=[slot.env for slot in lanes],
    )
