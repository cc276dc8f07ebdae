"""Load an agent that a setting names, such as ``+agents.mine=my_package.module:load``."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.base.code import code_digest
from benchmarks.base.errors import FatalError
from benchmarks.base.files import file_digest
from benchmarks.base.plugins import search_working_folder
from benchmarks.base.project import find
from benchmarks.base.registry import import_object
from benchmarks.base.settings import build, setting
from benchmarks.play.outside.checked import CheckedPolicy, checked_call
from benchmarks.play.outside.per_environment import PerEnvironment
from benchmarks.play.policy import Policy
from benchmarks.tasks import Task

_PROTOCOL = ("initial_state", "act", "distribution_kind")


@dataclass
class AgentConfig:
    """An agent from outside the project: an entry of ``agents``."""

    load: str = setting("???", "The agent's path, package.module:attribute: a class, or a function of tasks.")
    options: dict[str, Any] = setting({}, "Further arguments of the class or function, by name.")
    files: list[str] = setting(
        [], "Files that determine how the agent acts, such as weights: if they change, it is scored again."
    )
    num_envs: int = setting(50, "Parallel environments.", at_least=1, decides=False)
    step_seconds: float = setting(
        60.0, "Longest time that the agent may take for one action before it fails.", above=0, decides=False
    )

    @staticmethod
    def parse(name: str, entry: object) -> "AgentConfig":
        """Parse the entry of an agent: only its path, or a mapping of the fields.

        Raises:
            FatalError: if it is neither, a field does not exist, or a file is missing.
        """
        if isinstance(entry, str):
            entry = {"load": entry}
        if not isinstance(entry, Mapping) or "load" not in entry:
            raise FatalError(
                f"agents.{name} must be package.module:attribute, or a mapping with load: package.module:attribute, "
                f"not {entry!r}."
            )
        config: AgentConfig = build(AgentConfig, entry, f"agents.{name}")
        for file in config.files:
            if not find(file).is_file():
                raise FatalError(
                    f"agents.{name}.files: there is no file {file}; correct it, or drop the agent with ~agents.{name}."
                )
        return config

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines how the agent acts: path, options, and digests of its code and files."""
        module = self.load.partition(":")[0]
        search_working_folder()
        return {
            "load": self.load,
            "options": dict(self.options),
            "code": code_digest(module),
            "files": {file: file_digest(find(file)) for file in self.files},
        }


def find_agent(name: str, config: AgentConfig) -> Any:  # noqa: ANN401
    """The class or function that a setting names.

    Raises:
        FatalError: if the module cannot be imported or has no such attribute.
    """
    search_working_folder()
    if ":" not in config.load:
        raise FatalError(f"agents.{name}={config.load} is not a class or function: write package.module:attribute.")
    return import_object(config.load, f"agent {name}")


def load_agent(name: str, config: AgentConfig, tasks: Sequence[Task]) -> Policy:
    """Load the policy of an agent, with checks of every action, in the process that runs the episodes.

    Args:
        name: the agent's name.
        config: its entry in the settings.
        tasks: the tasks that it plays.

    Raises:
        FatalError: if the module cannot be imported, or the attribute is not an agent.
        GatitoError: if it raises an error while it is created.
    """
    policy = as_policy(name, find_agent(name, config), tasks, config.options)
    return CheckedPolicy(name, policy, step_seconds=config.step_seconds)


def as_policy(name: str, found: Any, tasks: Sequence[Task], options: Mapping[str, Any] = {}) -> Policy:  # noqa: ANN401
    """A user's agent as a policy.

    Args:
        name: the agent's name.
        found: a policy; an object or class with ``act(observation)``, or a function of ``observation``, which acts in
            one environment; or a function of ``tasks`` that returns one of these.
        tasks: the tasks that it plays.
        options: further arguments of the function or class.

    Raises:
        FatalError: if it is none of them.
        GatitoError: if it raises an error while it is created.
    """
    made = found
    if inspect.isroutine(found) and next(iter(_parameters(found)), None) == "tasks":
        made = _call(name, found, {"tasks": tuple(tasks), **options})
    elif inspect.isclass(found) and hasattr(found, "initial_state"):
        made = _call(name, found, ({"tasks": tuple(tasks)} if "tasks" in _parameters(found) else {}) | dict(options))
    elif inspect.isclass(found) and hasattr(found, "act"):
        takes_task = "task" in _parameters(found)
        return PerEnvironment(
            name, lambda task: _call(name, found, ({"task": task} if takes_task else {}) | dict(options))
        )
    elif options:
        raise FatalError(
            f"agents.{name}.options: {_shown(found)} takes no options; a class, or a function of tasks, does."
        )
    if all(hasattr(made, attribute) for attribute in _PROTOCOL):
        return cast(Policy, made)
    act = getattr(made, "act", made if inspect.isroutine(made) else None)
    if inspect.isclass(made) or not callable(act) or not _parameters(act):
        raise FatalError(
            f"agent {name}: {_shown(made)} is not an agent; name a class with act(observation), a function of "
            "observation, or a function of tasks that returns a policy: see docs/agents.md."
        )
    return PerEnvironment(name, lambda task: made)


def _parameters(callee: Callable[..., Any]) -> list[str]:
    """The names of the parameters; empty if they cannot be determined."""
    try:
        return list(inspect.signature(callee).parameters)
    except (TypeError, ValueError):
        return []


def _call(name: str, callee: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
    unknown = set(arguments) - set(_parameters(callee))
    takes_any = _parameters(callee) and any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(callee).parameters.values()
    )
    if unknown and not takes_any:
        raise FatalError(
            f"agents.{name}.options: {_shown(callee)} has no parameter {' and no '.join(sorted(unknown))}; it has "
            f"{', '.join(_parameters(callee)) or 'none'}."
        )
    return checked_call(name, "while it was made", callee, **arguments)


def _shown(found: object) -> str:
    return str(getattr(found, "__qualname__", None) or f"an object of type {type(found).__qualname__}")
