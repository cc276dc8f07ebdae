"""The schema of ``conf/codec/*.yaml``."""

from dataclasses import dataclass


@dataclass
class CodecConfig:
    """How observations and actions become numbers for the model.

    Attributes:
        name: which codec, see ``generalist.codecs.CODECS``.
        vector_width: longest observation vector (or largest discrete observation space) that it can carry.
        discrete_actions: largest discrete action space.
        action_dimensions: most continuous action dimensions.
        bins: categories that each continuous action dimension is cut into.
    """

    name: str = "step"
    vector_width: int = 384
    discrete_actions: int = 18
    action_dimensions: int = 17
    bins: int = 256
