"""The entry point: composes the stages and knows everybody; what a stage does is written in its own folder.

Run as ``gatito suite=classic``; ``gatito --help`` explains the stages and groups.
"""

import functools
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import joblib
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from benchmarks.base import artifacts, console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.environment import ENVIRONMENT, describe_environment
from benchmarks.base.errors import FatalError, GatitoError, TasksFailedError, check_at_least, one_line, unknown
from benchmarks.base.seals import seal
from benchmarks.play.policy import Policy, RandomPolicy
from benchmarks.play.trajectories import Trajectories
from benchmarks.report.clips import ClipsConfig, film
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.comparison import CONFIG, ROUNDS, compare, find_runs, pooled_name, seeds_of_one_configuration
from benchmarks.scoring.evaluate import Agent, EvaluateConfig, evaluate, score_artifact
from benchmarks.scoring.results import AGENTS, Results, base_name, in_round
from benchmarks.tasks import Suite, SuiteConfig, Task, TaskConfig, full_names, spaces
from experts.recipe import DATASET, ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig, record_suite, recording_artifact
from experts.train import expert_artifact, load_expert, load_experts, read_gate, train_experts
from generalist.amplifiers import AMPLIFIERS, make_amplifier
from generalist.config.ida import IdaConfig
from generalist.config.settings import (
    ControlsConfig,
    DistillConfig,
    ModelConfig,
    generalist_artifact,
    retrieval_artifact,
)
from generalist.controls.multitask_rl import AGENT as MULTITASK
from generalist.controls.multitask_rl import multitask_artifact, multitask_ppo, train_multitask
from generalist.controls.retrieval import load_retrieval, memorize
from generalist.controls.single_task import Student, load_students, students, train_students
from generalist.ida.run import Ida
from generalist.network.codec import CODECS, CodecConfig, codec_class
from generalist.released import GeneralistConfig, release_generalist, released_artifact, take_over_generalist

if TYPE_CHECKING:
    from generalist.distill.distributed import Ranks

STAGES = ("list", "experts", "record", "distill", "controls", "ida", "evaluate", "clips", "report", "export", "release")
STAGES += ("compare", "workspace")


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
    generalist: GeneralistConfig = field(default_factory=GeneralistConfig)
    ida: IdaConfig = field(default_factory=IdaConfig)
    amplifier: dict[str, Any] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    seed: int = 0
    tasks: list[str] | None = None
    runs: list[str] = field(default_factory=list)
    label: str = "default"
    name: str | None = None
    runs_folder: str = "results/runs"
    workers: int | None = None


ConfigStore.instance().store(name="schema", node=Config)

_failures: list[str] = []  # of the runs in this process; a sweep goes on after one
_reported: dict[Path, Config] = {}  # a sweep's runs with a report: their training seeds are pooled at its end


