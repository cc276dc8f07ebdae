"""Dataclasses from options by name, as configuration files and the command line give them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from benchmarks.base.errors import FatalError, GatitoError, unknown
from benchmarks.base.renamed import explain


def build(kind: type, options: Mapping[str, Any], group: str) -> Any:  # noqa: ANN401
    """A ``kind``, a dataclass whose fields all have defaults, with these options in their place.

    Args:
        kind: the dataclass.
        options: values by field name.
        group: where they stand, such as ``amplifier``, for an error's line.

    Raises:
        GatitoError: if there is no such field, or a value is of another kind than the field's default.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in options.items():
        if name not in fields:
            line = explain(f"{group}.{name}")
            raise FatalError(line) if line else unknown(f"option of {group}", name, fields)
        default = fields[name].default
        whole = isinstance(default, float) and type(value) is int
        if type(value) is not type(default) and not whole:
            raise GatitoError(f"{group}.{name}={value} must be of the kind of its default, {default}.")
    return kind(**options)
