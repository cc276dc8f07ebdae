"""The stage ``plan``: what a run will cost, from measured rates.

Run as ``gatito stages=[plan] suite=mixed workers=64``; the plan is that of all stages of a run without ``stages=[…]``.
Run as ``python -m gatito_plan RUN …`` to refresh ``results/rates.csv`` from released experts and the rates of runs.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.base import console
from benchmarks.base.artifacts import read_manifest
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.files import read_json, write_text
from benchmarks.base.memory import peak_bytes
from benchmarks.base.project import CODE, DATA
from benchmarks.report.formats import duration, plural
from benchmarks.runs.parallel import measurement
from benchmarks.runs.rates import RATES, Rate, Rates, size_of
from benchmarks.runs.schedule import wall_seconds
from experts.recipe import ExpertRecipe
from experts.train import rate_kind
from generalist.config.settings import DistillConfig, ModelConfig, for_one_task

if TYPE_CHECKING:
    from gatito import Plan
    from gatito_configuration import Config

_DISTILL, _COMMAND = "distill", "command"
# Of a job, beside its work: assumed. `python -m tests.benchmarks.runs.engines.measure` measures it on a quiet machine.
_SECONDS_BESIDE = {"local": 0.2, "ray": 0.2, "slurm": 2.0}
_START_SECONDS = 6.0  # until the first processes have imported torch
_DISK = {
    "expert": "experts/{name}",
    "record expert": "trajectories/{name}/expert",
    "record random": "trajectories/{name}/random",
    "specialist": "controls/specialist/{name}",
    "clone": "controls/clone/{name}",
}


@dataclass(frozen=True)
class PlannedStage:
    """The work of a stage.

    Attributes:
        name: the stage.
        jobs: for each job its rate, None if nothing like it has been measured, and its units of work.
        alone: the same for work of the command's own process, after the jobs.
        missing: what has not been measured, in words.
    """

    name: str
    jobs: Sequence[tuple[Rate, float]] = ()
    alone: Sequence[tuple[Rate, float]] = ()
    missing: Sequence[str] = ()

    @property
    def job_seconds(self) -> list[float]:
        """The seconds of each job."""
        return [rate.per_unit * units for rate, units in self.jobs]

    def wall(self, workers: int, overhead: float) -> float:
        """Wall time on a number of workers."""
        return wall_seconds(self.job_seconds, workers, overhead) + sum(
            rate.per_unit * units for rate, units in self.alone
        )

    def memory(self, workers: int) -> int:
        """The largest memory of jobs that run at a time."""
        return sum(sorted((rate.peak_bytes for rate, _ in self.jobs), reverse=True)[:workers])

    @property
    def disk(self) -> float:
        """Bytes that it leaves."""
        return sum(rate.disk_bytes / rate.units * units for rate, units in (*self.jobs, *self.alone))


def plan_run(
    config: "Config", tasks: Sequence[str], recipes: Mapping[str, ExpertRecipe], workers: int, skipped: Collection[str]
) -> "list[PlannedStage]":
    """The work of a run, stage by stage.

    Args:
        config: the settings.
        tasks: the tasks' names.
        recipes: the experts' recipes by task name.
        workers: the number of jobs at a time.
        skipped: stages that it skips, see :meth:`generalist.stages.Generalist.skipped_stages`.
    """
    rates = known_rates(Path(config.runs_folder))
    suite = tasks[0] if len(tasks) == 1 else config.suite.name
    stages = [_experts(rates, tasks, recipes)]
    if "record" not in skipped:
        stages.append(_record(config, rates, tasks))
    if config.generalist.source == "train":
        alone = [(_DISTILL, suite, work_of(config.model, config.distill))]
        rounds = [
            ("record generalist", name, float(config.distill.dagger.env_steps))
            for _ in range(config.distill.dagger.rounds)
            for name in tasks
        ]
        stages += [_stage("distill", rates, rounds, alone), _controls(config, rates, tasks), _ida(config, rates, tasks)]
    agents = ["random", "expert"]
    if config.generalist.source != "none":
        agents += ["generalist"] + ["generalist"] * config.ida.rounds * (1 + config.ida.control)
    agents += config.controls.agents if config.generalist.source == "train" else []
    parts = min(workers, config.evaluate.episodes)
    played = [(f"evaluate {agent}", suite, config.evaluate.episodes * len(tasks) / parts) for agent in agents]
    stages.append(_stage("evaluate", rates, [job for job in played for _ in range(parts)]))
    films = [("film", name, float(len(config.clips.agents))) for name in tasks] if config.clips.agents else []
    stages.append(_stage("clips", rates, films))
    return [*stages, _stage("report", rates, [], [(_COMMAND, suite, 1.0)])]


def _experts(rates: Rates, tasks: Sequence[str], recipes: Mapping[str, ExpertRecipe]) -> PlannedStage:
    order = sorted(tasks, key=lambda name: -recipes[name].env_steps if recipes[name].trained else 0)
    jobs = []
    for name in order:
        recipe = recipes[name]
        jobs.append((rate_kind(recipe), name, float(recipe.env_steps if recipe.trained else 1)))
    return _stage("experts", rates, jobs)


def _record(config: "Config", rates: Rates, tasks: Sequence[str]) -> PlannedStage:
    shards = config.record.shards
    steps = {"expert": config.record.env_steps, "random": config.record.random_env_steps}
    jobs = [
        (f"record {agent}", name, count / shards)
        for name in tasks
        for agent, count in steps.items()
        for _ in range(shards)
    ]
    return _stage("record", rates, jobs)


def _controls(config: "Config", rates: Rates, tasks: Sequence[str]) -> PlannedStage:
    """The networks of single tasks; training on rewards is measured by its environment steps."""
    jobs = []
    for agent in [agent for agent in ("specialist", "clone") if agent in config.controls.agents]:
        jobs += [(agent, name, float(for_one_task(config.distill, name, tasks).updates)) for name in tasks]
    if "multitask-rl" in config.controls.agents:
        recipes = config.suite.recipes(list(tasks))
        steps = config.controls.multitask.env_steps * len(tasks) or sum(recipe.env_steps for recipe in recipes.values())
        jobs.append(("multitask-rl", "", float(steps)))
    return _stage("controls", rates, jobs)


def _ida(config: "Config", rates: Rates, tasks: Sequence[str]) -> PlannedStage:
    """Rounds: what the amplified policy records, and the distillations; the control's play is like the generalist's."""
    jobs, alone = [], []
    distill = replace(config.distill, updates=config.ida.updates, flops=None)
    for _ in range(config.ida.rounds):
        for name in config.ida.tasks or tasks:
            steps = config.ida.env_steps / config.ida.shards
            jobs += [("record amplified", name, steps)] * config.ida.shards
            if config.ida.control:
                jobs.append(("record generalist", name, float(config.ida.control_env_steps)))
        works = 1 + config.ida.control
        alone += [(_DISTILL, config.suite.name, work_of(config.model, distill))] * works
    return _stage("ida", rates, jobs, alone)


def _stage(
    name: str,
    rates: Rates,
    jobs: Sequence[tuple[str, str, float]],
    alone: Sequence[tuple[str, str, float]] = (),
) -> PlannedStage:
    """A stage with the rates of its work."""
    found = [[(rates.of(kind, of), units, kind) for kind, of, units in works] for works in (jobs, alone)]
    missing = dict.fromkeys(kind for works in found for rate, _, kind in works if rate is None)
    known = [[(rate, units) for rate, units, _ in works if rate is not None] for works in found]
    return PlannedStage(name, known[0], known[1], list(missing))


def work_of(model: ModelConfig, distill: DistillConfig) -> float:
    """Operations of a training in the network's blocks: the unit in which distillation is measured.

    Six operations per parameter and token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), without embeddings.
    """
    attention = 2 * model.width**2 * (1 + model.num_kv_heads / model.heads)
    parameters = model.layers * (attention + 2 * model.width * model.feedforward)
    return 6.0 * parameters * distill.batch_size * distill.length(model) * distill.updates


def known_rates(runs_folder: Path) -> Rates:
    """The project's own rates, and those of the runs here, which replace them."""
    runs = sorted(runs_folder.glob(f"*/{RATES}"), key=lambda path: path.stat().st_mtime)
    return Rates.read(DATA / "results" / RATES, *runs)


