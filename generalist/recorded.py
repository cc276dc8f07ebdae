"""Networks that are recorded in place of the experts: ``record.player``.

So a generalist is distilled into a smaller network or into specialists, and these into one network again.
"""

from functools import partial
from pathlib import Path

import gymnasium as gym

from benchmarks.base.artifacts import digest, read_manifest
from benchmarks.play.policy import Policy
from benchmarks.play.recording import Player
from benchmarks.runs.run import Run
from benchmarks.tasks import Task, spaces
from generalist.config.recipe import find_network


def network_players(run: Run, name: str | None) -> dict[str, Player]:
    """The networks that are recorded in place of the experts, by task name; none without a name.

    Args:
        run: the run.
        name: ``record.player``: a run's name, or the folder of a network or of one network for each task.

    Raises:
        FatalError: if there is no finished network for a task.
    """
    players = {}
    for task in run.suite if name is not None else ():
        folder = find_network(run, "record.player", str(name), task.name)
        manifest = read_manifest(folder)
        assert manifest is not None
        players[task.name] = Player(digest(manifest["files"]), partial(_load_network, folder, task))
    return players


def _load_network(folder: Path, task: Task) -> Policy:
    """A network as a teacher: its action distributions are recorded, where the format has a kind for them."""
    from generalist.network.policy import NetworkPolicy  # imports torch, which a plan of recordings does not need

    policy = NetworkPolicy.load(folder, [task], "expert")
    space, codec = spaces(task)[1], policy.network.codec
    if isinstance(space, gym.spaces.Discrete) and codec.name != "gato":
        policy.distribution_kind = {task.name: "logits"}
    elif isinstance(space, gym.spaces.Box) and codec.name == "step" and codec.continuous == "normal":
        policy.distribution_kind = {task.name: "gaussian"}
    return policy
