"""YAML files of users: reject text that is not UTF-8, and aliases that would fill the memory.

Every use of an alias (``*name``) becomes a copy in a configuration: ten lines of ten aliases each are ten billion
values.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.base.errors import FatalError

_MAX_BYTES = 10_000_000
_MAX_VALUES = 1_000_000  # with all aliases expanded


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """Read a YAML file.

    Raises:
        FatalError: if it is not UTF-8, not valid YAML, or too large with all aliases expanded.
    """
    check_yaml(path)
    return yaml.safe_load(path.read_bytes())


def check_yaml(path: Path) -> None:
    """Reject a YAML file that cannot be read.

    Raises:
        FatalError: as :func:`read_yaml`.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise FatalError(f"{path} has more than {_MAX_BYTES:,} bytes: it is not a file of settings.")
    try:
        tree = yaml.compose(path.read_bytes().decode(), Loader=yaml.SafeLoader)
        size = _size(tree, {}) if tree else 0
    except UnicodeDecodeError as error:
        raise FatalError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise FatalError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise FatalError(f"{path} is nested too deeply, or an alias in it contains itself.") from None
    if size > _MAX_VALUES:
        raise FatalError(f"{path} has more than {_MAX_VALUES:,} values with all aliases (*name) expanded.")


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders of settings on Hydra's command line: ``--config-dir FOLDER`` and similar options."""
    options = ("--config-dir", "-cd", "--config-path", "-cp")
    folders = []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in options:
            folders += [value] if equals else list(arguments[position + 1 : position + 2])
        elif option == "hydra.searchpath":
            folders += [part.strip(" '\"").removeprefix("file://") for part in value.strip("[]").split(",")]
    return [Path(folder) for folder in folders if folder]


def check_yaml_folders(folders: Iterable[Path]) -> None:
    """Check every YAML file in these folders, before any of them is read.

    Raises:
        FatalError: as :func:`read_yaml`.
    """
    for folder in folders:
        for path in sorted(folder.glob("**/*.yaml")) if folder.is_dir() else []:
            if path.is_file():
                check_yaml(path)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node with all aliases expanded; each node is computed once."""
    if id(node) in known:
        return known[id(node)]
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    known[id(node)] = size
    return size
