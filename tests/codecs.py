"""A simple codec for tests: actions in bins, every step remembers, numbers as they are."""

from typing import Any

from generalist.config.codec import CodecConfig

_PLAIN = {"memory": "all", "continuous": "bins", "fourier_features": 0}


def plain_codec(name: str = "step", **settings: Any) -> CodecConfig:
    """Settings of a codec that equal no preset."""
    return CodecConfig(name, **_PLAIN | settings)
