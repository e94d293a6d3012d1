"""What a program asks of the C library's memory."""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings in glibc's malloc.h: sizes in bytes from which memory is given back when it is freed."""
LARGE, SPARE = 32 << 20, 256 << 20
"""Bytes of a block that is given back at once, and the most that is kept behind the last block in use.

Were larger blocks kept they would leave gaps, a quarter more memory at 2048 px; were more kept than that, 4.5 GB were
taken at 4096 px by tiles instead of 2.8.
"""


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
