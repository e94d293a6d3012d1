"""Tiles of a picture: cores that cover it once, each within a window that has all that its features see."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

GRID = 16
"""Cores and windows begin at multiples of this, the coarsest map of a VGG up to its fifth block."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns of a picture in pixels, from and to: `core` is the tile's own, `window` what is looked at."""

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]

    def features(self, stride: int) -> tuple[slice, slice]:
        """Where the core is on the window's map that has a pixel for each `stride`."""
        (top, bottom, left, right), (above, below, before, behind) = self.core, self.window
        return part(top, bottom, above, below, stride), part(left, right, before, behind, stride)

    def of(self, stride: int) -> tuple[slice, slice]:
        """Where the core is on the whole picture's map that has a pixel for each `stride`."""
        rows, columns = self.features(stride)
        top, left = self.window[0] // stride, self.window[2] // stride
        return slice(rows.start + top, shifted(rows.stop, top)), slice(
            columns.start + left, shifted(columns.stop, left)
        )


def part(start: int, stop: int, first: int, last: int, stride: int) -> slice:
    """A core's part of its window's map in one direction; to its end where the window ends with it."""
    return slice((start - first) // stride, None if stop == last else (stop - first) // stride)


def shifted(stop: int | None, by: int) -> int | None:
    """An end moved by some pixels; None is the end of all."""
    return None if stop is None else stop + by


def tiles(height: int, width: int, side: int, margin: int) -> list[Tile]:
    """Tiles of a picture whose windows are about `side` high and wide, margins of `margin` included.

    Both are rounded to the grid. A picture that fits is one tile.
    """
    margin = -(-margin // GRID) * GRID
    core = max(GRID, (side - 2 * margin) // GRID * GRID)
    return [
        Tile((top, bottom, left, right), (*grown(top, bottom, margin, height), *grown(left, right, margin, width)))
        for top, bottom in spans(height, side, core)
        for left, right in spans(width, side, core)
    ]


def spans(length: int, side: int, core: int) -> Iterator[tuple[int, int]]:
    """Parts of a side of the picture, as equal as the grid lets them be."""
    count = 1 if length <= side else -(-length // core)
    step = -(-length // (count * GRID)) * GRID
    for start in range(0, length, step):
        yield start, min(start + step, length)


def grown(start: int, stop: int, margin: int, length: int) -> tuple[int, int]:
    """A part with its margins, within the picture, to whose end it goes where less than a grid cell is left."""
    last = min(length, stop + margin)
    return max(0, start - margin), length if length - last < GRID else last


def even_tiles(height: int, width: int, side: int, margin: int, grid: int) -> list[Tile]:
    """Tiles whose windows are all of one size, of at most `side` pixels, and begin at multiples of `grid`.

    The picture's sides are such multiples. What is within `margin` of a core is in its window, but for the picture's
    border. Raises ValueError for a side that leaves no core.
    """
    rows, columns = even_spans(height, side, margin, grid), even_spans(width, side, margin, grid)
    return [Tile((*inner, *across), (*outer, *along)) for inner, outer in rows for across, along in columns]


def even_spans(length: int, side: int, margin: int, grid: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cores and windows, from and to, of `even_tiles` in one direction."""
    if length <= side:
        return [((0, length), (0, length))]
    own = side - 2 * margin - grid  # by at most a grid cell is a window put back
    if own < 1:
        raise ValueError(f"side is {side}; with margins of {margin} it must be more than {2 * margin + grid}")
    count = -(-(length - 2 * margin - grid) // own)
    window = min(side, -(-(-(-(length - 2 * margin) // count) + 2 * margin + grid) // grid) * grid) // grid * grid
    starts = [(length - window) * place // max(count - 1, 1) // grid * grid for place in range(count)]
    ends = [(first + margin + before + window - margin) // 2 for before, first in itertools.pairwise(starts)]
    cores = zip([0, *ends], [*ends, length], strict=True)
    return [(core, (start, start + window)) for core, start in zip(cores, starts, strict=True)]
