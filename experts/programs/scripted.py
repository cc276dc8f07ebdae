"""Experts that are programs instead of networks.

Meta-World's scripted controllers, BabyAI's planning bot, an exact planner, board game players, experts that see what
learners must remember, and reference texts. They are neither trained nor stored: the recipe's ``algorithm``
(``script``, ``bot``, ``planner``, ``mcts``, ``perfect``, ``sighted``, ``recall`` or ``reference``) and its
hyperparameters determine them.
"""

import atexit
import signal
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput, RandomPolicy
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.babyai import BabyAI
from benchmarks.tasks.games.solvers import SOLVED
from benchmarks.tasks.observations import stack
from experts.programs.games import MctsPolicy, PerfectPolicy
from experts.programs.memory import RecallPolicy, SightedPolicy, check_recall, check_sighted, sighted_digest
from experts.programs.planner import PlannerPolicy
from experts.programs.program import Program, no_hyperparameters, wrapper_of
from experts.programs.reference import ReferencePolicy
from experts.recipe import PROGRAMS, ExpertRecipe


def check_program(task: Task, recipe: ExpertRecipe) -> None:
    """Reject a program on a task that it was not written for.

    Raises:
        GatitoError: if the program does not play the task, or its recipe is invalid.
    """
    program: Program = PROGRAMS.load(recipe.algorithm)
    if program.family is not None and task.family != program.family:
        others = [name for name in PROGRAMS if PROGRAMS.load(name).family == task.family]
        raise GatitoError(
            f"task {task.name}: {recipe.algorithm} plays tasks of family {program.family}, not {task.family}: use "
            f"{' or '.join(others) or 'a trained algorithm'}."
        )
    program.check(task, recipe)
    if recipe.episode_seconds < 1:
        raise GatitoError(f"task {task.name}: expert.episode_seconds must be at least 1, not {recipe.episode_seconds}.")


def make_program(task: Task, recipe: ExpertRecipe) -> Policy:
    """The program that plays a task.

    Raises:
        GatitoError: if the program does not play this task.
    """
    check_program(task, recipe)
    program: Program = PROGRAMS.load(recipe.algorithm)
    return program.make(task, recipe)


def _check_perfect(task: Task, recipe: ExpertRecipe) -> None:
    no_hyperparameters(task, recipe)
    if task.env_id not in SOLVED:
        raise GatitoError(
            f"task {task.name}: perfect play is known for {' and '.join(SOLVED)}, not for {task.env_id}: use mcts."
        )


def _check_mcts(task: Task, recipe: ExpertRecipe) -> None:
    _simulations(task, recipe)


def _simulations(task: Task, recipe: ExpertRecipe) -> int:
    simulations = recipe.hyperparameters.get("simulations")
    if list(recipe.hyperparameters) != ["simulations"] or not isinstance(simulations, int) or simulations < 2:
        raise GatitoError(
            f"task {task.name}: mcts needs hyperparameters: {{simulations: N}} with N of at least 2 and nothing else, "
            f"not {dict(recipe.hyperparameters)}."
        )
    return simulations


class RandomExpert(RandomPolicy):
    """The random policy in place of an expert, for tasks without a program; it fails the gate."""

    name = "expert"


class ScriptPolicy(Policy):
    """Meta-World's scripted controller of one task: a few rules that map positions to the hand's motion."""

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, task: Task) -> None:
        """Args: a task of family ``metaworld``."""
        from metaworld.policies import ENV_POLICY_MAP

        # The controllers exceed the action bounds, with a warning each time.
        warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high", module="metaworld")
        self._script = ENV_POLICY_MAP[task.env_id]()
        space = spaces(task)[1]
        assert isinstance(space, gym.spaces.Box)
        self._low, self._high = space.low, space.high

    def initial_state(self, num_envs: int) -> None:
        """None: the policy has no state."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The controller's action, clipped to the bounds."""
        decisions = []
        for rows in inputs:
            actions = stack([self._script.get_action(row) for row in rows.observations])
            actions = actions.clip(self._low, self._high).astype(np.float32)
            decisions.append(PolicyOutput(actions, actions))
        return decisions, state


