"""Suites by the path of their file: ``suite=./my_suite.yaml``.

Hydra's names of suites have no slashes, so a path is encoded as such a name, which every process can decode:
``./my suite.yaml`` is ``.%2Fmy%20suite.yaml``.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml
from omegaconf import OmegaConf

from benchmarks.base.errors import FatalError
from benchmarks.base.yaml_files import check_yaml

_KEY = "suite="
_ENDINGS = (".yaml", ".yml")
_SLASH = "%2F"  # part of every encoded path, and of no other name


def name_suite_files(arguments: Sequence[str], store: Callable[[str, dict[str, Any]], None]) -> list[str]:
    """Command-line arguments with the paths of suite files encoded as names for Hydra.

    Args:
        arguments: the typed arguments; a sweep may name several suites, separated by commas.
        store: receives the name and the content of each file.

    Raises:
        FatalError: if there is no such file, or it is not a file of YAML settings.
    """
    named = []
    for argument in arguments:
        if argument.startswith(_KEY):
            suites = _suites(argument.removeprefix(_KEY))
            argument = _KEY + ",".join(_named(suite, store) for suite in suites)
        named.append(argument)
    return named


def typed_suite(argument: str) -> str:
    """The argument that was typed: the inverse of :func:`name_suite_files` for one suite."""
    return unquote(argument) if argument.startswith(_KEY) and _SLASH in argument else argument


def file_name(path: str) -> str:
    """The encoded name of a suite file."""
    path = path if os.sep in path else f".{os.sep}{path}"
    return quote(path, safe="").replace("~", "%7E")


def read_suite_file(path: Path) -> dict[str, Any]:
    """The content of a suite file, with interpolations unresolved.

    Raises:
        FatalError: if there is no such file, or it is not a file of YAML settings.
    """
    if path.is_dir():
        raise FatalError(f"suite={path} is a folder: name a file, such as suite={path / 'mine.yaml'}.")
    if not path.is_file():
        near = sorted(other.name for other in path.parent.glob("*") if other.suffix in _ENDINGS)
        there = f"its folder has {', '.join(near[:10])}" if near else "its folder has no YAML file"
        where = there if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise FatalError(f"suite={path}: there is no such file; {where}.")
    check_yaml(path)
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # reads numbers as Hydra does
    except (yaml.YAMLError, OSError) as error:  # a duplicate key; a file with only a number
        raise FatalError(f"{path} is not valid YAML settings: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise FatalError(
            f"suite={path} is not a suite: it needs a line name: NAME and tasks under tasks:, see docs/extending.md."
        )
    return {str(key): value for key, value in content.items()}


def _suites(value: str) -> list[str]:
    """The suites in a value; an existing path may contain commas."""
    plain = _unquoted(value)
    return [plain] if Path(plain).expanduser().exists() else [_unquoted(part) for part in value.split(",")]


def _named(suite: str, store: Callable[[str, dict[str, Any]], None]) -> str:
    if not _is_path(suite):
        return suite
    name = file_name(suite)
    store(name, read_suite_file(Path(suite).expanduser()))
    return name


def _is_path(suite: str) -> bool:
    """Whether this is a path; ``group/suite`` may be a suite in a folder of ``--config-dir``."""
    path = Path(suite).expanduser()
    if suite.startswith((".", "/", "~")) or (path.is_absolute()):
        return True
    return path.exists() if not suite.endswith(_ENDINGS) else path.exists() or os.sep in suite


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
