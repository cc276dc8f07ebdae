"""The Python API, ``import gatito``: suites, environments, experts, generalists, recordings, scores, distillation.

    import gatito

    scores = gatito.evaluate(my_policy, "classic", episodes=20)
    print(scores)

All functions are attributes of ``gatito``. They write the same files into the same folders as the command line.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import benchmarks.tasks
import gatito
from benchmarks.base.artifacts import Artifact, read_manifest
from benchmarks.base.csv_rows import columns
from benchmarks.base.errors import FatalError, GatitoError, TasksFailedError, unknown
from benchmarks.base.plugins import installed_plugins, load_plugins
from benchmarks.base.project import CONF, find
from benchmarks.base.settings import values_quoted
from benchmarks.base.suite_files import name_suite_files
from benchmarks.play.outside.checked import CheckedPolicy
from benchmarks.play.outside.conformity import check_policy as _check_policy
from benchmarks.play.outside.loading import AgentConfig, as_policy
from benchmarks.play.policy import Policy, RandomPolicy
from benchmarks.play.trajectories import Trajectories
from benchmarks.report.formats import to_markdown
from benchmarks.report.report import score_results, write_report
from benchmarks.report.tables import TidyScore, all_tables, headline, tidy_scores
from benchmarks.runs.failures import Failures
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.agents import AGENTS, AgentId, is_agent_name
from benchmarks.scoring.playing import Agent
from benchmarks.scoring.results import Results
from benchmarks.tasks import Suite, Task
from benchmarks.tasks.check import check_env as _check_env
from experts.load import load_experts
from gatito_configuration import Config, read_config, store_suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_env",
    "check_policy",
    "distill",
    "evaluate",
    "expert",
    "generalist",
    "load_plugins",
    "make_env",
    "recording",
    "suite",
]
_QUIET = ("tracking=none", "clips.agents=[]")


@dataclass(frozen=True)
class Scores:
    """The scores of one or more agents on a suite.

    ``print(scores)`` shows the summary.

    Attributes:
        results: the rows of test episodes, tasks and costs.
        folder: the folder of the run.
    """

    results: Results
    folder: Path

    @property
    def headline(self) -> str:
        """One sentence with the fraction of the experts' performance, and its interval."""
        return headline(score_results(self.results))

    def to_pandas(self) -> "pd.DataFrame":
        """One row per task and agent, with the columns of ``table.csv``: mean score, f, its 95 % interval, gate."""
        import pandas as pd

        rows = [astuple(row) for row in tidy_scores(score_results(self.results))]
        return pd.DataFrame(rows, columns=list(columns(TidyScore)))

    def report(self, folder: str | Path) -> Path:
        """Write rows, tables, charts and a page into a folder.

        Returns:
            The page, ``index.html``.
        """
        folder = Path(folder)
        self.results.write(folder)
        tracker = Tracker(TrackingConfig("none"), group="api/report", exp_name=folder.name, seed=0, folder=folder)
        write_report(Results.read(folder), folder, tracker=tracker)
        return folder / "index.html"

    def __str__(self) -> str:
        board = score_results(self.results)
        return "\n".join([headline(board), "", *map(to_markdown, all_tables(board)[:2])])


def suite(name: str = "classic", tasks: Sequence[str] | None = None) -> Suite:
    """A suite, which can be iterated for its tasks.

    Args:
        name: the name of a suite in ``conf/suite/``, or the path of a suite file.
        tasks: the tasks to select; None for all.

    Raises:
        GatitoError: if there is no such suite or task, or a package is missing.
    """
    config = _config(name, tasks)
    return Suite.resolve(config.suite, config.tasks)


def task(name: str) -> Task:
    """A task of any suite, by its full name, such as ``classic/cartpole``.

    Raises:
        GatitoError: if no suite has it.
    """
    found = _suite_with(name)
    if found is None:
        raise unknown("task", name, [task.name for task in suite("mixed")])
    return suite(found, [name]).tasks[0]


