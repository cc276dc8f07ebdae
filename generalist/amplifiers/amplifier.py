"""What every amplifier offers, and what it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import Policy
from benchmarks.runs.run import Run
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import ModelConfig


@dataclass(frozen=True)
class AmplifierContext:
    """What an amplifier is given in a round.

    Attributes:
        run: the run, whose suite is the tasks that are amplified; failures do not count outside the round.
        folder: where the amplifier's artifact goes.
        recordings: of the experts, by task name, that the generalist was distilled from.
        recipe: how the generalist was made.
    """

    run: Run
    folder: Path
    recordings: Mapping[str, Artifact]
    recipe: NetworkRecipe


class Amplifier(Protocol):
    """Makes a stronger, slower policy of the generalist.

    Subclasses are frozen dataclasses of the amplifier's settings, with the fields of its YAML file except ``name``. The
    policies that they make have the attribute ``spent``, an
    :class:`~generalist.network.inference_cost.InferenceCost`.

    Attributes:
        while_recording: the settings that do not apply while the amplified policy is scored.
    """

    while_recording: ClassVar[Sequence[str]] = ()

    @property
    def plays_per_start(self) -> int:
        """How often each start is played while recording; the best episode is kept.

        Above 1 the amplified policy is not scored: which episode is the best is known afterwards alone.
        """
        return 1

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings and tasks that cannot work, before anything is made.

        Raises:
            GatitoError: in one line, with the way out.
        """
        ...

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """What is made once in a round, before anything is played; ``generalist`` itself where nothing is made."""
        ...

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """Make that artifact, unless it is there; an interrupted call is resumed.

        Raises:
            GatitoError: if it fails; the last good checkpoint is kept.
        """
        ...

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> Policy:
        """The amplified policy of these tasks. Called in the process that plays.

        Args:
            folder: of the artifact.
            tasks: that are played.
            name: of the agent.
            deterministic: whether a network that does not plan plays its most likely action, or samples one.
        """
        ...


class Planner(Amplifier, Protocol):
    """An amplifier that trains nothing: the generalist plays as it is, with more compute per decision."""

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """The generalist itself."""
        return generalist

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """There is nothing to be made."""
