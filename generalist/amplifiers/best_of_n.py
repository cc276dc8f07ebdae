"""Best of N: try several first actions in clones, let the policy play on from each, and do what ended best.

The rollout algorithm (Tesauro & Galperin 1996; Bertsekas 2013): one step of policy iteration, so that with exact
rollouts the amplified policy is no worse than the policy. The best of several noisy estimates flatters itself, so the
winner must win against the policy's own choice in fresh futures, several times. Futures that are compared have the same
luck, and what comes sooner in them counts more.
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
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.snapshots import snapshot as cloning
from generalist.amplifiers.amplifier import Planner
from generalist.amplifiers.rollouts import Rollouts, confirm
from generalist.amplifiers.simulator import Simulator, Snapshot, uncollected
from generalist.config.codec import CodecConfig
from generalist.config.masks import refuse_masks
from generalist.config.settings import ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.distributions import Categorical, Distribution, Selector, greedy, gumbel_noise, sample
from generalist.network.heads import action_count, check_samples
from generalist.network.inference_cost import InferenceCost
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
        "Fresh rollouts that a winner must win against the policy's own choice, since the best of several estimates is "
        "biased upwards; 0: none.",
        at_least=0,
    )

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings and tasks that cannot work.

        Raises:
            GatitoError: naming the setting or the task.
        """
        check_settings("amplifier", self)
        refuse_masks("amplifier best_of_n", "would try illegal actions", tasks, "Set amplifier=self_imitation")
        for task in tasks:
            check_samples(codec, task)
            cloning.check(task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "BestOfNPolicy":
        """The generalist in this folder with the amplifier."""
        return BestOfNPolicy(NetworkPolicy.load(folder, tasks, name), self)


@dataclass
class _State:
    """The policy's memory: of the environments that are played, then of their candidates, then of the rollouts."""

    memory: Any
    num_envs: int


class BestOfNPolicy(Policy):
    """A network's policy that tries before it acts.

    Attributes:
        name: the agent's.
        spent: what its decisions cost so far.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(self, policy: NetworkPolicy, config: BestOfN) -> None:
        """Args: who is to be amplified, and how."""
        self.name = policy.name
        self.spent = InferenceCost()
        self._policy = policy
        self._config = config
        self._simulators: dict[str, Simulator] = {}

    def initial_state(self, num_envs: int) -> _State:
        """Memory for so many environments."""
        slots = 1 + self._config.candidates * (1 + self._config.rollouts)
        return _State(self._policy.initial_state(num_envs * slots), num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: _State) -> tuple[list[PolicyOutput], _State]:
        """Try candidates for every row, task by task; the value of a decision is the mean return of its rollouts."""
        with self.spent.timed("seconds"), uncollected():
            decisions = [self._decide(rows, state) for rows in inputs]
        self.spent.decisions += sum(len(rows.env_ids) for rows in inputs)
        return decisions, state

    def close(self) -> None:
        """Close the imagined environments and the amplified policy."""
        for imagined in self._simulators.values():
            imagined.close()
        self._policy.close()

    def _decide(self, rows: PolicyInput, state: _State) -> PolicyOutput:
        task, count = rows.task, len(rows.env_ids)
        n = min(self._config.candidates, action_count(task)) if is_discrete(task) else self._config.candidates
        simulator = self._simulators.setdefault(task.name, Simulator(task, self.spent))
        rollouts = Rollouts(self._policy, simulator, state.memory, self.spent)
        starts = [simulator.spot(env) for env in rows.envs]
        # Every candidate is decided in a memory slot of its own, which remembers that it was done.
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
        select = _first_and_others(n, is_discrete(task))
        actions = rollouts.ask(candidates, select).actions
        actions = actions.reshape(count, n, *actions.shape[1:])
        everything = [(row, candidate) for row in range(count) for candidate in range(n)]
        values = self._estimate(rollouts, rows, state, starts, actions, everything).reshape(count, n)
        best = values.argmax(axis=1)  # the policy's own choice where several are equal
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
        """``(rows, candidates)``, the memory slots on which the rows' candidates are decided."""
        return state.num_envs + env_ids[:, None] * self._config.candidates + np.arange(self._config.candidates)

    def _rollout_slots(self, state: _State, env_id: int) -> np.ndarray:
        """``(candidates, rollouts)``, the memory slots of the rollouts of one environment."""
        size = self._config.candidates * self._config.rollouts
        first = state.num_envs * (1 + self._config.candidates) + env_id * size
        return first + np.arange(size).reshape(self._config.candidates, self._config.rollouts)


def _first_and_others(n: int, distinct: bool) -> Selector:
    """In each group of ``n`` rows that see the same, the first acts greedily; the others sample.

    Samples of discrete actions are without replacement, by the Gumbel-top-k trick (Kool et al. 2019, arXiv:1903.06059).
    """

    def select(distribution: Distribution, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        if not distinct:
            chosen = distribution.sample(rngs)
            chosen[::n] = distribution.mode()[::n]
            return chosen
        assert isinstance(distribution, Categorical)
        groups = distribution.logits[::n].float()
        noisy = groups + gumbel_noise(rngs[::n], groups)
        first = groups.argmax(dim=1, keepdim=True)
        chosen = noisy.scatter(1, first, torch.inf).topk(n, dim=1).indices
        # Where fewer than n actions are legal, the greedy one takes the place of the others.
        return torch.where(groups.gather(1, chosen).isneginf(), first, chosen).flatten()

    return select
