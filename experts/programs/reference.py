"""The expert of tasks of writing: it writes the reference."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks.words.environment import Writing


class ReferencePolicy(Policy):
    """Writes the first reference byte by byte; after a wrong byte, it goes on at the next position."""

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def initial_state(self, num_envs: int) -> None:
        """None: the policy has no state."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The reference's next byte."""
        outputs = []
        for rows in inputs:
            actions = np.array([cast(Writing, env.unwrapped).next_byte for env in rows.envs], np.int64)
            outputs.append(PolicyOutput(actions, actions))
        return outputs, state