def show_plan(plan: "Plan") -> None:
    """Print what the run will cost."""
    config, run = plan.config, plan.run
    tasks = [task.name for task in run.suite]
    recipes = {task.name: plan.experts.recipe(task) for task in run.suite}
    skipped = set() if config.generalist.source == "train" else plan.generalist.skipped_stages()
    stages = plan_run(config, tasks, recipes, run.workers, skipped)
    overhead = _SECONDS_BESIDE[config.engine.name]
    walls = [stage.wall(run.workers, overhead) for stage in stages]
    rows, guessed = [], 0
    for stage, wall in zip(stages, walls, strict=True):
        guessed += sum(rate.kind.endswith("?") for rate, _ in stage.jobs)
        longest = max(stage.job_seconds, default=0.0)
        memory = max((rate.peak_bytes for rate, _ in stage.jobs), default=0)
        cells = [stage.name, str(len(stage.jobs)), _time(longest), _time(sum(stage.job_seconds)), _time(wall)]
        rows.append([*cells, _size(memory), _size(stage.disk)])
    jobs = [seconds for stage in stages for seconds in stage.job_seconds]
    memory = max(stage.memory(run.workers) for stage in stages)
    cells = ["all", str(len(jobs)), _time(max(jobs, default=0)), _time(sum(jobs)), _time(sum(walls) + _START_SECONDS)]
    rows.append([*cells, _size(memory), _size(sum(stage.disk for stage in stages))])
    columns = ["stage", "jobs", "longest job", "work", "wall time", "memory", "disk"]
    console.show_table(f"plan of {run.suite.name} on {run.workers} {plural(run.workers, 'worker')}", columns, rows)
    missing = dict.fromkeys(f"{stage.name}: {kind}" for stage in stages for kind in stage.missing)
    if guessed:
        console.say(f"{guessed} of {len(jobs)} jobs have not been measured: their rates are medians of similar tasks.")
    if missing:
        console.say(f"Not included, since nothing like it has been measured: {', '.join(missing)}.")


