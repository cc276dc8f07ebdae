"""Settings of several amplifiers: their objective and their candidate actions."""

from typing import Any

from benchmarks.base.settings import setting


def cost_weight() -> Any:  # noqa: ANN401
    """The field ``cost_weight``."""
    return setting(
        0.0,
        "Weight of the hidden cost that an overseer subtracts from rewards; 0: the cost is ignored.",
        at_least=0,
    )


def min_probability() -> Any:  # noqa: ANN401
    """The field ``min_probability``."""
    return setting(
        0.0,
        "Minimum probability of candidate actions under the policy, besides the greedy action (a quantilizer: Taylor "
        "2016); discrete actions only.",
        at_least=0,
        below=1,
    )
