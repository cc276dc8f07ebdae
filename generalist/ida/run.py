"""Iterated distillation and amplification: make the generalist stronger by spending compute, distil that, repeat.

Christiano et al. 2018 (arXiv:1810.08575); with search as the amplifier it is AlphaGo Zero's loop (Silver et al. 2017),
expert iteration (Anthony et al. 2017, arXiv:1705.08439). In a round the amplified policy plays, its play is recorded,
and the generalist goes on learning from that. Beside it goes a control, which in each round plays as many environment
steps as the amplifier spent, thought included, and learns from its own play for as long.

Run by ``gatito stages=[ida]``. Nothing is scored here: every round's policies are scored with all other agents.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.compute import Cost
from benchmarks.base.seeds import Purpose, derive
from benchmarks.play.policy import Noisy, Policy, PolicyPerTask
from benchmarks.play.recording import SEEDS_PER_SHARD, RecordingJob, record
from benchmarks.runs.failures import Failures
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Suite, Task, full_names
from generalist.amplifiers import AmplifierContext, make_amplifier
from generalist.config.codec import CodecConfig
from generalist.config.ida import IdaConfig
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig, what_decides

_NUM_ENVS = 16  # planners think for all environments at once


@dataclass(frozen=True)
class Round:
    """A round of one side.

    Attributes:
        number: from 1.
        side: ``amplified`` or ``control``.
        before: the generalist that plays.
        player: what the player consists of: ``before``, or what the amplifier made of it.
        plays: its recordings, by task name.
        student: the generalist after the round.
    """

    number: int
    side: str
    before: Artifact
    player: Artifact
    plays: Mapping[str, Artifact]
    student: Artifact


@dataclass(frozen=True)
class Ida:
    """The rounds of one run.

    Attributes:
        config: how many, of what.
        options: of the amplifier.
        suite: what the generalist plays.
        start: the generalist before the first round.
        recordings: of the experts, by task name.
        distill: how the run distils.
        model: the generalist's size.
        codec: its inputs and outputs.
        run: the run's folder.
        seed: the training seed.
        workers: processes.
        tracker: told what is recorded and learnt.
        draws: whether networks draw their actions.
    """

    config: IdaConfig
    options: Mapping[str, Any]
    suite: Suite
    start: Artifact
    recordings: Mapping[str, Artifact]
    distill: DistillConfig
    model: ModelConfig
    codec: CodecConfig
    run: Path
    seed: int
    workers: int
    tracker: Tracker
    draws: bool = False

    @functools.cached_property
    def amplified(self) -> Suite:
        """The tasks that are amplified."""
        names = [task.name for task in self.suite]
        chosen = full_names(self.config.tasks or names, names, "task in ida.tasks")
        return self.suite.part(chosen)

    def check(self) -> None:
        """Refuse what cannot be amplified, before anything is made.

        Raises:
            GatitoError: in one line, with the way out.
        """
        if self.config.rounds:
            make_amplifier(self.options).check(self.amplified.tasks, self.model, self.codec)

    @functools.cached_property
    def rounds(self) -> list[Round]:
        """All rounds, the amplified side's and the control's by turns."""
        made: list[Round] = []
        before = {"amplified": self.start, "control": self.start}
        sides = ["amplified", *(["control"] if self.config.control else [])]
        for number in range(1, self.config.rounds + 1):
            for side in sides:
                earlier = [each for each in made if each.side == side]
                made.append(self._round(number, side, before[side], earlier, made))
                before[side] = made[-1].student
        return made

    def make(self) -> None:
        """Make every round, what is not there yet.

        Raises:
            GatitoError: if a round cannot be made; the rounds before it are kept, and the same command goes on.
        """
        for each in self.rounds:
            if each.side == "amplified":
                self._amplifier.make(each.before, self._setting(each.number, each.before))
            lines = self._record(each)
            self._distil(each)
            means = {name.split("/")[-2]: value for name, value in lines.items() if "mean_return" in name}
            if means:
                told = ", ".join(f"{task} {value:.4g}" for task, value in means.items())
                console.note(f"ida: round {each.number}, {each.side}, mean returns: {told}")

    @property
    def scores_players(self) -> bool:
        """Whether the amplified policies can be scored; what is the best of several tries afterwards cannot."""
        return getattr(self._amplifier, "tries", 1) == 1

    @property
    def lanes(self) -> int:
        """Environments of a task that an amplified policy plays side by side."""
        return _NUM_ENVS

    def before(self, each: Round) -> list[Artifact]:
        """What was made for a round's player before it."""
        earlier = [other for other in self.rounds if other.side == each.side and other.number < each.number]
        made = [self.start, *(part for other in earlier for part in (*other.plays.values(), other.student))]
        made += [other.player for other in earlier if other.player is not other.before]
        return [part for part in made if part is not each.player]

    @functools.cached_property
    def scored(self) -> dict[str, Any]:
        """The amplifier's options as it is scored: who gives episodes up while recording plays every one to its end."""
        recorded = getattr(self._amplifier, "while_recording", ())
        return {name: value for name, value in self.options.items() if name not in recorded}

    def player(self, each: Round) -> "functools.partial[Policy]":
        """Makes the player of a round as it is scored, in the process that plays it: amplified, or as it is."""
        return self._player(each, self.scored)

    def _player(self, each: Round, options: Mapping[str, Any] | None) -> "functools.partial[Policy]":
        options = options if each.side == "amplified" else None
        about = (each.player.folder, each.before.folder, options, self.amplified.tasks, self.suite.tasks)
        return functools.partial(load_player, *about, draws=self.draws)

    @functools.cached_property
    def _amplifier(self) -> Any:  # noqa: ANN401
        return make_amplifier(self.options)

    def _setting(self, number: int, before: Artifact) -> AmplifierContext:
        return AmplifierContext(
            suite=self.amplified,
            folder=self._folder(number),
            recordings=self.recordings,
            distill=self.distill,
            model=self.model,
            codec=self.codec,
            run=self.run,
            seed=self.seed,
            workers=self.workers,
            tracker=self.tracker,
            failures=Failures([task.name for task in self.suite]),
        )

    def _folder(self, number: int) -> Path:
        return self.run / "ida" / f"round-{number}"

    def _round(
        self, number: int, side: str, before: Artifact, earlier: Sequence[Round], made: Sequence[Round]
    ) -> Round:
        folder, player = self._folder(number), before
        matched = made[-1].plays if side == "control" else {}  # whose compute it has
        if side == "amplified":
            player = self._amplifier.artifact(before, self._setting(number, before))
            how: dict[str, Any] = {"amplifier": dict(self.options), "steps": self.config.env_steps}
        else:
            how = {"steps": self.config.control_env_steps}
        plays = {}
        for task in self.amplified:
            settings = {"task": task.digest, "agent": side, "noise": self.config.noise, "seed": self.seed, **how}
            if self.config.shards != 1:
                settings["shards"] = self.config.shards
            if self.draws:
                settings["draws"] = True
            inputs = {"player": player.fingerprint}
            if side == "control":
                inputs["matched"] = matched[task.name].fingerprint
            plays[task.name] = Artifact(folder / f"{side}-play" / task.name, "trajectories", settings, inputs)
        student = {
            "tasks": [task.name for task in self.suite],
            "distill": what_decides(self._learning),
            "model": asdict(self._student),
            "codec": self.codec.what_decides(),
            "round": number,
            "seed": self.seed,
        }
        if self._solved:
            student["solved"] = True
        kept = earlier[len(earlier) + 1 - self.config.keep :] if self.config.keep <= len(earlier) else earlier
        told = {f"{each.number}/{task}": play.fingerprint for each in kept for task, play in each.plays.items()}
        told |= {f"{number}/{task}": play.fingerprint for task, play in plays.items()}
        if self.config.experts_share:
            told |= {task: recording.fingerprint for task, recording in self.recordings.items()}
        kind = "generalist" if side == "amplified" else side
        artifact = Artifact(folder / kind, kind, student, {"before": before.fingerprint, **told})
        return Round(number, side, before, player, plays, artifact)

    @property
    def _solved(self) -> bool:
        """Whether only solved episodes are learnt from; returns alone say of none that it was."""
        return self.config.solved and any(task.metric == "success" for task in self.amplified)

    @property
    def _student(self) -> ModelConfig:
        """The generalist's size after a round."""
        return replace(self.model, context_length=self.config.context_length or self.model.context_length)

    @property
    def _learning(self) -> DistillConfig:
        """How a round distils; longer windows are fewer, of as many steps between them."""
        config = self.config
        share = 1 - config.experts_share
        about: dict[str, Any] = {"updates": config.updates, "learning_rate": config.learning_rate}
        about["dagger"] = DaggerConfig(share=share)
        if config.experts_share:
            about["data"] = config.first(self.distill).data  # a weak start stays as far from the experts
        if config.context_length:
            windows = max(1, self.distill.batch_size * self.distill.sequence_length // config.context_length)
            about |= {"sequence_length": config.context_length, "batch_size": windows}
        if config.batch_size:
            about["batch_size"] = config.batch_size
        return replace(self.distill, flops=None, warmup=min(self.distill.warmup, config.updates // 4), **about)

    def _record(self, each: Round) -> dict[str, float]:
        """Let the player of a round play every task."""
        failures = Failures([task.name for task in self.amplified])
        failures.stage = "ida"
        takes = []
        for task in self.amplified:
            artifact = each.plays[task.name]
            if artifact.is_complete() or artifact.adopt(self.run.parent):
                continue
            artifact.start()
            steps, tries = self._play_steps(each, task)
            load = functools.partial(_load_noisy, self._player(each, self.options), task, self.config.noise)
            about: dict[str, Any] = {
                "first_seed": (each.number - 1) * self.config.shards * SEEDS_PER_SHARD,
                "shards": self.config.shards,
                "num_envs": _NUM_ENVS,
            }
            about |= {"tries": tries, "parameters": Cost.read(each.player.folder).parameters}
            takes.append(RecordingJob(task, load, artifact, steps, Purpose.AMPLIFIED, self.seed, **about))
        lines = record(takes, workers=self.workers, failures=failures, suite=self.amplified)
        failures.stop_if_any()
        if lines:
            told = functools.partial(log_lineage, made=[take.artifact for take in takes], folder=self.run)
            folder = self._folder(each.number) / f"{each.side}-play"
            self.tracker.write(folder, f"ida-{each.number}-{each.side}", lines, log_more=told)
        return lines

    def _play_steps(self, each: Round, task: Task) -> tuple[int, int]:
        """How many steps a player plays, and how often each seed."""
        if each.side == "amplified":
            return self.config.env_steps, getattr(self._amplifier, "tries", 1)
        [matched] = [other for other in self.rounds if (other.number, other.side) == (each.number, "amplified")]
        steps = Cost.read(matched.plays[task.name].folder).env_steps
        if matched.player is not matched.before:  # the amplifier has learnt something, on all tasks together
            steps += Cost.read(matched.player.folder).env_steps // len(self.amplified.tasks)
        return min(self.config.control_env_steps, steps), 1

    def _distil(self, each: Round) -> None:
        from generalist.distill.distill import train
        from generalist.distill.train import Learner

        if each.student.is_complete() or each.student.adopt(self.run.parent):
            return
        each.student.start()
        torch.set_num_threads(self.workers)
        earlier = [other for other in self.rounds if other.side == each.side and other.number <= each.number]
        met = [{task: play.folder for task, play in other.plays.items()} for other in earlier[-self.config.keep :]]
        # What is not amplified is learnt from the experts alone, where there is a share for them.
        recordings = {name: recording.folder for name, recording in self.recordings.items()}
        learner = Learner(
            each.student,
            self.suite.tasks,
            recordings if self.config.experts_share else {},
            self._learning,
            self._student,
            self.codec,
            derive("ida", self.seed, each.number),
            start=each.before.folder,
            met=met,
            solved=self._solved,
        )
        name = f"ida-{each.number}-{each.student.kind}"
        train(learner, name, suite=self.suite, run=self.run, tracker=self.tracker)


def load_player(
    player: Path,
    before: Path,
    options: Mapping[str, Any] | None,
    amplified: Sequence[Task],
    tasks: Sequence[Task],
    *,
    draws: bool = False,
) -> Policy:
    """Who plays in a round: what the amplifier makes of a folder on its tasks, the generalist as it was on the others.

    Args:
        player: folder of what the amplifier made.
        before: folder of the generalist before the round.
        options: of the amplifier; None: there is none.
        amplified: the amplifier's tasks.
        tasks: all.
        draws: whether networks draw their actions.
    """
    from generalist.network.policy import NetworkPolicy

    if options is None:
        return NetworkPolicy.load(before, tasks, "control", draws=draws)
    policies: dict[str, Policy] = {}
    for task in tasks:
        if task in amplified:
            policies[task.name] = make_amplifier(options).policy(player, [task], "amplified", draws=draws)
        else:
            policies[task.name] = NetworkPolicy.load(player, [task], "amplified", draws=draws)
    return PolicyPerTask("amplified", policies)


def _load_noisy(load: "functools.partial[Policy]", task: Task, noise: float) -> Policy:
    player, before, options, amplified, _ = load.args
    policy = load_player(player, before, options, amplified, [task], **load.keywords)
    return Noisy(policy, noise) if noise else policy
