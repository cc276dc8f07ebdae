"""Watch a policy while it plays: what it did is kept beside the scores of its episodes."""

from collections.abc import Sequence
from typing import Any, Protocol

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput


class Watch(Protocol):
    """Sees every decision of a policy."""

    def see(self, rows: PolicyInput, output: PolicyOutput) -> None:
        """Called with each task's rows and the policy's decisions, before the environments take a step."""
        ...


class WatchedPolicy(Policy):
    """A policy that plays as before, while others watch."""

    def __init__(self, policy: Policy, watches: Sequence[Watch]) -> None:
        """Args: the policy, and who watches."""
        self._policy, self._watches = policy, watches
        self.name, self.distribution_kind = policy.name, policy.distribution_kind

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The policy's memory."""
        return self._policy.initial_state(num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[Sequence[PolicyOutput], Any]:  # noqa: ANN401
        """The policy's decisions."""
        outputs, state = self._policy.act(inputs, state)
        for rows, output in zip(inputs, outputs, strict=True):
            for watch in self._watches:
                watch.see(rows, output)
        return outputs, state

    def inference_cost(self) -> dict[str, float]:
        """The policy's."""
        return self._policy.inference_cost()

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()
