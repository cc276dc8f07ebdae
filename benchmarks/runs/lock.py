"""One command at a time works in a run's folder: two would mix their recordings and double their logs.

The lock is the file ``.lock`` in the folder, which says whose it is: process, its start time, machine. It goes when the
command ends. One that a kill left is recognised on the same machine and removed; on another machine a line says how.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.base.errors import FatalError
from benchmarks.base.files import TEMPORARY, make_folder

LOCK = ".lock"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class _Owner:
    """Whose a lock is.

    Attributes:
        process: its number.
        begun: when it was begun, in the system's own unit since it was booted; empty where that is not known.
        machine: the host's name.
        boot: what changes when the machine is booted; empty where that is not known.
        namespace: of process numbers: containers on one machine have their own.
        since: when the lock was taken.
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
        """Whose a lock is; None if the file says nothing, as after a power failure."""
        try:
            owner = _Owner(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return owner if isinstance(owner.process, int) else None

    def is_here(self) -> bool:
        """Whether this machine can say if the process is still there."""
        return self.machine == socket.gethostname() and (self.boot != _boot() or self.namespace == _namespace())

    def is_gone(self) -> bool:
        """Whether the process has ended; its number may have gone to another one since."""
        if not self.is_here():
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's process
            pass
        return self.begun != _begun(self.process)


@contextlib.contextmanager
def lock(folder: Path, *, needed: bool = True) -> Iterator[None]:
    """Work in a run's folder alone. What earlier kills left half written in it is removed.

    A folder that cannot be written is not locked: whoever only shows what is there needs no lock, and whoever writes is
    told by the first write. A folder that is empty in the end is removed again.

    Args:
        folder: the run's.
        needed: whether anything is to be made there; if not, this does nothing.

    Raises:
        FatalError: if another command works there, naming its process, machine and the way out.
    """
    if not needed:
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    owner = _Owner.current()
    locked = True
    try:
        make_folder(folder)
        with _guard(folder):
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
        way_out = "wait for it, or give this run another name=NAME"
        if not other.is_here():
            way_out += f"; if that process is gone, remove the file {path}"
        raise FatalError(f"{folder} is being worked in by {where}: {way_out}.")
    temporary = folder / f"{LOCK}.{owner.process}{TEMPORARY}"
    temporary.write_text(json.dumps(asdict(owner)) + "\n")
    temporary.replace(path)


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Look and take in one step; a file system without such locks leaves a race of a millisecond."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    """When a process was begun: field 22 of Linux's ``/proc/PID/stat``. Field 2, in parentheses, may hold spaces."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
