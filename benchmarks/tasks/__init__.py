"""Tasks and suites: one environment each, with its exact arguments, horizon, metric and reference.

Observations and actions are the environment's own values from end to end: the convention is in
:mod:`benchmarks.tasks.conformity`, and :mod:`benchmarks.tasks.guard` holds every environment to it.

A new environment family is one module here (with ``resolve`` and ``make``) and one line in ``FAMILIES``.
"""

from benchmarks.tasks.task import (
    FAMILIES,
    Suite,
    SuiteConfig,
    Task,
    TaskConfig,
    check_suite_file,
    full_names,
    has_action_mask,
    make_env,
    own_spaces,
    spaces,
)

__all__ = [
    "FAMILIES",
    "Suite",
    "SuiteConfig",
    "Task",
    "TaskConfig",
    "check_suite_file",
    "full_names",
    "has_action_mask",
    "make_env",
    "own_spaces",
    "spaces",
]
