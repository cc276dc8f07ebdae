"""The settings of a network, and the artifacts of networks and of controls without one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.base.artifacts import Artifact, digest, read_manifest
from benchmarks.base.errors import FatalError
from benchmarks.base.files import MANIFEST
from benchmarks.base.project import find
from benchmarks.base.settings import decisive
from benchmarks.runs.run import Run
from generalist.config.codec import CodecConfig
from generalist.config.networks import NETWORKS
from generalist.config.settings import DistillConfig, ModelConfig


@dataclass(frozen=True)
class NetworkRecipe:
    """The settings that determine a network.

    Attributes:
        distill: the settings of its training.
        model: its sizes.
        codec: the settings of its inputs and outputs.
    """

    distill: DistillConfig
    model: ModelConfig
    codec: CodecConfig


def generalist_artifact(
    run: Run, recipe: NetworkRecipe, recordings: Mapping[str, Artifact], shown: Mapping[str, Artifact] = {}
) -> Artifact:
    """The artifact of a run's generalist: its folder, and the settings and recordings that decide its content.

    Args:
        run: the run.
        recipe: the settings.
        recordings: the recordings that it learns from, by task name.
        shown: those of other tasks, which only demonstrations are taken from.
    """
    artifact = _network_artifact(run.folder / "generalist", "generalist", recipe, recordings, run.seed)
    for task, recording in shown.items():
        artifact = replace(artifact, inputs={**artifact.inputs, f"shown/{task}": recording.fingerprint})
    start = start_folder(run, recipe.distill)
    if start is None:
        return artifact
    manifest = read_manifest(start)
    assert manifest is not None
    return replace(artifact, inputs={**artifact.inputs, "start": digest(manifest["files"])})


def start_folder(run: Run, distill: DistillConfig) -> Path | None:
    """The folder of the network whose training is continued; None for random weights.

    Raises:
        FatalError: if neither a run of that name nor a folder has a finished generalist.
    """
    return None if distill.start is None else find_network(run, "distill.start", distill.start)


def find_network(run: Run, setting: str, name: str, task: str = "generalist") -> Path:
    """The folder of a finished network: a run's newest generalist, a folder, or the task's folder inside it.

    ``RUN/generalist`` is a run's generalist before its rounds of amplification.

    Raises:
        FatalError: names the setting.
    """
    for place in (run.runs_folder / name, find(name)):
        for folder in (*_of_rounds(place), place / "generalist", place / task, place):
            if (folder / MANIFEST).exists():
                return folder
    raise FatalError(
        f"{setting}={name} has no finished generalist: name a run below {run.runs_folder}, or the folder of a network."
    )


def _of_rounds(run: Path) -> list[Path]:
    """The generalists after a run's rounds of amplification, the newest first; some may have been removed.

    A round whose network did not begin with that of the round before is left from earlier settings, as are all later.
    """
    numbers = (path.name.removeprefix("round-") for path in (run / "ida").glob("round-*"))
    folders = {int(number): run / "ida" / f"round-{number}" / "generalist" for number in numbers if number.isdecimal()}
    manifests, found = {0: read_manifest(run / "generalist")}, []
    for number, folder in sorted(folders.items()):
        manifests[number] = manifest = read_manifest(folder)
        before = manifests.get(number - 1)
        if manifest is None:
            continue
        if before is not None and manifest["inputs"].get("before") != before["fingerprint"]:
            break
        found.append(folder)
    return found[::-1]


def single_task_artifact(run: Run, agent: str, task: str, recipe: NetworkRecipe, recording: Artifact) -> Artifact:
    """The artifact of a specialist's or clone's network; the recipe is that of its share of the training."""
    return _network_artifact(run.folder / "controls" / agent / task, agent, recipe, {task: recording}, run.seed)


def memory_artifact(run: Run, agent: str, task: str, recording: Artifact) -> Artifact:
    """The artifact of a control without a network, such as ``retrieval``, for one task."""
    return Artifact(run.folder / "controls" / agent / task, agent, {"task": task}, {task: recording.fingerprint})


def _network_artifact(
    folder: Path, kind: str, recipe: NetworkRecipe, recordings: Mapping[str, Artifact], seed: int
) -> Artifact:
    # A held-out task may be learned in a later round; until then, its weight has no effect.
    weights = {task: weight for task, weight in recipe.distill.weights.items() if task in recordings}
    settings = {
        "tasks": list(recordings),
        "distill": decisive(replace(recipe.distill, weights=weights)),
        "model": decisive(recipe.model),
        "codec": decisive(recipe.codec),
        "seed": seed,
    } | NETWORKS.code(recipe.codec.name)
    return Artifact(folder, kind, settings, {task: artifact.fingerprint for task, artifact in recordings.items()})
