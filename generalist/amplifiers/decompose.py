"""Amplification by decomposition: a mission with several parts becomes several missions, one after another.

The generalist plays each part separately: its observation contains only the current part as the mission's text. Nothing
is trained. Books have been summarised in this way (Wu et al. 2021, arXiv:2109.10862); here a grammar determines the
parts and their order from the mission's words (see :mod:`generalist.amplifiers.missions`).

A judge decides when a part is done:

- ``environment`` asks the environment's verifier for each part. This is privileged information, like the clones of a
  search: the gain shows the value of decomposition if the end of a part is known, and distillation teaches a network
  that does not have this information.
- ``budget`` uses no privileged information. A part ends with the action ``done`` or after a number of steps; after the
  last part comes the first one again, since any of them may have failed. It cannot tell success from failure: remaining
  steps of a finished part are wasted, and a part that takes longer is cut off. A network that learned from BabyAI's bot
  never takes ``done``, as the bot does not, so only the number of steps counts.

Neither judge solves three problems. A part's "on your left" refers to the start of the episode. A part can begin in a
state that no mission begins in: with an object in the agent's hand, or in front of a door that is already open. And in
"A, then B", doing B first does not count, or ends the episode in a strict level (the suite has none).
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
from generalist.network.inference_cost import CountingPolicy, InferenceCost
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
    """A scored policy does not abandon episodes."""

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject tasks without missions, an unknown judge, and parts without steps.

        Raises:
            GatitoError: names the setting or the task.
        """
        check_settings("amplifier", self)
        for task in tasks:
            if task.family != "babyai":
                raise GatitoError(
                    f"amplifier decompose splits missions; task {task.name} has none: leave it out with ida.tasks=[…].",
                    task.name,
                )

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "Decomposed":
        """The generalist in this folder, given one part of a mission after another."""
        network = NetworkPolicy.load(folder, tasks, name, deterministic=deterministic)
        judge = fulfilled if self.judge == "environment" else Budget(self.part_steps)
        kinds = {task.name: "logits" for task in tasks} if network.network.kind.has_distribution else {}
        return Decomposed(network, judge, forget=self.forget, kinds=kinds, abandon_after=self.abandon_after)


@dataclass
class Progress:
    """The progress of an episode.

    Attributes:
        parts: the parts of its mission, in order.
        current: the index of the current part.
        steps: decisions in the current part so far.
        said_done: whether the last of them was the action ``done``.
    """

    parts: tuple[Part, ...]
    current: int = 0
    steps: int = 0
    said_done: bool = False


Judge = Callable[[Progress, gym.Env], int]
"""The index of the part to play now, given the progress so far and the environment."""


def fulfilled(progress: Progress, env: gym.Env) -> int:
    """The first part that is not done according to the environment's verifier; the last one if all are done.

    The verifier runs at every step. At each conjunction it stores the sides that are done; at an ordered one, it checks
    the second side only after the first is done, so a part that is done too early does not count.
    """
    level: Any = env.unwrapped
    unfinished = (index for index, part in enumerate(progress.parts) if not _verified(level.instrs, part.path))
    return next(unfinished, len(progress.parts) - 1)


def _verified(instruction: Any, path: str) -> bool:  # noqa: ANN401
    for side in path:
        if getattr(instruction, f"{side}_done") == "success":
            return True
        instruction = getattr(instruction, f"instr_{side}")
    return False


@dataclass(frozen=True)
class Budget:
    """A judge that uses only the number of steps and the action ``done``; see the module.

    Attributes:
        steps: steps per part.
    """

    steps: int

    def __call__(self, progress: Progress, env: gym.Env) -> int:
        """The next part, cyclically, when the current one is over."""
        over = progress.said_done or progress.steps >= self.steps
        return (progress.current + over) % len(progress.parts)


class Decomposed(CountingPolicy):
    """A policy that is given a mission's parts one after another.

    Recordings contain the whole mission: observations are the environment's own, and the network's action and
    distribution for the current part are the labels for the mission.

    Attributes:
        cost: the compute of its decisions so far.
    """

    def __init__(
        self, policy: Policy, judge: Judge, *, forget: bool, kinds: Mapping[str, str], abandon_after: int = 0
    ) -> None:
        """Make the policy.

        Args:
            policy: the policy that plays the parts.
            judge: decides which part is played.
            forget: whether the policy's memory is cleared with every part.
            kinds: the kinds of its distributions, see :class:`benchmarks.play.policy.Policy`.
            abandon_after: steps of a part after which the episode is abandoned; 0: never.
        """
        self.name = policy.name
        self.distribution_kind = kinds
        self.cost = InferenceCost()
        self._policy = policy
        self._judge = judge
        self._forget = forget
        self._abandon_after = abandon_after or math.inf

    def initial_state(self, num_envs: int) -> tuple[Any, dict[int, Progress]]:
        """The policy's memory, and each environment's progress."""
        return self._policy.initial_state(num_envs), {}

    def act(
        self,
        inputs: Sequence[PolicyInput],
        state: tuple[Any, dict[int, Progress]],
    ) -> tuple[list[PolicyOutput], tuple[Any, dict[int, Progress]]]:
        """The policy's decision for every row's current part.

        Values are omitted: the value of a part is not the value of the mission.
        """
        memory, progress_of = state
        with self.cost.timed("seconds"):
            part_inputs = [self._part_input(rows, progress_of) for rows in inputs]
            with self.cost.timed("network_seconds"):
                decisions, memory = self._policy.act(part_inputs, memory)
            abandoned = []
            for rows, decision in zip(inputs, decisions, strict=True):
                abandoned.append(
                    np.array([progress_of[env_id].steps >= self._abandon_after for env_id in rows.env_ids])
                )
                for env_id, action in zip(rows.env_ids, decision.actions, strict=True):
                    progress_of[env_id].steps += 1
                    progress_of[env_id].said_done = bool(action == _DONE)
                self.cost.forward_passes += len(rows.env_ids)
                self.cost.decisions += len(rows.env_ids)
        outputs = [
            replace(decision, values=None, truncated_by_policy=over)
            for decision, over in zip(decisions, abandoned, strict=True)
        ]
        return outputs, (memory, progress_of)

    def close(self) -> None:
        """Close the amplified policy."""
        self._policy.close()

    def _part_input(self, rows: PolicyInput, progress_of: dict[int, Progress]) -> PolicyInput:
        """The same rows with the current part's text as the mission."""
        observations, episode_start = rows.observations.copy(), rows.episode_start.copy()
        space = part_spaces(spaces(rows.task)[0])["mission"]
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            if rows.episode_start[row]:
                progress_of[env_id] = Progress(split(text_of(rows.observations["mission"][row])))
            progress = progress_of[env_id]
            current = self._judge(progress, env)
            if current != progress.current:
                progress.current, progress.steps, progress.said_done = current, 0, False
                episode_start[row] |= self._forget
            observations["mission"][row] = pack(space, progress.parts[current].text)
        # The first step of a part has no previous reward.
        return replace(
            rows,
            observations=observations,
            episode_start=episode_start,
            rewards=np.where(episode_start, 0.0, rows.rewards),
        )
