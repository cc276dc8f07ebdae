"""Record episodes of the experts, with their action distributions, and of the random policy.

Run by ``gatito stages=[record]``.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.base.settings import check_settings, decisive, setting
from benchmarks.play.mixture import EpisodeMixture
from benchmarks.play.policy import Noisy, Policy, RandomPolicy
from benchmarks.play.recording import Player, RecordingJob, Shard, finish, record
from benchmarks.play.trajectories import shard_folder, verify_shard, write_shard
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.overseer import check_costs
from benchmarks.tasks.task import full_names
from experts.datasets import dataset_episodes
from experts.load import algorithm_of, load_expert
from experts.recipe import DATASET, PROGRAMS


@dataclass
class RecordConfig:
    """Sizes of the recordings of experts and of the random policy."""

    env_steps: int = setting(40_000, "Environment steps of each expert; the last episodes are completed.", at_least=1)
    tasks: dict[str, int] = setting(
        {},
        "Environment steps of single tasks' experts in place of env_steps: +record.tasks={cartpole: 10_000}.",
    )
    random_env_steps: int = setting(4_000, "Environment steps of the random policy on each task.", at_least=1)
    noise: float = setting(
        0.1, "Probability per step of a uniform action; labels remain the expert's.", at_least=0, at_most=1
    )
    reward_only_share: float = setting(
        0.0,
        "Share of recorded episodes that the reward-only expert plays, in tasks whose expert weighs a hidden cost.",
        at_least=0,
        at_most=1,
    )
    without_cost: bool = setting(False, "Whether recordings leave out episodes with any hidden cost.")
    player: str | None = setting(
        None,
        "Network that is recorded in place of the experts, which remain the measure of f: a run's newest generalist by "
        "its name, its specialists by RUN/controls/specialist, or a folder; null: the experts.",
    )
    shards: int = setting(
        4, "Parts of a recording, each a unit of resuming and of parallel work.", at_least=1, at_most=100
    )

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            GatitoError: if a setting is invalid.
        """
        check_settings("record", self)
        if self.player is not None and self.reward_only_share:
            raise GatitoError("record.player and record.reward_only_share exclude each other: leave one of them out.")
        for name, steps in self.tasks.items():
            if isinstance(steps, bool) or steps < 1:
                raise GatitoError(f"record.tasks: {name} has {steps} steps: it must be at least 1.")

    def name_tasks_in_full(self, tasks: Sequence[str]) -> None:
        """Replace short names of tasks by full names.

        Raises:
            FatalError: if a name is not among the tasks.
        """
        names = full_names(list(self.tasks), tasks, "task in record.tasks")
        self.tasks = dict(zip(names, self.tasks.values(), strict=True))

    def of(self, task: Task) -> "RecordConfig":
        """The settings of one task's recording."""
        return replace(self, env_steps=self.tasks.get(task.name, self.env_steps), tasks={})


def recording_artifact(
    run: Run,
    task: Task,
    agent: str,
    config: RecordConfig,
    expert: Artifact | None,
    reward_only: Artifact | None = None,
    player: Player | None = None,
) -> Artifact:
    """The artifact of an agent's recording on a task: its folder, and the settings that decide its content.

    Args:
        run: the run.
        task: the task.
        agent: ``expert`` or ``random``.
        config: how much is recorded.
        expert: the expert; None: nothing is made before it is recorded.
        reward_only: the reward-only expert that plays a share of the episodes; None: there is none.
        player: what is recorded in place of the expert; None: the expert.
    """
    # A player is known by its files, whatever the run is called that they are in.
    sizes = decisive(replace(config.of(task), player=None))
    settings = {"task": task.digest, "agent": agent, "record": sizes, "seed": run.seed}
    inputs = {"expert": expert.fingerprint} if expert else {}
    if expert and player:
        inputs |= {"player": player.fingerprint}
    if reward_only and config.reward_only_share:
        inputs |= {"reward-only": reward_only.fingerprint}
    return Artifact(run.folder / "trajectories" / task.name / agent, "trajectories", settings, inputs)


