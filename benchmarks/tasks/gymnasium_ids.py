"""Gymnasium ids of gatito's tasks: ``gymnasium.make("gatito/classic-cartpole-v0")``."""

import csv
from pathlib import Path

import gymnasium as gym


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
