"""Trained experts that come with the project: ``results/experts/<group>/<name>/``, with a table in ``experts.csv``.

An unfinished training can be released as well, in the subfolder ``training/``, also next to a finished weak expert: a
run with the same recipe resumes from it.

Run by ``gatito stages=[release]``, which releases a run's experts, and ``experts=released``, which starts from them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.artifacts import (
    CHECKPOINT,
    Artifact,
    check_ours,
    describe_files,
    read_manifest,
    verify,
    write_manifest,
)
from benchmarks.base.checkpoints import load_state
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.files import (
    MANIFEST,
    STARTED,
    digest,
    read_json,
    replace_folder,
    write_bytes,
    write_json,
    write_text,
)
from benchmarks.base.names import inside
from benchmarks.base.project import find, restore_remedy
from benchmarks.runs.stage import run_first
from benchmarks.runs.tracking import LOG, read_log
from benchmarks.tasks import Suite, Task
from experts.recipe import RELEASED, ExpertRecipe, ExpertsConfig

TABLE = "experts.csv"
_TRAINING = "training"
_GATE_SHAPE = {"mean": (int, float), "std": (int, float), "episodes": int, "passed": bool}
_KEPT = ("policy.safetensors", "expert.json", "curve.json", "gate.json")


@dataclass(frozen=True)
class ExpertRow:
    """A line of ``experts.csv``.

    Attributes:
        task: ``<group>/<name>``.
        algorithm: an algorithm of stable-baselines3, or a program (``bot``, ``script``).
        env_steps: environment steps of training; 0 for a program.
        train_seed: seed of the training.
        mean_return: mean score (return, or success as 0 or 1) over the gate's episodes.
        std_return: standard deviation of those scores.
        episodes: number of the gate's episodes.
        reference: the mean score that passes the gate.
        gate: ``passed``, ``weak``, or ``training``: not finished; the mean is that of the last checkpoint on the
            selection episodes.
    """

    task: str
    algorithm: str
    env_steps: int
    train_seed: int
    mean_return: float
    std_return: float
    episodes: int
    reference: float | None
    gate: str


def release(
    suite: Suite, run: Path, folder: Path, recipes: Mapping[str, ExpertRecipe], config: ExpertsConfig, seed: int
) -> list[ExpertRow]:
    """Copy a run's experts to ``folder``, replacing earlier ones, and write the table of all experts there.

    Experts that are released ones already are not copied; a folder without any expert gets no table.

    Args:
        suite: the suite of the experts' tasks.
        run: the run's folder.
        folder: the folder of released experts.
        recipes: the experts' recipes, by task name.
        config: the settings of all experts.
        seed: the training seed.

    Raises:
        GatitoError: if an expert is not finished, is damaged, or was made for other arguments of its environment.
    """
    for task in suite:
        source = run / "experts" / task.name
        manifest = read_manifest(source)
        if manifest is None and (source / CHECKPOINT).exists():
            _release_training(task, recipes[task.name], config, seed, source, folder / task.name / _TRAINING)
            continue
        if manifest is None:
            raise GatitoError(f"{source} has no finished expert: {run_first('experts')}.")
        if manifest["config"]["recipe"].get("algorithm") == RELEASED:  # not a default, so it is always stored
            continue  # the expert is a released one already
        _check(task, manifest, source)
        verify(source, manifest)
        check_ours(folder / task.name, _TRAINING)
        with replace_folder(folder / task.name) as target:
            for name in _KEPT:
                if name in manifest["files"]:
                    write_bytes(target / name, inside(source, name).read_bytes())
            _copy_curve(source, target)
            write_manifest(target, manifest | {"files": describe_files(target)})
    finished = {path.parent for path in folder.glob(f"*/*/{MANIFEST}")}
    begun = {path.parent for path in folder.glob(f"*/*/{_TRAINING}/{CHECKPOINT}")}
    rows = [_row(path) for path in sorted(finished | {path for path in begun if path.parent not in finished})]
    if rows:
        write_text(folder / TABLE, to_csv(rows, ExpertRow))
    return rows


def _release_training(
    task: Task, recipe: ExpertRecipe, config: ExpertsConfig, seed: int, source: Path, target: Path
) -> None:
    curve = load_state(source / CHECKPOINT)["curve"]
    gate = {"mean": curve[-1]["mean"], "std": curve[-1]["std"], "passed": False}
    gate |= {"episodes": recipe.selection_episodes or config.selection_episodes}
    gate |= {"reference": task.reference, "source": task.source}
    check_ours(target)
    with replace_folder(target) as new:
        for name in (STARTED, CHECKPOINT):
            write_bytes(new / name, (source / name).read_bytes())
        write_json(new / "expert.json", {"task": task.name, "recipe": asdict(recipe), "seed": seed})
        write_json(new / "gate.json", gate)
        write_json(new / "curve.json", curve)
        _copy_curve(source, new)


def _copy_curve(source: Path, target: Path) -> None:
    """Copy only the learning curve of the log: the losses of all updates would be larger than the weights."""
    lines = [line for line in read_log(source / LOG) if any(key.startswith("selection/") for key in line)]
    write_text(target / LOG, "".join(json.dumps(line) + "\n" for line in lines))


def resume_released_training(task: Task, folder: Path, artifact: Artifact) -> None:
    """Resume a released training of the same recipe, unless this run has its own checkpoint.

    Args:
        task: the expert's task.
        folder: the folder of released experts.
        artifact: the run's expert; started.
    """
    source = find(folder / task.name / _TRAINING)
    if not (source / CHECKPOINT).exists() or (artifact.folder / CHECKPOINT).exists():
        return
    try:
        if read_json(source / STARTED, {"fingerprint": str})["fingerprint"] != artifact.fingerprint:
            return
        load_state(source / CHECKPOINT)
    except GatitoError:
        console.warn(f"the training in {source} is damaged: expert {task.name} is trained from scratch.")
        return
    if (source / LOG).exists():
        write_bytes(artifact.folder / LOG, (source / LOG).read_bytes())
    write_bytes(artifact.folder / CHECKPOINT, (source / CHECKPOINT).read_bytes())
    console.note(f"the training of expert {task.name} resumes from {source}")


def released_digest(task: Task, folder: Path) -> str:
    """The digest of a task's released expert.

    Raises:
        GatitoError: if the expert is missing, is damaged, or was made for other arguments of its environment.
    """
    manifest = _read_released(task, folder)
    if manifest is None and (find(folder / task.name) / _TRAINING / CHECKPOINT).exists():
        raise GatitoError(
            f"the expert of task {task.name} in {folder} is not fully trained: resume its training with experts=train, "
            "or leave the task out with tasks=[…]."
        )
    if manifest is None:
        raise GatitoError(
            f"task {task.name} has no released expert in {folder}: train it with experts=train, or leave the task out "
            "with tasks=[…]."
        )
    _check(task, manifest, find(folder / task.name))
    return digest(manifest["files"])


def adopt_released_expert(task: Task, folder: Path, artifact: Artifact) -> None:
    """Copy the released expert into the run and gate it against the task's current reference.

    Raises:
        GatitoError: if a file is damaged.
    """
    source = find(folder / task.name)
    manifest = _read_released(task, folder, whole=True)
    assert manifest is not None  # the artifact's settings have its digest
    for name in manifest["files"]:
        if name in (*_KEPT, LOG):
            write_bytes(inside(artifact.folder, name), inside(source, name).read_bytes())
    gate = read_json(source / "gate.json", {"mean": (int, float)})
    passed = task.reference is None or gate["mean"] >= task.reference
    gate |= {"reference": task.reference, "source": task.source, "passed": passed}
    write_json(artifact.folder / "gate.json", gate)
    facts: dict[str, Any] = manifest["facts"] | {"gate": gate, "trained_at": manifest.get("git_commit")}
    artifact.finish(manifest["wall_seconds"], **facts)


def _read_released(task: Task, folder: Path, *, whole: bool = False) -> dict[str, Any] | None:
    """The manifest of a released expert; None if there is no such expert.

    Args:
        task: the expert's task.
        folder: the folder of released experts.
        whole: whether all files are checked as well.

    Raises:
        GatitoError: if the expert is damaged; only this task fails.
    """
    source = find(folder / task.name)
    remedy = f"{restore_remedy(source)}, or train one with experts=train, or leave the task out with tasks=[…]."
    try:
        manifest = read_manifest(source, remedy)
        if manifest is not None and whole:
            verify(source, manifest, remedy)
    except FatalError as error:
        raise GatitoError(str(error), task.name) from None
    return manifest


def _check(task: Task, manifest: dict[str, Any], where: Path) -> None:
    if manifest["config"]["task"] != task.digest:
        raise GatitoError(
            f"the expert in {where} was made for other arguments of {task.env_id} than those of task {task.name}: "
            "train one with experts=train."
        )


def _row(folder: Path) -> ExpertRow:
    remedy = f"{restore_remedy(folder)}, or remove the folder {folder} and release it again."
    expert = read_json(folder / "expert.json", {"task": str, "recipe": dict, "seed": int}, remedy)
    gate = read_json(folder / "gate.json", _GATE_SHAPE, remedy)
    manifest = read_manifest(folder, remedy)
    word = "training" if manifest is None else "passed" if gate["passed"] else "weak"
    return ExpertRow(
        expert["task"],
        expert["recipe"]["algorithm"],
        manifest["facts"]["steps"] if manifest else read_json(folder / "curve.json", list, remedy)[-1]["steps"],
        expert["seed"],
        round(gate["mean"], 4),
        round(gate["std"], 4),
        gate["episodes"],
        gate.get("reference"),
        word,
    )
