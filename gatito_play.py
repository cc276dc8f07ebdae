"""The stage ``play``: a person plays a board game against the generalist, or against the expert where there is none."""

from typing import TYPE_CHECKING

from benchmarks.base.errors import GatitoError
from benchmarks.base.project import find
from benchmarks.play.policy import Policy
from benchmarks.play.terminal import play_in_terminal, the_game
from benchmarks.runs.stage import STAGES, require
from benchmarks.tasks import Task

if TYPE_CHECKING:
    from gatito import Plan


def play(plan: "Plan") -> None:
    """Play in the terminal until the person leaves.

    Raises:
        GatitoError: if the suite does not have exactly one game, or there is no player.
    """
    task = the_game(plan.run.survivors())
    play_in_terminal(_player(plan, task), task, plan.config.seed)


def _player(plan: "Plan", task: Task) -> Policy:
    """The policy to play against: the newest generalist, or the expert where there is none."""
    config = plan.config.generalist
    if config.source == "none":
        return plan.experts.player(task)
    if config.source == "released":
        from generalist.network.network import SHAPE  # imports torch
        from generalist.network.policy import NetworkPolicy

        folder = find(config.released_folder(plan.run.suite.name))
        if not (folder / SHAPE).exists():
            raise GatitoError(f"{folder} has no generalist: play against the expert with generalist=none.")
        return NetworkPolicy.load(folder, (task,), deterministic=config.deterministic)
    newest = [agent for agent in plan.generalist.agents() if agent.id.name == "generalist"][-1]
    require(newest.made_from, *STAGES["play"].needs)
    return newest.load()