def write_rates(plan: "Plan", seconds: float) -> None:
    """Write the rates of this command into the run's folder.

    Args:
        plan: the plan.
        seconds: wall time of the command.
    """
    folder, config = plan.run.folder, plan.config
    names = config.task_names
    suite = names[0] if len(names) == 1 else config.suite.name
    beside = size_of(folder) - sum(size_of(folder / name) for name in ("experts", "trajectories", "controls"))
    more = []
    manifest = read_manifest(folder / "generalist")
    if manifest and config.generalist.source == "train":
        work, trained = work_of(config.model, config.distill), manifest["wall_seconds"]
        more.append(Rate(_DISTILL, suite, work, trained, peak_bytes()))
    if (folder / "index.html").exists():
        alone = max(0.0, seconds - measurement.wall - (manifest["wall_seconds"] if manifest else 0.0))
        more.append(Rate(_COMMAND, suite, 1.0, alone, peak_bytes(), beside))
    measurement.write(folder, more, _DISK)


def _time(seconds: float) -> str:
    if seconds < 3600:
        return duration(seconds)
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"


def _size(count: float) -> str:
    if count >= 1e11:
        return f"{count / 1e9:.0f} GB"
    return f"{count / 1e9:.2g} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count else "-"


def committed_rates() -> list[Rate]:
    """Rates of the released experts' training, from their manifests."""
    rates = []
    experts = CODE / "results" / "experts"
    for path in sorted(experts.glob("*/*/manifest.json")):
        manifest = read_json(path, dict)
        name, steps = path.parent.relative_to(experts).as_posix(), _steps(manifest["config"]["recipe"])
        if manifest["facts"].get("cost", {}).get("env_steps"):  # trained, not imported
            rates.append(Rate("expert", name, steps, manifest["wall_seconds"], 0, size_of(path.parent)))
    return rates


def _steps(recipe: Mapping[str, Any]) -> int:
    return int(recipe.get("env_steps", ExpertRecipe().env_steps))  # a manifest leaves out defaults


if __name__ == "__main__":
    paths = [Path(argument) / RATES for argument in sys.argv[1:]]
    before = CODE / "results" / RATES
    write_text(before, to_csv(list(Rates([*committed_rates(), *Rates.read(before, *paths)])), Rate))
