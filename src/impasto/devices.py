"""Where PyTorch computes, and in which type."""

import contextlib
from collections.abc import Iterator

import torch

from impasto.errors import DeviceError, ImpastoError


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
