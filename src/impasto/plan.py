"""What painting a picture by optimisation will do and take, planned for the memory there is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from impasto import memory
from impasto.config import OptimizeConfig
from impasto.devices import pick_device
from impasto.errors import OptimizationError
from impasto.memory import resident_memory
from impasto.objective import margin
from impasto.tiles import GRID, tiles

HISTORY = 10
"""Steps that L-BFGS remembers, where memory allows."""
AGAIN = 4 / 3
"""Cost of a tile, which is looked at twice, over that of a whole picture; backwards takes two of four parts."""
SMALLEST_TILE = 512


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do and take."""

    sizes: tuple[tuple[int, int], ...]
    """Height and width of each size."""
    iterations: tuple[int, ...]
    """At each size."""
    side: int
    """Of a tile in pixels; a picture no larger goes whole."""
    history: int
    """Steps that L-BFGS remembers."""
    gigabytes: float
    """Memory at the last size, about."""
    seconds: float
    """In all, about."""

    @property
    def work(self) -> float:
        """Pixels of all iterations."""
        return self.work_at(len(self.sizes), 0)

    def work_at(self, place: int, iteration: int) -> float:
        """Pixels of all iterations before one of a size."""
        done = [*self.iterations[:place], iteration]
        return float(sum(n * h * w for n, (h, w) in zip(done, self.sizes, strict=False)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What evaluations take: bytes that are there before, and bytes and seconds a pixel."""

    base: float
    held: float
    content: float
    """Of the photo's features, which are kept."""
    seconds: float


def make_plan(
    config: OptimizeConfig, sizes: Sequence[tuple[int, int]], cost: Cost, layers: tuple[Mapping[str, float], ...]
) -> Plan:
    """Plan for the memory there is, or as it is asked for; raises OptimizationError where memory is too little."""
    budget = (config.memory if config.memory is not None else free_memory(pick_device(config.device)) / 2) * 1e9
    height, width = sizes[-1]
    pixels = math.prod(canvas(sizes[-1]))
    picture = 12.0 * pixels  # float32 RGB
    history, side = config.history or HISTORY, config.tile or max(canvas(sizes[-1]))

    def needed() -> float:
        pictures = 7 + (2 * history if config.optimizer == "lbfgs" else 4)
        return cost.base + pictures * picture + pixels * cost.content + min(pixels, side * side) * cost.held

    while not config.tile and needed() > budget and side > SMALLEST_TILE:
        side = max(SMALLEST_TILE, side - 128)
    while not config.history and needed() > budget and config.optimizer == "lbfgs" and history > 3:
        history -= 1
    if needed() > budget and not (config.tile and config.history):
        raise OptimizationError(
            f"a picture of {width} x {height} needs some {needed() / 1e9:.1f} GB, and {budget / 1e9:.1f} may be used; "
            "choose a smaller --size, --optimizer adam, or more --memory"
        )
    iterations = (config.first_iterations, *[config.iterations] * (len(sizes) - 1))
    edge = margin([*layers[0], *layers[1]])
    work = 0.0
    for count, size in zip(iterations, sizes, strict=True):
        parts = tiles(*canvas(size), side, edge)
        seen = sum((t.window[1] - t.window[0]) * (t.window[3] - t.window[2]) for t in parts)
        work += count * seen * (AGAIN if len(parts) > 1 else 1.0)
    return Plan(tuple(sizes), iterations, side, history, needed() / 1e9, work * cost.seconds)


def resident(device: torch.device) -> float:
    """Bytes that are in use on a device before any picture."""
    return float(torch.cuda.memory_allocated(device)) if device.type == "cuda" else resident_memory()


def free_memory(device: str) -> float:
    """Gigabytes that programs may still use on a device, where the system tells; else 4."""
    return (torch.cuda.mem_get_info()[0] if device == "cuda" else memory.free_memory()) / 1e9


def canvas(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of what is painted for a picture of a size."""
    height, width = (-(-side // GRID) * GRID for side in size)
    return height, width
