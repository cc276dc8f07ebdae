"""Tasks and suites: read from YAML, checked, and made into environments."""

import fnmatch
import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium as gym
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from benchmarks.base.artifacts import digest
from benchmarks.base.errors import FatalError, GatitoError, unknown
from benchmarks.base.names import check_name
from benchmarks.base.registry import Registry
from benchmarks.base.settings import check_settings, setting
from benchmarks.tasks.canonical import Canonical, canonical
from benchmarks.tasks.guard import Guarded
from benchmarks.tasks.gymnasium_ids import code_of
from benchmarks.tasks.metrics import METRICS
from benchmarks.tasks.watch import WATCH, OutOfTimeError, Stopwatch

_MAKING_SECONDS = 60  # least time limit for making an environment, which may import large packages


class Family(Protocol):
    """An environment family: a module, or any object, with these two functions."""

    def resolve(self, name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
        """All arguments of a task's environment, and its time limit in steps; None without a limit.

        Args:
            name: the task's name.
            config: its entry in the suite's file.

        Raises:
            FatalError: if the family has no such environment.
            GatitoError: if a package is missing.
        """
        ...

    def make(self, task: "Task", render_mode: str | None = None) -> gym.Env:
        """Make an environment of a task, with its time limit; ``render_mode`` is Gymnasium's."""
        ...


FAMILIES: Registry[Family] = Registry(
    "environment family",
    {
        "registered": "benchmarks.tasks.registered",
        "atari": "benchmarks.tasks.atari",
        "babyai": "benchmarks.tasks.babyai",
        "metaworld": "benchmarks.tasks.metaworld",
        "games": "benchmarks.tasks.games",
        "restraint": "benchmarks.tasks.restraint",
        "words": "benchmarks.tasks.words",
        "memory": "benchmarks.tasks.memory",
    },
    attributes=("resolve", "make"),
)
"""Environment families and the modules that make them."""


@dataclass
class TaskConfig:
    """A task's entry in ``conf/suite/*.yaml``, without its expert's recipe."""

    env_id: str = setting("???", "The environment's registered id, or a name that its family knows.")
    kwargs: dict[str, Any] = setting({}, "Arguments of the environment, besides those it is registered with.")
    family: str = setting("registered", "Environment family: what makes the environment.")
    horizon: int | None = setting(None, "Time limit in steps; null: the registered one.", at_least=1)
    metric: str = setting(
        "return", "What is scored: the undiscounted return, or success, or a metric of a plugin.", choices=METRICS
    )
    reference: float | None = setting(None, "Mean score that the expert has to reach; null: any.")
    source: str = setting("", "Where the reference comes from.")
    step_seconds: float = setting(60.0, "Longest time of one step or reset before the task fails.", at_least=1)
    episode_seconds: float = setting(3600.0, "Longest time of all steps of an episode together.", at_least=1)


@dataclass
class SuiteConfig:
    """A suite: an ordered set of tasks."""

    name: str = setting("???", "The suite's name.")
    tasks: dict[str, TaskConfig] = setting({}, "Tasks by key GROUP-NAME; everywhere else a task is called GROUP/NAME.")
    only: list[str] | None = setting(
        None,
        "The tasks that make up the suite, in order, where its file includes other suites, such as [cartpole, "
        "'babyai/*']; null: all.",
    )
    horizon: int | None = setting(
        None, "Time limit in steps of every task that has a longer one; null: each task's own.", at_least=1
    )


@dataclass(frozen=True)
class Task:
    """An environment with everything that determines its episodes and scores.

    Attributes:
        name: ``<group>/<name>``, such as ``classic/cartpole``.
        family: name of the environment family in :data:`FAMILIES`.
        env_id: the environment's registered id.
        kwargs: all arguments of the environment, including defaults (an id alone does not determine them).
        horizon: time limit in steps.
        metric: name of the score in :data:`benchmarks.tasks.metrics.METRICS`.
        reference: mean score that the expert must reach, or None.
        source: where the reference comes from.
        step_seconds: time limit of one step or reset; beyond it, the task fails.
        episode_seconds: time limit of all steps of an episode together.
    """

    name: str
    family: str
    env_id: str
    kwargs: Mapping[str, Any]
    horizon: int
    metric: str
    reference: float | None
    source: str
    step_seconds: float = TaskConfig.step_seconds
    episode_seconds: float = TaskConfig.episode_seconds

    @property
    def key(self) -> str:
        """The name as written in a suite's file, ``<group>-<name>``."""
        return self.name.replace("/", "-", 1)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of everything that determines the observations; part of every artifact of the task."""
        named = {name: getattr(self, name) for name in ("family", "env_id", "horizon")}
        return digest(named | {"kwargs": dict(self.kwargs)} | (FAMILIES.code(self.family) or code_of(self.env_id)))

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    @staticmethod
    def resolve(name: str, config: TaskConfig) -> "Task":
        """Make a task from its config; missing values come from the environment's registration.

        Raises:
            FatalError: if the family, metric or environment id does not exist, or there is no horizon.
            GatitoError: if a package is missing.
        """
        METRICS.load(config.metric, f"metric of task {name}")
        kwargs, horizon = FAMILIES.load(config.family).resolve(name, config)
        check_settings(f"suite.tasks.{name.replace('/', '-', 1)}", config)
        if not horizon or horizon < 1:
            raise FatalError(f"task {name}: {config.env_id} has no time limit; state one as horizon: STEPS.")
        return Task(
            name,
            config.family,
            config.env_id,
            kwargs,
            horizon,
            config.metric,
            config.reference,
            config.source,
            config.step_seconds,
            config.episode_seconds,
        )


@dataclass(frozen=True)
class Suite:
    """An ordered set of tasks."""

    name: str
    tasks: tuple[Task, ...]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def part(self, names: Collection[str]) -> "Suite":
        """The suite with only the named tasks, in the same order."""
        return Suite(self.name, tuple(task for task in self if task.name in names))

    @staticmethod
    def names(config: SuiteConfig, only: Sequence[str] | None = None) -> list[str]:
        """The names of a suite's tasks, restricted to ``only`` (``group/name``, a unique ``name``, or ``group/*``).

        Raises:
            FatalError: if the suite is empty or a name is not in it.
        """
        check_name("suite name", config.name)
        names = [_task_name(key) for key in config.tasks]
        if only is not None and not only:
            raise FatalError("tasks=[] names no task: name one or more, such as tasks=[cartpole], or leave it out.")
        if not names:
            raise FatalError(f"suite {config.name} has no tasks; list them under tasks: in its YAML file.")
        for chosen in (config.only, only):
            if chosen is not None:
                each = [match for name in chosen for match in (fnmatch.filter(names, name) or [name])]
                names = full_names(each, names)
        return list(dict.fromkeys(names))

    @staticmethod
    def resolve(
        config: SuiteConfig, only: Sequence[str] | None = None, failed: Callable[[str, str], None] | None = None
    ) -> "Suite":
        """Resolve the tasks of :meth:`names`.

        Args:
            config: the suite's file.
            only: which tasks; None: all.
            failed: called with the name of each task that cannot be played here, and the reason; the task is left
                out. Names that do not exist are always raised.

        Raises:
            GatitoError: if a name does not exist, or a task cannot be played here and ``failed`` is None.
        """
        tasks = []
        for name in Suite.names(config, only):
            try:
                task = Task.resolve(name, config.tasks[name.replace("/", "-", 1)])
                tasks.append(replace(task, horizon=min(task.horizon, config.horizon or task.horizon)))
            except GatitoError as error:
                if failed is None or isinstance(error, FatalError):
                    raise
                failed(name, str(error))
        return Suite(config.name, tuple(tasks))


def make_env(task: Task, render_mode: str | None = None) -> gym.Env:
    """Make an environment of a task, with its time limit; ``render_mode`` is Gymnasium's.

    Its spaces are canonical, see :mod:`benchmarks.tasks.canonical`.

    Raises:
        GatitoError: if a package is missing (the message names the extra to install), or it takes too long.
    """
    stopwatch = Stopwatch(task.name, max(task.step_seconds, _MAKING_SECONDS), math.inf)
    family = FAMILIES.load(task.family)
    try:
        with WATCH.timed(stopwatch):
            env = family.make(task, render_mode)
        return Guarded(canonical(env), task)
    except OutOfTimeError:
        raise GatitoError(
            f"the environment of task {task.name} was not made within {stopwatch.call_limit:g} seconds. Fix the "
            "environment, or leave the task out with tasks=[…], and run the same command again.",
            task.name,
        ) from None
    except GatitoError as error:
        error.task = task.name
        raise


@functools.cache
def spaces(task: Task) -> tuple[gym.Space, gym.Space]:
    """The observation space and the action space of a task, as policies see them (``tasks.canonical``)."""
    with closing(make_env(task)) as env:
        return env.observation_space, env.action_space


@functools.cache
def own_spaces(task: Task) -> tuple[gym.Space, gym.Space]:
    """The observation space and the action space of a task's environment itself."""
    with closing(make_env(task)) as env:
        inner: gym.Env = env
        while isinstance(inner, Guarded | Canonical):
            inner = inner.env
        return inner.observation_space, inner.action_space


@functools.cache
def has_action_mask(task: Task) -> bool:
    """Whether a task's environment states legal actions, in ``info["action_mask"]`` of its first observation."""
    with closing(make_env(task)) as env:
        if isinstance(env.action_space, gym.spaces.Box):
            return False
        return env.reset(seed=0)[1].get("action_mask") is not None


def _task_name(key: str) -> str:
    group, dash, name = key.partition("-")
    if not (group and dash and name) or "/" in key:
        shown = key if len(key) <= 40 else f"{key[:40]}…"
        raise FatalError(f"task key {shown!r} must read GROUP-NAME, such as classic-cartpole, without slashes.")
    for part in (group, name):
        check_name("task key", part)
    return f"{group}/{name}"


def check_suite_file(suite: Any) -> None:  # noqa: ANN401
    """Reject a suite's file (plain containers with unresolved interpolations) that has no name or no tasks.

    A file that calls a resolver (``${oc.env:NAME}``, in any spelling) is rejected as well: the values of environment
    variables, such as keys, would be written into configs, manifests and pages.

    Raises:
        FatalError: names the missing key, or the value that calls a resolver.
    """
    missing = [key for key in ("name", "tasks") if not suite or suite.get(key) in (None, "???", {})]
    if missing:
        raise FatalError(
            f"the suite's file has no {' and no '.join(missing)}: it needs a line name: NAME and tasks under tasks:."
        )
    _refuse_resolvers(suite)


def _refuse_resolvers(suite: object) -> None:
    if isinstance(suite, Mapping):
        for key, value in suite.items():
            _refuse_resolvers(key)
            _refuse_resolvers(value)
    elif isinstance(suite, list | tuple):
        for value in suite:
            _refuse_resolvers(value)
    elif isinstance(suite, str) and "${" in suite and _calls_resolver(parse(suite)):
        raise FatalError(
            f"the suite asks for an environment variable, or computes a value ({suite!r}), which would be written into "
            "its results: write the value itself, or give it on the command line."
        )


def _calls_resolver(node: Any) -> bool:  # noqa: ANN401 (a node of the grammar's tree)
    if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
        return True
    return any(_calls_resolver(child) for child in getattr(node, "children", None) or ())


def full_names(chosen: Sequence[str], names: Sequence[str], where: str = "task") -> list[str]:
    """The full names of the chosen tasks.

    Args:
        chosen: the chosen tasks, each as ``group/name``, or as ``name`` if that is unique.
        names: the full names of all tasks.
        where: the kind of name for the error message.

    Raises:
        FatalError: if a task does not exist.
    """
    found = []
    for name in chosen:
        matches = [full for full in names if name in (full, full.split("/", 1)[1])]
        if len(matches) != 1:
            raise unknown(where, name, names)
        found += matches
    return found
