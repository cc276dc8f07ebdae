"""Names that become files and folders: no name from a file or a user may lead out of its folder.

:func:`check_name` is for names that a user chooses (runs, suites, tasks), :func:`inside` for files that a manifest, an
index or a dataset lists.
"""

import re
from pathlib import Path

from benchmarks.base.errors import FatalError

_MAX_BYTES = 150  # file systems allow 255, and temporary files have longer names
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f]")


def check_name(kind: str, name: str) -> str:
    """Reject a name that is not valid for a single folder.

    Args:
        kind: the kind of name for the error message, such as ``"suite"`` or ``"name"``.
        name: the name.

    Returns:
        The name.

    Raises:
        FatalError: if it is empty, ``.`` or ``..``, begins with a dot, is too long, or has a slash, a backslash, a
            control character, or a letter that UTF-8 cannot encode.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not size or size > _MAX_BYTES or name != name.strip() or name.startswith(".") or _FORBIDDEN.search(name):
        shown = name if len(name) <= 40 else f"{name[:40]}…"
        raise FatalError(
            f"{kind} {shown!r} is not a valid folder name: choose one of 1 to {_MAX_BYTES} bytes without slashes, "
            "backslashes, line breaks, a space at either end, or a dot at the start."
        )
    return name


def inside(folder: Path, name: object) -> Path:
    """The path of a file that a manifest, an index or a dataset in ``folder`` names.

    ``folder`` itself may be a symbolic link, since a user decides where artifacts are stored. Nothing below it may be.

    Raises:
        FatalError: if the name is absolute, has ``..``, or passes through a symbolic link.
    """
    refusal = f"{folder} names the file {str(name)[:80]!r}"
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise FatalError(f"{refusal}, which is not a valid file name: do not use this folder.")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise FatalError(f"{refusal}, which is outside of it: do not use this folder.")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise FatalError(f"{path} is a symbolic link, which artifacts never have: do not use the folder {folder}.")
    return path
