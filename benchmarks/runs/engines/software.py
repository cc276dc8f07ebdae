"""The software of a machine: jobs run only where it is the same, since numbers would differ elsewhere."""

import functools
import platform
from dataclasses import dataclass, field
from os import uname

from benchmarks.base.artifacts import package_versions
from benchmarks.base.files import digest, file_digest
from benchmarks.base.project import CODE

_PACKAGES = ("benchmarks", "experts", "generalist")


@dataclass(frozen=True)
class Software:
    """Everything that affects numbers.

    Attributes:
        python: the version of Python.
        code: a digest of gatito's code.
        packages: versions of the packages that affect results, gatito's own among them.
    """

    python: str
    code: str
    packages: dict[str, str] = field(hash=False)

    @staticmethod
    @functools.cache
    def here() -> "Software":
        """The software of this process."""
        return Software(platform.python_version(), _code(), package_versions())

    def difference(self) -> str:
        """The error if this process has other software; empty if it has the same."""
        here = Software.here()
        pairs = [("Python", here.python, self.python)]
        names = sorted(here.packages.keys() | self.packages.keys())
        pairs += [(name, here.packages.get(name, "none"), self.packages.get(name, "none")) for name in names]
        other = next((f"{name} {theirs}, not {ours}" for name, theirs, ours in pairs if theirs != ours), "")
        if not other and here.code != self.code:
            other = f"other code of gatito (in {CODE})"
        if not other:
            return ""
        return f"worker {uname().nodename} has {other}: give all machines the same environment and checkout."


def _code() -> str:
    files = [*CODE.glob("gatito*.py"), *(file for name in _PACKAGES for file in (CODE / name).rglob("*.py"))]
    return digest({file.relative_to(CODE).as_posix(): file_digest(file) for file in files})
