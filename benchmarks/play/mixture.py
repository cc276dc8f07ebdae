"""Episodes of two policies in one recording."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput, total_cost


class EpisodeMixture(Policy):
    """Two policies of one task, one of which plays an episode, drawn at its start; labels are that one's."""

    def __init__(self, first: Policy, second: Policy, share: float) -> None:
        """Args: two policies, whose distributions count if they are of one kind, and the probability of the second."""
        self._policies, self._share = (first, second), share
        self.name = first.name
        alike = first.distribution_kind == second.distribution_kind
        self.distribution_kind = first.distribution_kind if alike else {}

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """Memory of both, and whether the second plays each environment's episode."""
        return [policy.initial_state(num_envs) for policy in self._policies], np.zeros(num_envs, bool)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Each policy decides the rows whose episodes it plays."""
        memories, second_plays = state
        for rows in inputs:
            for env_id, start, rng in zip(rows.env_ids, rows.episode_start, rows.rngs, strict=True):
                if start:
                    second_plays[env_id] = rng.random() < self._share
        outputs: dict[int, PolicyOutput] = {}
        for number, policy in enumerate(self._policies):
            chosen = [second_plays[rows.env_ids] == bool(number) for rows in inputs]
            places = [place for place, where in enumerate(chosen) if where.any()]
            if not places:
                continue
            asked = [inputs[place].where(chosen[place]) for place in places]
            decided, memories[number] = policy.act(asked, memories[number])
            for place, output in zip(places, decided, strict=True):
                outputs[place] = self._put(outputs.get(place), output, chosen[place])
        return [outputs[place] for place in range(len(inputs))], (memories, second_plays)

    def _put(self, whole: PolicyOutput | None, part: PolicyOutput, where: np.ndarray) -> PolicyOutput:
        """The output of all rows, with one policy's at its own rows."""
        abandoned = np.zeros(where.sum(), bool) if part.truncated_by_policy is None else part.truncated_by_policy
        has_distributions = bool(self.distribution_kind) and part.distributions is not None
        return PolicyOutput(
            _put(whole and whole.actions, part.actions, where),
            _put(whole and whole.labels, part.labels, where),
            _put(whole and whole.distributions, part.distributions, where) if has_distributions else None,
            truncated_by_policy=_put(whole and whole.truncated_by_policy, abandoned, where),
        )

    def inference_cost(self) -> dict[str, float]:
        """The sum of both."""
        return total_cost([policy.inference_cost() for policy in self._policies])

    def close(self) -> None:
        """Close both."""
        for policy in self._policies:
            policy.close()


def _put(whole: np.ndarray | None, part: Any, where: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """``whole`` with the rows of ``part`` where true; new if there is nothing yet."""
    if whole is None:
        whole = np.zeros((len(where), *part.shape[1:]), part.dtype)
    whole[where] = part
    return whole
