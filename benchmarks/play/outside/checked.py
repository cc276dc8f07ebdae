"""Check every action of an agent from outside the project; errors name agent, task, seed and step."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError, text_of
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import spaces
from benchmarks.tasks.conformity import ViolationError, action_copier
from benchmarks.tasks.watch import WATCH, OutOfTimeError, Stopwatch

_TOLERANCE = 1e-5  # relative to a bound; floats within this tolerance are clipped to it


class CheckedPolicy(Policy):
    """A policy whose actions are checked against the task's action space before an environment receives them."""

    def __init__(self, name: str, policy: Policy, *, step_seconds: float = float("inf")) -> None:
        """Args: the agent's name, its policy, and the time that it may take for one action."""
        self.name = name
        self._policy, self._step_seconds = policy, step_seconds
        self.distribution_kind: Mapping[str, str] = {}  # labels and distributions are for recordings

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The policy's memory."""
        return checked_call(self.name, "in initial_state()", self._policy.initial_state, num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The policy's actions, converted to the type of each task's action space.

        Raises:
            GatitoError: if the policy raises an error or takes too long, or an action has another shape or type, is not
                finite, out of bounds, or illegal.
        """
        where = f"in act(){place(inputs[0], 0)}"
        limit = self._step_seconds * sum(len(rows.observations) for rows in inputs)
        WATCH.enter(Stopwatch(inputs[0].task.name, limit, float("inf")))
        try:
            answer = checked_call(self.name, where, self._policy.act, inputs, state)
        except OutOfTimeError as error:
            raise self._wrong(
                f"took more than {limit:g} seconds {where}: make it faster, or allow more with "
                f"+agents.{self.name}.step_seconds=SECONDS"
            ) from error
        finally:
            WATCH.leave()
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._wrong(f"returned {type(answer).__name__} {where}, not (outputs, state)")
        outputs, state = answer
        if not isinstance(outputs, Sequence) or len(outputs) != len(inputs):
            raise self._wrong(f"returned no list of {len(inputs)} outputs {where}, one for each input")
        return [self._checked(rows, output) for rows, output in zip(inputs, outputs, strict=True)], state

    def inference_cost(self) -> dict[str, float]:
        """The policy's, if it counts any."""
        return self._policy.inference_cost() if hasattr(self._policy, "inference_cost") else {}

    def close(self) -> None:
        """Close the policy."""
        if hasattr(self._policy, "close"):
            self._policy.close()

    def _checked(self, rows: PolicyInput, output: Any) -> PolicyOutput:  # noqa: ANN401
        actions = getattr(output, "actions", None)
        if not isinstance(actions, np.ndarray | Sequence) or len(actions) != len(rows.observations):
            raise self._wrong(
                f"returned {_size(actions)} in act(){place(rows, 0)}, where {len(rows.observations)} environments play"
            )
        _, space = spaces(rows.task)
        checked = [check_action(self.name, space, rows, row, action) for row, action in enumerate(actions)]
        legal = np.stack([np.asarray(action) for action in checked])
        return PolicyOutput(legal, legal)

    def _wrong(self, words: str) -> GatitoError:
        return GatitoError(f"agent {self.name} {words}.")


def check_action(name: str, space: gym.Space, rows: PolicyInput, row: int, action: Any) -> Any:  # noqa: ANN401
    """An action, converted to its space's type.

    Args:
        name: the agent's name.
        space: the action space.
        rows: the agent's input.
        row: the row of the action.
        action: the agent's action.

    Raises:
        GatitoError: if the action has another shape or type, is not finite, out of bounds, or illegal; names agent,
            task, seed and step.
    """
    try:
        return _conform(space, rows.action_mask(row), action)
    except ViolationError as error:
        raise GatitoError(
            f"agent {name} chose an action{place(rows, row)} that {error}: fix the agent.", rows.task.name
        ) from error


def _conform(space: gym.Space, mask: np.ndarray | None, action: Any) -> Any:  # noqa: ANN401
    if action is None:
        raise ViolationError("is None")
    action = action_copier(space)(action)
    if isinstance(space, gym.spaces.Discrete):
        if not space.start <= action < space.start + space.n:
            raise ViolationError(f"is {action}, where its space has {space.start} to {space.start + space.n - 1}")
        if mask is not None and not mask[action - int(space.start)]:
            raise ViolationError(f"is {action}, which is illegal here (see info['action_mask'])")
    elif isinstance(space, gym.spaces.Box):
        if not np.isfinite(action).all():
            raise ViolationError(f"has {action[~np.isfinite(action)][0]}")
        low, high = (_TOLERANCE * np.maximum(1, np.abs(bound)) for bound in (space.low, space.high))
        if (action < space.low - low).any() or (action > space.high + high).any():
            raise ViolationError(f"is {action}, beyond the bounds of its space: clip it to them")
        action = np.clip(action, space.low, space.high)
    elif not space.contains(action):
        raise ViolationError(f"is {action}, which its space {space} does not have")
    return action


def place(rows: PolicyInput, row: int) -> str:
    """The place of a row in an evaluation: task, seed and step."""
    seed, step = rows.envs[row].get_wrapper_attr("position")
    return f" in task {rows.task.name}, an episode seeded {seed}, step {step + 1}"


def checked_call(name: str, where: str, callee: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
    """Call a user's function.

    Raises:
        GatitoError: if it raises an error; one line with the error, its file and line.
    """
    try:
        return callee(*arguments, **options)
    except GatitoError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = text_of(error)
        raise GatitoError(
            f"agent {name} raised {type(error).__name__} {where} ({f'{text}; ' if text else ''}"
            f"{Path(frame.filename).name}, line {frame.lineno}): fix the agent."
        ) from error


def _size(actions: object) -> str:
    return f"{len(actions)} actions" if isinstance(actions, np.ndarray | Sequence) else f"{type(actions).__name__}"
