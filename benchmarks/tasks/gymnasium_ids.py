"""Gymnasium ids of gatito's tasks: ``gymnasium.make("gatito/classic-cartpole-v0")``."""

import csv
import functools
from pathlib import Path

import gymnasium as gym

from benchmarks.base.code import code_digest, package_spec
from benchmarks.base.project import CODE


def register_tasks(table: Path, entry_point: str) -> list[str]:
    """Register the tasks of a table with Gymnasium, as ``gatito/GROUP-NAME-v0``.

    Args:
        table: a CSV file with a column ``task``, such as that of the released experts; if it is missing, nothing is
            registered.
        entry_point: ``module:function`` that makes an environment, given ``task`` and ``render_mode``.

    Returns:
        The ids.
    """
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        names = [row["task"] for row in csv.DictReader(file)]
    for name in names:
        if task_id(name) not in gym.registry:
            gym.register(
                task_id(name), entry_point, kwargs={"task": name}, disable_env_checker=True, order_enforce=False
            )
    return [task_id(name) for name in names]


def task_id(name: str) -> str:
    """``classic/cartpole`` → ``gatito/classic-cartpole-v0``."""
    return f"gatito/{name.replace('/', '-')}-v0"


def code_of(env_id: str) -> dict[str, str]:
    """For fingerprints: a digest of a registered environment's package, if it is neither installed nor the project's.

    An installed package changes with its version; a module that somebody works on changes at any time.
    """
    module, _, name = env_id.rpartition(":")  # module:id is imported only when the environment is made
    spec = gym.registry.get(name)
    if not module and spec and spec.entry_point:
        entry = spec.entry_point
        module = entry.partition(":")[0] if isinstance(entry, str) else entry.__module__
    return _code_of_module(module) if module else {}


@functools.cache
def _code_of_module(module: str) -> dict[str, str]:
    found = package_spec(module)
    places = [found.origin or "", *(found.submodule_search_locations or ())] if found else []
    origin = next((Path(place).resolve() for place in places if place), None)
    if origin is None or "site-packages" in origin.parts or origin.is_relative_to(CODE / "benchmarks"):
        return {}
    return {"code": code_digest(module)}