def make_env(task: str | Task, render_mode: str | None = None) -> gym.Env:
    """A new environment of a task, as it is used for scoring; ``render_mode`` as in Gymnasium.

    Raises:
        GatitoError: if there is no such task, or a package is missing.
    """
    return benchmarks.tasks.make_env(_task(task), render_mode)


def expert(task: str | Task) -> Policy:
    """The released expert of a task.

    Raises:
        GatitoError: if there is none.
    """
    played = _task(task)
    found = _suite_with(played.name)
    if found is None:
        raise FatalError(f"task {played.name} is in no suite of the project, so it has no released expert.")
    config = _config(found, [played.name], "experts=released")
    with _plan(config, "expert") as plan:
        plan.experts.train()
        _stop_if_any(plan.run.failures)
        folders = {name: artifact.folder for name, artifact in plan.experts.artifacts().items()}
        return load_experts(folders, (played,))


def generalist(suite: str = "mixed", *, deterministic: bool = True) -> Policy:
    """The released generalist of a suite, one network for all of its tasks.

    Args:
        suite: the suite's name.
        deterministic: whether it takes its most likely actions or samples.

    Raises:
        GatitoError: if there is none.
    """
    from generalist.network.policy import NetworkPolicy

    config = _config(suite, None, "generalist=released")
    folder = find(config.generalist.released_folder(config.suite.name))
    if read_manifest(folder) is None:
        raise FatalError(f"{folder} has no released generalist: distil one with gatito suite={suite}.")
    return NetworkPolicy.load(folder, Suite.resolve(config.suite, config.tasks).tasks, deterministic=deterministic)


def recording(path: str | Path) -> Trajectories:
    """The episodes of a recording, such as ``results/runs/NAME/trajectories/classic/cartpole/expert``.

    Raises:
        GatitoError: if there is none, or a file is damaged.
    """
    return Trajectories(Path(path))


def evaluate(
    policy: Any,  # noqa: ANN401
    suite: str = "classic",
    *,
    tasks: Sequence[str] | None = None,
    episodes: int = 100,
    name: str = "mine",
    workers: int | None = None,
    runs_folder: str | Path = "results/runs",
) -> Scores:
    """Score a policy against the released experts and the random policy, on the same test episodes.

    The episodes of random and the experts are kept in the run's folder, and not played again.

    Args:
        policy: a policy, or an object, class or function that acts in one environment (see docs/agents.md). It is
            pickled into worker processes.
        suite: name of the suite, or the path of its file.
        tasks: the tasks to select; None for all.
        episodes: test episodes per task, at least 2.
        name: the agent's name in the tables.
        workers: number of processes; None for one per core.
        runs_folder: the folder of the run's folder, ``SUITE-NAME``.

    Raises:
        GatitoError: if a task or the policy fails.
    """
    if not is_agent_name(name) or name in AGENTS:
        raise FatalError(f"name={name!r} is not a valid agent name, or it is taken: choose another one.")
    words = ["experts=released", "generalist=none", f"evaluate.episodes={episodes}", f"runs_folder={runs_folder}"]
    config = _config(suite, tasks, *words, *([] if workers is None else [f"workers={workers}"]))
    with _plan(config, name) as plan:
        plan.experts.train()
        played = plan.run.survivors()
        load = partial(_adapt, name, policy, played.tasks)
        # Changes of the object cannot be detected, so it is scored again each time.
        mine = Agent(AgentId(name), load, num_envs=AgentConfig.num_envs, how={"object": uuid.uuid4().hex}, outside=True)
        agents = [Agent(AgentId("random"), RandomPolicy), *plan.experts.agents(), mine]
        results = gatito.scoring.evaluate(plan.run, agents, plan.experts.gate_means(), config.evaluate)
        _stop_if_any(plan.run.failures)
        return Scores(results, plan.run.folder)


