"""The entry point: composes the settings of a run and makes its stages, one after another.

Run as ``gatito suite=classic``; ``gatito --help`` explains the stages and groups. The stages are implemented in
``experts/stages.py`` and ``generalist/stages.py`` and listed in ``benchmarks/runs/stage.py``. The Python API,
:mod:`gatito_api`, is available from here: ``gatito.evaluate``.
"""

import gatito_path  # noqa: F401 # isort: skip # first: it has the packages below found
from benchmarks.base.early_interrupts import restore  # isort: skip # then: further imports take seconds

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.plugins import installed_plugins, load_plugins
from benchmarks.base.project import CONF, DATA
from benchmarks.base.settings import values_quoted, words_as_lists
from benchmarks.play.policy import RandomPolicy
from benchmarks.report.command import run_command
from benchmarks.report.sweep import Sweep, SweepRun, report_named
from benchmarks.runs.failures import Failures
from benchmarks.runs.hub import hub_words
from benchmarks.runs.lock import LOCK, lock
from benchmarks.runs.parallel import current_engine, running_on
from benchmarks.runs.run import CONFIG, Run, run_name
from benchmarks.runs.stage import DEFAULT_STAGES, STAGES, bind, require
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.runs.wandb import save_workspace, workspace
from benchmarks.scoring import evaluate as scoring
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.outside import outside_agents
from benchmarks.scoring.playing import Agent
from benchmarks.scoring.results import Results
from benchmarks.tasks import Suite
from benchmarks.tasks.gymnasium_ids import register_tasks
from experts.stages import Experts
from gatito_configuration import Config, read_config, store_suite
from gatito_hub import push_run, use_hub
from gatito_plan import show_plan, write_rates
from gatito_terminal import chat, play
from generalist.recorded import network_players

if TYPE_CHECKING:
    from generalist.stages import Generalist
restore()

_sweep = Sweep()  # the runs of this process
register_tasks(DATA / "results" / "experts" / "experts.csv", "gatito_api:make_env")


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """The functions of the Python API, imported when the first one is used."""
    if not name.startswith("_"):
        import gatito_api

        if name in gatito_api.__all__:
            return getattr(gatito_api, name)
    raise AttributeError(f"module 'gatito' has no attribute {name!r}: see docs/agents.md for its API.")


@dataclass(frozen=True)
class Plan:
    """The input of a stage: the settings, the run, and its experts and generalist."""

    config: Config
    run: Run

    @cached_property
    def experts(self) -> Experts:
        """The experts of the run."""
        recipes, player = self.config.suite.recipes(self.config.task_names), self.config.record.player
        return Experts(self.run, self.config.experts, self.config.record, recipes, network_players(self.run, player))

    @cached_property
    def generalist(self) -> "Generalist":
        """The generalist of the run, with its controls and rounds."""
        from generalist.stages import Generalist  # imports torch, which a list of tasks does not need

        return Generalist(self.run, self.config, self.experts)

    def agents(self) -> list[Agent]:
        """All agents that are scored, in the order of the tables."""
        suite = self.run.survivors("evaluate")
        agents = [Agent(AgentId("random"), RandomPolicy), *self.experts.agents(), *self.generalist.agents()]
        agents += outside_agents(self.config.agents, suite.tasks)
        agents = [agent.on(suite) for agent in agents if agent.name not in self.run.failures.agents]
        return sorted(agents, key=lambda agent: agent.id.order[0])

    def scores(self, agents: list[Agent]) -> dict[str, Artifact]:
        """The scores of agents, by name."""
        suite = self.run.survivors("evaluate")
        return {agent.name: scoring.score_artifact(self.run, agent, suite, self.config.evaluate) for agent in agents}


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _run(composed: DictConfig) -> None:
    from gatito import run_one  # launchers send this function to other processes without this module's globals

    run_one(composed)