@hydra.main(version_base="1.3", config_path=str(Path(__file__).resolve().parent / "conf"), config_name="config")
def _run(composed: DictConfig) -> None:
    with _one_line_errors():
        # Merged once more into the schema: keys added with `+` pass composition unchecked.
        plain = OmegaConf.to_container(composed, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
        assert isinstance(config, Config)
        # Whatever a task is called, it is the same training.
        tasks, weights = Suite.names(config.suite, config.tasks), config.distill.weights
        config.distill.weights = dict(
            zip(full_names(list(weights), tasks, "task in distill.weights"), weights.values(), strict=True)
        )
        if int(os.environ.get("RANK", "0")):
            if "distill" in config.stages and config.generalist.source == "train":
                _help_to_distill(config, _name(config))
        else:
            _run_stages(config, _name(config))


def _run_stages(config: Config, name: str) -> None:
    failures = Failures(Suite.names(config.suite, config.tasks))
    _check(config)
    if "compare" in config.stages:
        _compare(find_runs(config.runs, Path(config.runs_folder)), config)
    if set(config.stages) <= {"compare"}:
        return
    run = Path(config.runs_folder) / name
    group = f"{config.suite.name}/{name}"
    tracker = Tracker(config.tracking, group=group, exp_name=name, seed=config.seed, folder=run)
    plan = Plan(config, Suite.resolve(config.suite, config.tasks, failures.add), run, failures, tracker)
    _look_for_experts(plan)
    if "list" in config.stages:
        _list(plan)
    if "workspace" in config.stages:
        _save_workspace(config, plan.suite)
    needless = _needless(config)
    stages = [stage for stage in _WORK if stage in config.stages and stage not in needless]
    failures.recall(run, stages)
    if stages and config.generalist.source == "released":
        _ = plan.generalist  # said at once if there is none, or another than is asked for
    started = time.monotonic()
    try:
        if {"distill", "controls", "ida"} & set(stages):
            _look_ahead(plan)
        if not (run / CONFIG).exists() and stages not in ([], ["report"]) and plan.survivors().tasks:
            _describe(run, config)
        for stage in stages:
            failures.stop_if_none_is_left()
            failures.stage = stage
            _WORK[stage](plan)
    finally:
        if stages and run.exists():
            failures.write(run)
    if "report" in stages:
        console.note(f"{run}: done in {time.monotonic() - started:.0f} s; open {run / 'index.html'}")
    failures.stop_if_any()


def _needless(config: Config) -> set[str]:
    """What a generalist that comes with the project makes needless; rounds may still learn from its experts."""
    if config.generalist.source == "train":
        return set()
    return {"distill", "controls"} if _rounds_learn_from_experts(config) else {"record", "distill", "controls"}


def _rounds_learn_from_experts(config: Config) -> bool:
    return bool(config.ida.rounds and (config.ida.experts_share or config.amplifier["name"] == "scale"))


@dataclass(frozen=True)
class Plan:
    """Where everything that a run makes lives: what a stage makes is for the tasks that have not failed up to it."""

    config: Config
    suite: Suite
    run: Path
    failures: Failures
    tracker: Tracker

    def survivors(self, stage: str | None = None) -> Suite:
        """See :meth:`Failures.survivors`."""
        return self.failures.survivors(self.suite, stage)

    def recipe(self, task: Task) -> ExpertRecipe:
        """How a task's expert is made."""
        return self.config.experts.recipe(task.name, self.config.suite.tasks[task.key].expert)

    @property
    def make(self) -> dict[str, Any]:
        """What every stage is told that makes something from a seed."""
        return {"run": self.run, "seed": self.config.seed}

    @property
    def pool(self) -> dict[str, Any]:
        """What every stage is told that works in several processes."""
        return {"run": self.run, "workers": self.workers, "failures": self.failures, "tracker": self.tracker}

    @property
    def workers(self) -> int:
        """How many processes."""
        return self.config.workers or joblib.cpu_count()

    @property
    def experts(self) -> dict[str, Artifact]:
        """By task name."""
        about = (self.config.experts, self.config.seed)
        return {
            task.name: expert_artifact(self.run, task, self.recipe(task), *about) for task in self.survivors("experts")
        }

    @property
    def recordings(self) -> dict[str, Artifact]:
        """Of the experts, by task name."""
        experts, about = self.experts, (self.config.record, self.config.seed)
        return {
            task.name: recording_artifact(self.run, task, "expert", *about, experts[task.name])
            for task in self.survivors("record")
        }

    def random_recording(self, task: Task) -> Artifact:
        """What the random policy did on a task."""
        return recording_artifact(self.run, task, "random", self.config.record, self.config.seed, None)

    @property
    def recorded(self) -> dict[str, Path]:
        """Recordings of experts that do not play here, by task name."""
        made = self.recordings
        return {
            task.name: made[task.name].folder
            for task in self.suite
            if self.recipe(task).algorithm == DATASET and task.name in made
        }

    @property
    def learnt(self) -> dict[str, Artifact]:
        """The recordings that networks learn from."""
        recordings = self.recordings
        return {task.name: recordings[task.name] for task in self.survivors("distill")}

    @property
    def taught(self) -> dict[str, Artifact]:
        """Those of them that the generalist learns from; controls learn a held-out task too."""
        held_out = full_names(self.config.distill.held_out, Suite.names(self.config.suite, self.config.tasks))
        return {name: recording for name, recording in self.learnt.items() if name not in held_out}

    @property
    def learning(self) -> tuple[DistillConfig, ModelConfig, CodecConfig]:
        """How networks learn."""
        return self.config.distill, self.config.model, self.config.codec

    @property
    def first(self) -> tuple[DistillConfig, ModelConfig, CodecConfig]:
        """How the generalist learns that rounds of amplification begin with."""
        distill, model, codec = self.learning
        return self.config.ida.first(distill), model, codec

    @property
    def released(self) -> Path:
        """Folder of the generalist that comes with the project."""
        return Path(self.config.generalist.released)

    @property
    def generalist(self) -> Artifact:
        """The one network."""
        if self.config.generalist.source == "released":
            _, model, codec = self.learning
            return released_artifact(self.run, self.released, self.survivors("distill").tasks, model, codec)
        return generalist_artifact(self.run, *self.first, self.taught, self.config.seed)

    @property
    def ida(self) -> Ida:
        """The rounds of amplification and distillation."""
        suite = self.survivors("distill")
        about = (self.run, self.config.seed, self.workers, self.tracker, not self.config.generalist.deterministic)
        return Ida(self.config.ida, self.config.amplifier, suite, self.generalist, self.taught, *self.learning, *about)

    @property
    def networks(self) -> dict[str, list[Student]]:
        """The controls that are trained, by agent."""
        suite, about = self.survivors("distill"), (self.config.controls, *self.learning)
        return {
            agent: students(agent, suite, self.learnt, *about, **self.make)
            for agent in ("clone", "specialist")
            if agent in self.config.controls.agents
        }

    @property
    def reinforced(self) -> dict[str, Any] | None:
        """What is asked for of the network that learns from rewards alone: its artifact, and how it is trained."""
        suite = self.survivors("distill")
        if MULTITASK not in self.config.controls.agents or not suite.tasks:
            return None
        _, model, codec = self.learning
        recipes = [self.config.suite.tasks[task.key].expert for task in suite]  # wherever this run's experts come from
        steps = sum(recipe.env_steps for recipe in recipes if recipe.trained)
        ppo = multitask_ppo(self.config.controls.multitask, suite, codec, steps)
        about = {"suite": suite, "ppo": ppo, "model": model, "codec": codec, "seed": self.config.seed}
        return {"artifact": multitask_artifact(self.run, **about), **about}

    @property
    def memories(self) -> dict[str, Artifact]:
        """What ``retrieval`` remembers, by task name."""
        if "retrieval" not in self.config.controls.agents:
            return {}
        return {task: retrieval_artifact(self.run, task, recording) for task, recording in self.learnt.items()}

    @property
    def agents(self) -> list[Agent]:
        """Everybody who is scored. Each is loaded in the process that plays it."""
        suite = self.survivors("evaluate")
        generalist = self.generalist
        experts, memories = _folders(self.experts), _folders(self.memories)
        agents = [
            Agent("random", RandomPolicy),
            Agent("expert", functools.partial(load_experts, experts, suite.tasks), self.experts, self.recorded),
            Agent("generalist", self._player(generalist, suite), {"": generalist}, how=self._manner),
        ]
        for name, made in self.networks.items():
            parts = {student.task.name: student.artifact for student in made if student.task in suite.tasks}
            tasks = [task for task in suite if task.name in parts]
            load = functools.partial(load_students, name, _folders(parts), tasks, **self._manner)
            agents.append(Agent(name, load, parts, how=self._manner))
        if reinforced := self.reinforced:
            made = reinforced["artifact"]
            agents.append(Agent(MULTITASK, self._player(made, suite), {"": made}, how=self._manner))
        agents += self.amplified
        if memories:
            agents.append(Agent("retrieval", functools.partial(load_retrieval, memories, suite), self.memories))
        order = list(AGENTS)
        return sorted((agent.on(suite) for agent in agents), key=lambda agent: order.index(base_name(agent.name)))

    @property
    def amplified(self) -> list[Agent]:
        """Who plays and who comes out of every round of amplification and distillation."""
        suite, agents = self.survivors("evaluate"), []
        ida = self.ida
        for each in ida.rounds:
            before, made = ida.before(each), [*each.plays.values()]
            if each.side == "amplified" and ida.scores_players:
                about = {"episodes": self.config.ida.episodes, "lanes": ida.lanes, "earlier": before}
                about["how"] = ida.scored | self._manner
                name = in_round("amplified", each.number)
                agents.append(Agent(name, ida.player(each), {"": each.player}, **about))
            name = in_round("generalist" if each.side == "amplified" else each.side, each.number)
            about = {"earlier": [*before, *made], "how": self._manner}
            agents.append(Agent(name, self._player(each.student, suite), {"": each.student}, **about))
        return agents

    @property
    def _manner(self) -> dict[str, bool]:
        """How networks act, where it is not as by default."""
        return {} if self.config.generalist.deterministic else {"draws": True}

    def _player(self, made: Artifact, suite: Suite) -> "functools.partial[Policy]":
        """Makes a network's policy, in the process that plays."""
        return functools.partial(_load_generalist, made.folder, suite.tasks, **self._manner)

    @property
    def scores(self) -> dict[str, Artifact]:
        """By agent."""
        about = (self.survivors("evaluate"), self.config.evaluate, self.config.seed)
        return {agent.name: score_artifact(self.run, agent, *about) for agent in self.agents}


def _folders(made: Mapping[str, Artifact]) -> dict[str, Path]:
    return {task: artifact.folder for task, artifact in made.items()}


def _look_for_experts(plan: Plan) -> None:
    """Name the tasks whose expert is to be taken from where it is not."""
    plan.failures.stage = "experts"
    for task in plan.suite:
        try:
            expert_artifact(plan.run, task, plan.recipe(task), plan.config.experts, plan.config.seed)
        except FatalError:
            raise
        except GatitoError as error:
            plan.failures.add(task.name, str(error))


def _look_ahead(plan: Plan) -> None:
    """Name the tasks that cannot be played here, or not be carried by the codec, before anything is made."""
    plan.failures.stage = "experts"
    fresh = [task for task in plan.survivors() if not plan.experts[task.name].is_complete()]
    # In processes of their own: a package that crashes as its environment is made must not take the run with it.
    jobs = [Job(f"look at {task.name}", 1, {"task": task}, task.name) for task in fresh]
    run_jobs(_make_once, jobs, workers=plan.workers, failures=plan.failures)
    plan.failures.stage = "distill"
    check_task = codec_class(plan.config.codec.name).check_task
    for task in plan.survivors():
        try:
            check_task(plan.config.codec, task, plan.config.model.context_length)
        except FatalError:
            raise  # a setting of the codec's own, whichever the task
        except GatitoError as error:
            plan.failures.add(task.name, str(error))
        algorithm = plan.recipe(task).algorithm
        if plan.config.distill.dagger.rounds and algorithm in (DATASET, "random"):
            how = "was only recorded" if algorithm == DATASET else "plays at random"
            plan.failures.add(
                task.name,
                f"the expert of task {task.name} {how}, so it cannot say what a learner should have done: set "
                "distill.dagger.rounds=0, or leave the task out with tasks=[…].",
            )
    plan.ida.check()
    _ = plan.reinforced  # said at once if it cannot be trained


def _make_once(*, task: Task, report: Report) -> None:
    spaces(task)
    report(1)


def _train(plan: Plan) -> None:
    suite = plan.survivors("experts")
    recipes = {task.name: plan.recipe(task) for task in suite}
    train_experts(suite, recipes, plan.config.experts, **plan.pool, seed=plan.config.seed)


def _record(plan: Plan) -> None:
    _need(plan.experts, "experts")
    record_suite(plan.survivors("record"), plan.experts, plan.config.record, **plan.pool, seed=plan.config.seed)


def _distill(plan: Plan) -> None:
    from generalist.distill.distributed import Ranks

    _need(plan.recordings, "record")
    ranks = Ranks.join(plan.config.distill.device)
    ranks.agree([task.name for task in plan.survivors("distill")])
    _learn(plan, ranks)


def _help_to_distill(config: Config, name: str) -> None:
    """All that a process does which ``torchrun`` started beside the first: it waits for it and trains with it."""
    from generalist.distill.distributed import Ranks

    ranks = Ranks.join(config.distill.device)
    names = ranks.agree()
    run = Path(config.runs_folder) / name
    tracker = Tracker(TrackingConfig("none"), group=name, exp_name=name, seed=config.seed, folder=run)
    _learn(Plan(config, Suite.resolve(config.suite, names), run, Failures(names), tracker), ranks)


def _learn(plan: Plan, ranks: "Ranks") -> None:
    from generalist.distill.dagger import run_dagger_round
    from generalist.distill.distill import distill

    suite, experts = plan.survivors("distill").part(plan.taught), plan.experts
    teachers = {task.name: functools.partial(load_expert, experts[task.name].folder, task) for task in suite}
    practice = functools.partial(
        run_dagger_round,
        suite=suite,
        teachers=teachers,
        learner=plan.generalist,
        config=plan.first[0],
        workers=plan.workers,
        tracker=plan.tracker,
        **plan.make,
    )
    threads = max(1, plan.workers // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    about = {"threads": threads, "tracker": plan.tracker, "ranks": ranks, "practice": practice}
    distill(suite, plan.taught, *plan.first, **plan.make, **about)


def _train_controls(plan: Plan) -> None:
    _need(plan.recordings, "record")
    train_students([student for made in plan.networks.values() for student in made], **plan.pool)
    if reinforced := plan.reinforced:
        train_multitask(**reinforced, **plan.pool)
    recordings, memories = plan.learnt, plan.memories
    for task in plan.survivors() if memories else ():
        memorize(task, recordings[task.name], memories[task.name], plan.run.parent)


def _amplify(plan: Plan) -> None:
    if plan.config.ida.rounds:
        _take_over(plan, "ida")
        _need({"": plan.generalist}, "experts,record,distill")
        if _rounds_learn_from_experts(plan.config):
            _need(plan.recordings, "record")
        plan.ida.make()


def _take_over(plan: Plan, stage: str) -> None:
    """RecordingJob the released generalist and its experts, where the run has none of its own."""
    if plan.config.generalist.source == "released":
        plan.failures.stage = "experts"
        _train(plan)  # the released experts are taken over, programs play for their gates
        plan.failures.stage = stage
        take_over_generalist(plan.released, plan.generalist)


def _evaluate(plan: Plan) -> None:
    _take_over(plan, "evaluate")
    for agent in plan.agents:
        _need(agent.made_from, "experts,record,distill,controls,ida")
    if not all(artifact.is_complete() for artifact in plan.scores.values()):  # else it says where they were made
        _describe(plan.run, plan.config)
    means = {task: read_gate(artifact)["mean"] for task, artifact in plan.experts.items()}
    amplified = {task.name for task in plan.ida.amplified} if plan.config.ida.rounds else None
    about = {**plan.pool, "seed": plan.config.seed, "amplified": amplified}
    evaluate(plan.agents, plan.survivors(), means, plan.config.evaluate, **about)


def _film(plan: Plan) -> None:
    shown = [agent for agent in plan.agents if agent.name in plan.config.clips.agents]
    for agent in shown:
        _need(agent.made_from, "experts,record,distill,controls")
    about = {"workers": plan.workers, "failures": plan.failures}
    film(shown, plan.survivors(), plan.config.clips, **plan.make, **about)


def _export(plan: Plan) -> None:
    """Every recording as a Minari dataset below the run's folder."""
    from experts.datasets import export_dataset

    _need(plan.recordings, "record")
    root = plan.run / "minari"
    for task in plan.survivors():
        for agent, artifact in (("expert", plan.recordings[task.name]), ("random", plan.random_recording(task))):
            if artifact.is_complete():
                export_dataset(task, agent, Trajectories(artifact.folder), root)
    console.note(f"{root}: read it with MINARI_DATASETS_PATH={root} minari list local")


def _release(plan: Plan) -> None:
    """The run's experts, and its generalist if it has one, become those that come with the project."""
    from experts.released import TABLE, release

    folder = Path(plan.config.experts.released)
    suite = plan.survivors()
    recipes = {task.name: plan.recipe(task) for task in suite}
    rows = release(suite, plan.run, folder, recipes, plan.config.experts, plan.config.seed)
    console.note(f"{folder / TABLE}: {len(rows)} experts")
    if plan.config.generalist.source == "train" and plan.generalist.is_complete():
        release_generalist(plan.generalist, plan.released)
        console.note(f"{plan.released}: the generalist of {plan.run}")


def _report(plan: Plan) -> None:
    from benchmarks.report import write_report
    from benchmarks.report.rounds import RoundRow, round_rows

    _need(plan.scores, "evaluate,report")
    plan.failures.write(plan.run)
    board = write_report(Results.read(plan.run), plan.run, tracker=plan.tracker)
    if board.gains:
        amplifier, start = plan.config.amplifier["name"], plan.config.ida.start
        artifacts.write_text(plan.run / ROUNDS, to_csv(round_rows(board, amplifier, start), RoundRow))
        seal(plan.run, [ROUNDS])
    if HydraConfig.get().mode == RunMode.MULTIRUN and not len(plan.failures):
        _reported[plan.run] = plan.config


_WORK: dict[str, Callable[[Plan], None]] = {
    "experts": _train,
    "record": _record,
    "distill": _distill,
    "controls": _train_controls,
    "ida": _amplify,
    "evaluate": _evaluate,
    "clips": _film,
    "report": _report,
    "export": _export,
    "release": _release,
}


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
    from benchmarks.runs.wandb import save_workspace, workspace

    tracking = config.tracking
    if tracking.entity is None:
        raise GatitoError("a workspace belongs to somebody: set tracking.entity=TEAM_OR_USER.")
    agents = [agent for agent in AGENTS if agent in ("generalist", *config.controls.agents)]
    view = workspace(tracking.entity, tracking.project, suite.name, agents, [task.name for task in suite])
    console.note(f"the workspace of suite {suite.name}: {save_workspace(view)}")


def _check(config: Config) -> None:
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
    config.codec.check()
    if config.model.kind == "perceptron" and config.codec.conditioning == "prompt":
        raise GatitoError("model.kind=perceptron cannot look at a demonstration: set codec.conditioning=none.")
    if config.model.kind == "perceptron" and config.codec.name == "gato":
        raise GatitoError("model.kind=perceptron sees one token alone, codec gato makes many: set codec=step.")
    if config.codec.conditioning == "prompt" and not config.distill.prompts:
        raise GatitoError("distill.prompts=0 shows no demonstration: raise it, or set codec.conditioning=none.")
    config.model.check()
    config.experts.check()
    config.record.check()
    config.generalist.check()
    config.ida.check()
    if config.ida.rounds and config.amplifier.get("name") == "none":
        raise GatitoError(f"ida.rounds={config.ida.rounds} needs an amplifier: set amplifier={'|'.join(AMPLIFIERS)}.")
    if config.ida.rounds:
        make_amplifier(config.amplifier)
    elif config.amplifier.get("name") in AMPLIFIERS:
        raise GatitoError(f"amplifier={config.amplifier['name']} needs rounds to amplify in: set ida.rounds=3.")
    config.distill.check(Suite.names(config.suite, config.tasks), config.model.context_length)
    if config.distill.held_out and config.codec.conditioning != "none":
        raise GatitoError("distill.held_out leaves nothing to tell those tasks by: set codec.conditioning=none.")
    config.controls.check()
    config.evaluate.check()
    config.clips.check()
    for agent in config.clips.agents:
        known = ("random", "expert", "generalist", *config.controls.agents)
        if agent not in known:
            raise unknown("agent in clips.agents", agent, known)
    if "compare" in config.stages and not config.runs:
        raise GatitoError("stages=[compare] needs runs to compare: runs=[A,B], names or patterns below runs_folder.")


def _load_generalist(folder: Path, tasks: tuple[Task, ...], *, draws: bool = False) -> Policy:
    from generalist.network.policy import NetworkPolicy

    return NetworkPolicy.load(folder, tasks, draws=draws)


def _list(plan: Plan) -> None:
    rows = []
    for task in plan.suite:
        recipe = plan.recipe(task)
        reference = "-" if task.reference is None else f"{task.reference:g}"
        expert = f"{recipe.algorithm}, {recipe.env_steps:,} steps" if recipe.trained else recipe.algorithm
        rows.append([task.name, task.env_id, expert, reference, task.metric])
    console.show_table(f"suite {plan.suite.name}", ["name", "env id", "expert", "reference", "metric"], rows)


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
        console.fail(line, error.lines if isinstance(error, TasksFailedError) else ())
        _failures.append(line)
        return True


def _pool_sweep() -> None:
    """After a sweep: the report of each configuration over its seeds, and one of all configurations side by side."""
    if _reported and _failures:
        console.warn(f"{len(_failures)} runs of the sweep failed, whole or in part, and are in no pooled report.")
    for runs in seeds_of_one_configuration(list(_reported)):
        _pool(runs, pooled_name(runs))
    asked = {(config.suite.name, str(config.tasks)) for config in _reported.values()}
    if len({re.sub(r"-seed\d+", "", run.name) for run in _reported}) > 1 and len(asked) == 1:
        config = next(iter(_reported.values()))
        named = config.name and f"{config.name}-{config.suite.name}"
        _pool(list(_reported), named or pooled_name(list(_reported)))


def _pool(runs: list[Path], name: str) -> None:
    console.note(f"putting together {', '.join(run.name for run in runs)}")
    with _one_line_errors():
        _compare(runs, Config(runs_folder=str(runs[0].parent), name=name, tracking=_reported[runs[0]].tracking))


def main() -> None:
    """Run the command line; exit code 1 after an error, with one line that says what to do."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets Hydra's errors through to us instead of printing them
    try:
        with _one_line_errors():
            _run()
            _pool_sweep()
    except KeyboardInterrupt:
        console.fail("interrupted. The same command resumes where it stopped.")
        sys.exit(130)
    sys.exit(1 if _failures else 0)


if __name__ == "__main__":
    main()
