"""Ways to take what a network takes of the whole picture, so that tiles of it agree; see `statistics.taken_by`.

As in graphs.py a first pass takes statistics jointly of crops that are spread over the picture, or of all of it tile by
tile, and in a second they are given. Here it is the PyTorch network itself that asks for each, in the order in which it
comes to them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from impasto.statistics import own_covariance

Taken = tuple[Tensor, Tensor]
"""Means (1, C) and variances (1, C) or covariances (1, C, C), float32."""
Sums = tuple[Tensor, Tensor, Tensor]
"""Of features less some value: their number (), sum (C,) and that of their squares (C,) or products (C, C)."""
VALUES = 1 << 22
"""That are made float32 at a time."""


def own(x: Tensor, products: bool) -> Taken:
    """Statistics of each picture's map by itself.

    The variance is that of the differences from the mean as the map's type has it, which are exact where they are
    small, and is corrected for what that is beside the mean. Squares are summed in float32: in float16 they end at
    65504.
    """
    if products:
        return own_covariance(x)
    mean = x.mean((2, 3), dtype=torch.float32)
    near = mean.to(x.dtype)
    size = torch.linalg.vector_norm(x - near[:, :, None, None], dim=(2, 3), dtype=torch.float32)
    return mean, (size.square() / (x.shape[2] * x.shape[3]) - (mean - near.float()).square()).clamp_min(0)


class Joint:
    """Takes statistics of several crops together, whose pixels count so much, (N, 1, H, W); they stay in `found`."""

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts
        self.found: list[Taken] = []

    def __call__(self, x: Tensor, products: bool) -> Taken:
        """See `statistics.Taker`."""
        about = x.mean((0, 2, 3), dtype=torch.float32)
        self.found.append(divided(about, sums_about(x, about, at_places(self.counts, x), products=products)))
        return self.found[-1]


class Known:
    """Gives statistics that were taken before, one after another."""

    def __init__(self, statistics: Sequence[Taken]) -> None:
        self.rest = iter(statistics)

    def __call__(self, _x: Tensor, _products: bool) -> Taken:
        """See `statistics.Taker`."""
        return next(self.rest)


class Reached(Exception):  # noqa: N818 - no error
    """A network has come to what was asked for; the rest of it need not be computed."""


class Part:
    """Sums up what a tile, whose pixels count so much, adds to one of the statistics; those before it are known.

    It ends the network by `Reached`.
    """

    def __init__(self, statistics: Sequence[Taken], place: int, counts: Tensor) -> None:
        self.known, self.place, self.counts = iter(statistics), place, counts
        self.sums: Sums | None = None

    def __call__(self, x: Tensor, products: bool) -> Taken:
        """See `statistics.Taker`."""
        value = next(self.known)
        if self.place == 0:
            self.sums = sums_about(x, value[0][0], at_places(self.counts, x), products=products)
            raise Reached
        self.place -= 1
        return value


def sums_about(x: Tensor, about: Tensor, counts: Tensor, *, products: bool) -> Sums:
    """Sums over all places of x (N, C, H, W) less `about` (C,), which count so much, (N, 1, H, W)."""
    channels = x.shape[1]
    flat, weights = x.permute(0, 2, 3, 1).reshape(-1, channels), counts.reshape(-1, 1)
    first = torch.zeros_like(about)
    second = torch.zeros((channels, channels) if products else channels, device=x.device)
    size = max(1, VALUES // channels)
    for part, weight in zip(torch.split(flat, size), torch.split(weights, size), strict=True):
        f = part.float() - about
        weighted = f * weight
        first += weighted.sum(0)
        second += weighted.T @ f if products else (weighted * f).sum(0)
    return weights.sum(), first, second


def divided(about: Tensor, sums: Sums) -> Taken:
    """Mean and variance or covariance, from sums of differences from `about`, which is near to the mean."""
    count, first, second = sums
    moved = first / count
    beside = moved[:, None] * moved if second.ndim == 2 else moved.square()
    spread = second / count - beside
    return (about + moved)[None], (spread if second.ndim == 2 else spread.clamp_min(0))[None]


def at_places(counts: Tensor, x: Tensor) -> Tensor:
    """Counts (N, 1, H, W) at the places of a map (N, C, h, w): those of the pixel in the middle of each."""
    for axis in (2, 3):
        have, want = counts.shape[axis], x.shape[axis]
        odd = 2 * torch.arange(want, device=counts.device) + 1
        counts = counts.index_select(axis, torch.div(odd * have, 2 * want, rounding_mode="floor"))
    return counts
