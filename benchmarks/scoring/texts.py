"""Rows of what agents wrote in tasks of writing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.base.errors import GatitoError
from benchmarks.play.text_records import TextRecord
from benchmarks.scoring.agents import AgentId, AgentRow
from benchmarks.tasks import Suite


@dataclass(frozen=True)
class TextRow(AgentRow):
    """What one agent wrote in one test episode: a line of ``texts.csv``.

    Attributes:
        episode_seed: seed of the episode.
        prompt: what the writer was asked or told.
        written: its text.
        references: the texts that count as right, a JSON list.
        bits: mean bits of the true next byte; None where they are unknown.
    """

    episode_seed: int
    prompt: str
    written: str
    references: str
    bits: float | None

    @property
    def accepted(self) -> list[str]:
        """The texts that count as right.

        Raises:
            GatitoError: if they are not a list of texts.
        """
        try:
            accepted = json.loads(self.references)
        except ValueError:
            accepted = None
        if not accepted or not isinstance(accepted, list) or not all(isinstance(text, str) for text in accepted):
            raise GatitoError(
                f"texts.csv: {self.agent_id} on {self.task}, episode {self.episode_seed}, has no list of references: "
                "run with stages=[evaluate,report] again."
            )
        return accepted


def text_rows(suite: Suite, agent: AgentId, seed: int, texts: Sequence[TextRecord]) -> list[TextRow]:
    """Rows of what an agent wrote, in the order of tasks and episode seeds."""
    order = {task.name: index for index, task in enumerate(suite)}
    kept = [text for text in texts if text.task in order]
    return [
        TextRow(
            suite.name,
            text.task,
            agent.name,
            agent.round,
            agent.label,
            seed,
            text.seed,
            text.prompt,
            text.written,
            json.dumps(text.references),
            text.bits,
        )
        for text in sorted(kept, key=lambda text: (order[text.task], text.seed))
    ]
