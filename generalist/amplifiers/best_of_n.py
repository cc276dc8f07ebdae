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
from generalist.amplifiers.rollouts import ask, play_on, prove
from generalist.amplifiers.simulator import Simulator, Snapshot, uncollected
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.choice import Chooser, drawn, most_likely
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
        for task in tasks:
            check_samples(codec, task)
            cloning.check(task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, draws: bool = False) -> "BestOfNPolicy":
        """The generalist in this folder with the amplifier."""
        return BestOfNPolicy(NetworkPolicy.load(folder, tasks, name), self)


@dataclass
class _State:
    """The policy's memory: of the environments that are played, of their candidates, and of the candidates' futures."""

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
        self._imagined: dict[str, Simulator] = {}

    def initial_state(self, num_envs: int) -> _State:
        """Memory for so many environments."""
        each = 1 + self._config.candidates * (1 + self._config.rollouts)
        return _State(self._policy.initial_state(num_envs * each), num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: _State) -> tuple[list[PolicyOutput], _State]:
        """Try candidates for every row, task by task; the value of a decision is what its futures brought."""
        with self.spent.timed("seconds"), uncollected():
            decisions = [self._decide(rows, state) for rows in inputs]
        self.spent.decisions += sum(len(rows.env_ids) for rows in inputs)
        return decisions, state

    def close(self) -> None:
        """Close the imagined environments and the amplified policy."""
        for imagined in self._imagined.values():
            imagined.close()
        self._policy.close()

    def _decide(self, rows: PolicyInput, state: _State) -> PolicyOutput:
        task, count = rows.task, len(rows.env_ids)
        n = min(self._config.candidates, action_count(task)) if is_discrete(task) else self._config.candidates
        imagined = self._imagined.setdefault(task.name, Simulator(task, self.spent))
        saved = [imagined.spot(env) for env in rows.envs]
        # Every candidate is decided on an environment of its own, which remembers that it was done.
        env_ids = self._candidates(state, rows.env_ids)[:, :n]
        self._policy.fork(state.memory, np.repeat(rows.env_ids, n), env_ids.ravel())
        each = replace(
            rows,
            observations=np.repeat(rows.observations, n, axis=0),
            env_ids=env_ids.ravel(),
            episode_start=np.repeat(rows.episode_start, n),
            rewards=np.repeat(rows.rewards, n),
            rngs=[branch(rng) for rng in rows.rngs for _ in range(n)],
            envs=[env for env in rows.envs for _ in range(n)],
        )
        choose = _first_and_others(n, is_discrete(task))
        actions = ask(self._policy, each, state.memory, self.spent, choose).actions
        actions = actions.reshape(count, n, *actions.shape[1:])
        everything = [(row, candidate) for row in range(count) for candidate in range(n)]
        values = self._estimate(imagined, rows, state, saved, actions, everything).reshape(count, n)
        best = values.argmax(axis=1)  # the policy's own choice where several are equal
        value = values[np.arange(count), best]
        doubted = np.flatnonzero(best)

        def fresh(which: np.ndarray) -> np.ndarray:
            pairs = [(int(row), int(candidate)) for row in doubted[which] for candidate in (best[row], 0)]
            return self._estimate(imagined, rows, state, saved, actions, pairs).reshape(-1, 2)

        won, told = prove(len(doubted), self._config.confirmation_rollouts, fresh)
        if self._config.confirmation_rollouts:
            value[doubted] = np.where(won, told[:, 0], told[:, 1])
        best[doubted[~won]] = 0
        self._policy.fork(state.memory, env_ids[np.arange(count), best], rows.env_ids)
        chosen = actions[np.arange(count), best]
        return PolicyOutput(chosen, chosen, values=value)

    def _estimate(
        self,
        imagined: Simulator,
        rows: PolicyInput,
        state: _State,
        saved: Sequence[Snapshot],
        actions: np.ndarray,
        pairs: Sequence[tuple[int, int]],
    ) -> np.ndarray:
        """The mean return of each pair of row and candidate over its futures, ``(pairs,)``."""
        config = self._config
        tries = [(row, candidate, future) for row, candidate in pairs for future in range(config.rollouts)]
        candidates = Counter(row for row, _ in pairs)
        lucks = {
            (row, future): iter(alike(rows.rngs[row], count))
            for row, count in candidates.items()
            for future in range(config.rollouts)
        }
        rngs = [next(lucks[row, future]) for row, _, future in tries]
        decided = self._candidates(state, rows.env_ids)
        env_ids = np.array(
            [self._futures(state, rows.env_ids[row])[candidate, future] for row, candidate, future in tries]
        )
        self._policy.fork(state.memory, np.array([decided[row, candidate] for row, candidate, _ in tries]), env_ids)
        returns = play_on(
            self._policy,
            imagined,
            state.memory,
            self.spent,
            [saved[row] for row, _, _ in tries],
            np.stack([actions[row, candidate] for row, candidate, _ in tries]),
            env_ids,
            rngs,
            config.horizon,
            most_likely if config.deterministic else drawn,
            foresees=False,
        )
        return returns.reshape(len(pairs), config.rollouts).mean(axis=1)

    def _candidates(self, state: _State, env_ids: np.ndarray) -> np.ndarray:
        """``(rows, candidates)``, the memory slots on which the rows' candidates are decided."""
        return state.num_envs + env_ids[:, None] * self._config.candidates + np.arange(self._config.candidates)

    def _futures(self, state: _State, env_id: int) -> np.ndarray:
        """``(candidates, rollouts)``, the memory slots of the futures of one environment."""
        size = self._config.candidates * self._config.rollouts
        first = state.num_envs * (1 + self._config.candidates) + env_id * size
        return first + np.arange(size).reshape(self._config.candidates, self._config.rollouts)


def _first_and_others(n: int, distinct: bool) -> Chooser:
    """Of each group of ``n`` rows that see the same, the first does what is most likely; the others draw.

    Draws of discrete actions are without replacement, by the Gumbel-top-k trick (Kool et al. 2019, arXiv:1903.06059).
    """

    def choose(logits: torch.Tensor, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        if not distinct:
            chosen = drawn(logits, rngs)
            chosen[::n] = most_likely(logits[::n])
            return chosen
        groups = logits[::n].float()
        noise = np.stack([rng.gumbel(size=groups.shape[1:]) for rng in rngs[::n]]).astype(np.float32)
        noisy = groups + torch.from_numpy(noise).to(groups.device)
        noisy.scatter_(1, groups.argmax(dim=1, keepdim=True), torch.inf)
        return noisy.topk(n, dim=1).indices.flatten()

    return choose
