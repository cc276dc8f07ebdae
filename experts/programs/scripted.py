"""Experts that are programs, not networks.

Meta-World's scripted controllers, BabyAI's planning bot, an exact planner, and players of board games. They are neither
trained nor stored: a recipe's ``algorithm`` (``script``, ``bot``, ``planner``, ``mcts`` or ``perfect``), and the
simulations of ``mcts``, say all there is to know.
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
from experts.programs.planner import PlannerPolicy
from experts.programs.program import Program, no_hyperparameters
from experts.recipe import PROGRAMS, ExpertRecipe


def check_program(task: Task, recipe: ExpertRecipe) -> None:
    """Refuse a program on a task that it was not written for.

    Raises:
        GatitoError: naming the task.
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
        GatitoError: if it was not written for this task.
    """
    check_program(task, recipe)
    program: Program = PROGRAMS.load(recipe.algorithm)
    return program.make(task, recipe)


def _check_perfect(task: Task, recipe: ExpertRecipe) -> None:
    no_hyperparameters(task, recipe)
    if task.env_id not in SOLVED:
        raise GatitoError(
            f"task {task.name}: perfect play is known of {' and '.join(SOLVED)}, not of {task.env_id}: use mcts."
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
    """Stands where a task has no program; its gate says that it is no expert."""

    name = "expert"


class ScriptPolicy(Policy):
    """Meta-World's controller of one task: a few rules from where things are to where the hand should go."""

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, task: Task) -> None:
        """Args: a task of family ``metaworld``."""
        from metaworld.policies import ENV_POLICY_MAP

        # The controllers ask for more than their action's bounds, and each time they say so.
        warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high", module="metaworld")
        self._script = ENV_POLICY_MAP[task.env_id]()
        space = spaces(task)[1]
        assert isinstance(space, gym.spaces.Box)
        self._low, self._high = space.low, space.high

    def initial_state(self, num_envs: int) -> None:
        """It remembers nothing."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The controller's action, within its bounds."""
        decisions = []
        for rows in inputs:
            actions = stack([self._script.get_action(row) for row in rows.observations])
            actions = actions.clip(self._low, self._high).astype(np.float32)
            decisions.append(PolicyOutput(actions, actions))
        return decisions, state


class BotPolicy(Policy):
    """BabyAI's bot: it plans in the environment's state, from what it has seen, and is told what was really done.

    It gives up where its plan ends before the mission does, where it meets what it was not made for, and where it
    does not come to a decision.
    """

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, task: Task, episode_seconds: float) -> None:
        """Args: a task of family ``babyai``, and the seconds of thought after which an episode is given up."""
        self._task = task
        self._seconds = episode_seconds

    def initial_state(self, num_envs: int) -> dict[int, Any]:
        """Each environment's bot, by its number."""
        return {}

    def act(self, inputs: Sequence[PolicyInput], state: dict[int, Any]) -> tuple[list[PolicyOutput], dict[int, Any]]:
        """The bot's next action."""
        _TIMER.keep_running()
        return [self._decide(rows, state) for rows in inputs], state

    def _decide(self, rows: PolicyInput, thinkers: dict[int, Any]) -> PolicyOutput:
        from experts.programs.bot import Bot

        actions = np.zeros(len(rows.envs), dtype=np.int64)
        truncated_by_policy = np.zeros(len(rows.envs), dtype=bool)
        images = rows.observations["image"]
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            action = None
            try:
                if rows.episode_start[row]:
                    thinkers[env_id] = _Thinker(Bot(env.unwrapped), _babyai(env), self._seconds)
                thinker = _TIMER.thinker = thinkers[env_id]
                action = thinker.bot.decide(images[row], thinker.env.last_action)
                _TIMER.thinker = None
            except Exception:  # whatever the bot stumbles over ends an episode, not a recording
                _TIMER.thinker = None
            truncated_by_policy[row] = action is None
            actions[row] = 0 if action is None else action
        return PolicyOutput(actions, actions, truncated_by_policy=truncated_by_policy)


@dataclass
class _Thinker:
    """An environment's bot, its environment, and the seconds of thought that its episode has left."""

    bot: Any
    env: BabyAI
    left: float


def _babyai(env: gym.Env) -> BabyAI:
    """The wrapper that remembers what was done, within others."""
    while not isinstance(env, BabyAI):
        assert isinstance(env, gym.Wrapper)
        env = env.env
    return env


class _OutOfTimeError(Exception):
    """Raised within a bot that thinks for too long."""


class _Timer:
    """Interrupts whoever thinks for too long, from outside: even an endless loop can be interrupted.

    It runs on processor time, so a machine that is busy or asleep changes no episode, and ticks once a second (to arm
    it for every decision would cost as much as the decision) until nobody has asked for it between two ticks. Only a
    main thread can have it, which is where jobs run.

    Attributes:
        thinker: whose time it is; None while nobody thinks.
    """

    def __init__(self) -> None:
        self.thinker: _Thinker | None = None
        self._runs = False
        self._wanted = False
        atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)  # a tick after the last handler would kill the process

    def keep_running(self) -> None:
        """Start it if it does not run."""
        self._wanted = True
        if not self._runs and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGPROF, self._tick)
            signal.setitimer(signal.ITIMER_PROF, 1.0, 1.0)
            self._runs = True

    def _tick(self, *_: object) -> None:
        if self.thinker is not None:
            self.thinker.left -= 1.0
            if self.thinker.left <= 0:
                self.thinker = None
                raise _OutOfTimeError
        elif not self._wanted:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, self._before)
            self._runs = False
        self._wanted = False


_TIMER = _Timer()  # there is one such signal in a process
SCRIPT = Program(lambda task, recipe: ScriptPolicy(task), "metaworld")
BOT = Program(lambda task, recipe: BotPolicy(task, recipe.episode_seconds), "babyai")
PLANNER = Program(lambda task, recipe: PlannerPolicy(task, recipe.cost_weight), "restraint")
MCTS = Program(lambda task, recipe: MctsPolicy(task, _simulations(task, recipe)), "games", _check_mcts)
PERFECT = Program(lambda task, recipe: PerfectPolicy(task), "games", _check_perfect)
RANDOM = Program(lambda task, recipe: RandomExpert())
