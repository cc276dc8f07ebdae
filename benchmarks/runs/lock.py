"""A lock on a run's folder: two commands in one folder would mix their recordings and duplicate log lines.

The lock is the file ``.lock`` in the folder, which names its owner: process, start time, machine. It is removed when
the command ends. A stale lock of a killed command is removed on the same machine; on another machine, an error line
explains how to remove it.
"""

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.base.errors import FatalError
from benchmarks.base.files import TEMPORARY, locked_folder, make_folder

LOCK = ".lock"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class _Owner:
    """The owner of a lock.

    Attributes:
        process: the process id.
        begun: start time of the process in the system's unit since boot; empty if unknown.
        machine: the host name.
        boot: an id that changes with every boot; empty if unknown.
        namespace: the namespace of process ids, since containers on one machine have their own.
        since: the time at which the lock was taken.
    """

    process: int
    begun: str
    machine: str
    boot: str
    namespace: str
    since: str

    @staticmethod
    def current() -> "_Owner":
        """This process."""
        process, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
        return _Owner(process, _begun(process), socket.gethostname(), _boot(), _namespace(), since)

    @staticmethod
    def read(path: Path) -> "_Owner | None":
        """The owner of a lock; None if the file is empty or damaged, as after a power failure."""
        try:
            owner = _Owner(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return owner if isinstance(owner.process, int) else None

    def is_here(self) -> bool:
        """Whether this machine can tell if the process is still running."""
        return self.machine == socket.gethostname() and (self.boot != _boot() or self.namespace == _namespace())

    def is_gone(self) -> bool:
        """Whether the process has ended; its id may belong to another process since."""
        if not self.is_here():
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's process
            pass
        return self.begun != _begun(self.process)


@contextlib.contextmanager
def lock(folder: Path, *, needed: bool = True) -> Iterator[None]:
    """Lock a run's folder, and remove half-written files of killed commands.

    A read-only folder is not locked: a command that only reads needs no lock, and the first write of another command
    fails. A folder that is empty in the end is removed.

    Args:
        folder: the run's folder.
        needed: whether the command writes there; if not, this does nothing.

    Raises:
        FatalError: if another command works there; names its process, machine and the remedy.
    """
    if not needed:
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    owner = _Owner.current()
    locked = True
    try:
        make_folder(folder)
        with locked_folder(folder):  # without flock, a race of a millisecond remains
            _take(folder, owner)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        locked = False
    try:
        if locked:
            _remove_litter(folder)
        yield
    finally:
        if locked and _Owner.read(folder / LOCK) == owner:
            (folder / LOCK).unlink()
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


def _take(folder: Path, owner: _Owner) -> None:
    path = folder / LOCK
    other = _Owner.read(path)
    if other is not None and not other.is_gone():
        where = f"process {other.process} on {other.machine} (since {other.since})"
        remedy = "wait for it, or give this run another name=NAME"
        if not other.is_here():
            remedy += f"; if that process is gone, remove the file {path}"
        raise FatalError(f"{folder} is in use by {where}: {remedy}.")
    temporary = folder / f"{LOCK}.{owner.process}{TEMPORARY}"
    temporary.write_text(json.dumps(asdict(owner)) + "\n", encoding="utf-8")
    temporary.replace(path)


def _remove_litter(folder: Path) -> None:
    """Remove files and folders that were being written when an earlier command was killed."""
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            if not (name.startswith(".") and name.endswith(TEMPORARY)):
                continue
            path = Path(parent) / name
            if name in folders and not path.is_symlink():
                folders.remove(name)
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _begun(process: int) -> str:
    """The start time of a process: field 22 of Linux's ``/proc/PID/stat``. Field 2, in parentheses, may have spaces."""
    with contextlib.suppress(OSError, IndexError):
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    return ""


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
