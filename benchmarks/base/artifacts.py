"""Artifacts: folders of checksummed files with a ``manifest.json`` whose ``complete: true`` is written last.

Every stage writes through this module. A file appears whole or not at all (temporary file, fsync, rename, fsync of the
folder). A finished artifact carries a *fingerprint* of the config and inputs that made it, so the same request finds it
again, in this run or in a neighbouring one, and a damaged file is named before anything reads it.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.base.errors import FatalError

MANIFEST = "manifest.json"
STARTED = "started.json"
CHECKPOINT = "checkpoint.safetensors"
_FORMAT = 2  # raise it when artifacts of an older gatito must not be taken over
_PACKAGES = ("gymnasium", "numpy", "stable-baselines3", "torch", "gatito")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, it becomes ``path`` in one step.

    Killed midway, ``path`` is what it was before. An exception removes the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write ``value`` atomically as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        FatalError: if it is not valid JSON; the line names the file.
    """
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FatalError(f"{path} is damaged ({error}). {_remedy(path.parent)}") from None


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        return digest({"format": _FORMAT, "kind": self.kind, "config": dict(self.config), "inputs": dict(self.inputs)})

    def is_complete(self) -> bool:
        """Whether the folder holds this very artifact, finished; every file is checked against its checksum.

        Raises:
            FatalError: if it was finished and a file has been changed, cut or lost since.
        """
        manifest = read_manifest(self.folder)
        if manifest is None or manifest.get("fingerprint") != self.fingerprint:
            return False
        verify(self.folder, manifest)
        return True

    def start(self) -> None:
        """Make the folder ready: work for the same fingerprint is kept to resume from, any other is cleared."""
        started = self.folder / STARTED
        if not started.exists() or read_json(started).get("fingerprint") != self.fingerprint:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(started, {"fingerprint": self.fingerprint, "kind": self.kind})
        for litter in self.folder.glob(".*"):  # what a kill in the middle of a write left
            shutil.rmtree(litter) if litter.is_dir() else litter.unlink()

    def finish(self, wall_seconds: float, **facts: Any) -> None:  # noqa: ANN401
        """Write the manifest over all files in the folder, ``complete: true`` with it, in one atomic step.

        What only serves to resume (``started.json`` and the checkpoint) is left out and removed afterwards: killed
        before that, nothing is lost.
        """
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
        for manifest_path in sorted(runs.glob(f"*/{stage}/{MANIFEST}")):
            source = manifest_path.parent
            if source == self.folder:
                continue
            try:
                manifest = read_manifest(source)
                if manifest is None or manifest["fingerprint"] != self.fingerprint:
                    continue
                verify(source, manifest)
            except FatalError:  # damaged over there: that run will say so when it is asked for
                continue
            shutil.rmtree(self.folder, ignore_errors=True)
            for name in manifest["files"]:
                _link(source / name, self.folder / name)
            write_manifest(self.folder, manifest | {"adopted_from": str(source)})
            return True
        return False


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished artifact, or None where there is none.

    Raises:
        FatalError: if the manifest has been changed since it was written.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest = read_json(path)
    body = {name: value for name, value in manifest.items() if name != "digest"}
    if manifest.get("digest") != digest(body):
        raise FatalError(f"{path} is damaged: it does not match its own digest. {_remedy(folder)}")
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


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check every file of a finished artifact against its size and SHA-256.

    Raises:
        FatalError: naming the first file that is lost, cut or changed.
    """
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise FatalError(f"{path} is missing. {_remedy(folder)}")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise FatalError(f"{path} has {size} bytes instead of {expected['bytes']}. {_remedy(folder)}")
        if file_digest(path) != expected["sha256"]:
            raise FatalError(f"{path} is damaged: its checksum differs from its manifest's. {_remedy(folder)}")


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


def _remedy(folder: Path) -> str:
    return f"Remove the folder {folder} and run the same command again: only that part is made anew."


def _relative_to_run(folder: Path, runs: Path) -> Path:
    """``results/runs/<name>/experts/x`` → ``experts/x``."""
    return Path(*folder.relative_to(runs).parts[1:])


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system: copy
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
