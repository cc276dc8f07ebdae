"""Amplification by decomposition: a mission of several parts becomes several missions, one after another.

The generalist plays every part by itself: in what it is shown, the mission's text is the current part's alone. Nothing
is learnt. Books have been summarised by parts in this way (Wu et al. 2021, arXiv:2109.10862); here a grammar plans:
which parts there are, and in which order, comes from the mission's words (see :mod:`generalist.amplifiers.missions`).

When a part is done is for a judge to say:

- ``environment`` asks the environment's verifier, whose verdicts on single parts a player of the mission is not told.
  That is a privilege, as search has one with its clones: what it gains shows what decomposition is worth where a part's
  end is known, and distilling such play teaches a network that has no such help.
- ``budget`` has no privilege. A part is over when the network does ``done``, or has had its steps; after the last one
  comes the first again, for any of them may have come to nothing. It cannot tell success from failure: what is left of
  a part's steps is wasted, and a part that takes longer is cut off. Who has learnt from BabyAI's bot alone never does
  ``done``, for the bot does not, so that the clock decides.

Neither can mend what is lost on the way. A part's "on your left" is meant from where the episode began. A part can
begin as no mission of its own does: with something in the agent's hand, or before a door that is to be opened and
stands open. And of "A, then B" a B that is done first counts for nothing, or ends the episode where the level is strict
(none of the suite's is).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.observations import pack, text_of
from generalist.amplifiers.amplifier import Planner
from generalist.amplifiers.missions import Part, split
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.inference_cost import InferenceCost
from generalist.network.modalities import part_spaces
from generalist.network.policy import NetworkPolicy

JUDGES = ("budget", "environment")
_DONE = 6  # MiniGrid's action; it changes nothing


@dataclass(frozen=True)
class Decompose(Planner):
    """The options of ``amplifier=decompose``; see :class:`generalist.amplifiers.Amplifier`."""

    judge: str = setting(
        "environment",
        "How the end of a part is recognised: by the environment's verifier, which is privileged information; or by a "
        "budget: the action done, or part_steps steps.",
        choices=JUDGES,
    )
    part_steps: int = setting(
        128,
        "Steps per part, with judge=budget. BabyAI's bot solved 40 of 40 missions of boss-level in parts of 192 steps, "
        "35 in parts of 128 and 26 in parts of 64; of mini-boss-level, whose limits are shorter, 33 in parts of 192 "
        "and 40 in shorter ones.",
        at_least=1,
    )
    forget: bool = setting(True, "Whether the network's memory is cleared with every part.")
    abandon_after: int = setting(
        0,
        "Steps of a part after which an episode is abandoned, and neither recorded nor solved: a policy that is stuck "
        "can use up half of a round's steps. 0: never.",
        at_least=0,
    )

    while_recording: ClassVar[Sequence[str]] = ("abandon_after",)
    """Options that are not for who is scored, who plays every episode to its end."""

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse tasks without missions, an unknown judge, and parts without steps.

        Raises:
            GatitoError: saying which.
        """
        check_settings("amplifier", self)
        for task in tasks:
            if task.family != "babyai":
                raise GatitoError(
                    f"amplifier decompose splits missions, task {task.name} has none: leave it out with ida.tasks=[…].",
                    task.name,
                )

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "Decomposed":
        """The generalist in that folder, given one part of a mission after another."""
        network = NetworkPolicy.load(folder, tasks, name, deterministic=deterministic)
        judge = fulfilled if self.judge == "environment" else Budget(self.part_steps)
        kinds = {task.name: "logits" for task in tasks} if network.network.kind.has_distribution else {}
        return Decomposed(network, judge, forget=self.forget, kinds=kinds, give_up=self.abandon_after)


@dataclass
class Progress:
    """How far an episode has come.

    Attributes:
        parts: of its mission, in order.
        current: which of them is being played.
        steps: that were decided in it.
        said_done: whether the last of them was the action ``done``.
    """

    parts: tuple[Part, ...]
    current: int = 0
    steps: int = 0
    said_done: bool = False


Judge = Callable[[Progress, gym.Env], int]
"""Which part is to be played now, given the progress so far and the environment."""


