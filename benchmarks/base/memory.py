"""The memory of this process: how it is allocated, and how much there has been."""

import ctypes
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_LARGEST_TRIM_THRESHOLD = 1 << 30
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next allocations, until :func:`return_freed_memory`.

    By default it returns arrays of megabytes to the system. Each of their pages is then a page fault when the next
    batch needs it: more than a third of a PPO update on Atari's frames. Other C libraries stay as they are.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)


def return_freed_memory() -> None:
    """Return what :func:`keep_freed_memory` kept to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_bytes() -> int:
    """The largest resident memory that this process has had, on Linux since :func:`forget_peak`.

    The number of ``getrusage`` also counts the memory of the parent when it started this process.
    """
    with suppress(OSError):
        if found := re.search(
            r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        ):
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def forget_peak() -> None:
    """Have Linux measure the largest memory anew: earlier jobs of this process may have needed more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
