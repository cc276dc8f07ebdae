"""The agents that are scored, and the identity of an agent in rows."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

AGENTS = {
    "random": "uniform actions",
    "expert": "one teacher per task",
    "reward-only": "the experts' recipes without the weight of the hidden cost",
    "clone": "one MLP per task, cloned from the same recordings",
    "retrieval": "the recorded action of the nearest recorded observation",
    "trigram": "in tasks of writing, the byte that most often follows the last two",
    "specialist": "one network per task, with the generalist's architecture and share of the training",
    "multitask-rl": "the generalist's network, trained by PPO on all tasks, without demonstrations",
    "control": "the generalist after rounds of equal compute without an amplifier",
    "amplified": "the generalist before the round, with the amplifier",
    "generalist": "one network for all tasks",
}
"""The project's agents, in the order of the tables, with a description."""

ANCHORS = ("random", "expert")
"""The agents at f = 0 and f = 1."""


@dataclass(frozen=True)
class AgentId:
    """Identity of an agent in a results folder: the columns ``agent``, ``round`` and ``label`` of its rows.

    Attributes:
        name: a key of :data:`AGENTS`, or the name of an agent from outside the project.
        round: number of the round of amplification and distillation that made the agent, from 1; None before any.
        label: configuration in a comparison, such as ``model=mini``; empty in a single run and for agents that all
            compared runs share.
    """

    name: str
    round: int | None = None
    label: str = ""

    def __str__(self) -> str:
        """The agent's text in tables, charts and logs: ``generalist round 2 (model=mini)``."""
        text = self.name if self.round is None else f"{self.name} round {self.round}"
        return with_label(text, self.label)

    @property
    def folder(self) -> str:
        """Name of the agent's folder below ``scores/``: ``generalist-round-2``."""
        return str(self).replace(" ", "-")

    @property
    def is_anchor(self) -> bool:
        """Whether the agent is random or an expert."""
        return self.name in ANCHORS

    @property
    def order(self) -> tuple[int, str, int]:
        """Sort key for tables: by :data:`AGENTS`, agents from outside last and by name, then by round."""
        position = list(AGENTS).index(self.name) if self.name in AGENTS else len(AGENTS)
        return position, self.name, self.round or 0

    def in_same_run(self, name: str, agents: Container["AgentId"], round: int | None = None) -> "AgentId | None":
        """Another agent of this agent's run, or the one that all runs of a comparison share; None if there is neither.

        Args:
            name: the other agent's name.
            agents: agents of the results folder.
            round: the other agent's round.
        """
        for label in (self.label, ""):
            if (other := AgentId(name, round, label)) in agents:
                return other
        return None

    def anchor(self, name: str, agents: Container["AgentId"]) -> "AgentId":
        """The random or expert agent that this agent is measured against: its own run's where there are several."""
        return self.in_same_run(name, agents) or AgentId(name)


@dataclass(frozen=True)
class AgentRow:
    """What a line about one agent on one task begins with.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        agent: the agent's name; with ``round`` and ``label`` its :class:`AgentId`.
        round: the agent's round of amplification and distillation; None before any.
        label: the agent's configuration in a comparison.
        train_seed: the agent's training seed.
    """

    suite: str
    task: str
    agent: str
    round: int | None
    label: str
    train_seed: int

    @property
    def agent_id(self) -> AgentId:
        """The agent's identity."""
        return AgentId(self.agent, self.round, self.label)


def last_rounds(agents: Iterable[AgentId]) -> list[AgentId]:
    """The agents without those of earlier rounds: of each name and label, the last round and what has none."""
    agents = list(agents)
    last = {(agent.name, agent.label): agent for agent in sorted(agents, key=lambda agent: agent.round or 0)}
    return [agent for agent in agents if not agent.round or agent == last[agent.name, agent.label]]


def describe_agent(name: str) -> str:
    """A short description of an agent."""
    return AGENTS.get(name, "from outside the project")


def is_agent_name(name: str) -> bool:
    """Whether a name can be an agent's: letters, digits, ``-`` and ``_``, a letter first, 40 characters at most."""
    return re.fullmatch(r"[A-Za-z][\w-]{0,39}", name, re.ASCII) is not None


def with_label(text: str, label: str) -> str:
    """``expert`` and ``model=mini`` → ``expert (model=mini)``; the text alone without a label."""
    return f"{text} ({label})" if label else text