def run_one(composed: DictConfig) -> None:
    """Make one run."""
    hydra_config, sweeping = HydraConfig.get(), HydraConfig.get().mode == RunMode.MULTIRUN
    with _sweep.one_run(Path(hydra_config.runtime.output_dir) if sweeping else None):
        config = read_config(composed)
        load_plugins([*installed_plugins(), *config.plugins])
        config.name_tasks_in_full()
        first = not int(os.environ.get("RANK", "0"))
        if first:
            config.check()
        use_hub(config)
        preset = f"{config.suite.name}-{config.model.name}-seed{config.seed}"
        words = hydra_config.job.override_dirname.split(",")  # engines and agents change nothing that a run makes
        overridden = ",".join(word for word in words if not word.lstrip("+").startswith(("agents.", "engine", "hub.")))
        folder = Path(config.runs_folder) / run_name(preset, overridden, config.name, sweeping=sweeping)
        if first:
            needed = any(STAGES[name].of_run for name in config.stages)
            with lock(folder, needed=needed), running_on(config.engine, folder, config.workers, config.stages):
                _run_stages(config, folder)
        elif "distill" in config.stages and config.generalist.source == "train":
            _help_to_distill(config, folder)


@contextmanager
def locked_plan(config: Config, folder: Path) -> Iterator[Plan]:
    """The plan of a run whose folder is locked."""
    with lock(folder, needed=True), running_on(config.engine, folder, config.workers, DEFAULT_STAGES):
        yield _plan(config, folder, Failures(config.task_names))


def _run_stages(config: Config, folder: Path) -> None:
    """Make the selected stages in their order."""
    if set(config.stages) <= set(_OF_RESULTS):  # they need no suite that can be played here
        for name in [stage for stage in _OF_RESULTS if stage in config.stages]:
            _OF_RESULTS[name](config)
        return
    started = time.monotonic()
    failures = Failures(config.task_names)
    plan = _plan(config, folder, failures)
    plan.experts.find()
    skipped = set() if config.generalist.source == "train" else plan.generalist.skipped_stages()
    stages = [stage for name, stage in _STAGES.items() if name in config.stages and name not in skipped]
    made = [stage.name for stage in stages if stage.of_run]
    failures.recall(folder, made, plan.experts.is_finished)
    try:
        _look_ahead(plan, made)
        for stage in stages:
            if stage.of_run:
                failures.stop_if_none_is_left()
                failures.stage = stage.name
            stage.make(plan)
    finally:
        if made and any(path.name != LOCK for path in folder.glob("*")):  # otherwise no run has begun: leave no folder
            failures.write(folder)
            write_rates(plan, time.monotonic() - started)
    if "report" in made:
        console.note(f"{folder}: done in {time.monotonic() - started:.0f} s; open {folder / 'index.html'}")
    failures.stop_if_any()


def _plan(config: Config, folder: Path, failures: Failures, tracking: TrackingConfig | None = None) -> Plan:
    suite = Suite.resolve(config.suite, config.tasks, failures.add)
    group = f"{config.suite.name}/{folder.name}"
    tracker = Tracker(tracking or config.tracking, group=group, exp_name=folder.name, seed=config.seed, folder=folder)
    return Plan(config, Run(folder, suite, config.seed, config.workers or current_engine().capacity, tracker, failures))


def _look_ahead(plan: Plan, stages: list[str]) -> None:
    """Check the run before any work is done, and describe it if there is work."""
    if stages and plan.config.generalist.source == "released":
        plan.generalist.artifact()  # raises if there is none, or it does not fit the settings
    if {"distill", "controls", "ida"} & set(stages):
        plan.experts.check_environments()
        plan.generalist.check()
    making = any(STAGES[name].default and name != "report" for name in stages)  # others only read the run
    if making and not (plan.run.folder / CONFIG).exists() and plan.run.survivors().tasks:
        _describe(plan)


def _help_to_distill(config: Config, folder: Path) -> None:
    """Main loop of torchrun ranks above 0: wait until the first process distils, and train with it."""
    from generalist.distill.distributed import Ranks

    ranks = Ranks.join(config.distill.device)
    config.tasks = ranks.agree()
    _plan(config, folder, Failures(config.task_names), TrackingConfig("none")).generalist.distill_with(ranks)


