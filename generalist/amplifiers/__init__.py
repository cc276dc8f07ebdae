"""Amplifiers make a policy stronger by spending compute: more thought per action, or more learning.

A new amplifier is one module here, one line in ``AMPLIFIERS`` and one YAML file in ``conf/amplifier/``, which holds the
fields of the module's own dataclass.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import unknown
from benchmarks.base.options import build
from benchmarks.play.policy import Policy
from benchmarks.runs.failures import Failures
from benchmarks.runs.tracking import Tracker
from benchmarks.tasks import Suite, Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import DistillConfig, ModelConfig

AMPLIFIERS = {
    "best_of_n": ("generalist.amplifiers.best_of_n", "BestOfN"),
    "decompose": ("generalist.amplifiers.decompose", "Decompose"),
    "finetune": ("generalist.amplifiers.finetune", "Finetune"),
    "scale": ("generalist.amplifiers.scale", "Scale"),
    "search": ("generalist.amplifiers.search", "Search"),
    "self_imitation": ("generalist.amplifiers.self_imitation", "SelfImitation"),
}
"""Amplifiers' names and their dataclasses, imported when first needed."""


@dataclass(frozen=True)
class AmplifierContext:
    """Where an amplifier works.

    Attributes:
        suite: the tasks that are amplified.
        folder: for what it makes.
        recordings: of the experts, by task name, that the generalist was distilled from.
        distill: how the generalist was distilled.
        model: its size.
        codec: its inputs and outputs.
        run: the run's folder.
        seed: the training seed.
        workers: processes.
        tracker: told learning curves.
        failures: told which task failed.
    """

    suite: Suite
    folder: Path
    recordings: Mapping[str, Artifact]
    distill: DistillConfig
    model: ModelConfig
    codec: CodecConfig
    run: Path
    seed: int
    workers: int
    tracker: Tracker
    failures: Failures


class Amplifier(Protocol):
    """A frozen dataclass of an amplifier's settings, the fields of its YAML file but for ``name``.

    A policy has the attribute ``spent``, an :class:`~generalist.network.inference_cost.InferenceCost`. An amplifier may
    have ``tries``, how often it plays each episode to keep the best, and ``while_recording``, the options that do not
    apply when it is scored.
    """

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings and tasks that cannot work, before anything is made.

        Raises:
            GatitoError: in one line, with the way out.
        """
        ...

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """What is made once in a round, before anybody plays; ``generalist`` itself where nothing is."""
        ...

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """Make that artifact, unless it is there; an interrupted making is taken up again.

        Raises:
            GatitoError: if it comes to nothing; what was good before is kept.
        """
        ...

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, draws: bool = False) -> Policy:
        """Who plays these tasks, by what is in the artifact's folder. Called in the process that plays.

        Args:
            folder: of the artifact.
            tasks: what is played.
            name: of the agent.
            draws: whether a network that decides without further thought draws its actions.
        """
        ...


class Planner:
    """An amplifier that learns nothing: what plays is the generalist as it is, with more thought."""

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """The generalist itself."""
        return generalist

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """There is nothing to be made."""


def make_amplifier(options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The amplifier that ``conf/amplifier`` and the command line describe.

    Raises:
        GatitoError: if there is no such amplifier or option, or a value is of the wrong kind.
    """
    given = dict(options)
    name = given.pop("name", None)
    if name not in AMPLIFIERS:
        raise unknown("amplifier", str(name), AMPLIFIERS)
    module, kind = AMPLIFIERS[name]
    made = getattr(importlib.import_module(module), kind)
    return build(made, given, "amplifier")
