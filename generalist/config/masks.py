"""Which tasks have illegal actions, and what cannot deal with them yet."""

from collections.abc import Sequence

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, has_action_mask


def refuse_masks(what: str, reason: str, tasks: Sequence[Task], remedy: str) -> None:
    """Refuse tasks whose environment says which actions are legal; one that cannot be reset is passed over.

    Args:
        what: who refuses, such as ``amplifier search``.
        reason: what it would do wrong.
        tasks: those that it is asked to play or to learn.
        remedy: the setting to change.

    Raises:
        GatitoError: naming the first such task and the way out.
    """
    for task in tasks:
        try:
            masked = has_action_mask(task)
        except GatitoError:
            continue  # an environment that cannot be reset fails in its own stage, and the other tasks go on
        if masked:
            raise GatitoError(
                f"{what} cannot take task {task.name}, whose environment gives info['action_mask']: it {reason}. "
                f"{remedy}, or leave the task out with tasks=[…].",
                task.name,
            )
