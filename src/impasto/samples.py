"""Samples of a picture that stand for all of it: places spread evenly, and weights that make up for what they miss.

The weights are those of survey sampling's calibration (Deville & Särndal 1992): of all that give a sample the whole
picture's known means, the nearest to equal ones. Known is what a much reduced picture shows: colours, their products
and the contrasts between neighbours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from impasto.images import DeepPixels, Floats

RIDGE = 0.3
"""Pull towards equal weights, relative to the variances of what is known."""
LEAST = 0.2
"""Of an equal weight: what is left of any crop's."""


def spread(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """Some `count` places (top, left) from 0 to a height and width, spread evenly, no two rows of them alike."""
    columns = max(1, round(math.sqrt(count * (width + 1) / (height + 1))))
    rows = max(1, count // columns)
    golden = (math.sqrt(5) - 1) / 2  # whatever repeats in the picture, columns of places do not repeat with it
    return [
        (round((row + 0.5) / rows * height), round((column + (row * golden + 0.5) % 1) / columns * width))
        for row in range(rows)
        for column in range(columns)
    ]


def calibrated(reduced: DeepPixels, scale: float, places: Sequence[tuple[int, int]], side: int) -> Floats:
    """Weights (N,), of sum 1, of squares at places (top, left) of a picture that is `scale` times the reduced one."""
    inner = np.array([span(top, side, scale) + span(left, side, scale) for top, left in places])
    limits = np.array([*np.repeat(reduced.shape[:2], 2)]) - [1, 0, 1, 0]
    top, bottom, left, right = np.minimum(inner, limits).T
    known, sampled = [], []
    for values in features(reduced):
        sums = np.pad(values.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
        boxes = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        sampled.append(boxes / ((bottom - top) * (right - left)))
        known.append(sums[-1, -1] / values.size)
    found = np.stack(sampled, 1)
    spreads = found.std(0) + 1e-6
    scaled, missing = (found - found.mean(0)) / spreads, (np.array(known) - found.mean(0)) / spreads
    count, kinds = scaled.shape
    moved = scaled @ np.linalg.solve(scaled.T @ scaled + RIDGE * count * np.eye(kinds), missing)
    weights = np.maximum(1 / count + moved, LEAST / count)
    made: Floats = (weights / weights.sum()).astype(np.float32)
    return made


def span(start: int, side: int, scale: float) -> tuple[int, int]:
    """Rows or columns of the reduced picture, from and to, that a square shows; one at least."""
    first = int(start / scale)
    return first, max(first + 1, round((start + side) / scale))


def features(reduced: DeepPixels) -> Iterator[Floats]:
    """What is known of a picture (H, W, 3), one map (H, W) after another."""
    planes = [plane / np.float32(np.iinfo(reduced.dtype).max) for plane in reduced.transpose(2, 0, 1)]
    yield from planes
    yield from (one * other for place, one in enumerate(planes) for other in planes[place:])
    light = np.mean(planes, 0)
    for axis in (0, 1):
        contrast = np.abs(np.diff(light, axis=axis, append=light.take([-1], axis)))
        yield contrast
        yield np.square(contrast)
    yield np.max(planes, 0) - np.min(planes, 0)
    yield light**3
