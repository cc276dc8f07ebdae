"""Codecs turn a task's observations and actions into the model's inputs and targets, and back.

A new codec is one module here, one line in ``CODECS`` and one YAML file in ``conf/codec/``.
"""

import importlib
from typing import TYPE_CHECKING

from benchmarks.errors import unknown
from generalist.codecs.config import CodecConfig

if TYPE_CHECKING:
    from generalist.codecs.step import StepCodec

CODECS = {"step": ("generalist.codecs.step", "StepCodec")}
"""Codec names and the classes that build them, imported when first needed."""


def make_codec(config: CodecConfig, width: int) -> "StepCodec":
    """The codec that a config names, for a model of this width.

    Raises:
        GatitoError: if there is no such codec.
    """
    if config.name not in CODECS:
        raise unknown("codec", config.name, CODECS)
    module, name = CODECS[config.name]
    return getattr(importlib.import_module(module), name)(config, width)


__all__ = ["CODECS", "CodecConfig", "make_codec"]
