"""Statistics of feature maps, as pure functions."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gram(features: Tensor) -> Tensor:
    """Gram matrix F F^T / (H W) of features (N, C, H, W): (N, C, C) in their type (Gatys et al. 2015).

    Divided by the number of positions, so that maps of any size compare.
    """
    return Gram.apply(positions(features))  # type: ignore[no-any-return, no-untyped-call]


def positions(features: Tensor) -> Tensor:
    """Features (N, C, H, W) as (N, H W, C), without a copy of a channels-last map."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def mean_products(f: Tensor) -> Tensor:
    """F^T F / P of F (N, P, C): (N, C, C)."""
    return f.transpose(1, 2) @ f / f.shape[1]


class Gram(torch.autograd.Function):
    """F^T F / P of F (N, P, C), with one product in its gradient where automatic differentiation makes two.

    The second is the transpose of the first, and adding the two in their different layouts costs more than either:
    together they were a sixth of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(f)
        return mean_products(f)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: D102
        (f,) = ctx.saved_tensors
        return f @ ((grad + grad.transpose(1, 2)) / f.shape[1])  # type: ignore[no-any-return]


class GramDistance(torch.autograd.Function):
    """|F^T F / P - T|^2 of F (N, P, C) and T (1 or N, C, C), symmetric: (N,), float32.

    With its gradient in one function few of the passes over (N, C, C) remain that were an eighth of a training step.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        excess = mean_products(f) - target.float()
        ctx.save_for_backward(f, excess)
        return squares(excess)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        f, excess = ctx.saved_tensors
        return f @ (excess * (4 / f.shape[1] * grad)[:, None, None]).to(f.dtype), None


class SquaredDistance(torch.autograd.Function):
    """|F - T|^2 of maps (N, C, H, W) of one type: (N,), float32."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        excess = f - target
        ctx.save_for_backward(excess)
        return squares(excess)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (excess,) = ctx.saved_tensors
        return excess * (2 * grad).to(excess.dtype)[:, None, None, None], None


def squares(values: Tensor) -> Tensor:
    """Sums of the squares of each of `values` (N, ...): (N,), float32."""
    total: Tensor = torch.linalg.vector_norm(values, dim=[*range(1, values.ndim)], dtype=torch.float32)
    return total.square()


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (C,) of features and of their products (C, C), the second moment; or of their squares alone (C,)."""

    mean: Tensor
    second: Tensor


def sums(features: Tensor, weights: Tensor | None = None, *, cross: bool = True) -> tuple[Tensor, Tensor]:
    """Sums over all places of features (1, C, H, W) and of their products, in float32: (C,) and (C, C).

    `weights` (H, W) weigh the places. Without `cross`, of their squares, (C,).
    """
    f = features[0].permute(1, 2, 0).flatten(0, 1)  # (H W, C): no copy of a channels-last map
    weighted = f if weights is None else f * weights.flatten()[:, None].to(f.dtype)
    if not cross:
        return weighted.float().sum(0), (weighted * f).float().sum(0)
    second = gram(features)[0].float() * len(f) if weights is None and len(f) else weighted.T @ f
    return weighted.float().sum(0), second.float()


LEAST = 1e-5
"""Deviation of features below which they are taken for flat, and not divided by it."""


def mean_deviation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the channels of features (N, C, H, W): (N, C) each, float32."""
    f = features.float()
    mean = f.mean((2, 3))
    return mean, (f - mean[:, :, None, None]).square().mean((2, 3)).sqrt()


def adain(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Features (N, C, H, W) with other means and deviations (1 or N, C), in float32 (Huang & Belongie 2017).

    A channel without any deviation has none to be stretched, and becomes its new mean.
    """
    own_mean, own_deviation = mean_deviation(features)
    scale = deviation / own_deviation.clamp_min(LEAST)
    shift = mean - scale * own_mean
    return features.float() * scale[:, :, None, None] + shift[:, :, None, None]
