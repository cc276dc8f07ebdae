"""Agents from outside the project, named in the setting ``agents``, for scoring alongside the project's own."""

import functools
from collections.abc import Collection, Mapping, Sequence

from benchmarks.base.errors import FatalError
from benchmarks.play.outside.loading import AgentConfig, find_agent, load_agent
from benchmarks.scoring.agents import AGENTS, AgentId, is_agent_name
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Task


def check_agents(entries: Mapping[str, object], taken: Collection[str] = ()) -> None:
    """Reject agents that cannot be found, before any work is done; their modules are imported.

    Args:
        entries: by the agents' names, see :meth:`AgentConfig.parse`.
        taken: names of the run's agents besides :data:`AGENTS`.

    Raises:
        FatalError: names the agent.
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
    """The agents of these entries, for scoring on these tasks."""
    agents = []
    for name, entry in entries.items():
        config = AgentConfig.parse(name, entry)
        load = functools.partial(load_agent, name, config, tuple(tasks))
        agents.append(Agent(AgentId(name), load, num_envs=config.num_envs, how=config.identity, outside=True))
    return agents
