"""Files and folders that appear whole or not at all, and JSON that is checked as it is read.

A file is written beside its place, flushed to the disk and renamed; so is a folder. Whatever a kill leaves ends with
:data:`TEMPORARY`.
"""

import contextlib
import ctypes
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
STARTED = "started.json"  # of one that is being made
TEMPORARY = ".tmp"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, it becomes ``path`` in one step.

    Killed midway, ``path`` is what it was before. An exception removes the temporary file.
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


def update_text(path: Path, text: str) -> None:
    """Write ``text`` atomically unless the file has it already, so that a finished run needs no write access."""
    content = text.encode()
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write ``value`` atomically as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path, shape: type | Mapping[str, type | tuple[type, ...]] = object, remedy: str = "") -> Any:  # noqa: ANN401
    """Read a JSON file and check its shape.

    Args:
        path: the file.
        shape: the type of its value, or the keys that it must have with the types of their values.
        remedy: what to do if the file is damaged. By default, the artifact that the file belongs to is to be removed,
            or the file alone where it belongs to none.

    Raises:
        FatalError: if it is not valid JSON or has another shape; the line names the file and the remedy.
    """
    try:
        value = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise FatalError(f"{path} is damaged ({' '.join(str(error).split())}). {remedy or _remedy(path)}") from None
    keys = shape if isinstance(shape, Mapping) else {}
    if not isinstance(value, dict if isinstance(shape, Mapping) else shape):
        raise FatalError(f"{path} is damaged (its content is of another kind). {remedy or _remedy(path)}")
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            raise FatalError(f"{path} is damaged ({key} is missing or of another type). {remedy or _remedy(path)}")
    return value


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in.

    Raises:
        FatalError: if the file system does not allow it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        reason = "a file is in its place" if not isinstance(error, FileNotFoundError) else "it has no place to be"
        raise FatalError(f"the folder {folder} cannot be made: {reason}. Choose another one.") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``; when the block ends well, it takes its place in one step.

    Killed midway, ``folder`` is what it was before. A symbolic link is followed, and stays.
    """
    folder = folder.resolve()
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=TEMPORARY, dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        place_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_folder(new: Path, folder: Path) -> None:
    """Move a folder to its place in one step; what was there is then where the new one was."""
    if folder.exists():
        _swap(new, folder)
    else:
        new.rename(folder)
    _sync_folder(folder.parent)


def _swap(one: Path, other: Path) -> None:
    """Exchange two folders: in one step where the system can (Linux's ``renameat2``), else in three."""
    exchange, here = 2, -100  # RENAME_EXCHANGE, AT_FDCWD
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        if library.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
            return
    aside = other.with_name(f".{other.name}.previous")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def removal(folder: Path) -> str:
    """What to do with a damaged artifact."""
    return f"Remove the folder {folder} and run the same command again: only that part is made anew."


def _remedy(path: Path) -> str:
    """Remove the artifact that a file belongs to, or else the file alone."""
    if any((path.parent / marker).exists() for marker in (MANIFEST, STARTED)):
        return removal(path.parent)
    return f"Remove the file {path} and run the same command again."


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
