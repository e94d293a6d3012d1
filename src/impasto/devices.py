"""Where PyTorch computes, and in which type."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch

from impasto.errors import DeviceError, ImpastoError

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of two settings in glibc's malloc.h: sizes in bytes from which memory is given back when it is freed."""
LARGE, SPARE = 32 << 20, 256 << 20
"""Bytes of a block that is given back at once, and the most that is kept behind the last block in use.

Were larger blocks kept they would leave gaps, a quarter more memory at 2048 px; were more kept than that, 4.5 GB were
taken at 4096 px by tiles instead of 2.8.
"""


def keep_memory() -> bool:
    """Have Linux's C library keep most of what is freed, since the next step takes as much; returns whether it does.

    Given back and taken again, it is cleared by the kernel a page at a time, for a tenth of the time on a CPU. It is
    the whole process that keeps its memory, so this is for programs, not for libraries.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGE) and mallopt(TRIM_THRESHOLD, SPARE))


@contextlib.contextmanager
def torch_failures(kind: type[ImpastoError], remedy: str) -> Iterator[None]:
    """Turn what PyTorch raises where memory or a device fails into one error of a kind, with what to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(f"PyTorch failed ({reason}); try {remedy}") from error


def pick_device(device: str) -> str:
    """Device for ``auto``: the best there is; raises DeviceError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, usable in there.items() if usable)
    if not there[device]:
        raise DeviceError(f"PyTorch finds no {device} device here; choose another --device, or auto")
    return device


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of the arithmetic for ``auto``: bfloat16 where the hardware multiplies it faster than float32."""
    if precision == "auto":
        cpu = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
        fast = {"cpu": cpu, "cuda": torch.cuda.is_available() and torch.cuda.is_bf16_supported()}
        precision = "bfloat16" if fast.get(device.type, False) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
