"""Settings: dataclasses whose fields hold a default, a help text and the range of valid values.

    @dataclass
    class EvaluateConfig:
        episodes: int = setting(100, "Test episodes per task and agent.", at_least=2)

Everything else follows from the fields: the checks, ``gatito --help``, ``docs/configuration.md``, and the fingerprints
of artifacts. A fingerprint contains only settings that differ from their defaults, so that a new setting invalidates no
artifact. A changed default requires a new ``benchmarks.base.artifacts.FORMAT``, which a test checks.
"""

import dataclasses
import math
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.base.errors import FatalError, one_line, unknown
from benchmarks.base.registry import Registry

_SETTING = "setting"
_WORDS = re.compile(r"[\w/.*-]+(,[\w/.*-]+)*")
_VALUE = r"(?=[^,:\[\]{{}}()]*{})[^\s,:\[\]{{}}()][^,:\[\]{{}}()]*"
_LETTERS = re.compile(_VALUE.format(r"[^\x00-\x7f]"))  # a value with some beyond ASCII
_LETTERS_OR_EQUALS = re.compile(_VALUE.format(r"(?:[^\x00-\x7f]|=)"))


@dataclasses.dataclass(frozen=True)
class Setting:
    """The metadata of a field besides its type and default.

    Attributes:
        help: one or two sentences for ``gatito --help`` and the documentation.
        at_least: smallest valid number.
        above: largest number that is too small.
        at_most: largest valid number.
        below: smallest number that is too large.
        choices: valid words; for a list, the valid elements.
        decides: whether results depend on it, so that it is part of artifacts' fingerprints.
    """

    help: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: Sequence[str] | Registry[Any] | None = None
    decides: bool = True

    @property
    def range(self) -> str:
        """The valid numbers in words, such as ``at least 0 and below 1``; ``""`` if all are valid."""
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def holds(self, number: float) -> bool:
        """Whether a number is valid; it must be finite."""
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


@dataclasses.dataclass(frozen=True)
class Described:
    """The documentation of a setting.

    Attributes:
        key: its full name, such as ``distill.batch_size``.
        default: its default in YAML.
        help: its meaning.
        valid: its range or choices in words; ``""`` if every value of its type is valid.
        decides: see :class:`Setting`.
    """

    key: str
    default: str
    help: str
    valid: str
    decides: bool


