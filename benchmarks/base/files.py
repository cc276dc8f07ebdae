"""Atomic writes of files and folders, and JSON that is checked when read.

A file or folder is written under a temporary name beside its target, flushed to the disk and renamed. Remains of a kill
end with :data:`TEMPORARY`.
"""

import contextlib
import ctypes
import fcntl
import functools
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.base.errors import FatalError

MANIFEST = "manifest.json"  # of a finished artifact
STARTED = "started.json"  # of an unfinished artifact
TEMPORARY = ".tmp"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which replaces ``path`` in one step when the block succeeds.

    After a kill in between, ``path`` is unchanged. An exception removes the temporary file.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
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
        error.filename = error.filename or str(path)  # the error of a full disk has no file name
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically, as UTF-8."""
    write_bytes(path, _encoded(text))


def update_text(path: Path, text: str) -> None:
    """Write ``text`` atomically unless the file is unchanged, so that a finished run needs no write access."""
    content = _encoded(text)
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # Python's stand-in for letters of file names that the locale lacks


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write ``value`` atomically as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path, shape: type | Mapping[str, type | tuple[type, ...]] = object, remedy: str = "") -> Any:  # noqa: ANN401
    """Read a JSON file and check its shape.

    Args:
        path: the file.
        shape: the type of its value, or its required keys with the types of their values.
        remedy: the advice if the file is damaged; by default, to remove the artifact that the file belongs to, or the
            file if it belongs to none.

    Raises:
        FatalError: if it is not valid JSON or has another shape; names the file and the remedy.
    """
    try:
        value = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise FatalError(f"{path} is damaged ({' '.join(str(error).split())}). {remedy or _remedy(path)}") from None
    keys = shape if isinstance(shape, Mapping) else {}
    if not isinstance(value, dict if isinstance(shape, Mapping) else shape):
        raise FatalError(f"{path} is damaged (its content has another type). {remedy or _remedy(path)}")
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            raise FatalError(f"{path} is damaged ({key} is missing or of another type). {remedy or _remedy(path)}")
    return value


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and its parents.

    Raises:
        FatalError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        reason = "the path is invalid" if isinstance(error, FileNotFoundError) else "a file is in its place"
        raise FatalError(f"the folder {folder} cannot be made: {reason}. Choose another one.") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, computed once for as long as the file does not change."""
    facts = path.stat()
    return _content_digest(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _content_digest(path: Path, size: int, changed: int) -> str:
    return file_digest(path)


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, which replaces ``folder`` in one step when the block succeeds.

    After a kill in between, ``folder`` is unchanged, and the next replacement removes what the kill left. A symbolic
    link is followed and kept.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    with locked_folder(folder.parent) as locked:
        for remains in folder.parent.glob(f".{glob.escape(folder.name)}.*{TEMPORARY}") if locked else ():
            shutil.rmtree(remains, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=TEMPORARY, dir=folder.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            place_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[bool]:
    """Wait until no other process is in such a block for the same folder.

    Yields:
        Whether the folder is locked: some file systems have no ``flock``.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    locked = False
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        yield locked
    finally:
        os.close(descriptor)


def place_folder(new: Path, folder: Path) -> None:
    """Move a folder to its place in one step; an existing folder is exchanged with it."""
    if folder.exists():
        _swap(new, folder)
    else:
        new.rename(folder)
    _sync_folder(folder.parent)


def _swap(first: Path, second: Path) -> None:
    """Exchange two folders: in one step if the system can (Linux's ``renameat2``), otherwise in three."""
    exchange, here = 2, -100  # RENAME_EXCHANGE, AT_FDCWD
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        if library.renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
            return
    aside = second.with_name(f".{second.name}.previous")
    second.rename(aside)
    first.rename(second)
    aside.rename(first)


def removal(folder: Path) -> str:
    """The advice for a damaged artifact."""
    return f"Remove the folder {folder} and run the same command again: only that part is made again."


def _remedy(path: Path) -> str:
    """The advice for a damaged file: remove the artifact that it belongs to, or the file if it belongs to none."""
    if any((path.parent / marker).exists() for marker in (MANIFEST, STARTED)):
        return removal(path.parent)
    return f"Remove the file {path} and run the same command again."


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
