"""Parts of pictures at another size, made of no more of the picture than they show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from impasto.mapped import release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy.typing as npt

    Window = tuple[int, int, int, int]

SUPPORT = 3
"""Pixels on each side that Lanczos' filter looks at, of the smaller of the two pictures."""
STRIP = 1 << 22
"""Pixels of what is made, or looked at, at once."""


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture, uint8 or uint16 (h, w, 3), and where in the whole it is."""

    pixels: npt.NDArray[Any]
    whole: tuple[int, int]
    """Height and width of the picture."""
    top: int = 0
    left: int = 0

    def at(self, size: tuple[int, int], window: Window) -> npt.NDArray[Any]:
        """A window (rows and columns from and to) of the whole picture when it has a size: by Lanczos' filter.

        The part must have what the window shows, and three pixels around.
        """
        top, bottom, left, right = window
        if size == self.whole:
            return self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
        made = np.empty((bottom - top, right - left, 3), self.pixels.dtype)
        rows = max(1, min(STRIP // (right - left), STRIP * size[0] // (self.whole[0] * max(1, self.pixels.shape[1]))))
        for first in range(top, bottom, rows):
            last = min(bottom, first + rows)
            made[first - top : last - top] = self.resampled(size, (first, last, left, right))
            release(self.pixels)
        return made

    def resampled(self, size: tuple[int, int], window: Window) -> npt.NDArray[Any]:
        """See `at`; of the part only what the filter looks at is given to Pillow."""
        tall, wide = self.pixels.shape[:2]
        above, below, top, bottom = looked_at(window[0], window[1], self.whole[0] / size[0], tall, self.top)
        before, behind, left, right = looked_at(window[2], window[3], self.whole[1] / size[1], wide, self.left)
        part = self.pixels[above:below, before:behind]
        shape = window[3] - window[2], window[1] - window[0]
        if part.dtype == np.uint8:
            image = Image.fromarray(np.ascontiguousarray(part))
            return np.asarray(image.resize(shape, Image.Resampling.LANCZOS, (left, top, right, bottom)))
        planes = [Image.fromarray(plane.astype(np.float32)) for plane in part.transpose(2, 0, 1)]
        made = [np.asarray(p.resize(shape, Image.Resampling.LANCZOS, (left, top, right, bottom))) for p in planes]
        deep: npt.NDArray[Any] = np.rint(np.stack(made, -1).clip(0, 65_535)).astype(np.uint16)
        return deep


def looked_at(start: int, stop: int, scale: float, own: int, first: int) -> tuple[int, int, float, float]:
    """Of a direction: the pixels of a part that the filter looks at, from and to, and where in them the window is.

    `scale` is pixels of the part, of which there are `own` from the `first` on, a pixel of the window.
    """
    low, high = start * scale - first, stop * scale - first
    reach = SUPPORT * max(1.0, scale) + 1
    before, behind = max(0, math.floor(low - reach)), min(own, math.ceil(high + reach))
    return before, behind, max(0.0, low - before), min(high - before, behind - before)


def strips(image: npt.NDArray[Any], pixels: int = STRIP) -> Iterator[slice]:
    """Bands of rows that cover a picture, of about so many pixels each."""
    height, width = image.shape[:2]
    rows = max(1, pixels // width)
    return (slice(top, min(height, top + rows)) for top in range(0, height, rows))