def distill(
    suite: str = "classic",
    recordings: Mapping[str, str | Path] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    name: str = "distilled",
    runs_folder: str | Path = "results/runs",
) -> Policy:
    """Distil recordings into one network for all tasks of a suite.

    Args:
        suite: name of the suite, or the path of its file.
        recordings: folders of recordings by task name; None to record the released experts.
        tasks: the tasks to select; None for all.
        overrides: settings as on the command line, such as ``["distill.updates=500", "model=mini"]``.
        name: the run's name.
        runs_folder: the folder of the run's folder, ``SUITE-NAME``.

    Raises:
        GatitoError: if a task has no recording, or a recording is damaged.
    """
    from generalist.distill.distill import distill as train
    from generalist.network.policy import NetworkPolicy

    words = ["experts=released", "controls=none", f"runs_folder={runs_folder}", *overrides]
    config = _config(suite, tasks, *words)
    with _plan(config, name) as plan:
        if recordings is None:
            plan.experts.train()
            plan.experts.record()
            _stop_if_any(plan.run.failures)
            found = plan.experts.recordings()
        else:
            found = {task: _finished(Path(folder)) for task, folder in recordings.items()}
        if missing := {task.name for task in plan.run.suite} - set(found):
            raise FatalError(
                f"recordings has none of {', '.join(sorted(missing))}: give its folder, or name tasks=[…]."
            )
        network = train(plan.run, found, plan.generalist.recipe)
        return NetworkPolicy.load(network.folder, plan.run.suite.tasks, deterministic=config.generalist.deterministic)


def check_env(task: str | Task) -> None:
    """Check that a task's environment keeps its word; see :func:`benchmarks.tasks.check.check_env`.

    Raises:
        GatitoError: in one line that names what is wrong.
    """
    _check_env(_task(task))


def check_policy(policy: Any, task: str | Task) -> None:  # noqa: ANN401
    """Check that a policy follows the protocol; see :func:`benchmarks.play.outside.conformity.check_policy`.

    Raises:
        GatitoError: one line that names the problem and the remedy.
    """
    _check_policy(policy, _task(task))


def _adapt(name: str, policy: Any, tasks: Sequence[Task]) -> Policy:  # noqa: ANN401
    return CheckedPolicy(name, as_policy(name, policy, tasks), step_seconds=AgentConfig.step_seconds)


def _task(given: str | Task) -> Task:
    return given if isinstance(given, Task) else task(given)


def _suite_with(name: str) -> str | None:
    """The first suite of the project that defines a task."""
    key = name.replace("/", "-", 1)
    files = (path for path in sorted(CONF.glob("suite/*.yaml")) if f"\n  {key}:" in path.read_text("utf-8"))
    return next((path.stem for path in files), None)


def _config(suite: str, tasks: Sequence[str] | None, *overrides: str) -> Config:
    words = [*name_suite_files([f"suite={suite}"], store_suite), *_QUIET, *overrides]
    words += [] if tasks is None else [f"tasks=[{','.join(tasks)}]"]
    words = values_quoted(words)
    load_plugins(installed_plugins())
    if GlobalHydra.instance().is_initialized():
        return read_config(compose("config", words))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_config(compose("config", words))


def _plan(config: Config, name: str) -> AbstractContextManager[gatito.Plan]:
    """A plan of a locked run folder, as a context."""
    return gatito.locked_plan(config, Path(config.runs_folder) / f"{config.suite.name}-{name}")


def _stop_if_any(failures: Failures) -> None:
    """Raise all failures as one line."""
    try:
        failures.stop_if_any()
    except TasksFailedError as error:
        raise GatitoError(f"{error} {' '.join(error.lines)}") from None


def _finished(folder: Path) -> Artifact:
    """The artifact of a finished recording.

    Raises:
        GatitoError: if it is not finished or damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise GatitoError(f"{folder} has no finished recording: name the folder that has a manifest.json.")
    artifact = Artifact(folder, manifest["kind"], manifest["config"], manifest["inputs"])
    if not artifact.is_complete():
        raise GatitoError(f"{folder} was recorded by another version of gatito: record it again.")
    return artifact
