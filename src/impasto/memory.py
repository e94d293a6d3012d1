"""What a program asks of the C library's memory."""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings in glibc's malloc.h: sizes in bytes from which memory is given back when it is freed."""


def keep_memory() -> bool:
    """Have Linux's C library keep what is freed, since the next step takes as much again; returns whether it does.

    Given back and taken again, it is cleared by the kernel a page at a time, for a tenth of the time on a CPU. It is
    the whole process that keeps its memory, so this is for programs, not for libraries.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30) and mallopt(TRIM_THRESHOLD, (1 << 31) - 1))
