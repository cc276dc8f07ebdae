"""The one kind of error that a person is meant to read: a single line that says what is wrong and the way out."""

import dataclasses
import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import omegaconf
import yaml

from benchmarks.base.renamed import explain

_REFUSALS = {
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.EROFS: "the file system can only be read",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in the place of a file",
    errno.ELOOP: "symbolic links lead in a circle",
    errno.EIO: "the device reports an error",
    errno.ESTALE: "the network file system has lost it",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
}
"""What a file system may answer, which is no bug."""


class GatitoError(Exception):
    """Something that the person at the keyboard can mend; its text is one line and names the way out.

    Raised while one task is worked on, it fails that task alone, and the other tasks go on.

    Attributes:
        task: the name of the task that it befell, where whoever raised it knew.
    """

    def __init__(self, text: str, task: str | None = None) -> None:
        super().__init__(text)
        self.task = task


class FatalError(GatitoError):
    """One that stops the whole run, whichever task it was met in: a mistyped word, a file that is damaged."""


class TasksFailedError(GatitoError):
    """Some tasks of a run failed, and the run has done what could be done without them.

    Attributes:
        lines: what each task failed of.
    """

    def __init__(self, text: str, lines: Sequence[str]) -> None:
        super().__init__(text)
        self.lines = list(lines)


def unknown(kind: str, name: object, valid: Iterable[object]) -> FatalError:
    """The answer to a name that does not exist: the nearest valid one and all the others.

    Args:
        kind: what was looked for, such as ``"task"``.
        name: what was asked for.
        valid: every name that would have worked.
    """
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return FatalError(f"unknown {kind} '{name}'.{hint} Valid: {', '.join(names) or '(none)'}.")


def gatito_error(error: BaseException) -> GatitoError | None:
    """The error for the person at the keyboard that this one is, or came of."""
    return next((cause for cause in _causes(error) if isinstance(cause, GatitoError)), None)


def one_line(error: BaseException) -> str | None:
    """What to tell the person at the keyboard; None for a bug of ours, which deserves its traceback."""
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
                f"{where}{_REFUSALS[cause.errno]}. Mend that, or choose another folder (such as runs_folder=FOLDER), "
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
    """The valid keys beside the unknown one; a task that a suite lacks is such a key too."""
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
    """Whether this is an error of Hydra's, which the entry point alone imports."""
    return any(kind.__name__ == name and kind.__module__.startswith("hydra.") for kind in type(error).__mro__)


def _causes(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
