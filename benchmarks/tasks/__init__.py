"""Tasks and suites: one environment each, with its exact arguments, horizon, metric and reference.

A new environment family is one module here (with ``resolve`` and ``make``) and one line in ``FAMILIES``.
"""

from benchmarks.tasks.task import FAMILIES, Suite, SuiteConfig, Task, TaskConfig, full_names, make_env, spaces

__all__ = ["FAMILIES", "Suite", "SuiteConfig", "Task", "TaskConfig", "full_names", "make_env", "spaces"]
