"""Artifacts: folders of checksummed files with a ``manifest.json`` whose ``complete: true`` is written last.

Every stage writes through this module. A file appears whole or not at all (temporary file, fsync, rename, fsync of the
folder). A finished artifact carries a *fingerprint* of the config and inputs that made it, so the same request finds it
again, in this run or in a neighbouring one, and a damaged file is named before anything reads it.
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

from benchmarks.base import console
from benchmarks.base.errors import FatalError
from benchmarks.base.files import (  # noqa: F401 (until every import names the module that it is of)
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
FORMAT = 2  # raise it when artifacts of an older gatito must not be taken over
_STARTED_SHAPE = {"fingerprint": str, "kind": str}
_MANIFEST_SHAPE = _STARTED_SHAPE | {"digest": str, "config": dict, "inputs": dict, "files": dict, "facts": dict}
_MANIFEST_SHAPE |= {"wall_seconds": (int, float)}
_COSTLY = ("expert", "generalist", "clone", "specialist", "multitask-rl")
_PACKAGES = ("gymnasium", "numpy", "stable-baselines3", "torch", "gatito")


@dataclass(frozen=True)
class Artifact:
    """One folder that one stage makes from one config and other artifacts.

    Attributes:
        folder: where it lives, ``results/runs/<name>/<stage>/…``.
        kind: what it is, such as ``"expert"``.
        config: everything that decides its content (JSON-like), training seed included.
        inputs: fingerprints of the artifacts that it is made from, by name.
    """

    folder: Path
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of what decides the content: same fingerprint, same content."""
        return digest({"format": FORMAT, "kind": self.kind, "config": dict(self.config), "inputs": dict(self.inputs)})

    def is_complete(self) -> bool:
        """Whether the folder holds this very artifact, finished; every file is checked against its checksum.

        Raises:
            FatalError: if it was finished and a file has been changed, cut or lost since.
        """
        manifest = read_manifest(self.folder)
        if manifest is None or manifest["fingerprint"] != self.fingerprint:
            return False
        verify(self.folder, manifest)
        return True

    def start(self) -> None:
        """Make the folder ready: work for the same fingerprint is kept to resume from, any other is cleared.

        Raises:
            FatalError: if the folder holds what gatito has not made.
        """
        started = self.folder / STARTED
        if not started.exists() or read_json(started, _STARTED_SHAPE)["fingerprint"] != self.fingerprint:
            _announce_loss(self.folder)
            clear(self.folder)
            write_json(started, {"fingerprint": self.fingerprint, "kind": self.kind})
        self._remove_litter()

    def _remove_litter(self) -> None:
        """Remove what a kill in the middle of a write left."""
        for litter in self.folder.glob(".*"):
            shutil.rmtree(litter) if litter.is_dir() and not litter.is_symlink() else litter.unlink()

    def finish(self, wall_seconds: float, **facts: Any) -> None:  # noqa: ANN401
        """Write the manifest over all files in the folder, ``complete: true`` with it, in one atomic step.

        What only serves to resume (``started.json`` and the checkpoint) is left out and removed afterwards: killed
        before that, nothing is lost.
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
        """Take over the same finished artifact from another run, by hard links; its files are checked first.

        Returns:
            Whether there was one. Sweeps thus train each expert once, and a run's folder still stands on its own.
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
            except FatalError:  # damaged over there: that run will say so when it is asked for
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
    """Empty a folder that an artifact is made in. A symbolic link in its place is followed, and stays.

    What shows that the folder is gatito's goes last, so that a kill in between leaves it recognisable.

    Raises:
        FatalError: if the folder holds something and no manifest of gatito's; nothing is removed.
    """
    folder = folder.resolve()
    if not folder.exists():
        return
    check_ours(folder)
    for path in sorted(folder.iterdir(), key=lambda path: path.name in (MANIFEST, STARTED)):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def check_ours(folder: Path, *further: str) -> None:
    """Refuse to replace a folder that gatito has not made. An empty one, and one that does not exist, may be used.

    Args:
        folder: what is to be replaced.
        further: names of folders below it, one of which may hold the manifest in its place.

    Raises:
        FatalError: if the folder is a file, or holds something and no manifest of gatito's.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FatalError(f"{folder} is a file, and a folder is needed in its place: move it away.")
    for marker in [folder / part / name for part in ("", *further) for name in (MANIFEST, STARTED)]:
        with contextlib.suppress(FatalError, OSError):
            read_json(marker, _STARTED_SHAPE)
            return
    if any(not path.name.endswith(TEMPORARY) for path in folder.iterdir()):
        raise FatalError(
            f"{folder} holds files that gatito did not make, and would be replaced: move them away, or choose another "
            "folder."
        )


def read_manifest(folder: Path, remedy: str = "") -> dict[str, Any] | None:
    """The manifest of a finished artifact, or None where there is none.

    Args:
        folder: the artifact's.
        remedy: what to do if it is damaged; by default the artifact is to be removed.

    Raises:
        FatalError: if the manifest has been changed since it was written, or names files outside of its folder.
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
    """Size and SHA-256 of every file of an artifact but its manifest and what only serves to resume."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    others = (MANIFEST, STARTED, CHECKPOINT)
    kept = [path for path in paths if str(path) not in others and not any(part[0] == "." for part in path.parts)]
    return {str(path): {"bytes": (folder / path).stat().st_size, "sha256": file_digest(folder / path)} for path in kept}


def write_manifest(folder: Path, body: dict[str, Any]) -> None:
    """Write a manifest that :func:`read_manifest` reads, with a digest of itself."""
    body = json.loads(json.dumps(body))  # as it will be read back: the digest is of that
    write_json(folder / MANIFEST, body | {"digest": digest(body)})


def verify(folder: Path, manifest: Mapping[str, Any], remedy: str = "") -> None:
    """Check every file of a finished artifact against its size and SHA-256.

    Args:
        folder: the artifact's.
        manifest: what :func:`read_manifest` returned.
        remedy: what to do if a file is damaged; by default the artifact is to be removed.

    Raises:
        FatalError: naming the first file that is lost, cut or changed.
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
    """Versions of the packages that decide results."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, ``-dirty`` if changed; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def _announce_loss(folder: Path) -> None:
    """Say that finished work is about to be replaced, since it may have taken hours."""
    with contextlib.suppress(FatalError):
        manifest = read_manifest(folder)
        unfinished = manifest is None and (folder / CHECKPOINT).exists()
        if unfinished or (manifest is not None and manifest["kind"] in _COSTLY):
            console.warn(
                f"{folder} is made anew, as its settings have changed; other settings under another name=NAME would "
                "have kept what was there."
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
