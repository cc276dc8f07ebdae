"""The protocol of amplifiers, and their input."""

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
    """The input of an amplifier in a round.

    Attributes:
        run: the run, whose suite is the tasks to amplify; failures stay within the round.
        folder: the folder of the amplifier's artifact.
        recordings: the experts' recordings that the generalist was distilled from, by task name.
        recipe: the settings of the generalist.
    """

    run: Run
    folder: Path
    recordings: Mapping[str, Artifact]
    recipe: NetworkRecipe


class Amplifier(Protocol):
    """Turns the generalist into a stronger, slower policy.

    Subclasses are frozen dataclasses of the amplifier's options, which ``conf/amplifier/`` and the command line set.
    Their policies count their compute, see :meth:`benchmarks.play.policy.Policy.inference_cost`.

    Attributes:
        while_recording: settings that apply to recording only, not to scoring.
        self_play: whether it plays games against itself while recording; other amplifiers play the suite's opponents.
    """

    while_recording: ClassVar[Sequence[str]] = ()
    self_play: ClassVar[bool] = False

    @property
    def plays_per_start(self) -> int:
        """Episodes that are played from each start while recording; only the best one is kept.

        If it is above 1, the amplified policy is not scored, since the best episode is known only in hindsight.
        """
        return 1

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work, before any work is done.

        Raises:
            GatitoError: one line that names the remedy.
        """
        ...

    def artifact(self, generalist: Artifact, context: AmplifierContext) -> Artifact:
        """The artifact that is made once per round, before any episode; ``generalist`` itself if there is none."""
        ...

    def make(self, generalist: Artifact, context: AmplifierContext) -> None:
        """Make that artifact, unless it exists; an interrupted call is resumed.

        Raises:
            GatitoError: if it fails; the last good checkpoint is kept.
        """
        ...

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> Policy:
        """Load the amplified policy of these tasks, in the process that runs the episodes.

        Args:
            folder: the folder of the artifact.
            tasks: the tasks that are played.
            name: the agent's name.
            deterministic: whether a network without planning takes its most likely action or samples one.
        """
        ...


class Planner(Amplifier, Protocol):
    """An amplifier without training: the same generalist plays with more compute per decision."""

    def artifact(self, generalist: Artifact, context: AmplifierContext) -> Artifact:
        """The generalist itself."""
        return generalist

    def make(self, generalist: Artifact, context: AmplifierContext) -> None:
        """Nothing to make."""
