"""The entry point: composes the stages and knows everybody; what a stage does is written in its own folder.

Run as ``gatito suite=classic``; ``gatito --help`` explains the stages and groups.
"""

import functools
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
import joblib
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from benchmarks import artifacts, console
from benchmarks.artifacts import Artifact
from benchmarks.clips import ClipsConfig, film
from benchmarks.comparison import CONFIG, compare, find_runs, pooled_name, seeds_of_one_configuration
from benchmarks.environment import ENVIRONMENT, describe_environment
from benchmarks.errors import GatitoError, check_at_least, one_line, unknown
from benchmarks.harness import Agent, EvaluateConfig, evaluate, score_artifact
from benchmarks.policy import Policy, RandomPolicy
from benchmarks.results import AGENTS, Results
from benchmarks.tasks import Suite, SuiteConfig, TaskConfig
from benchmarks.tracking import Tracker, TrackingConfig
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig, record_suite, recording_artifact
from experts.train import expert_artifact, load_experts, read_gate, train_experts
from generalist.codecs import CODECS, CodecConfig
from generalist.controls.retrieval import load_retrieval, memorize
from generalist.controls.single_task import Student, load_students, students, train_students
from generalist.settings import ControlsConfig, DistillConfig, ModelConfig, generalist_artifact, retrieval_artifact

STAGES = ("list", "experts", "record", "distill", "controls", "evaluate", "clips", "report", "compare", "workspace")


@dataclass
class TaskEntry(TaskConfig):
    """A task in a suite's file: the environment's part and the expert's recipe."""

    expert: ExpertRecipe = field(default_factory=ExpertRecipe)


@dataclass
class SuiteEntry(SuiteConfig):
    """A suite's file."""

    tasks: dict[str, TaskEntry] = field(default_factory=dict)  # type: ignore[assignment]


