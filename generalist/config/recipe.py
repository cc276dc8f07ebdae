"""How a network is made, and the artifacts of the networks and memories that learn from recordings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.settings import decisive
from benchmarks.runs.run import Run
from generalist.config.codec import CodecConfig
from generalist.config.settings import DistillConfig, ModelConfig


@dataclass(frozen=True)
class NetworkRecipe:
    """How a network is made.

    Attributes:
        distill: its training.
        model: its size.
        codec: its inputs and outputs.
    """

    distill: DistillConfig
    model: ModelConfig
    codec: CodecConfig


def generalist_artifact(run: Run, recipe: NetworkRecipe, recordings: Mapping[str, Artifact]) -> Artifact:
    """The artifact of a run's generalist: its folder, and the settings and recordings that decide its content."""
    return _network_artifact(run.folder / "generalist", "generalist", recipe, recordings, run.seed)


def single_task_artifact(run: Run, agent: str, task: str, recipe: NetworkRecipe, recording: Artifact) -> Artifact:
    """The artifact of the network of a specialist or clone; the recipe is that of its own share of the training."""
    return _network_artifact(run.folder / "controls" / agent / task, agent, recipe, {task: recording}, run.seed)


def retrieval_artifact(run: Run, task: str, recording: Artifact) -> Artifact:
    """The artifact of the memory of ``retrieval`` for one task."""
    folder = run.folder / "controls" / "retrieval" / task
    return Artifact(folder, "retrieval", {"task": task}, {task: recording.fingerprint})


def _network_artifact(
    folder: Path, kind: str, recipe: NetworkRecipe, recordings: Mapping[str, Artifact], seed: int
) -> Artifact:
    # A task that is held out here may be learnt in a later round; until then its weight decides nothing.
    weights = {task: weight for task, weight in recipe.distill.weights.items() if task in recordings}
    settings = {
        "tasks": list(recordings),
        "distill": decisive(replace(recipe.distill, weights=weights)),
        "model": decisive(recipe.model),
        "codec": decisive(recipe.codec),
        "seed": seed,
    }
    return Artifact(folder, kind, settings, {task: artifact.fingerprint for task, artifact in recordings.items()})
