"""Rollout collection for reinforcement learning: environments of all tasks with one batched policy call.

Episodes continue across updates of the network, so its memory of them becomes stale. Before each collection, the
network therefore re-reads the last steps of every episode; training uses exactly the same steps as context. Both
compute the same numbers as long as the weights are the same.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import stream, training_seed
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.play.slots import Slot, by_task, close_all, policy_input
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.observations import stack
from generalist.network.batches import Window
from generalist.network.distributions import sample
from generalist.network.policy import NetworkPolicy
from generalist.ppo.advantages import Segment, Spread


@dataclass
class Experience:
    """The result of one collection.

    Attributes:
        segments: parts of episodes to train on.
        returns: undiscounted returns of the episodes that ended, by task name.
    """

    segments: list[Segment] = field(default_factory=list)
    returns: dict[str, list[float]] = field(default_factory=dict)


class RolloutCollector:
    """Collects steps in environments of several tasks.

    Attributes:
        spreads: the spread of discounted returns, by task name.
        episodes: the number of episodes that each environment has begun; a resumed training begins new ones.
    """

    def __init__(
        self,
        tasks: Mapping[Task, int],
        num_envs: int,
        seed: int,
        discount: float,
        prompts: Mapping[str, Window],
        make: Callable[[Task], gym.Env] = make_env,
    ) -> None:
        """Make the environments.

        Args:
            tasks: by task, the number of past steps of an episode that are re-read.
            num_envs: environments per task.
            seed: the training seed.
            discount: the discount of returns.
            prompts: demonstrations by task name, if the network is conditioned on them.
            make: makes a task's environment.
        """
        self.spreads = {task.name: Spread() for task in tasks}
        self._seed, self._discount, self._prompts = seed, discount, prompts
        self._slots: list[_Slot] = []
        for task, context in tasks.items():
            self._slots += [_Slot(len(self._slots) + row, task, make(task), context) for row in range(num_envs)]
        self.episodes = [0] * len(self._slots)

    def close(self) -> None:
        """Close the environments."""
        close_all(self._slots)

    def collect(self, policy: NetworkPolicy, steps: int, names: Sequence[object]) -> Experience:
        """Take ``steps`` steps in every slot.

        Args:
            policy: the policy that acts.
            steps: environment steps per slot.
            names: names of the random streams that sample actions.

        Raises:
            GatitoError: if an environment raises an error or violates its spaces; names the task, seed and step.
        """
        for slot in self._slots:
            slot.rng = stream(*names, slot.env_id)
        memory = policy.initial_state(len(self._slots))
        self._reread(policy, memory)
        experience, sums = Experience(), {name: [] for name in self.spreads}
        for _ in range(steps):
            cut = []
            for slot in self._slots:
                if not slot.begun:
                    self._begin(slot)
            for slot, decision, row, sampled in self._act(policy, memory, self._slots):
                if slot.act(decision, row, *sampled):
                    slot.last_value = 0.0
                elif slot.truncated:
                    cut.append(slot)
                slot.discounted = self._discount * slot.discounted + slot.reward
                sums[slot.task.name].append(slot.discounted)
            self._ask_critic(policy, memory, cut)
            for slot in self._slots:
                if slot.terminated or slot.truncated:
                    experience.segments.append(slot.segment(self._prompts))
                    experience.returns.setdefault(slot.task.name, []).append(slot.total_return)
                    slot.end()
        ongoing = [slot for slot in self._slots if slot.steps]
        self._ask_critic(policy, memory, ongoing)
        experience.segments += [slot.segment(self._prompts) for slot in ongoing]
        for name, values in sums.items():
            self.spreads[name].add(values)
        return experience

    def _begin(self, slot: "_Slot") -> None:
        number = self.episodes[slot.env_id]
        self.episodes[slot.env_id] += 1
        slot.begin(training_seed("ppo", slot.task.name, self._seed, slot.env_id, number))

    def _reread(self, policy: NetworkPolicy, memory: Any) -> None:  # noqa: ANN401
        """Compute the network's memory of every episode with its current weights."""
        longest = max(len(slot.context) for slot in self._slots)
        for ago in range(longest, 0, -1):
            reading = [slot for slot in self._slots if len(slot.context) >= ago]
            groups = by_task(reading)
            policy.act([_earlier(task, group, ago) for task, group in groups], memory)
            for task, group in groups:
                actions = np.stack([slot.context[-ago].action for slot in group])
                policy.replace_actions(memory, task, np.array([slot.env_id for slot in group]), actions)
        for slot in self._slots:
            slot.episode_start = not slot.context
            slot.reward = slot.context[-1].reward if slot.context else 0.0

    def _act(
        self,
        policy: NetworkPolicy,
        memory: Any,  # noqa: ANN401
        slots: Sequence["_Slot"],
    ) -> Iterator[tuple["_Slot", PolicyOutput, int, tuple[np.ndarray, float]]]:
        """Each slot with its row of the policy's output, the chosen action, and its log-probability."""
        groups = by_task(slots)
        decisions, _ = policy.act([policy_input(task, group) for task, group in groups], memory, sample)
        for (_, group), decision in zip(groups, decisions, strict=True):
            assert decision.distribution is not None and decision.chosen is not None
            log_probs = decision.distribution.log_prob(decision.chosen).cpu().numpy()
            chosen = decision.chosen.cpu().numpy()
            for row, slot in enumerate(group):
                yield slot, decision, row, (chosen[row], float(log_probs[row]))

    def _ask_critic(self, policy: NetworkPolicy, memory: Any, slots: Sequence["_Slot"]) -> None:  # noqa: ANN401
        """Store the critic's value after the last step of these slots."""
        if not slots:
            return
        groups = by_task(slots)
        decisions, _ = policy.act([policy_input(task, group) for task, group in groups], memory)
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
    mask: np.ndarray | None


