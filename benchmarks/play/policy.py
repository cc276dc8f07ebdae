"""The protocol of every agent: a batch of observations in, a batch of actions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import sample_action
from benchmarks.tasks.observations import stack


@dataclass(frozen=True)
class PolicyInput:
    """The input of a policy for one task at one time step: a row for each environment that plays it.

    Attributes:
        task: the task of all rows.
        observations: shape ``(rows, *observation shape)``, packed (see ``tasks.observations``).
        env_ids: shape ``(rows,)``, index of each row's environment, below the number given to ``initial_state``;
            memory is kept per environment.
        episode_start: shape ``(rows,)``, true on the first step of an episode: memory of the previous episode must be
            cleared.
        rewards: shape ``(rows,)``, reward of each environment's last step; 0 on the first step.
        rngs: random stream of each row, one per episode.
        envs: environment of each row, for planners that read its state; a learner must not read it.
        action_masks: shape ``(rows, options)`` bool, which options of discrete actions are legal, as the environment's
            ``info["action_mask"]`` states, those of several choices in order; None if all are.
    """

    task: Task
    observations: np.ndarray
    env_ids: np.ndarray
    episode_start: np.ndarray
    rewards: np.ndarray
    rngs: Sequence[np.random.Generator]
    envs: Sequence[gym.Env]
    action_masks: np.ndarray | None = None

    def where(self, chosen: np.ndarray) -> "PolicyInput":
        """Some of the rows; ``chosen``: shape ``(rows,)`` bool."""
        rows = np.flatnonzero(chosen).tolist()
        return PolicyInput(
            self.task,
            self.observations[rows],
            self.env_ids[rows],
            self.episode_start[rows],
            self.rewards[rows],
            [self.rngs[row] for row in rows],
            [self.envs[row] for row in rows],
            None if self.action_masks is None else self.action_masks[rows],
        )

    def action_mask(self, row: int) -> np.ndarray | None:
        """Which actions are legal in this row, ``(actions,)`` bool; None if all are."""
        return None if self.action_masks is None else self.action_masks[row]


@dataclass(frozen=True)
class PolicyOutput:
    """The output of a policy for the rows of one :class:`PolicyInput`.

    Attributes:
        actions: shape ``(rows, *action shape)``, the actions that the environments receive.
        labels: the actions that a learner should imitate; they differ from ``actions`` under noise or when a learner
            acts and a teacher labels.
        distributions: the policy's action distribution, or None if it has none. Discrete actions: ``(rows, options)``
            logits or Q-values, those of several choices one after another; continuous ones: ``(rows, 2, dimensions)``
            mean and standard deviation, or ``(rows, dimensions, bins)`` logits of equal parts of the range (never
            recorded).
        truncated_by_policy: shape ``(rows,)``, true where the policy cannot continue: the episode ends here.
        values: shape ``(rows,)``, value estimates of the discounted return; None without a critic.
    """

    actions: np.ndarray
    labels: np.ndarray
    distributions: np.ndarray | None = None
    truncated_by_policy: np.ndarray | None = None
    values: np.ndarray | None = None


class Policy(Protocol):
    """Anything that can be scored: random, expert, specialist, generalist, an amplified generalist, a baseline.

    Attributes:
        name: the agent's name in score rows; it seeds the episodes' random streams.
        distribution_kind: the kind of ``PolicyOutput.distributions`` by task name: ``logits``, ``q`` or ``gaussian``;
            other tasks have none.
    """

    name: str
    distribution_kind: Mapping[str, str]

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """Memory for ``num_envs`` environments; None if the policy has none."""
        ...

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[Sequence[PolicyOutput], Any]:  # noqa: ANN401
        """Actions for every row of every task, in the order of ``inputs``, and the new memory."""
        ...

    def inference_cost(self) -> dict[str, float]:
        """Inference-time compute so far, by the name of its counter; empty by default."""
        return {}

    def close(self) -> None:
        """Release resources, such as environments for planning; by default nothing."""
        return


class RandomPolicy(Policy):
    """Uniform random actions: score 0 on every task."""

    name = "random"
    distribution_kind: Mapping[str, str] = {}

    def initial_state(self, num_envs: int) -> None:
        """No memory."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Uniform over a discrete space, uniform within the bounds of a continuous one."""
        decisions = []
        for rows in inputs:
            _, space = spaces(rows.task)
            actions = stack([sample(space, rng, rows.task, rows.action_mask(row)) for row, rng in enumerate(rows.rngs)])
            decisions.append(PolicyOutput(actions, actions))
        return decisions, state


