"""Tasks of writing: captions, answers, replies and the next bytes of a text.

An episode is one item: an image, a prompt, or both, and at least one reference. An action is the next byte of the
answer; byte 0 ends it. The observation has the image and a text, the prompt with what is written so far. The reward is
0 until the answer ends, then its score from 0 to 1 (:mod:`benchmarks.tasks.words.metrics`). Gato treats text in the
same way (Reed et al. 2022, arXiv:2205.06175, section 2.1), with other data.

| env_id | item | score | what is held out for test episodes |
|---|---|---|---|
| captions | a rendered BabyAI room | F1 of the named objects | three pairs of colour and kind |
| questions | a room and a question about it | exact match | the same pairs, in rooms and questions |
| digits | a handwritten digit (scikit-learn's) | exact match | a fifth of the images |
| replies | a line of dialogue (ChatterBot's corpus) | chrF | a fifth of the prompts |
| language | 64 bytes of Python's documentation | share of next bytes that are predicted | a tenth of the pages |
| own | lines of a JSON file | as the file's task says | items with ``"test": true`` |

In ``language``, an episode has 64 steps: the text goes on as it is, whatever is written. The seed of an episode decides
the item, and the seed's purpose whether it is one for tests (:func:`benchmarks.base.seeds.is_test`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from benchmarks.base.errors import unknown

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

FAMILY = "words"


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """The arguments of a task's items, a digest of their data, and the longest answer in steps.

    Raises:
        FatalError: if there is no such kind of items, or an argument is wrong.
        GatitoError: if a package is missing, or the data are damaged.
    """
    from benchmarks.tasks.words.sources import ARGUMENTS, DATA, make_source

    if config.env_id not in ARGUMENTS:
        raise unknown(f"kind of items of task {name}", config.env_id, ARGUMENTS)
    for argument in config.kwargs:
        if argument not in (*ARGUMENTS[config.env_id], DATA):
            raise unknown(f"argument of task {name}", argument, ARGUMENTS[config.env_id] or ["none"])
    arguments = {argument: value for argument, value in config.kwargs.items() if argument != DATA}
    source = make_source(config.env_id, arguments, name)
    data = {DATA: source.digest} if source.digest else {}
    return arguments | data, config.horizon or source.longest_answer + (not source.forced)


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The environment of a task.

    Raises:
        GatitoError: if a package is missing, or the data are damaged.
    """
    from benchmarks.tasks.words.environment import Writing
    from benchmarks.tasks.words.sources import DATA, make_source

    arguments = {argument: value for argument, value in task.kwargs.items() if argument != DATA}
    return Writing(make_source(task.env_id, arguments, task.name), task.horizon, render_mode)
