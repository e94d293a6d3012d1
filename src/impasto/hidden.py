"""Colours under wholly transparent pixels: nobody sees them, and programs store there what they like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from impasto.errors import ImageError
from impasto.images import read_picture
from impasto.views import View, strips

if TYPE_CHECKING:
    from pathlib import Path

    from impasto.images import Floats, Pixels

CELLS = 256
"""Cells down and across, at most, by whose colours hidden pixels are filled."""


def seen(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Colours (H, W, 3), those where alpha (H, W) is 0 like what is around them; the same array where it never is.

    What a network makes of a pixel depends on all others. So what looks alike is painted alike, and the smooth colours
    neither draw an edge around what shows nor move the picture's statistics far from its own.
    """
    if alpha is None or alpha.all():
        return pixels
    most = np.iinfo(pixels.dtype).max
    cells = np.rint(spread(*cells_of(pixels, alpha))).clip(0, most).astype(pixels.dtype)
    view, made = View(cells, (cells.shape[0], cells.shape[1])), pixels.copy()
    height, width = alpha.shape
    for rows in strips(pixels):
        hidden = alpha[rows] == 0
        made[rows][hidden] = view.at((height, width), (rows.start, rows.stop, 0, width))[hidden]
    return made


def read_shown(path: str | Path) -> Pixels:
    """Read a painting as it shows, uint8 (H, W, 3); raises ImageError, too, where nothing of it does."""
    picture = read_picture(path)
    if picture.alpha is not None and not picture.alpha.any():
        raise ImageError(f"{path}: transparent everywhere, so that there is nothing to paint after")
    return seen(picture.pixels, picture.alpha)


def cells_of(pixels: Pixels, alpha: Pixels) -> tuple[Floats, Floats]:
    """Mean colours (h, w, 3) of a picture's cells times how far each is opaque, and that, (h, w, 1), 0 to 1."""
    height, width = alpha.shape
    tops, lefts = (np.arange(min(side, CELLS)) * side // min(side, CELLS) for side in (height, width))
    colors, shares = (np.empty((len(tops), len(lefts), count), np.float32) for count in (3, 1))
    columns = np.diff(lefts, append=width)[:, None]
    for row, (top, bottom) in enumerate(zip(tops, [*tops[1:], height], strict=True)):
        share = alpha[top:bottom, :, None] / np.float32(255)
        shares[row] = np.add.reduceat(share.sum(0), lefts) / (columns * (bottom - top))
        colors[row] = np.add.reduceat((pixels[top:bottom] * share).sum(0), lefts) / (columns * (bottom - top))
    return colors, shares


def spread(colors: Floats, shares: Floats) -> Floats:
    """Colours of cells as `cells_of` gives them, where they are not opaque mixed with those of ever larger cells."""
    height, width = shares.shape[:2]
    if max(height, width) == 1:
        least: Floats = np.maximum(shares, 1e-9)
        return colors / least
    larger = halved(shares)
    most: Floats = np.maximum(larger, 1)
    found = spread(halved(colors) / most, larger / most)
    planes = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in found.transpose(2, 0, 1)
    ]
    made: Floats = colors + (1 - shares) * np.stack([np.asarray(plane) for plane in planes], -1)
    return made


def halved(values: Floats) -> Floats:
    """Sums of two by two cells."""
    height, width = values.shape[:2]
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    made: Floats = even.reshape(-(-height // 2), 2, -(-width // 2), 2, -1).sum((1, 3))
    return made
