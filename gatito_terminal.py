"""The stages ``play`` and ``chat``: a person at the terminal with the generalist, or with an expert where none is."""

from typing import TYPE_CHECKING

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.project import find
from benchmarks.play.chat import chat_in_terminal, the_conversation
from benchmarks.play.policy import Policy
from benchmarks.play.terminal import play_in_terminal, the_game
from benchmarks.runs.stage import STAGES, require
from benchmarks.tasks import Task
from generalist.network.shape import SHAPE

if TYPE_CHECKING:
    from gatito import Plan

_TALKING = "gato29"
"""The suite whose released generalist talks where the chosen suite has no task of replies."""


def play(plan: "Plan") -> None:
    """Play in the terminal until the person leaves.

    Raises:
        GatitoError: if the suite does not have exactly one game, or there is no player.
    """
    task = the_game(plan.run.survivors())
    if plan.config.generalist.source == "none":
        player = plan.experts.player(task)
    else:
        player = _generalist(plan, task, plan.run.suite.name, "play")
    play_in_terminal(player, task, plan.config.seed)


def chat(plan: "Plan") -> None:
    """Talk in the terminal until the person leaves.

    Raises:
        GatitoError: if no task of the suite is a conversation, or there is no generalist.
    """
    suite = plan.run.suite
    task = the_conversation(suite)
    if task is None and plan.config.generalist.source == "released":
        from gatito_api import suite as suite_of  # imports what a list of tasks does not need

        suite = suite_of(_TALKING)
        task = the_conversation(suite)
    if task is None:
        raise GatitoError(f"suite {suite.name} has no task to talk in: suite=words and suite={_TALKING} have one.")
    if plan.config.generalist.source == "none":
        raise GatitoError("no expert can talk, since each writes its reference: set generalist=released or train.")
    chat_in_terminal(_generalist(plan, task, suite.name, "chat"), task, plan.config.seed)


def _generalist(plan: "Plan", task: Task, suite: str, stage: str) -> Policy:
    """The newest generalist of the run, or the released one of a suite: if it is set, or if the run has none yet."""
    from generalist.network.policy import NetworkPolicy  # imports torch

    config = plan.config.generalist
    released = find(config.released_folder(suite))
    folder = released
    if config.source != "released":
        _, newest = plan.generalist.newest()
        if newest.is_complete() or not (released / SHAPE).exists():
            require({"": newest}, *STAGES[stage].needs)
            folder = newest.folder
        else:
            console.note(f"{plan.run.folder} has no generalist yet: here is the one in {released}")
    elif not (released / SHAPE).exists():
        raise GatitoError(
            f"{released} has no generalist: name another one with generalist.released=FOLDER, or leave "
            "generalist=released out to train one."
        )
    return NetworkPolicy.load(folder, (task,), deterministic=config.deterministic)
