"""Trained generalists that are released with the project: ``results/<suite>/generalist/``.

``gatito stages=[release]`` writes one, ``gatito stages=[evaluate,report] generalist=released`` scores it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact, check_ours, describe_files, read_manifest, verify, write_manifest
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.files import digest, replace_folder, write_bytes
from benchmarks.base.names import inside
from benchmarks.base.project import restore_remedy
from benchmarks.runs.stage import run_first
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.shape import PROMPTS, SHAPE, WEIGHTS, read_shape

_KEPT = (WEIGHTS, SHAPE, PROMPTS, "log.jsonl")
_MOST_BYTES = 20_000_000  # of a released generalist


def release_generalist(generalist: Artifact, folder: Path, most_bytes: float = _MOST_BYTES) -> None:
    """Copy a run's finished generalist of at most ``most_bytes`` to ``folder``, in place of an earlier one.

    Raises:
        GatitoError: if it is not finished, damaged, or too large for the project.
    """
    manifest = read_manifest(generalist.folder)
    if manifest is None:
        raise GatitoError(f"{generalist.folder} has no finished generalist: {run_first('distill')}.")
    verify(generalist.folder, manifest)
    kept = [name for name in _KEPT if name in manifest["files"]]
    size = sum(manifest["files"][name]["bytes"] for name in kept)
    if size > most_bytes:
        raise GatitoError(
            f"the generalist in {generalist.folder} has {size / 1e6:.0f} MB, the limit for releases is "
            f"{most_bytes / 1e6:.0f} MB: release one of model=nano or mini."
        )
    check_ours(folder)
    with replace_folder(folder) as new:
        for name in kept:
            write_bytes(new / name, inside(generalist.folder, name).read_bytes())
        write_manifest(new, manifest | {"files": describe_files(new)})


def released_artifact(
    run: Path, folder: Path, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig
) -> Artifact:
    """The artifact of a run's copy of the released generalist.

    Raises:
        FatalError: if there is none, its settings differ from the configured ones, or it has no conditioning for a
            task.
    """
    manifest = read_manifest(folder, _remedy(folder))
    if manifest is None:
        raise FatalError(f"{folder} has no released generalist: distil one with generalist=train.")
    released_model, released_codec, released_tasks = read_shape(folder, _remedy(folder))
    for name, released, configured in (("model", released_model, model), ("codec", released_codec, codec)):
        values = " ".join(
            f"{name}.{key}={value}" for key, value in asdict(released).items() if value != getattr(configured, key)
        )
        if values:
            raise FatalError(
                f"the generalist in {folder} was made with another {name} than the configured one: set {values}, or "
                "distil one with generalist=train."
            )
    if codec.conditioning != "none":
        for task in tasks:
            if task.name not in released_tasks:
                raise FatalError(
                    f"the generalist in {folder} is conditioned on the task and has not learned {task.name}: leave the "
                    "task out with tasks=[…]."
                )
    return Artifact(run / "generalist", "generalist", {"released": digest(manifest["files"])})


def adopt_released_generalist(folder: Path, artifact: Artifact) -> None:
    """Copy the released generalist into a run, unless it is there.

    Raises:
        GatitoError: if a file is damaged.
    """
    if artifact.is_complete():
        return
    manifest = read_manifest(folder, _remedy(folder))
    assert manifest is not None  # otherwise there is no artifact
    verify(folder, manifest, _remedy(folder))
    artifact.start()
    for name in manifest["files"]:
        if name in _KEPT:
            write_bytes(inside(artifact.folder, name), inside(folder, name).read_bytes())
    facts: dict[str, Any] = manifest["facts"] | {"trained_at": manifest.get("git_commit")}
    artifact.finish(manifest["wall_seconds"], **facts)


def _remedy(folder: Path) -> str:
    return f"{restore_remedy(folder)}, or distil one with generalist=train."