class _Slot(Slot):
    """A slot that keeps its steps since the last update, and earlier ones for re-reading.

    Attributes:
        begun: whether an episode is running.
        context: the last steps before the last update.
        steps: the steps since the last update.
        last_value: the critic's value after the last step.
        discounted: the discounted sum of the episode's rewards so far.
    """

    def __init__(self, env_id: int, task: Task, env: gym.Env, context: int) -> None:
        super().__init__(env_id, task, env)
        self.begun = False
        self.context: deque[_Step] = deque(maxlen=context)
        self.steps: list[_Step] = []
        self.last_value = self.discounted = 0.0

    def begin(self, seed: int) -> None:
        """Begin an episode."""
        self.reset(seed)
        self.begun, self.discounted = True, 0.0

    def end(self) -> None:
        """Forget the episode."""
        self.context.clear()
        self.begun = False

    def act(self, output: PolicyOutput, row: int, chosen: np.ndarray, log_probability: float) -> bool:
        """Take the action in a row of a policy's output; returns whether the environment has terminated."""
        assert output.values is not None
        observation, action, mask = self.observation, np.array(output.actions[row]), self.action_mask
        if mask is None and self.has_masks:
            mask = np.ones(self.options, dtype=bool)
        self.step(action)
        value = float(output.values[row])
        self.steps.append(_Step(observation, action, self.reward, np.array(chosen), log_probability, value, mask))
        return self.terminated

    def segment(self, prompts: Mapping[str, Window]) -> Segment:
        """The steps since the last update, with the context before them."""
        steps = [*self.context, *self.steps]
        actions = np.stack([step.action for step in steps])
        window = Window(
            self.task,
            stack([step.observation for step in steps]),
            actions,
            None,
            actions,
            np.array([step.reward for step in steps]),
            prompt=prompts.get(self.task.name),
            masks=np.stack([step.mask for step in steps if step.mask is not None]) if self.has_masks else None,
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


def _earlier(task: Task, slots: Sequence[_Slot], ago: int) -> PolicyInput:
    """The policy input of slots of one task ``ago`` steps ago; the oldest kept step counts as an episode's first."""
    starts = [len(slot.context) == ago for slot in slots]
    return PolicyInput(
        task=task,
        observations=stack([slot.context[-ago].observation for slot in slots]),
        env_ids=np.array([slot.env_id for slot in slots]),
        episode_start=np.array(starts),
        rewards=np.array(
            [0.0 if first else slot.context[-ago - 1].reward for slot, first in zip(slots, starts, strict=True)]
        ),
        rngs=[slot.rng for slot in slots],
        envs=[slot.env for slot in slots],
    )
