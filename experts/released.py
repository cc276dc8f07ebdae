"""Trained experts that come with the project: ``results/experts/<group>/<name>/``, and a table of them beside.

A training that is not finished can come with it as well, in ``training/`` below that, also beside an expert that is
finished and weak: whoever runs the same recipe goes on from there.

Run by ``gatito stages=[release]``, which puts a run's experts there, and ``experts=released``, which starts from them.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.artifacts import (
    CHECKPOINT,
    MANIFEST,
    STARTED,
    Artifact,
    describe_files,
    digest,
    read_json,
    read_manifest,
    verify,
    write_bytes,
    write_json,
    write_manifest,
    write_text,
)
from benchmarks.base.checkpoints import load_state
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.errors import GatitoError
from benchmarks.runs.stage import run_first
from benchmarks.runs.tracking import LOG, read_log
from benchmarks.tasks import Suite, Task
from experts.recipe import RELEASED, ExpertRecipe, ExpertsConfig

TABLE = "experts.csv"
_TRAINING = "training"
_KEPT = ("policy.safetensors", "expert.json", "curve.json", "gate.json")


@dataclass(frozen=True)
class ExpertRow:
    """A line of ``experts.csv``.

    Attributes:
        task: ``<group>/<name>``.
        algorithm: of stable-baselines3, or a program (``bot``, ``script``).
        steps: environment steps of training; 0 for a program.
        train_seed: seed of the training.
        mean_return: mean over the gate's episodes, of what the task is scored by: return, or success (0 or 1).
        std_return: their standard deviation.
        episodes: fresh episodes that the gate judged.
        reference: what the task's mean must reach.
        gate: ``passed``, ``weak``, or ``training``: not finished, and the mean is that of its last checkpoint on the
            episodes that choose among checkpoints.
    """

    task: str
    algorithm: str
    steps: int
    train_seed: int
    mean_return: float
    std_return: float
    episodes: int
    reference: float | None
    gate: str


def release(
    suite: Suite, run: Path, folder: Path, recipes: Mapping[str, ExpertRecipe], config: ExpertsConfig, seed: int
) -> list[ExpertRow]:
    """Copy a run's experts of a suite to ``folder``, in place of earlier ones, and write the table of all.

    Args:
        suite: whose experts.
        run: the run's folder.
        folder: where they go.
        recipes: how they are made, by task name.
        config: what holds for all of them.
        seed: the training seed.

    Raises:
        GatitoError: if an expert is not finished, damaged, or was made for another pipeline than the task's.
    """
    for task in suite:
        source = run / "experts" / task.name
        manifest = read_manifest(source)
        if manifest is None and (source / CHECKPOINT).exists():
            _release_training(task, recipes[task.name], config, seed, source, folder / task.name / _TRAINING)
            continue
        if manifest is None:
            raise GatitoError(f"{source} holds no finished expert: {run_first('experts')}.")
        if manifest["config"]["recipe"]["algorithm"] == RELEASED:
            continue  # it was taken from a release, where it says how it was trained
        _check(task, manifest, source)
        verify(source, manifest)
        target = folder / task.name
        shutil.rmtree(target, ignore_errors=True)
        for name in _KEPT:
            if name in manifest["files"]:
                write_bytes(target / name, (source / name).read_bytes())
        _copy_curve(source, target)
        write_manifest(target, manifest | {"files": describe_files(target)})
    finished = {path.parent for path in folder.glob(f"*/*/{MANIFEST}")}
    begun = {path.parent for path in folder.glob(f"*/*/{_TRAINING}/{CHECKPOINT}")}
    rows = [_row(path) for path in sorted(finished | {path for path in begun if path.parent not in finished})]
    write_text(folder / TABLE, to_csv(rows, ExpertRow))
    return rows


def _release_training(
    task: Task, recipe: ExpertRecipe, config: ExpertsConfig, seed: int, source: Path, target: Path
) -> None:
    curve = load_state(source / CHECKPOINT)["curve"]
    gate = {"mean": curve[-1]["mean"], "std": curve[-1]["std"], "passed": False}
    gate |= {"episodes": recipe.selection_episodes or config.selection_episodes}
    gate |= {"reference": task.reference, "source": task.source}
    for name in (STARTED, CHECKPOINT):
        write_bytes(target / name, (source / name).read_bytes())
    write_json(target / "expert.json", {"task": task.name, "recipe": asdict(recipe), "seed": seed})
    write_json(target / "gate.json", gate)
    write_json(target / "curve.json", curve)
    _copy_curve(source, target)


def _copy_curve(source: Path, target: Path) -> None:
    """Of the log, the learning curve alone: losses of every update would outweigh the weights."""
    lines = [line for line in read_log(source / LOG) if any(key.startswith("selection/") for key in line)]
    write_text(target / LOG, "".join(json.dumps(line) + "\n" for line in lines))


def take_up_training(task: Task, folder: Path, artifact: Artifact) -> None:
    """Go on from a released training of the same recipe, where none has begun here.

    Args:
        task: whose expert it is.
        folder: of the released experts.
        artifact: the run's expert; started.
    """
    source = folder / task.name / _TRAINING
    if not (source / CHECKPOINT).exists() or (artifact.folder / CHECKPOINT).exists():
        return
    if read_json(source / STARTED)["fingerprint"] == artifact.fingerprint:
        write_bytes(artifact.folder / LOG, (source / LOG).read_bytes())
        write_bytes(artifact.folder / CHECKPOINT, (source / CHECKPOINT).read_bytes())
        console.note(f"the training of expert {task.name} goes on from {source}")


def released_digest(task: Task, folder: Path) -> str:
    """What identifies a task's released expert.

    Raises:
        GatitoError: if there is none, or it was made for another pipeline.
    """
    manifest = read_manifest(folder / task.name)
    if manifest is None and (folder / task.name / _TRAINING / CHECKPOINT).exists():
        raise GatitoError(
            f"the expert of task {task.name} in {folder} is still in training: go on with experts=train, or leave the "
            "task out with tasks=[…]."
        )
    if manifest is None:
        raise GatitoError(
            f"task {task.name} has no released expert in {folder}: train it with experts=train, or leave the task out "
            "with tasks=[…]."
        )
    _check(task, manifest, folder / task.name)
    return digest(manifest["files"])


def take_over(task: Task, folder: Path, artifact: Artifact) -> None:
    """Make a run's expert of the released one; it is judged by the reference that the task has now.

    Raises:
        GatitoError: if a file is damaged.
    """
    source = folder / task.name
    manifest = read_manifest(source)
    assert manifest is not None  # else there was no digest
    verify(source, manifest)
    for name in manifest["files"]:
        write_bytes(artifact.folder / name, (source / name).read_bytes())
    gate = read_json(source / "gate.json")
    passed = task.reference is None or gate["mean"] >= task.reference
    gate |= {"reference": task.reference, "source": task.source, "passed": passed}
    write_json(artifact.folder / "gate.json", gate)
    facts: dict[str, Any] = manifest["facts"] | {"gate": gate, "trained_at": manifest["git_commit"]}
    artifact.finish(manifest["wall_seconds"], **facts)


def _check(task: Task, manifest: dict[str, Any], where: Path) -> None:
    if manifest["config"]["task"] != task.digest:
        raise GatitoError(
            f"the expert in {where} was made for other arguments of {task.env_id} than task {task.name} has now: train "
            "one with experts=train."
        )


def _row(folder: Path) -> ExpertRow:
    about, gate, manifest = read_json(folder / "expert.json"), read_json(folder / "gate.json"), read_manifest(folder)
    word = "training" if manifest is None else "passed" if gate["passed"] else "weak"
    return ExpertRow(
        about["task"],
        about["recipe"]["algorithm"],
        manifest["facts"]["steps"] if manifest else read_json(folder / "curve.json")[-1]["steps"],
        about["seed"],
        round(gate["mean"], 4),
        round(gate["std"], 4),
        gate["episodes"],
        gate["reference"],
        word,
    )
