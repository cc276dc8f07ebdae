"""The layer around every environment: copies, checks and times its answers; errors name task, seed and step."""

import signal
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from benchmarks.base import console
from benchmarks.base.errors import GatitoError, text_of
from benchmarks.tasks.actions import nothing_is_legal, options_of
from benchmarks.tasks.conformity import (
    ViolationError,
    action_copier,
    conformer,
    cost_of,
    flag_of,
    mask_of,
    out_of_bounds,
    reward_of,
    success_of,
)
from benchmarks.tasks.watch import WATCH, OutOfTimeError, Stopwatch

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task

_BOUNDS_EVERY = 32  # steps between two checks of bounds, since a check costs as much as the rest of the guard
_WAY_OUT = "Fix the environment, or leave the task out with tasks=[…], and run the same command again."
_OLD_API = (
    "it has the API of gym before 0.26: let reset(seed=None, options=None) return (observation, info), and step "
    "(observation, reward, terminated, truncated, info)"
)
_warned: set[str] = set()  # tasks whose bounds have caused a warning in this process
_badly_closed: set[str] = set()  # tasks whose close() has caused a warning


class Guarded(gym.Wrapper):
    """The outermost layer of :func:`benchmarks.tasks.make_env`.

    The observations that it returns are copies in their space's type, rewards are floats, and flags are bools. Actions
    are copied before the environment gets them. A violation raises a GatitoError that names task, seed and step. The
    layer takes about 3 microseconds per step (docs/speed.md).

    Attributes:
        task: the task's name.
        observation: the environment's last observation, uncopied; None before the first reset. It is shared only with
            the environment. A saved state includes it, since some environments continue from the array that they
            returned.
    """

    def __init__(self, env: gym.Env, task: "Task") -> None:
        """Args: the environment, and its task.

        Raises:
            GatitoError: if gatito does not support the observation or action space.
        """
        super().__init__(env)
        self.task = task.name
        self.observation: Any = None
        self._space = env.observation_space
        kinds = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them"
        self._conform = _known(conformer, self._space, "observations", f"Text, {kinds}", task)
        self._copied = _known(action_copier, env.action_space, "actions", kinds, task)
        self._stopwatch = Stopwatch(task.name, task.step_seconds, task.episode_seconds)
        self._checks_bounds = task.family == "registered"  # the other families' bounds are known to be rough
        self._seed: int | None = None
        self._steps = 0
        self._has_cost: bool | None = None  # known after the first step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and remember the seed."""
        self._seed, self._steps = seed if seed is not None else self._seed, 0
        self._stopwatch.in_episode = 0
        try:
            WATCH.enter(self._stopwatch)
            answer = self.env.reset(seed=seed, options=options)
        except ViolationError as error:
            raise self._refused(f"it {error}", "reset") from error
        except BaseException as error:
            if _is_interrupt(error):
                raise
            raise self._failed(error, "reset") from error
        finally:
            WATCH.leave()
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            raise self._refused(f"{_OLD_API}", "reset")
        self.observation, info = answer
        checked = "the observation"
        try:
            observation = self._conform(self.observation)
            checked = "the info"
            self._check_info(info)
        except ViolationError as error:
            raise self._refused(f"{checked} {error}", "reset") from error
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Step the environment."""
        self._steps += 1
        try:
            action = self._copied(action)
        except ViolationError as error:
            raise GatitoError(
                f"a policy chose an action of task {self.task} that {error}: fix the policy.", self.task
            ) from error
        try:
            WATCH.enter(self._stopwatch)
            answer = self.env.step(action)
        except GatitoError as error:  # already one line, such as an agent's illegal move
            error.task = self.task
            raise
        except ViolationError as error:
            raise self._refused(f"it {error}", "step") from error
        except BaseException as error:
            if _is_interrupt(error):
                raise
            raise self._failed(error, "step") from error
        finally:
            WATCH.leave()
        if not (isinstance(answer, tuple) and len(answer) == 5):
            raise self._refused(_OLD_API, "step")
        self.observation, reward, terminated, truncated, info = answer
        checked = "the observation"
        try:
            observation = self._conform(self.observation)
            checked = "the reward"
            reward = reward_of(reward)
            checked = "terminated"
            terminated = flag_of(terminated)
            checked = "truncated"
            truncated = flag_of(truncated)
            checked = "the info"
            self._check_info(info, over=terminated or truncated)
            self._check_cost(info)
        except ViolationError as error:
            raise self._refused(f"{checked} {error}", "step") from error
        if self._checks_bounds and self._steps % _BOUNDS_EVERY == 1:
            self._check_bounds(observation)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Close the environment. If that raises or hangs, there is one warning, since the episodes are complete."""
        try:
            with WATCH.timed(self._stopwatch):
                super().close()
        except (Exception, SystemExit, OutOfTimeError) as error:
            if self.task not in _badly_closed:
                _badly_closed.add(self.task)
                words = (
                    "took too long"
                    if isinstance(error, OutOfTimeError)
                    else f"raised {type(error).__name__}: {text_of(error)}"
                )
                console.warn(f"the environment of task {self.task} {words} in close(): it is left as it is.")

    def _check_info(self, info: Any, *, over: bool = False) -> None:  # noqa: ANN401
        success_of(info)
        mask = mask_of(info)
        if mask is None or isinstance(self.action_space, gym.spaces.Box):
            return
        options = sum(options_of(self.action_space))
        if len(mask) != options:
            raise ViolationError(f"has an action mask of {len(mask)} actions, the space has {options}")
        if not over and nothing_is_legal(self.action_space, mask):
            raise ViolationError("has an action mask that leaves nothing to do, and the episode goes on")

    def _check_cost(self, info: dict[str, Any]) -> None:
        has_cost = cost_of(info) is not None
        if self._has_cost is None:
            self._has_cost = has_cost
        if has_cost != self._has_cost:
            raise ViolationError("has a cost in some steps alone; give it in every step, 0 where nothing costs")

    @property
    def position(self) -> tuple[int | None, int]:
        """The episode's seed, and the number of its steps so far."""
        return self._seed, self._steps

    def current(self) -> Any:  # noqa: ANN401
        """A copy of the last observation; None before the first reset."""
        return None if self.observation is None else self._conform(self.observation)

    def _check_bounds(self, observation: Any) -> None:  # noqa: ANN401
        """Reject integers out of bounds; warn once of floats, whose bounds are often approximate."""
        found = out_of_bounds(self._space, observation)
        if found is None:
            return
        words, is_float = found
        if not is_float:
            raise self._refused(f"the observation has {words}", "step")
        self._checks_bounds = False
        if self.task not in _warned:
            _warned.add(self.task)
            console.warn(
                f"the environment of task {self.task} left the bounds of its observation space in step "
                f"{self._steps} of an episode seeded {self._seed} ({words}): widen the bounds. The run continues."
            )

    def _failed(self, error: BaseException, where: str) -> GatitoError:
        if isinstance(error, OutOfTimeError):
            words, limit, setting = f"{where}() took", self._stopwatch.call_limit, "step_seconds"
            if self._stopwatch.in_call < limit:
                words, limit, setting = "the episode took", self._stopwatch.episode_limit, "episode_seconds"
            return self._refused(f"{words} more than {limit:g} seconds (the task's {setting})", where)
        text = text_of(error)
        if "unpack (expected 5" in text if where == "step" else "unexpected keyword argument" in text:
            return self._refused(f"{_OLD_API} ({text})", where)
        words = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return GatitoError(
            f"the environment of task {self.task} raised in {where}() in an episode seeded {self._seed}"
            f"{self._at(where)}: {words}. {_WAY_OUT}",
            self.task,
        )

    def _refused(self, words: str, where: str) -> GatitoError:
        return GatitoError(
            f"the environment of task {self.task} failed in {where}() of an episode seeded {self._seed}"
            f"{self._at(where)}: {words}. {_WAY_OUT}",
            self.task,
        )

    def _at(self, where: str) -> str:
        return f", step {self._steps}" if where == "step" else ""


def _is_interrupt(error: BaseException) -> bool:
    """Whether the user pressed Ctrl-C. Worker processes block that signal, so there the environment raised it."""
    return isinstance(error, KeyboardInterrupt) and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _known(make: Any, space: gym.Space, kind: str, supported: str, task: "Task") -> Any:  # noqa: ANN401
    try:
        return make(space)
    except TypeError as error:
        raise GatitoError(
            f"task {task.name}: {kind} of kind {' '.join(str(space).split())} are not supported; {supported} are. "
            f"Register a version of {task.env_id} under an id of your own that is wrapped to say one of these (see "
            "gymnasium.wrappers.FlattenObservation and TransformAction), and name that id.",
            task.name,
        ) from error