@dataclass
class Config:
    """Every key of a run; the comments are in ``conf/``."""

    suite: SuiteEntry = field(default_factory=SuiteEntry)
    model: ModelConfig = field(default_factory=ModelConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    stages: list[str] = field(default_factory=list)
    seed: int = 0
    tasks: list[str] | None = None
    runs: list[str] = field(default_factory=list)
    name: str | None = None
    runs_folder: str = "results/runs"
    workers: int | None = None


ConfigStore.instance().store(name="schema", node=Config)

_failures: list[str] = []  # of the runs in this process; a sweep goes on after one
_reported: dict[Path, TrackingConfig] = {}  # a sweep's runs with a report: their training seeds are pooled at its end


@hydra.main(version_base="1.3", config_path=str(Path(__file__).resolve().parent / "conf"), config_name="config")
def _run(composed: DictConfig) -> None:
    with _one_line_errors():
        # Merged once more into the schema: keys added with `+` pass composition unchecked.
        plain = OmegaConf.to_container(composed, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
        assert isinstance(config, Config)
        _run_stages(config, _name(config))


def _run_stages(config: Config, name: str) -> None:
    suite = Suite.resolve(config.suite, config.tasks)
    recipes = {task.name: config.suite.tasks[task.key].expert for task in suite}
    _check(config, suite)
    if "list" in config.stages:
        _list(suite, recipes)
    if "workspace" in config.stages:
        _save_workspace(config, suite)
    if "compare" in config.stages:
        _compare(find_runs(config.runs, Path(config.runs_folder)), config)
    stages = set(config.stages) - {"list", "workspace", "compare"}
    if not stages:
        return
    run = Path(config.runs_folder) / name
    workers = config.workers or joblib.cpu_count()
    tracker = Tracker(config.tracking, group=f"{suite.name}/{name}", exp_name=name, seed=config.seed, folder=run)
    if not (run / CONFIG).exists() and stages != {"report"}:
        _describe(run, config)
    make = {"run": run, "seed": config.seed}
    pool = {"run": run, "workers": workers, "tracker": tracker}
    started = time.monotonic()

    experts = {task.name: expert_artifact(run, task, recipes[task.name], config.experts, config.seed) for task in suite}
    recordings = {
        name: recording_artifact(run, task, "expert", config.record, config.seed, experts[name])
        for name, task in ((task.name, task) for task in suite)
    }
    generalist = generalist_artifact(run, config.distill, config.model, config.codec, recordings, config.seed)
    learning = (config.distill, config.model, config.codec)
    networks = {
        agent: students(agent, suite, recordings, config.controls, *learning, **make)
        for agent in ("clone", "specialist")
        if agent in config.controls.agents
    }
    agents = _agents(suite, config, experts, recordings, networks, generalist, run)
    scores = {agent.name: score_artifact(run, agent, suite, config.evaluate, config.seed) for agent in agents}
    if "experts" in stages:
        train_experts(suite, recipes, config.experts, **pool, seed=config.seed)
    if "record" in stages:
        _need(experts, "experts")
        record_suite(suite, experts, config.record, **pool, seed=config.seed)
    if "distill" in stages:
        from generalist.distill import distill

        _need(recordings, "record")
        distill(suite, recordings, *learning, **make, threads=workers, tracker=tracker)
    if "controls" in stages:
        _need(recordings, "record")
        train_students([student for made in networks.values() for student in made], **pool)
        if "retrieval" in config.controls.agents:
            for task in suite:
                recording = recordings[task.name]
                memorize(task, recording, retrieval_artifact(run, task.name, recording), run.parent)
    if "evaluate" in stages:
        for agent in agents:
            _need(agent.made_from, "experts,record,distill,controls")
        if not all(artifact.is_complete() for artifact in scores.values()):  # else it says where they were made
            _describe(run, config)
        means = {task: read_gate(artifact)["mean"] for task, artifact in experts.items()}
        evaluate(agents, suite, means, config.evaluate, **pool, seed=config.seed)
    if "clips" in stages:
        shown = [agent for agent in agents if agent.name in config.clips.agents]
        for agent in shown:
            _need(agent.made_from, "experts,record,distill,controls")
        film(shown, suite, config.clips, **make, workers=workers)
    if "report" in stages:
        from benchmarks.report import write_report

        _need(scores, "evaluate,report")
        write_report(Results.read(run), run, tracker=tracker)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            _reported[run] = config.tracking
        console.note(f"{run}: done in {time.monotonic() - started:.0f} s; open {run / 'index.html'}")


def _describe(run: Path, config: Config) -> None:
    """The settings and the environment of what a run is about to make."""
    artifacts.write_text(run / CONFIG, OmegaConf.to_yaml(OmegaConf.structured(config)))
    artifacts.write_json(run / ENVIRONMENT, describe_environment(_command()))


def _compare(runs: list[Path], config: Config) -> None:
    """Several runs in one report, in a folder of its own."""
    from benchmarks.report import write_report

    folder = Path(config.runs_folder) / (config.name or pooled_name(runs))
    results = compare(runs, folder)
    tracker = Tracker(
        config.tracking, group=f"{results.suite}/{folder.name}", exp_name=folder.name, seed=0, folder=folder
    )
    write_report(results, folder, tracker=tracker)
    console.note(f"{folder}: {len(runs)} runs compared; open {folder / 'index.html'}")


def _save_workspace(config: Config, suite: Suite) -> None:
    from benchmarks.dashboards import save_workspace, workspace

    tracking = config.tracking
    if tracking.entity is None:
        raise GatitoError("a workspace belongs to somebody: set tracking.entity=TEAM_OR_USER.")
    agents = [agent for agent in AGENTS if agent in ("generalist", *config.controls.agents)]
    view = workspace(tracking.entity, tracking.project, suite.name, agents, [task.name for task in suite])
    console.note(f"the workspace of suite {suite.name}: {save_workspace(view)}")


def _check(config: Config, suite: Suite) -> None:
    """Refuse what cannot work before anything is made: a wrong word must not cost a quarter of an hour."""
    for stage in config.stages:
        if stage not in STAGES:
            raise unknown("stage", stage, STAGES)
    if not 0 <= config.seed < 100:
        raise GatitoError(f"seed={config.seed} is out of range: training seeds are 0 to 99.")
    if config.workers is not None:
        check_at_least("gatito", config, workers=1)
    if config.codec.name not in CODECS:
        raise unknown("codec", config.codec.name, CODECS)
    config.model.check()
    config.experts.check()
    config.record.check()
    config.distill.check([task.name for task in suite], config.model.window)
    config.controls.check()
    config.evaluate.check()
    config.clips.check()
    for agent in config.clips.agents:
        known = ("random", "expert", "generalist", *config.controls.agents)
        if agent not in known:
            raise unknown("agent in clips.agents", agent, known)
    if "compare" in config.stages and not config.runs:
        raise GatitoError("stages=[compare] needs runs to compare: runs=[A,B], names or patterns below runs_folder.")
    if {"distill", "controls"} & set(config.stages):
        from generalist.codecs.step import check_task

        for task in suite:
            check_task(config.codec, task)


def _agents(
    suite: Suite,
    config: Config,
    experts: dict[str, Artifact],
    recordings: dict[str, Artifact],
    networks: dict[str, list[Student]],
    generalist: Artifact,
    run: Path,
) -> list[Agent]:
    """Everybody who is scored. Each is loaded in the process that plays it."""

    def folders(made: dict[str, Artifact]) -> dict[str, Path]:
        return {task: artifact.folder for task, artifact in made.items()}

    agents = [
        Agent("random", RandomPolicy),
        Agent("expert", functools.partial(load_experts, folders(experts), suite.tasks), experts),
        Agent("generalist", functools.partial(_load_generalist, generalist.folder), {"": generalist}),
    ]
    for name, made in networks.items():
        parts = {student.task.name: student.artifact for student in made}
        agents.append(Agent(name, functools.partial(load_students, name, folders(parts)), parts))
    if "retrieval" in config.controls.agents:
        parts = {task: retrieval_artifact(run, task, recording) for task, recording in recordings.items()}
        agents.append(Agent("retrieval", functools.partial(load_retrieval, folders(parts), suite), parts))
    return sorted(agents, key=lambda agent: list(AGENTS).index(agent.name))


def _load_generalist(folder: Path) -> Policy:
    from generalist.policy import NetworkPolicy

    return NetworkPolicy.load(folder, "generalist")


def _list(suite: Suite, recipes: dict[str, ExpertRecipe]) -> None:
    rows = []
    for task in suite:
        recipe = recipes[task.name]
        reference = "-" if task.reference is None else f"{task.reference:g}"
        expert = f"{recipe.algorithm}, {recipe.steps:,} steps" if recipe.trained else recipe.algorithm
        rows.append([task.name, task.env_id, expert, reference, task.metric])
    console.show_table(f"suite {suite.name}", ["name", "env id", "expert", "reference", "metric"], rows)


def _need(made: Mapping[str, Artifact], stage: str) -> None:
    for name, artifact in made.items():
        if not artifact.is_complete():
            what = name or artifact.kind
            raise GatitoError(f"{what} is not in {artifact.folder} as configured: run with stages=[{stage}] first.")


def _command() -> str:
    """What was typed, less what decides no result."""
    silent = ("name", "runs_folder", "workers", "stages", "tracking")
    typed = HydraConfig.get().overrides.task
    kept = [word for word in typed if word.partition("=")[0].partition(".")[0].lstrip("+") not in silent]
    return " ".join(["gatito", *map(shlex.quote, kept)])


def _name(config: Config) -> str:
    """The run's folder: the name given, or suite, model, seed and what else was overridden.

    Runs of a sweep never share a folder: there, what was overridden is added to the name given.
    """
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    name = f"{config.suite.name}-{config.model.name}-seed{config.seed}"
    if config.name is not None:
        if not sweeping:
            return config.name
        name = f"{config.name}-{name}"
    others = hydra_config.job.override_dirname
    if not others:
        return name
    tidy = "".join(letter if letter.isalnum() or letter in "._=-" else "_" for letter in others)
    return f"{name}-{tidy}" if len(tidy) <= 80 else f"{name}-{tidy[:60]}-{artifacts.digest(others)[:8]}"


class _one_line_errors:  # noqa: N801
    """Turns what a person can mend into one line and a failure that is counted, not raised."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:  # noqa: ANN401
        line = one_line(error) if error else None
        if line is None:
            return False
        console.fail(line)
        _failures.append(line)
        return True


def _pool_seeds() -> None:
    """After a sweep over training seeds: the report of each configuration over its seeds."""
    if _reported and _failures:
        console.warn(f"{len(_failures)} runs of the sweep failed (see above) and are in no pooled report.")
    for runs in seeds_of_one_configuration(list(_reported)):
        console.note(f"pooling the training seeds of {', '.join(run.name for run in runs)}")
        with _one_line_errors():
            _compare(runs, Config(runs_folder=str(runs[0].parent), tracking=_reported[runs[0]]))


def main() -> None:
    """Run the command line; exit code 1 after an error, with one line that says what to do."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets Hydra's errors through to us instead of printing them
    try:
        with _one_line_errors():
            _run()
            _pool_seeds()
    except KeyboardInterrupt:
        console.fail("interrupted. The same command resumes where it stopped.")
        sys.exit(130)
    sys.exit(1 if _failures else 0)


if __name__ == "__main__":
    main()
