"""Best of N: try several first actions in cloned environments, continue each with the policy, and take the best.

This is the rollout algorithm (Tesauro & Galperin 1996; Bertsekas 2013), one step of policy iteration: with exact
rollouts the amplified policy is no worse than the policy. The maximum of several noisy estimates is biased upwards, so
the winner must also beat the policy's own choice in several new rollouts. Rollouts that are compared share random
numbers, and returns are discounted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.base.seeds import alike, branch
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.overseer import check_costs
from benchmarks.tasks.snapshots import snapshot as cloning
from generalist.amplifiers.amplifier import Planner
from generalist.amplifiers.caution import check_discrete, likely_logits
from generalist.amplifiers.rollouts import Rollouts, confirm
from generalist.amplifiers.simulator import Simulator, Snapshot, uncollected
from generalist.config.codec import CodecConfig
from generalist.config.objective import cost_weight, min_probability
from generalist.config.settings import ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.distributions import Categorical, Distribution, Selector, greedy, gumbel_noise, sample
from generalist.network.heads import action_count, check_samples
from generalist.network.inference_cost import CountingPolicy, InferenceCost
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class BestOfN(Planner):
    """The options of ``amplifier=best_of_n``."""

    candidates: int = setting(
        4, "First actions that are tried, the policy's own among them; discrete ones are all different.", at_least=2
    )
    rollouts: int = setting(1, "Rollouts of each candidate.", at_least=1)
    horizon: int = setting(100, "Longest rollout in steps; later rewards do not count.", at_least=1)
    deterministic: bool = setting(True, "Whether the policy plays its most likely actions in rollouts, or samples.")
    confirmation_rollouts: int = setting(
        4,
        "New rollouts that a winner must win against the policy's own choice, since the best of several estimates is "
        "biased upwards; 0: none.",
        at_least=0,
    )
    cost_weight: float = cost_weight()
    min_probability: float = min_probability()

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work.

        Raises:
            GatitoError: names the setting or the task.
        """
        check_settings("amplifier", self)
        check_costs("amplifier.cost_weight", self.cost_weight, tasks)
        check_discrete(self.min_probability, tasks)
        for task in tasks:
            check_samples(codec, task)
            cloning.check(task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "BestOfNPolicy":
        """The generalist in this folder with the amplifier."""
        return BestOfNPolicy(NetworkPolicy.load(folder, tasks, name), self)


@dataclass
class _State:
    """The policy's memory: slots for the real environments, then for their candidates, then for the rollouts."""

    memory: Any
    num_envs: int


class BestOfNPolicy(CountingPolicy):
    """A network's policy that compares rollouts of several actions before each decision.

    Attributes:
        name: the agent's name.
        cost: the compute of its decisions so far.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(self, policy: NetworkPolicy, config: BestOfN) -> None:
        """Args: the policy to amplify, and the settings."""
        self.name = policy.name
        self.cost = InferenceCost()
        self._policy = policy
        self._config = config
        self._simulators: dict[str, Simulator] = {}

    def initial_state(self, num_envs: int) -> _State:
        """Memory for ``num_envs`` environments."""
        slots = 1 + self._config.candidates * (1 + self._config.rollouts)
        return _State(self._policy.initial_state(num_envs * slots), num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: _State) -> tuple[list[PolicyOutput], _State]:
        """Compare candidates for every row, task by task; a decision's value is the mean return of its rollouts."""
        with self.cost.timed("seconds"), uncollected():
            decisions = [self._decide(rows, state) for rows in inputs]
        self.cost.decisions += sum(len(rows.env_ids) for rows in inputs)
        return decisions, state

    def close(self) -> None:
        """Close the cloned environments and the amplified policy."""
        for simulator in self._simulators.values():
            simulator.close()
        self._policy.close()

    def _decide(self, rows: PolicyInput, state: _State) -> PolicyOutput:
        task, count = rows.task, len(rows.env_ids)
        n = min(self._config.candidates, action_count(task)) if is_discrete(task) else self._config.candidates
        simulator = self._simulators.setdefault(task.name, Simulator(task, self.cost, self._config.cost_weight))
        rollouts = Rollouts(self._policy, simulator, state.memory, self.cost)
        starts = [simulator.snapshot(env) for env in rows.envs]
        # Every candidate has its own memory slot, which remembers that this action was taken.
        env_ids = self._candidates(state, rows.env_ids)[:, :n]
        self._policy.fork(state.memory, np.repeat(rows.env_ids, n), env_ids.ravel())
        candidates = replace(
            rows,
            observations=np.repeat(rows.observations, n, axis=0),
            env_ids=env_ids.ravel(),
            episode_start=np.repeat(rows.episode_start, n),
            rewards=np.repeat(rows.rewards, n),
            rngs=[branch(rng) for rng in rows.rngs for _ in range(n)],
            envs=[env for env in rows.envs for _ in range(n)],
            action_masks=None if rows.action_masks is None else np.repeat(rows.action_masks, n, axis=0),
        )
        select = _first_and_others(n, is_discrete(task), self._config.min_probability)
        actions = rollouts.ask(candidates, select).actions
        actions = actions.reshape(count, n, *actions.shape[1:])
        all_pairs = [(row, candidate) for row in range(count) for candidate in range(n)]
        values = self._estimate(rollouts, rows, state, starts, actions, all_pairs).reshape(count, n)
        best = values.argmax(axis=1)  # the policy's own choice among equals
        value = values[np.arange(count), best]
        others = np.flatnonzero(best)

        def rollout(which: np.ndarray) -> np.ndarray:
            pairs = [(int(row), int(candidate)) for row in others[which] for candidate in (best[row], 0)]
            return self._estimate(rollouts, rows, state, starts, actions, pairs).reshape(-1, 2)

        won, returns = confirm(len(others), self._config.confirmation_rollouts, rollout)
        if self._config.confirmation_rollouts:
            value[others] = np.where(won, returns[:, 0], returns[:, 1])
        best[others[~won]] = 0
        self._policy.fork(state.memory, env_ids[np.arange(count), best], rows.env_ids)
        chosen = actions[np.arange(count), best]
        return PolicyOutput(chosen, chosen, values=value)

    def _estimate(
        self,
        rollouts: Rollouts,
        rows: PolicyInput,
        state: _State,
        starts: Sequence[Snapshot],
        actions: np.ndarray,
        pairs: Sequence[tuple[int, int]],
    ) -> np.ndarray:
        """The mean return of each pair of row and candidate over its rollouts, ``(pairs,)``."""
        config = self._config
        tries = [(row, candidate, number) for row, candidate in pairs for number in range(config.rollouts)]
        candidates = Counter(row for row, _ in pairs)
        streams = {
            (row, number): iter(alike(rows.rngs[row], count))
            for row, count in candidates.items()
            for number in range(config.rollouts)
        }
        rngs = [next(streams[row, number]) for row, _, number in tries]
        decided = self._candidates(state, rows.env_ids)
        env_ids = np.array(
            [self._rollout_slots(state, rows.env_ids[row])[candidate, number] for row, candidate, number in tries]
        )
        self._policy.fork(state.memory, np.array([decided[row, candidate] for row, candidate, _ in tries]), env_ids)
        returns = rollouts.returns(
            [starts[row] for row, _, _ in tries],
            np.stack([actions[row, candidate] for row, candidate, _ in tries]),
            env_ids,
            rngs,
            config.horizon,
            greedy if config.deterministic else sample,
            bootstrap=False,
        )
        return returns.reshape(len(pairs), config.rollouts).mean(axis=1)

    def _candidates(self, state: _State, env_ids: np.ndarray) -> np.ndarray:
        """``(rows, candidates)``, the memory slots of the rows' candidates."""
        return state.num_envs + env_ids[:, None] * self._config.candidates + np.arange(self._config.candidates)

    def _rollout_slots(self, state: _State, env_id: int) -> np.ndarray:
        """``(candidates, rollouts)``, the memory slots of the rollouts of one environment."""
        size = self._config.candidates * self._config.rollouts
        first = state.num_envs * (1 + self._config.candidates) + env_id * size
        return first + np.arange(size).reshape(self._config.candidates, self._config.rollouts)


def _first_and_others(n: int, distinct: bool, min_probability: float = 0.0) -> Selector:
    """In each group of ``n`` rows with the same observation, the first acts greedily and the others sample.

    Actions below the probability are replaced by the greedy one.

    Samples of discrete actions are without replacement, by the Gumbel-top-k trick (Kool et al. 2019, arXiv:1903.06059).
    """

    def select(distribution: Distribution, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        if not distinct:
            chosen = distribution.sample(rngs)
            chosen[::n] = distribution.mode()[::n]
            return chosen
        assert isinstance(distribution, Categorical)
        groups = distribution.logits[::n].float()
        groups = torch.from_numpy(likely_logits(groups.cpu().numpy(), min_probability)).to(groups.device)
        noisy = groups + gumbel_noise(rngs[::n], groups)
        first = groups.argmax(dim=1, keepdim=True)
        chosen = noisy.scatter(1, first, torch.inf).topk(n, dim=1).indices
        # If fewer than n actions are legal, the greedy one replaces the missing ones.
        return torch.where(groups.gather(1, chosen).isneginf(), first, chosen).flatten()

    return select
