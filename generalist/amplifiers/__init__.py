"""Amplifiers make a policy stronger by spending compute: more thought per action, or more learning.

A new amplifier is one module here, one line in ``AMPLIFIERS`` and one YAML file in ``conf/amplifier/``, which holds the
fields of the module's own dataclass.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from benchmarks.base.errors import unknown
from benchmarks.base.settings import build
from generalist.amplifiers.amplifier import Amplifier

AMPLIFIERS = {
    "best_of_n": ("generalist.amplifiers.best_of_n", "BestOfN"),
    "decompose": ("generalist.amplifiers.decompose", "Decompose"),
    "finetune": ("generalist.amplifiers.finetune", "Finetune"),
    "scale": ("generalist.amplifiers.scale", "Scale"),
    "search": ("generalist.amplifiers.search", "Search"),
    "self_imitation": ("generalist.amplifiers.self_imitation", "SelfImitation"),
}
"""Amplifiers' names and their dataclasses, imported when first needed."""


def make_amplifier(options: Mapping[str, Any]) -> Amplifier:
    """The amplifier that ``conf/amplifier`` and the command line describe.

    Raises:
        GatitoError: if there is no such amplifier or option, or a value is of the wrong kind.
    """
    given = dict(options)
    name = given.pop("name", None)
    return build(amplifier_class(str(name)), given, "amplifier")


def amplifier_class(name: str) -> type:
    """The dataclass of an amplifier and its options.

    Raises:
        FatalError: if there is no such amplifier.
    """
    if name not in AMPLIFIERS:
        raise unknown("amplifier", name, AMPLIFIERS)
    module, kind = AMPLIFIERS[name]
    return getattr(importlib.import_module(module), kind)
