"""Agents from outside the project, as the setting ``agents`` names them, to be scored beside the project's own."""

import functools
from collections.abc import Collection, Mapping, Sequence

from benchmarks.base.errors import FatalError
from benchmarks.play.outside.loading import AgentConfig, find_agent, load_agent
from benchmarks.scoring.agents import AGENTS, AgentId, is_agent_name
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Task


def check_agents(entries: Mapping[str, object], taken: Collection[str] = ()) -> None:
    """Refuse agents that cannot be found, before anything is made; their modules are imported.

    Args:
        entries: by the agents' names, see :meth:`AgentConfig.parse`.
        taken: names that agents of the run have, besides :data:`AGENTS`.

    Raises:
        FatalError: naming the agent.
    """
    for name, entry in entries.items():
        if not is_agent_name(name):
            raise FatalError(
                f"agents.{name}: an agent's name has letters, digits, - and _, a letter first, and at most 40 of them."
            )
        if name in (*AGENTS, *taken):
            raise FatalError(f"agents.{name}: the name is taken by an agent of the run: choose another one.")
        find_agent(name, AgentConfig.parse(name, entry))


def outside_agents(entries: Mapping[str, object], tasks: Sequence[Task]) -> list[Agent]:
    """The agents of these entries, to be scored on tasks."""
    agents = []
    for name, entry in entries.items():
        config = AgentConfig.parse(name, entry)
        load = functools.partial(load_agent, name, config, tuple(tasks))
        agents.append(Agent(AgentId(name), load, lanes=config.num_envs, how=config.identity, outside=True))
    return agents