class BotPolicy(Policy):
    """BabyAI's bot: it plans on the environment's state, with the cells it has seen and the executed actions.

    It truncates an episode if its plan ends before the mission, if the bot raises an error, or if it exceeds its time.
    """

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, task: Task, episode_seconds: float) -> None:
        """Args: a task of family ``babyai``, and the CPU seconds of planning after which an episode is truncated."""
        self._task = task
        self._seconds = episode_seconds

    def initial_state(self, num_envs: int) -> dict[int, Any]:
        """Each environment's bot, by environment id."""
        return {}

    def act(self, inputs: Sequence[PolicyInput], state: dict[int, Any]) -> tuple[list[PolicyOutput], dict[int, Any]]:
        """The bot's next action."""
        _TIMER.keep_running()
        return [self._decide(rows, state) for rows in inputs], state

    def _decide(self, rows: PolicyInput, bots: dict[int, Any]) -> PolicyOutput:
        from experts.programs.bot import Bot

        actions = np.zeros(len(rows.envs), dtype=np.int64)
        truncated_by_policy = np.zeros(len(rows.envs), dtype=bool)
        images = rows.observations["image"]
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            action = None
            try:
                if rows.episode_start[row]:
                    bots[env_id] = _TimedBot(Bot(env.unwrapped), wrapper_of(env, BabyAI), self._seconds)
                timed_bot = _TIMER.timed_bot = bots[env_id]
                action = timed_bot.bot.decide(images[row], timed_bot.env.last_action)
                _TIMER.timed_bot = None
            except Exception:  # an error of the bot ends the episode, not the recording
                _TIMER.timed_bot = None
            truncated_by_policy[row] = action is None
            actions[row] = 0 if action is None else action
        return PolicyOutput(actions, actions, truncated_by_policy=truncated_by_policy)


@dataclass
class _TimedBot:
    """An environment, its bot, and the CPU seconds that the bot has left in this episode."""

    bot: Any
    env: BabyAI
    seconds_left: float


class _OutOfTimeError(Exception):
    """Raised inside a bot that has used up its time."""


class _Timer:
    """Interrupts a bot that has used up its time by a signal, which interrupts even an endless loop.

    It measures CPU time, so that a busy or sleeping machine changes no episode. It ticks once a second (arming it for
    every decision would cost as much as the decision) and stops if no bot has acted between two ticks. Signals need a
    process's main thread, which is where jobs run.

    Attributes:
        timed_bot: the bot that is planning; None if no bot is.
    """

    def __init__(self) -> None:
        self.timed_bot: _TimedBot | None = None
        self._runs = False
        self._used = False
        atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)  # a tick after the last handler would kill the process

    def keep_running(self) -> None:
        """Start the timer if it is not running."""
        self._used = True
        if not self._runs and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGPROF, self._tick)
            signal.setitimer(signal.ITIMER_PROF, 1.0, 1.0)
            self._runs = True

    def _tick(self, *_: object) -> None:
        if self.timed_bot is not None:
            self.timed_bot.seconds_left -= 1.0
            if self.timed_bot.seconds_left <= 0:
                self.timed_bot = None
                raise _OutOfTimeError
        elif not self._used:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, self._before)
            self._runs = False
        self._used = False


_TIMER = _Timer()  # a process has one such signal
SCRIPT = Program(lambda task, recipe: ScriptPolicy(task), "metaworld")
BOT = Program(lambda task, recipe: BotPolicy(task, recipe.episode_seconds), "babyai")
PLANNER = Program(lambda task, recipe: PlannerPolicy(task, recipe.cost_weight), "restraint")
MCTS = Program(lambda task, recipe: MctsPolicy(task, _simulations(task, recipe)), "games", _check_mcts)
PERFECT = Program(lambda task, recipe: PerfectPolicy(task), "games", _check_perfect)
SIGHTED = Program(SightedPolicy, "memory", check_sighted, sighted_digest)
RECALL = Program(lambda task, recipe: RecallPolicy(), "memory", check_recall)
REFERENCE = Program(lambda task, recipe: ReferencePolicy(), "words")
RANDOM = Program(lambda task, recipe: RandomExpert())
