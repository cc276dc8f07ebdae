"""All sources of items by ``env_id``."""

from collections.abc import Mapping
from typing import Any

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.words.corpora import Digits, Language, Replies
from benchmarks.tasks.words.items import Source
from benchmarks.tasks.words.metrics import check_score
from benchmarks.tasks.words.own import Own
from benchmarks.tasks.words.scenes import Captions, Questions

DATA = "data"
"""The argument of a task that holds the digest of its source's data."""
_SOURCES: Mapping[str, Any] = {
    "captions": Captions,
    "questions": Questions,
    "digits": Digits,
    "replies": Replies,
    "language": Language,
    "own": Own,
}
ARGUMENTS: Mapping[str, tuple[str, ...]] = dict.fromkeys(_SOURCES, ()) | {
    "language": ("context", "passage"),
    "own": ("file", "score", "longest_prompt", "longest_answer"),
}
"""The arguments of every source."""


def make_source(kind: str, arguments: Mapping[str, Any], task: str) -> Source:
    """Make a source and load what its score needs.

    Args:
        kind: a key of :data:`ARGUMENTS`.
        arguments: its arguments.
        task: the task's name, for error messages.

    Raises:
        GatitoError: if a package is missing, an argument is wrong, or the data are damaged.
    """
    wrong = [name for name, value in arguments.items() if isinstance(value, bool) or not isinstance(value, int | str)]
    wrong += [name for name, value in arguments.items() if isinstance(value, int) and value < 1]
    if wrong or (kind == "own" and "file" not in arguments):
        needed = "kwargs: {file: PATH}" if not wrong else f"{wrong[0]} must be a positive number or a text"
        raise GatitoError(f"task {task}: {needed}.", task)
    try:
        source = _SOURCES[kind](**arguments)
        check_score(source.metric)
    except GatitoError as error:
        error.task = task
        raise
    return source
