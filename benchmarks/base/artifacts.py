"""Artifacts: folders of checksummed files with a ``manifest.json`` whose ``complete: true`` is written last.

Every stage writes through this module. A file appears completely or not at all (temporary file, fsync, rename, fsync of
the folder). A finished artifact has a *fingerprint* of the config and inputs that it was made from, so the same request
finds it again, in this run or in another one. A damaged file is reported before anything reads it.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.base import console, project
from benchmarks.base.errors import FatalError
from benchmarks.base.files import (  # noqa: F401 (re-exported)
    MANIFEST,
    STARTED,
    TEMPORARY,
    atomic_write,
    digest,
    file_digest,
    make_folder,
    read_json,
    removal,
    write_bytes,
    write_json,
    write_text,
)
from benchmarks.base.names import inside

CHECKPOINT = "checkpoint.safetensors"
FORMAT = 2  # raise it if artifacts of an older gatito must not be adopted
_STARTED_SHAPE = {"fingerprint": str, "kind": str}
_MANIFEST_SHAPE = _STARTED_SHAPE | {"digest": str, "config": dict, "inputs": dict, "files": dict, "facts": dict}
_MANIFEST_SHAPE |= {"wall_seconds": (int, float)}
_COSTLY = ("expert", "generalist", "clone", "specialist", "multitask-rl")
_PACKAGES = ("gymnasium", "numpy", "stable-baselines3", "torch", "gatito")


@dataclass(frozen=True)
class Artifact:
    """One folder that one stage makes from one config and other artifacts.

    Attributes:
        folder: its location, ``results/runs/<name>/<stage>/…``.
        kind: its kind, such as ``"expert"``.
        config: everything that determines its content (JSON-like), including the training seed.
        inputs: fingerprints of the artifacts that it is made from, by name.
    """

    folder: Path
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the config and inputs: equal fingerprints mean equal content."""
        return digest({"format": FORMAT, "kind": self.kind, "config": dict(self.config), "inputs": dict(self.inputs)})

    def is_complete(self) -> bool:
        """Whether the folder has exactly this artifact, finished; every file's checksum is verified.

        Raises:
            FatalError: if it was finished and a file has been changed, truncated or removed since.
        """
        manifest = read_manifest(self.folder)
        if manifest is None or manifest["fingerprint"] != self.fingerprint:
            return False
        verify(self.folder, manifest)
        return True

    def start(self) -> None:
        """Prepare the folder: unfinished work with the same fingerprint is kept for resuming, other content cleared.

        Raises:
            FatalError: if the folder has files that gatito did not make.
        """
        started = self.folder / STARTED
        if not started.exists() or read_json(started, _STARTED_SHAPE)["fingerprint"] != self.fingerprint:
            _announce_loss(self.folder)
            clear(self.folder)
            write_json(started, {"fingerprint": self.fingerprint, "kind": self.kind})
        self._remove_litter()

    def _remove_litter(self) -> None:
        """Remove temporary files of an interrupted write."""
        for litter in self.folder.glob(".*"):
            shutil.rmtree(litter) if litter.is_dir() and not litter.is_symlink() else litter.unlink()

    def finish(self, wall_seconds: float, **facts: Any) -> None:  # noqa: ANN401
        """Write the manifest of all files in the folder, with ``complete: true``, in one atomic step.

        The files for resuming (``started.json`` and the checkpoint) are not listed, and removed afterwards, so that a
        kill in between loses nothing.
        """
        self._remove_litter()
        manifest = {
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "files": describe_files(self.folder),
            "facts": facts,
            "packages": package_versions(),
            "git_commit": git_commit(),
            "wall_seconds": round(wall_seconds, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "complete": True,
        }
        write_manifest(self.folder, manifest)
        for name in (STARTED, CHECKPOINT):
            (self.folder / name).unlink(missing_ok=True)

    def adopt(self, runs: Path) -> bool:
        """Adopt the same finished artifact from another run by hard links, after its files are verified.

        Returns:
            Whether there was one. Sweeps thus train each expert once, and each run's folder is still self-contained.
        """
        stage = _relative_to_run(self.folder, runs)
        for source in sorted(run / stage for run in (runs.iterdir() if runs.is_dir() else ())):
            if source == self.folder or not (source / MANIFEST).is_file():
                continue
            try:
                manifest = read_manifest(source)
                if manifest is None or manifest["fingerprint"] != self.fingerprint:
                    continue
                verify(source, manifest)
            except FatalError:  # damaged in the other run, which will report it
                continue
            clear(self.folder)
            write_json(self.folder / STARTED, {"fingerprint": self.fingerprint, "kind": self.kind})
            for name in manifest["files"]:
                _link(inside(source, name), inside(self.folder, name))
            write_manifest(self.folder, manifest | {"adopted_from": str(source)})
            (self.folder / STARTED).unlink()
            return True
        return False


def clear(folder: Path) -> None:
    """Empty an artifact's folder. A symbolic link is followed and kept.

    The manifest is removed last, so that the folder is still recognisable after a kill in between.

    Raises:
        FatalError: if the folder has content but no manifest of gatito; nothing is removed.
    """
    folder = folder.resolve()
    if not folder.exists():
        return
    check_ours(folder)
    for path in sorted(folder.iterdir(), key=lambda path: path.name in (MANIFEST, STARTED)):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def check_ours(folder: Path, *further: str) -> None:
    """Refuse to replace a folder that gatito did not make. Empty and missing folders are accepted.

    Args:
        folder: the folder to replace.
        further: names of subfolders that may have the manifest instead.

    Raises:
        FatalError: if the folder is a file, or has content but no manifest of gatito.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FatalError(f"{folder} is a file where a folder is needed: move it away.")
    for marker in [folder / part / name for part in ("", *further) for name in (MANIFEST, STARTED)]:
        with contextlib.suppress(FatalError, OSError):
            read_json(marker, _STARTED_SHAPE)
            return
    if any(not path.name.endswith(TEMPORARY) for path in folder.iterdir()):
        raise FatalError(
            f"{folder} has files that gatito did not make and would replace: move them away, or choose another folder."
        )


def read_manifest(folder: Path, remedy: str = "") -> dict[str, Any] | None:
    """The manifest of a finished artifact; None if there is none.

    Args:
        folder: the artifact's folder.
        remedy: the advice if it is damaged; by default, to remove the artifact.

    Raises:
        FatalError: if the manifest was changed after it was written, or names files outside of its folder.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    remedy = remedy or removal(folder)
    manifest = read_json(path, _MANIFEST_SHAPE, remedy)
    body = {name: value for name, value in manifest.items() if name != "digest"}
    if manifest["digest"] != digest(body):
        raise FatalError(f"{path} is damaged: it does not match its own digest. {remedy}")
    for name, entry in body["files"].items():
        inside(folder, name)
        if not isinstance(entry, dict) or (type(entry.get("bytes")), type(entry.get("sha256"))) != (int, str):
            raise FatalError(f"{path} is damaged: it does not describe {name}. {remedy}")
    return body


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of an artifact, except its manifest and the files for resuming."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    others = (MANIFEST, STARTED, CHECKPOINT)
    kept = [path for path in paths if str(path) not in others and not any(part[0] == "." for part in path.parts)]
    return {str(path): {"bytes": (folder / path).stat().st_size, "sha256": file_digest(folder / path)} for path in kept}


def write_manifest(folder: Path, body: dict[str, Any]) -> None:
    """Write a manifest that :func:`read_manifest` reads, with a digest of itself."""
    body = json.loads(json.dumps(body))  # the digest is that of the content as it will be read back
    write_json(folder / MANIFEST, body | {"digest": digest(body)})


def verify(folder: Path, manifest: Mapping[str, Any], remedy: str = "") -> None:
    """Check every file of a finished artifact against its size and SHA-256.

    Args:
        folder: the artifact's folder.
        manifest: the result of :func:`read_manifest`.
        remedy: the advice if a file is damaged; by default, to remove the artifact.

    Raises:
        FatalError: names the first file that is missing, truncated or changed.
    """
    remedy = remedy or removal(folder)
    for name, expected in manifest["files"].items():
        path = inside(folder, name)
        if not path.is_file():
            raise FatalError(f"{path} is missing. {remedy}")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise FatalError(f"{path} has {size} bytes instead of {expected['bytes']}. {remedy}")
        if file_digest(path) != expected["sha256"]:
            raise FatalError(f"{path} is damaged: its checksum differs from its manifest's. {remedy}")


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that affect results."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, ``-dirty`` if changed; None outside a checkout."""
    if not project.is_checkout():
        return None
    command = ["git", "-C", str(project.CODE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def _announce_loss(folder: Path) -> None:
    """Warn that finished work will be replaced, since it may have taken hours."""
    with contextlib.suppress(FatalError):
        manifest = read_manifest(folder)
        unfinished = manifest is None and (folder / CHECKPOINT).exists()
        if unfinished or (manifest is not None and manifest["kind"] in _COSTLY):
            console.warn(
                f"{folder} is made again, since its settings have changed; to keep earlier work, give other settings "
                "another name=NAME."
            )


def _relative_to_run(folder: Path, runs: Path) -> Path:
    """``results/runs/<name>/experts/x`` → ``experts/x``."""
    return Path(*folder.relative_to(runs).parts[1:])


def _link(source: Path, target: Path) -> None:
    make_folder(target.parent)
    try:
        os.link(source, target)
    except OSError:  # another file system: copy
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