def setting(default: Any, help: str, **bounds: Any) -> Any:  # noqa: ANN401
    """A field of a settings dataclass.

    Args:
        default: its default; for nested dataclasses, a function that makes it.
        help: see :class:`Setting`.
        bounds: the other attributes of :class:`Setting`.
    """
    metadata = {_SETTING: Setting(help, **bounds)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(group: str, config: Any) -> None:  # noqa: ANN401
    """Reject values outside of the fields' ranges and choices, including nested dataclasses.

    Args:
        group: the settings' config group, such as ``distill``; ``""`` for the top level.
        config: a settings dataclass.

    Raises:
        FatalError: names the first such setting.
    """
    for field, known in _fields(config):
        key, value = f"{group}.{field.name}" if group else field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_settings(key, value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and not known.holds(value):
            raise FatalError(f"{key} must be {known.range or 'a finite number'}, not {value:g}.")
        elif known.choices is not None and value is not None:
            for word in value if isinstance(value, list) else [value]:
                if word not in known.choices:
                    raise unknown(key, word, known.choices)


def decisive(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """The settings that affect results and differ from their defaults, for the fingerprint of an artifact."""
    different: dict[str, Any] = {}
    for field, known in _fields(config):
        value = getattr(config, field.name)
        if not known.decides or value == _default(field):
            continue
        different[field.name] = decisive(value) if dataclasses.is_dataclass(value) else value
    return {name: value for name, value in different.items() if value != {} or name not in _nested(config)}


def build(kind: type, options: Mapping[str, Any], group: str) -> Any:  # noqa: ANN401
    """Build a settings dataclass from options by name, from configuration files and the command line.

    Args:
        kind: the dataclass; every field has a default.
        options: values by field name.
        group: their config group, such as ``amplifier``.

    Raises:
        FatalError: if there is no such field, or a value has the wrong type or is out of range.
    """
    schema: Any = OmegaConf.structured(kind)
    OmegaConf.set_readonly(schema, False)  # the schema of a frozen dataclass is read-only
    given: Any = dict(options)
    for name in reversed(group.split(".")):
        schema, given = OmegaConf.create({name: schema}), {name: given}
    try:
        merged = OmegaConf.select(OmegaConf.merge(schema, given), group)
        built = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise FatalError(str(one_line(error))) from error
    check_settings(group, built)
    return built


def from_file(kind: type, options: Mapping[str, Any], group: str, path: Path, remedy: str) -> Any:  # noqa: ANN401
    """Build a settings dataclass from a file's content; settings that are newer than the file have their defaults.

    Args:
        kind: the dataclass; every field has a default.
        options: values by field name.
        group: their config group on the command line, such as ``model``.
        path: the file, for the error message.
        remedy: the advice for the error message.

    Raises:
        FatalError: if the file has an unknown key or an invalid value; names the file, and the successor of a renamed
            key.
    """
    try:
        return build(kind, options, group)
    except FatalError as error:
        raise FatalError(f"{path}: {error} {remedy}") from None


def describe(kind: type, group: str = "") -> Iterator[Described]:
    """Every setting of a dataclass, including nested ones, in the order of its fields."""
    types = typing.get_type_hints(kind)
    for field, known in _fields(kind):
        key = f"{group}.{field.name}" if group else field.name
        if dataclasses.is_dataclass(types[field.name]):
            yield from describe(typing.cast(type, types[field.name]), key)
        else:
            valid = ", ".join(known.choices) if known.choices is not None else known.range
            yield Described(key, _as_yaml(_default(field)), known.help, valid, known.decides)


def words_as_lists(arguments: Sequence[str], kind: type) -> list[str]:
    """Command-line arguments with single words as lists where a list is needed: ``tasks=cartpole`` → ``[cartpole]``.

    In a sweep (``-m``), each of several words becomes a separate list.
    """
    lists, sweep = set(_list_keys(kind)), bool({"-m", "--multirun"} & set(arguments))
    changed = []
    for argument in arguments:
        key, assigned, value = argument.partition("=")
        if key.lstrip("+") in lists and _WORDS.fullmatch(value) and value != "null":
            value = ",".join(f"[{word}]" for word in value.split(",")) if sweep else f"[{value}]"
        changed.append(key + assigned + value)
    return changed


def values_quoted(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with values in the quotes that Hydra needs: ``runs=[größe,a=1]`` → ``["größe","a=1"]``."""
    changed = []
    for argument in arguments:
        key, assigned, value = argument.partition("=")
        if not argument.startswith("-") and "'" not in value and '"' not in value:
            in_list = value.startswith("[")  # elsewhere Hydra accepts "=", and its functions need it: range(start=1)
            value = (_LETTERS_OR_EQUALS if in_list else _LETTERS).sub(r'"\g<0>"', value)
        changed.append(key + assigned + value)
    return changed


def _list_keys(kind: type, group: str = "") -> Iterator[str]:
    for name, annotation in typing.get_type_hints(kind).items():
        key = f"{group}.{name}" if group else name
        if dataclasses.is_dataclass(annotation):
            yield from _list_keys(typing.cast(type, annotation), key)
        elif any(typing.get_origin(part) is list for part in (annotation, *typing.get_args(annotation))):
            yield key


def keys_text(kind: type) -> str:
    """Every key of a settings dataclass, its default and its help, for ``gatito --help``."""
    lines = []
    for known in describe(kind):
        valid = f" Valid: {known.valid}." if known.valid else ""
        lines.append(f"{known.key}={known.default}")
        lines += textwrap.wrap(known.help + valid, 110, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def undescribed(kind: type, group: str = "") -> list[str]:
    """The fields of a dataclass, including nested ones, that have no help text."""
    types = typing.get_type_hints(kind)
    missing = []
    for field in dataclasses.fields(kind):
        key = f"{group}.{field.name}" if group else field.name
        known = field.metadata.get(_SETTING)
        if known is None or not known.help:
            missing.append(key)
        if dataclasses.is_dataclass(types[field.name]):
            missing += undescribed(typing.cast(type, types[field.name]), key)
    return missing


def _fields(config: Any) -> Iterator[tuple[dataclasses.Field[Any], Setting]]:  # noqa: ANN401
    for field in dataclasses.fields(config):
        yield field, field.metadata.get(_SETTING, Setting(""))


def _nested(config: Any) -> set[str]:  # noqa: ANN401
    return {field.name for field, _ in _fields(config) if dataclasses.is_dataclass(getattr(config, field.name))}


def _default(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _as_yaml(value: Any) -> str:  # noqa: ANN401
    """A default in the syntax of the command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_as_yaml(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