class PolicyPerTask(Policy):
    """One policy per task, played as a single agent, such as the experts of a suite."""

    def __init__(self, name: str, policies: Mapping[str, Policy]) -> None:
        self.name = name
        self._policies = policies
        self.distribution_kind: Mapping[str, str] = {
            task: kind for policy in policies.values() for task, kind in policy.distribution_kind.items()
        }

    def initial_state(self, num_envs: int) -> dict[str, Any]:
        """Each policy's memory by task name; made when the task first occurs."""
        return {}

    def inference_cost(self) -> dict[str, float]:
        """The sums over all policies."""
        return total_cost([policy.inference_cost() for policy in self._policies.values()])

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Let each task's policy decide its rows.

        A policy has memory for its task's environments only, numbered from the first one, since all of them begin
        together.
        """
        decisions = []
        for rows in inputs:
            name = rows.task.name
            if name not in self._policies:
                raise GatitoError(
                    f"agent {self.name} has no policy for task {name}: run its stage for this task first."
                )
            if name not in state:
                first = int(rows.env_ids.min())
                state[name] = (first, self._policies[name].initial_state(int(rows.env_ids.max()) - first + 1))
            first, memory = state[name]
            task_rows = replace(rows, env_ids=rows.env_ids - first)
            [decision], memory = self._policies[name].act([task_rows], memory)
            state[name] = (first, memory)
            decisions.append(decision)
        return decisions, state

    def close(self) -> None:
        """Close all policies."""
        for policy in self._policies.values():
            policy.close()


class Noisy(Policy):
    """A policy whose action is replaced by a uniform one with some probability; its labels stay clean.

    Recording with it shows a learner how the expert recovers from mistakes (DART: Laskey et al. 2017,
    arXiv:1703.09327, here with uniform noise).
    """

    def __init__(self, policy: Policy, probability: float) -> None:
        self._policy = policy
        self._probability = probability
        self.name = policy.name
        self.distribution_kind = policy.distribution_kind

    def inference_cost(self) -> dict[str, float]:
        """The wrapped policy's."""
        return self._policy.inference_cost()

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The wrapped policy's memory."""
        return self._policy.initial_state(num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The wrapped policy's actions, replaced by uniform ones with the given probability per step."""
        decisions, state = self._policy.act(inputs, state)
        return [self._disturb(rows, decision) for rows, decision in zip(inputs, decisions, strict=True)], state

    def close(self) -> None:
        """Close the wrapped policy."""
        self._policy.close()

    def _disturb(self, rows: PolicyInput, decision: PolicyOutput) -> PolicyOutput:
        disturbed = [row for row, rng in enumerate(rows.rngs) if rng.random() < self._probability]
        if not disturbed:
            return decision
        _, space = spaces(rows.task)
        actions = decision.actions.copy()
        for row in disturbed:
            actions[row] = sample(space, rows.rngs[row], rows.task, rows.action_mask(row))
        return replace(decision, actions=actions)


class TeacherLabelled(Policy):
    """A learner acts, and a teacher labels every step (DAgger: Ross et al. 2011, arXiv:1011.0686).

    Labels are the teacher's action and distribution. An episode ends where the teacher cannot continue, and after
    ``longest`` steps.
    """

    def __init__(self, learner: Policy, teacher: Policy, longest: int) -> None:
        """Args: the policy that acts, the policy that labels, and the most steps of an episode."""
        self._learner, self._teacher, self._longest = learner, teacher, longest
        self.name = learner.name
        self.distribution_kind = teacher.distribution_kind

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """Memory of both, and the number of steps in each environment's episode."""
        return (
            self._learner.initial_state(num_envs),
            self._teacher.initial_state(num_envs),
            np.zeros(num_envs, dtype=np.int64),
        )

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The learner's actions with the teacher's labels."""
        memory, knowledge, steps = state
        acted, memory = self._learner.act(inputs, memory)
        outputs, knowledge = self._teacher.act(inputs, knowledge)
        decisions = []
        for rows, action, label in zip(inputs, acted, outputs, strict=True):
            steps[rows.env_ids] = np.where(rows.episode_start, 0, steps[rows.env_ids] + 1)
            truncated_by_policy = steps[rows.env_ids] >= self._longest
            if label.truncated_by_policy is not None:
                truncated_by_policy |= label.truncated_by_policy
            decisions.append(PolicyOutput(action.actions, label.labels, label.distributions, truncated_by_policy))
        return decisions, (memory, knowledge, steps)

    def close(self) -> None:
        """Close the learner and the teacher."""
        self._learner.close()
        self._teacher.close()


def total_cost(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sums of several inference costs."""
    return {
        name: sum(part.get(name, 0) for part in parts) for name in dict.fromkeys(key for part in parts for key in part)
    }


def stack_masks(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Stack the action masks of several environments of one task, ``(rows, options)``; None if it has none."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    every = np.ones(len(given[0]), dtype=bool)  # an environment that gives no mask now has no illegal actions
    return np.stack([every if mask is None else mask for mask in masks])


def sample(space: gym.Space, rng: np.random.Generator, task: Task, mask: np.ndarray | None = None) -> np.ndarray:
    """Sample a uniform action with an explicit random stream.

    Args:
        space: the action space.
        rng: the random stream.
        task: the task, for the error message.
        mask: ``(options,)``, which options of the choices are legal; None if all are.

    Raises:
        GatitoError: if the space is neither discrete nor a bounded box.
    """
    try:
        return sample_action(space, rng, mask)
    except TypeError:
        raise GatitoError(
            f"task {task.name}: actions of kind {space} are not supported; Discrete, MultiDiscrete and bounded Box "
            f"are. Register a version of {task.env_id} under an id of your own that has one of these action spaces, "
            "and name that id.",
            task.name,
        ) from None
