"""Freed memory is kept for the next allocation, and returned between jobs."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's")

PROGRAM = """
import resource, sys
import numpy as np
from benchmarks.base.memory import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def work():
    for _ in range(40):
        arrays = [np.ones(1 << 17) for _ in range(40)]  # of 1 MB; NumPy has larger ones in huge pages

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
kept = resident() - before
return_freed_memory()
print(faults, kept, resident() - before)
"""


def run(how):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")},
        check=True,
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux's")
def test_freed_memory_is_kept_until_it_is_returned():
    (faults, _, _), (faults_then, kept, returned) = run("as by default"), run("keep")
    pages = 40 * 40 * (1 << 20) // os.sysconf("SC_PAGESIZE")
    assert faults > pages / 4 and faults_then < pages / 100
    assert kept > 30e6 and returned < 10e6
