"""Errors for users: a single line that states the problem and the remedy."""

import contextlib
import dataclasses
import difflib
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import omegaconf
import yaml

from benchmarks.base.renamed import explain

_REFUSALS = {
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ELOOP: "symbolic links form a loop",
    errno.EIO: "the device reports an error",
    errno.ESTALE: "the network file system has lost it",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
}
"""Errors of the file system that are not bugs."""


class GatitoError(Exception):
    """An error that the user can fix; its text is one line and states the remedy.

    Raised in the work for one task, it fails only that task, and the other tasks continue.

    Attributes:
        task: the name of the task that it belongs to, if known.
    """

    def __init__(self, text: str, task: str | None = None) -> None:
        super().__init__(text)
        self.task = task


class FatalError(GatitoError):
    """An error that stops the whole run, in any task: a mistyped word, a damaged file."""


class TasksFailedError(GatitoError):
    """Some tasks of a run failed; the run has been finished without them.

    Attributes:
        lines: one line for each failed task.
    """

    def __init__(self, text: str, lines: Sequence[str]) -> None:
        super().__init__(text)
        self.lines = list(lines)


def text_of(value: object, show: Callable[[object], str] = str) -> str:
    """The text of an error or value of somebody else's code, in one line that a terminal can print."""
    try:
        text = show(value)
    except Exception:  # its own conversion fails
        text = ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


@contextlib.contextmanager
def damage_as(line: Callable[[str], str]) -> Iterator[None]:
    """Turn the many kinds of errors that a library raises for a damaged file into one kind.

    Args:
        line: the error message, given the library's error in at most 160 characters.

    Raises:
        GatitoError: with that line, for any error but a :class:`GatitoError`.
    """
    try:
        yield
    except GatitoError:
        raise
    except Exception as error:
        raise GatitoError(line(f"{type(error).__name__}: {text_of(error)}"[:160])) from None


def unknown(kind: str, name: object, valid: Iterable[object]) -> FatalError:
    """The error for a name that does not exist, with the nearest valid name and all others.

    Args:
        kind: the kind of name, such as ``"task"``.
        name: the unknown name.
        valid: all valid names.
    """
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return FatalError(f"unknown {kind} '{name}'.{hint} Valid: {', '.join(names) or '(none)'}.")


def refuse(problems: Sequence[str], message: str, remedy: str) -> None:
    """Raise a :class:`GatitoError` if there is a problem; the first few are named, all are counted."""
    if problems:
        listed = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise GatitoError(f"{message}: {listed}: {remedy}")


def gatito_error(error: BaseException) -> GatitoError | None:
    """The :class:`GatitoError` that this error is or was caused by; None if there is none."""
    return next((cause for cause in _causes(error) if isinstance(cause, GatitoError)), None)


def one_line(error: BaseException) -> str | None:
    """The line to show the user; None for a bug, which is shown with its traceback."""
    for cause in _causes(error):
        if isinstance(cause, GatitoError):
            return str(cause)
        if _is(cause, "OverrideParseException"):
            return (
                f"cannot read '{cause.override}': write KEY=VALUE, quoted where the shell needs it; see gatito --help."
            )
        if _is(cause, "MissingConfigException") and cause.missing_cfg_file and cause.options is not None:
            group, _, option = str(cause.missing_cfg_file).rpartition("/")
            if group == "hydra/launcher":
                return f"hydra/launcher={option} needs a Hydra plugin that is not installed here: see docs/clusters.md."
            return explain(f"{group}={option}") or str(unknown(group or "config", option, cause.options))
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f" while writing {cause.filename}" if cause.filename else ""
            return f"the disk is full{where}. Free some space and run the same command again: it resumes."
        if isinstance(cause, OSError) and cause.errno in _REFUSALS:
            where = f"{cause.filename}: " if cause.filename else ""
            return (
                f"{where}{_REFUSALS[cause.errno]}. Fix that, or choose another folder (such as runs_folder=FOLDER), "
                "and run the same command again."
            )
        if isinstance(cause, yaml.YAMLError):
            return f"a file in conf/ is not valid YAML: {' '.join(str(cause).split())}"
        if isinstance(cause, omegaconf.errors.ConfigKeyError | omegaconf.errors.ConfigAttributeError):
            return _unknown_key(cause)
        if isinstance(cause, omegaconf.errors.OmegaConfBaseException) and cause.full_key:
            return f"config key {cause.full_key}: {(cause.msg or str(cause)).splitlines()[0]}."
    if _is(error, "HydraException") or isinstance(error, omegaconf.errors.OmegaConfBaseException):
        return str(error).replace("\n", " ")
    return None


def _unknown_key(error: omegaconf.errors.OmegaConfBaseException) -> str:
    """The message for an unknown key, with the valid ones; a task that a suite lacks is such a key too."""
    parent = str(error.full_key).rpartition(".")[0]
    owner = error.object_type
    if dataclasses.is_dataclass(owner):
        valid = [entry.name for entry in dataclasses.fields(owner)]
    else:
        valid = list(error.parent_node.keys()) if isinstance(error.parent_node, omegaconf.DictConfig) else []
    if owner is dict and not valid:
        return f"config key {error.full_key} is new: add it with a plus, +{parent}={{{error.key}: VALUE}}."
    return explain(str(error.full_key)) or str(
        unknown(f"config key in {parent}" if parent else "config key", error.key, valid)
    )


def _is(error: BaseException, name: str) -> bool:
    """Whether this is an error of Hydra, which only the entry point imports."""
    return any(kind.__name__ == name and kind.__module__.startswith("hydra.") for kind in type(error).__mro__)


def _causes(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
