"""The environment of a run, stored beside its config: the command, package versions, commit and machine."""

import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import git_commit, package_versions

ENVIRONMENT = "environment.json"


def describe_environment(command: str) -> dict[str, Any]:
    """Everything that affects results except the configuration."""
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
    """The processor's name, if the system provides it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
