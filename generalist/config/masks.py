"""Tasks with illegal actions, and the methods that do not support them yet."""

from collections.abc import Sequence

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, has_action_mask


def refuse_masks(method: str, reason: str, tasks: Sequence[Task], remedy: str) -> None:
    """Reject tasks whose environment provides action masks; a task that cannot be reset is skipped.

    Args:
        method: the method without support for masks, such as ``amplifier search``.
        reason: the error that it would make.
        tasks: the tasks that it would play or learn.
        remedy: the setting to change.

    Raises:
        GatitoError: names the first such task and the remedy.
    """
    for task in tasks:
        try:
            masked = has_action_mask(task)
        except GatitoError:
            continue  # an environment that cannot be reset fails in its own stage, without stopping the other tasks
        if masked:
            raise GatitoError(
                f"{method} cannot take task {task.name}, whose environment gives info['action_mask']: it {reason}. "
                f"{remedy}, or leave the task out with tasks=[…].",
                task.name,
            )
