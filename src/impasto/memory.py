"""Memory: what a program asks of the C library, what it has taken and what is free."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings in glibc's malloc.h: sizes in bytes from which memory is given back when it is freed."""
LARGE, SPARE = 32 << 20, 256 << 20
"""Bytes of a block that is given back at once, and the most that is kept behind the last block in use.

Were larger blocks kept they would leave gaps, a quarter more memory at 2048 px; were more kept than that, 4.5 GB were
taken at 4096 px by tiles instead of 2.8.
"""

CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where Linux tells a container's limit and use of memory."""


def keep_memory() -> bool:
    """Have Linux's C library keep most of what is freed, since the next step takes as much; returns whether it does.

    Given back and taken again, it is cleared by the kernel a page at a time, for up to a tenth of the time on a CPU.
    It is the whole process that keeps its memory, so this is for programs, not for libraries.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGE) and mallopt(TRIM_THRESHOLD, SPARE))


def resident_memory() -> float:
    """Bytes that this process has taken, where the system tells; else what a process like this takes."""
    path = Path("/proc/self/statm")
    return float(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 2e8


def free_memory() -> float:
    """Bytes that programs may still use, where the system tells; else 4 GB."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    there = 1024 * next((float(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 4e6)
    return min(there, *container_memory(), there)


def container_memory() -> list[float]:
    """Bytes that the container's limits leave, by both versions of Linux's control groups; none without a limit."""
    found = []
    for folder, limit, used in CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says max
            most = float((folder / limit).read_text())
            found.append(most - float((folder / used).read_text()))
    return found


def total_memory() -> float:
    """Bytes of this machine's memory, where the system tells; else 8 GB."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # another system
        return 8e9