def _evaluate(plan: Plan) -> None:
    plan.generalist.adopt_released()
    agents = plan.agents()
    for agent in agents:
        require(agent.made_from, *STAGES["evaluate"].needs)
    if not all(artifact.is_complete() for artifact in plan.scores(agents).values()):
        _describe(plan)  # otherwise the description is that of the run that made the scores
    amplified = plan.generalist.amplified_tasks()
    scoring.evaluate(plan.run, agents, plan.experts.gate_means(), plan.config.evaluate, amplified)


def _film(plan: Plan) -> None:
    from benchmarks.report.clips import film

    plan.generalist.adopt_released()
    agents = [agent for agent in plan.agents() if agent.name in plan.config.clips.agents]
    for agent in agents:
        require(agent.made_from, *STAGES["clips"].needs)
    film(plan.run, agents, plan.config.clips)


def _report(plan: Plan) -> None:
    from benchmarks.report.report import write_report
    from benchmarks.report.rounds import write_rounds

    run, config = plan.run, plan.config
    require(plan.scores(plan.agents()), "evaluate", "report")
    run.failures.write(run.folder)
    board = write_report(Results.read(run.folder), run.folder, tracker=run.tracker)
    write_rounds(board, run.folder, config.amplifier["name"], config.ida.start)
    if HydraConfig.get().mode == RunMode.MULTIRUN and not len(run.failures):
        name = config.name and f"{config.name}-{config.suite.name}"
        _sweep.reported.append(SweepRun(run.folder, name, (config.suite.name, *config.task_names), config.tracking))


def _release(plan: Plan) -> None:
    plan.experts.release()
    plan.generalist.release()


def _verify(config: Config) -> None:
    from benchmarks.report.verify import verify_runs

    verify_runs(config.runs, Path(config.runs_folder))


_OF_RESULTS: dict[str, Callable[[Config], None]] = {  # stages that read results folders
    "compare": lambda config: report_named(config.runs, Path(config.runs_folder), config.name, config.tracking),
    "verify": _verify,
}


def _save_workspace(plan: Plan) -> None:
    tracking, suite = plan.config.tracking.resolved(), plan.run.suite
    names = ("generalist", *plan.config.controls.agents, *plan.config.agents)
    agents = sorted(names, key=lambda name: AgentId(name).order)
    view = workspace(str(tracking.entity), str(tracking.project), suite.name, agents, [task.name for task in suite])
    console.note(f"the workspace of suite {suite.name}: {save_workspace(view)}")


_MAKERS: dict[str, Callable[[Plan], None]] = {
    "list": lambda plan: plan.experts.show(),
    "experts": lambda plan: plan.experts.train(),
    "record": lambda plan: plan.experts.record(),
    "distill": lambda plan: plan.generalist.distill(),
    "controls": lambda plan: plan.generalist.train_controls(),
    "ida": lambda plan: plan.generalist.amplify(),
    "evaluate": _evaluate,
    "clips": _film,
    "report": _report,
    "export": lambda plan: plan.experts.export(),
    "release": _release,
    "push": push_run,
    **{name: lambda plan, make=make: make(plan.config) for name, make in _OF_RESULTS.items()},
    "plan": show_plan,
    "play": play,
    "chat": chat,
    "workspace": _save_workspace,
}
_STAGES = bind(_MAKERS)


def _describe(plan: Plan) -> None:
    hydra_config = HydraConfig.get()
    folders = [str(source.path) for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    plan.run.describe(OmegaConf.to_yaml(OmegaConf.structured(plan.config)), hydra_config.overrides.task, folders)


def main() -> None:
    """Run the command line; after an error, the exit code is 1 and one line states the remedy."""
    sys.argv[1:] = values_quoted(words_as_lists(hub_words(sys.argv[1:]), Config))
    run_command(_run, _sweep, store_suite)


if __name__ == "__main__":
    from gatito import main as imported_main  # so that there is a single copy of this module, under its name

    imported_main()
