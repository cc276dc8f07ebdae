"""The plan of iterated distillation and amplification: the artifacts of each round, and their inputs.

After Christiano et al. 2018 (arXiv:1810.08575); with search as the amplifier it is AlphaGo Zero's loop (Silver et al.
2017), or expert iteration (Anthony et al. 2017, arXiv:1705.08439). In a round, the amplified policy's episodes are
recorded, and the generalist is trained further on the recordings. A control runs beside it: in each round it plays as
many environment steps as the amplifier used, simulated ones included, and learns from its own episodes for as many
updates.

This module only plans; :mod:`generalist.ida.run` executes the plan.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import decisive
from benchmarks.runs.run import Run
from benchmarks.tasks import Suite, Task, full_names
from benchmarks.tasks.games import as_self_play, is_self_play
from generalist.amplifiers import AMPLIFIERS, make_amplifier
from generalist.amplifiers.amplifier import Amplifier, AmplifierContext
from generalist.config.ida import IdaConfig
from generalist.config.networks import NETWORKS
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from generalist.ida.player import PlayerSpec

AMPLIFIED, CONTROL = "amplified", "control"


@dataclass(frozen=True)
class Round:
    """A round of one side.

    Attributes:
        number: the number of the round, from 1.
        side: ``amplified`` or ``control``.
        before: the generalist before the round.
        player: the artifact that plays: ``before``, or the one that the amplifier made of it.
        plays: the player's recordings by task name.
        training_plays: the recordings that the student learns from, by round and task name: those of this side's newest
            rounds, from the oldest to this one.
        student: the generalist after the round.
    """

    number: int
    side: str
    before: Artifact
    player: Artifact
    plays: Mapping[str, Artifact]
    training_plays: Mapping[int, Mapping[str, Artifact]]
    student: Artifact


@dataclass(frozen=True)
class Ida:
    """The rounds of one run.

    Attributes:
        run: the run, whose suite is the generalist's tasks.
        config: the settings of the rounds.
        options: the amplifier's options.
        start: the generalist before the first round.
        recordings: the experts' recordings by task name.
        recipe: the settings of the run's generalist.
        deterministic: whether networks take their most likely action or sample one.
    """

    run: Run
    config: IdaConfig
    options: Mapping[str, Any]
    start: Artifact
    recordings: Mapping[str, Artifact]
    recipe: NetworkRecipe
    deterministic: bool = True

    @functools.cached_property
    def amplified(self) -> Suite:
        """The tasks that are amplified.

        Raises:
            GatitoError: if one is not in the suite.
        """
        names = [task.name for task in self.run.suite]
        return self.run.suite.part(full_names(self.config.tasks or names, names, "task in ida.tasks"))

    def played(self, task: Task) -> Task:
        """The task that is played while recording: an amplified task, or that game against itself."""
        return as_self_play(task, self.config.random_opening) if self.amplifier.self_play else task

    @functools.cached_property
    def amplifier(self) -> Amplifier:
        """The amplifier."""
        return make_amplifier(self.options)

    def check(self) -> None:
        """Reject settings and tasks that cannot be amplified, before any work is done.

        Raises:
            GatitoError: one line that names the remedy.
        """
        if self.config.rounds:
            for task in self.amplified:
                if is_self_play(task) and not self.amplifier.self_play:
                    raise GatitoError(
                        f"task {task.name} is self-play, which needs a search for two players: set "
                        "amplifier=two_player_search, or name other opponents."
                    )
            self.amplifier.check(self.amplified.tasks, self.recipe.model, self.recipe.codec)

    def check_planner(self) -> None:
        """Reject an amplifier that cannot play before any round, since it has to train first.

        Raises:
            GatitoError: one line that names the remedy.
        """
        if self.amplifier.artifact(self.start, self.context(1)) is not self.start or not self.scores_players:
            raise GatitoError(
                f"generalist.amplified=true: amplifier {self.options['name']} has no policy before its first round; "
                "set amplifier=search, best_of_n or two_player_search."
            )
        self.amplifier.check(self.amplified.tasks, self.recipe.model, self.recipe.codec)

    @functools.cached_property
    def rounds(self) -> list[Round]:
        """All rounds, alternating between the amplified side and the control."""
        rounds: list[Round] = []
        for number in range(1, self.config.rounds + 1):
            rounds.append(self._round(number, AMPLIFIED, rounds))
            if self.config.control:
                rounds.append(self._round(number, CONTROL, rounds))
        return rounds

    def matched(self, control: Round) -> Round:
        """The amplified round whose compute a round of the control matches."""
        [matched] = [other for other in self.rounds if (other.number, other.side) == (control.number, AMPLIFIED)]
        return matched

    def earlier(self, round_: Round) -> list[Artifact]:
        """All artifacts that the player of a round depends on, except the player itself."""
        before = [other for other in self.rounds if other.side == round_.side and other.number < round_.number]
        artifacts = [self.start, *(part for other in before for part in (*other.plays.values(), other.student))]
        artifacts += [other.player for other in before if other.player is not other.before]
        return [artifact for artifact in artifacts if artifact is not round_.player]

    @property
    def scores_players(self) -> bool:
        """Whether the amplified policies are scored; the best of several episodes is known only in hindsight."""
        return self.amplifier.plays_per_start == 1

    @functools.cached_property
    def scored_options(self) -> dict[str, Any]:
        """The amplifier's options for scoring, where every episode is played to its end."""
        return {name: value for name, value in self.options.items() if name not in self.amplifier.while_recording}

    def player(self, network: Artifact, options: Mapping[str, Any] | None) -> PlayerSpec:
        """A network that plays, with the amplifier that has these options; None: alone."""
        return PlayerSpec(
            folder=network.folder,
            options=options,
            amplified=tuple(task.name for task in self.amplified),
            tasks=self.run.suite.tasks,
            deterministic=self.deterministic,
        )

    def folder(self, number: int) -> Path:
        """The folder of a round's artifacts."""
        return self.run.folder / "ida" / f"round-{number}"

    def context(self, number: int) -> AmplifierContext:
        """The amplifier's input in a round."""
        run = self.run.isolated(self.amplified, "ida")
        return AmplifierContext(run, self.folder(number), self.recordings, self.recipe)

    @property
    def solved(self) -> bool:
        """Whether only solved episodes are used; with returns alone, it is unknown which episodes are solved."""
        return self.config.solved and any(task.metric == "success" for task in self.amplified)

    @property
    def model(self) -> ModelConfig:
        """The sizes of the generalist after a round."""
        return replace(self.recipe.model, context_length=self.config.context_length or self.recipe.model.context_length)

    @property
    def distill(self) -> DistillConfig:
        """The distillation settings of a round; with longer windows, batches have fewer of them, at equal steps."""
        config, distill = self.config, self.recipe.distill
        length, batch_size = distill.length(self.recipe.model), distill.batch_size
        if config.context_length:
            batch_size = max(1, batch_size * length // config.context_length)
            length = config.context_length
        return replace(
            distill,
            start=None,
            flops=None,
            updates=config.updates,
            warmup=min(distill.warmup, config.updates // 4),
            learning_rate=config.learning_rate,
            dagger=DaggerConfig(share=1 - config.experts_share),
            # After a weak start, rounds use no more of the experts' recordings.
            data=config.first(distill).data if config.experts_share else distill.data,
            sequence_length=length,
            batch_size=config.batch_size or batch_size,
        )

    @property
    def keeps_values(self) -> bool:
        """Whether recordings of amplified policies have the values that their search found."""
        return self.recipe.distill.search_values > 0

    def _round(self, number: int, side: str, rounds: list[Round]) -> Round:
        """A round, given all rounds before it."""
        earlier = [other for other in rounds if other.side == side]
        before = earlier[-1].student if earlier else self.start
        if side == AMPLIFIED:
            player = self.amplifier.artifact(before, self.context(number))
            settings = {"amplifier": dict(self.options), "steps": self.config.env_steps}
            if self.keeps_values:
                settings["values"] = True
            plays = self._plays(number, side, player, settings)
        else:
            player = before
            plays = self._plays(number, side, player, {"steps": self.config.control_env_steps}, rounds[-1].plays)
        newest = {other.number: other.plays for other in earlier} | {number: plays}
        training_plays = {kept: newest[kept] for kept in sorted(newest)[-self.config.keep :]}
        student = self._student(number, side, before, training_plays)
        return Round(number, side, before, player, plays, training_plays, student)

    def _plays(
        self,
        number: int,
        side: str,
        player: Artifact,
        settings: Mapping[str, Any],
        matched: Mapping[str, Artifact] | None = None,
    ) -> dict[str, Artifact]:
        """The recordings of a round by task name; ``matched`` are the recordings whose compute they match."""
        plays = {}
        for task in self.amplified:
            config = {
                "task": self.played(task).digest,
                "agent": side,
                "noise": self.config.noise,
                "seed": self.run.seed,
            }
            config |= {**settings, **AMPLIFIERS.code(str(self.options.get("name")))}
            if self.config.num_envs != IdaConfig.num_envs:
                config["num_envs"] = self.config.num_envs
            if self.config.shards != 1:
                config["shards"] = self.config.shards
            if not self.deterministic:
                config["deterministic"] = False
            inputs = {"player": player.fingerprint}
            if matched is not None:
                inputs["matched"] = matched[task.name].fingerprint
            folder = self.folder(number) / f"{side}-play" / task.name
            plays[task.name] = Artifact(folder, "trajectories", config, inputs)
        return plays

    def _student(
        self, number: int, side: str, before: Artifact, training_plays: Mapping[int, Mapping[str, Artifact]]
    ) -> Artifact:
        settings = {
            "tasks": [task.name for task in self.run.suite],
            "distill": decisive(self.distill),
            "model": decisive(self.model),
            "codec": decisive(self.recipe.codec),
            "round": number,
            "seed": self.run.seed,
        } | NETWORKS.code(self.recipe.codec.name)
        if self.solved:
            settings["solved"] = True
        if self.config.fresh:
            settings["fresh"] = True
        inputs = {"before": before.fingerprint}
        for kept, plays in training_plays.items():
            inputs |= {f"{kept}/{task}": play.fingerprint for task, play in plays.items()}
        if self.config.experts_share:
            inputs |= {task: recording.fingerprint for task, recording in self.recordings.items()}
        kind = "generalist" if side == AMPLIFIED else side
        return Artifact(self.folder(number) / kind, kind, settings, inputs)
