"""Where results were made: the command, package versions, commit and machine, beside every run's config."""

import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import git_commit, package_versions

ENVIRONMENT = "environment.json"


def describe_environment(command: str) -> dict[str, Any]:
    """Everything but the configuration that decides results."""
    return {
        "command": command,
        "packages": package_versions(),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    """The processor's name, where the system tells."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