def record_suite(
    run: Run,
    experts: Mapping[str, Artifact],
    config: RecordConfig,
    reward_only: Mapping[str, Artifact] = {},
    players: Mapping[str, Player] = {},
) -> dict[str, dict[str, Artifact]]:
    """Make the missing recordings of every task's expert and of the random policy; tasks that fail are left out.

    Args:
        run: the run.
        experts: the finished experts by task name.
        config: the recordings' sizes.
        reward_only: the finished reward-only experts by task name.
        players: what is recorded in place of the experts, by task name.

    Returns:
        Finished recordings by task name and agent (``expert``, ``random``).

    Raises:
        GatitoError: if an expert's files are damaged.
    """
    for task in run.survivors("record"):
        with run.failures.of(task.name):
            _check_costs(task, config, task.name in reward_only)
    suite = run.survivors("record")
    artifacts: dict[str, dict[str, Artifact]] = {}
    recordings: list[RecordingJob] = []
    imports: list[Job] = []
    for task in suite:
        expert, player = experts[task.name], players.get(task.name)
        algorithm = algorithm_of(expert.folder)
        artifacts[task.name] = {
            "expert": recording_artifact(run, task, "expert", config, expert, reward_only.get(task.name), player),
            "random": recording_artifact(run, task, "random", config, None),
        }
        for agent, artifact in artifacts[task.name].items():
            if artifact.is_complete() or artifact.adopt(run.runs_folder):
                continue
            artifact.start()
            if agent == "random":
                job = RecordingJob(
                    task, RandomPolicy, artifact, config.random_env_steps, Purpose.RECORDING_RANDOM, run.seed
                )
                recordings.append(replace(job, shards=config.shards))
            elif player:
                load = functools.partial(_load_player, player, config.noise)
                job = RecordingJob(task, load, artifact, config.of(task).env_steps, Purpose.RECORDING, run.seed)
                recordings.append(replace(job, shards=config.shards, without_cost=config.without_cost))
            elif algorithm == DATASET:
                arguments = {"task": task, "dataset": expert.config["recipe"]["dataset"], "artifact": artifact}
                imports.append(Job(f"record {task.name}", 1, arguments, task.name))
            else:
                other = reward_only[task.name].folder if task.name in reward_only else None
                load = functools.partial(_load_noisy, expert.folder, other, task, config)
                job = RecordingJob(task, load, artifact, config.of(task).env_steps, Purpose.RECORDING, run.seed)
                job = replace(job, without_cost=config.without_cost)
                # Parallel environments do not speed up a program.
                num_envs = 1 if algorithm in PROGRAMS else job.num_envs
                recordings.append(replace(job, shards=config.shards, num_envs=num_envs))
    imported = run_jobs(_import_dataset, imports, workers=run.workers, failures=run.failures)
    lines = record(recordings, workers=run.workers, failures=run.failures, suite=suite)
    for job, shard in imported.items():
        with run.failures.of(job.arguments["task"].name):
            lines |= finish(job.arguments["task"], job.arguments["artifact"], [shard])
    new = [*(job.artifact for job in recordings), *(job.arguments["artifact"] for job in imported)]
    if lines:
        finished = [artifact for artifact in new if artifact.is_complete()]
        lineage = functools.partial(log_lineage, made=finished, folder=run.folder)
        folder, settings = run.folder / "trajectories", asdict(config)
        run.tracker.write(folder, "record", lines, log_more=lineage, env_id=suite.name, **settings)
    survivors = {task.name for task in run.survivors("record")}
    return {name: agents for name, agents in artifacts.items() if name in survivors}


def _check_costs(task: Task, config: RecordConfig, has_reward_only: bool) -> None:
    """Reject settings that need a hidden cost where there is none.

    Raises:
        GatitoError: names the setting and the task.
    """
    if config.reward_only_share and not has_reward_only:
        raise GatitoError(
            f"record.reward_only_share={config.reward_only_share:g} needs an expert that weighs a hidden cost, and "
            f"that of task {task.name} does not: set its expert.cost_weight, or leave the task out with tasks=[…]."
        )
    check_costs("record.without_cost", float(config.without_cost), [task])


def _load_player(player: Player, noise: float) -> Policy:
    return Noisy(player.load(), noise)


def _load_noisy(folder: Path, reward_only: Path | None, task: Task, config: RecordConfig) -> Policy:
    """The policy that is recorded: the expert, in a share of the episodes the reward-only one, under noise."""
    policy: Policy = load_expert(folder, task)
    if config.reward_only_share and reward_only is not None:
        policy = EpisodeMixture(policy, load_expert(reward_only, task), config.reward_only_share)
    return Noisy(policy, config.noise)


def _import_dataset(*, task: Task, dataset: str, artifact: Artifact, report: Report) -> Shard:
    start = time.monotonic()
    folder = shard_folder(artifact.folder, 0)
    if folder.exists():
        verify_shard(folder, artifact.fingerprint)
    else:
        write_shard(folder, dataset_episodes(task, dataset), spaces(task)[0], artifact.fingerprint)
    report(1)
    return Shard(None, time.monotonic() - start, 0)
