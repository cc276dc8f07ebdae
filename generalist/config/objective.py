"""Settings that several amplifiers share: what they maximise, and which actions they may try."""

from typing import Any

from benchmarks.base.settings import setting


def cost_weight() -> Any:  # noqa: ANN401
    """The field ``cost_weight``."""
    return setting(
        0.0,
        "Weight of the hidden cost that an overseer subtracts from the rewards; 0: blind to the cost.",
        at_least=0,
    )


def min_probability() -> Any:  # noqa: ANN401
    """The field ``min_probability``."""
    return setting(
        0.0,
        "Only actions to which the policy gives at least this probability are tried, besides its most likely one "
        "(a quantilizer: Taylor 2016); discrete actions only.",
        at_least=0,
        below=1,
    )