def fulfilled(progress: Progress, env: gym.Env) -> int:
    """The first part that the environment's verifier has not seen done; the last one if it has seen them all.

    The verifier looks at every step. It notes at each joint which sides are done for good, and at one with an order it
    looks at the second side only when the first is done; so nothing done too early is taken for a part's end.
    """
    level: Any = env.unwrapped
    places = (place for place, part in enumerate(progress.parts) if not _verified(level.instrs, part.path))
    return next(places, len(progress.parts) - 1)


def _verified(instruction: Any, path: str) -> bool:  # noqa: ANN401
    for side in path:
        if getattr(instruction, f"{side}_done") == "success":
            return True
        instruction = getattr(instruction, f"instr_{side}")
    return False


@dataclass(frozen=True)
class Budget:
    """A judge that knows nothing but the clock and the network's own word; see the module.

    Attributes:
        steps: that a part has.
    """

    steps: int

    def __call__(self, progress: Progress, env: gym.Env) -> int:
        """The next part, in turns, when the current one is over."""
        over = progress.said_done or progress.steps >= self.steps
        return (progress.current + over) % len(progress.parts)


class Decomposed(Policy):
    """A policy that is given a mission's parts one after another.

    What is recorded of it is the whole mission's: observations are the environment's own, and what the network says of
    a part, its action and its distribution, is what to do about the mission.

    Attributes:
        spent: what its decisions have cost so far.
    """

    def __init__(
        self, policy: Policy, judge: Judge, *, forget: bool, kinds: Mapping[str, str], give_up: int = 0
    ) -> None:
        """Begin to play.

        Args:
            policy: who plays the parts.
            judge: says which part's turn it is.
            forget: whether the policy's memory begins anew with every part.
            kinds: what its distributions are, see :class:`benchmarks.play.policy.Policy`.
            give_up: steps of a part after which it gives up; 0: never.
        """
        self.name = policy.name
        self.distribution_kind = kinds
        self.spent = InferenceCost()
        self._policy = policy
        self._judge = judge
        self._forget = forget
        self._give_up = give_up or math.inf

    def initial_state(self, num_envs: int) -> tuple[Any, dict[int, Progress]]:
        """The policy's own memory, and each environment's progress."""
        return self._policy.initial_state(num_envs), {}

    def act(
        self,
        inputs: Sequence[PolicyInput],
        state: tuple[Any, dict[int, Progress]],
    ) -> tuple[list[PolicyOutput], tuple[Any, dict[int, Progress]]]:
        """The policy's decision about every row's current part.

        Values are left out: what a critic expects of a part says nothing of the mission.
        """
        memory, env_ids = state
        with self.spent.timed("seconds"):
            shown = [self._shown(rows, env_ids) for rows in inputs]
            with self.spent.timed("network_seconds"):
                decisions, memory = self._policy.act(shown, memory)
            given_up = []
            for rows, decision in zip(inputs, decisions, strict=True):
                given_up.append(np.array([env_ids[env_id].steps >= self._give_up for env_id in rows.env_ids]))
                for env_id, action in zip(rows.env_ids, decision.actions, strict=True):
                    env_ids[env_id].steps += 1
                    env_ids[env_id].said_done = bool(action == _DONE)
                self.spent.forward_passes += len(rows.env_ids)
                self.spent.decisions += len(rows.env_ids)
        kept = [
            replace(each, values=None, truncated_by_policy=gone) for each, gone in zip(decisions, given_up, strict=True)
        ]
        return kept, (memory, env_ids)

    def close(self) -> None:
        """Close the amplified policy."""
        self._policy.close()

    def _shown(self, rows: PolicyInput, env_ids: dict[int, Progress]) -> PolicyInput:
        """The same rows with the current part's text for a mission."""
        observations, episode_start = rows.observations.copy(), rows.episode_start.copy()
        space = part_spaces(spaces(rows.task)[0])["mission"]
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            if rows.episode_start[row]:
                env_ids[env_id] = Progress(split(text_of(rows.observations["mission"][row])))
            progress = env_ids[env_id]
            current = self._judge(progress, env)
            if current != progress.current:
                progress.current, progress.steps, progress.said_done = current, 0, False
                episode_start[row] |= self._forget
            observations["mission"][row] = pack(space, progress.parts[current].text)
        # A first step follows from nothing, so that it has no reward.
        return replace(
            rows,
            observations=observations,
            episode_start=episode_start,
            rewards=np.where(episode_start, 0.0, rows.rewards),
        )
