"""Datasets that were recorded elsewhere as experts' trajectories: Minari's, or folders of episodes.

Run by ``experts=minari`` and ``experts=files``; which of the two a folder is, the folder tells.
"""

import contextlib
from collections.abc import Iterator

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import content_digest, digest
from benchmarks.play.rollout import Episode
from benchmarks.tasks import Task
from experts.episode_files import episode_paths, file_episodes, is_episode_folder
from experts.episodes import checked_episode
from experts.minari_files import minari_episodes, minari_paths, report_damage


def dataset_episodes(task: Task, name: str, *, warn: bool = False) -> Iterator[Episode]:
    """The episodes of a dataset as if they had been recorded here, see :func:`experts.episodes.checked_episode`.

    An episode whose last step neither terminates nor truncates is unfinished, and left out.

    Args:
        task: that was played.
        name: a folder of episodes; or a Minari dataset, its id below Minari's folder, or its folder.
        warn: whether to say how many unfinished episodes are left out.

    Raises:
        GatitoError: if a package or the dataset is missing, its spaces do not fit, it is damaged, or it has fewer
            than two finished episodes, of which no score could be made.
    """
    finished = unfinished = 0
    of_files = is_episode_folder(name)
    raws = file_episodes(task, name) if of_files else minari_episodes(task, name)
    for number, raw in enumerate(raws):
        if not raw.finished:
            unfinished += 1
            continue
        length = len(raw.rewards)
        if length > task.horizon:
            raise GatitoError(
                f"dataset {name}: episode {number} has {length} steps, task {task.name} at most {task.horizon}: "
                "set the task's horizon in the suite, or give it its own dataset."
            )
        finished += 1
        with contextlib.nullcontext() if of_files else report_damage(task, name):
            episode = checked_episode(task, name, number, raw)
        yield episode
    if warn and unfinished:
        console.warn(f"dataset {name} of task {task.name}: {unfinished} unfinished episodes are left out.")
    if finished < 2:
        raise GatitoError(
            f"dataset {name} of task {task.name} has {finished} finished episode{'s' * (finished != 1)}, but a score "
            "needs two: give the task a larger one, or leave it out with tasks=[…]."
        )


def dataset_digest(task: Task, name: str) -> str:
    """Digest of a dataset's content.

    Raises:
        GatitoError: if a package or the dataset is missing, or it is damaged.
    """
    paths = episode_paths(task, name) if is_episode_folder(name) else minari_paths(task, name)
    return digest([[path.name, content_digest(path)] for path in paths])
