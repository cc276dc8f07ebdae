"""Amplifiers make a policy stronger by spending compute, either on each decision or on training.

A new amplifier is one module here, one line in ``AMPLIFIERS`` and one YAML file in ``conf/amplifier/`` with its name
and the options that differ from the dataclass's defaults.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.base.registry import Registry
from benchmarks.base.settings import build
from generalist.amplifiers.amplifier import Amplifier

AMPLIFIERS: Registry[type] = Registry(
    "amplifier",
    {
        "best_of_n": "generalist.amplifiers.best_of_n:BestOfN",
        "decompose": "generalist.amplifiers.decompose:Decompose",
        "finetune": "generalist.amplifiers.finetune:Finetune",
        "scale": "generalist.amplifiers.scale:Scale",
        "search": "generalist.amplifiers.search:Search",
        "self_imitation": "generalist.amplifiers.self_imitation:SelfImitation",
        "two_player_search": "generalist.amplifiers.two_player:TwoPlayerSearch",
    },
    attributes=("__dataclass_fields__",),
)
"""Amplifiers: dataclasses that follow :class:`generalist.amplifiers.amplifier.Amplifier`; their fields are options."""


def make_amplifier(options: Mapping[str, Any]) -> Amplifier:
    """Make the amplifier from the settings in ``conf/amplifier`` and on the command line.

    Raises:
        GatitoError: if there is no such amplifier or option, or a value has the wrong type.
    """
    given = dict(options)
    name = given.pop("name", None)
    return build(AMPLIFIERS.load(str(name)), given, "amplifier")
