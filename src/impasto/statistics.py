"""Statistics of feature maps, as pure functions."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


Taker = Callable[[Tensor, bool], tuple[Tensor, Tensor]]
"""What takes means (1 or N, C) of features (N, C, H, W), and variances or, asked for products, covariances (., C, C).

All are float32. See networks/shared.py for such.
"""
_taker: ContextVar[Taker | None] = ContextVar("taker", default=None)


@contextmanager
def taken_by(taker: Taker | None) -> Iterator[None]:
    """Have networks that run inside take statistics over the places by `taker`, in this thread."""
    token = _taker.set(taker)
    try:
        yield
    finally:
        _taker.reset(token)


def current_taker() -> Taker | None:
    """What `taken_by` was given, if we are inside."""
    return _taker.get()


LEAST = 1e-4
"""Deviation of features below which they are taken for flat, and not divided by it."""


def mean_deviation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the channels of features (N, C, H, W): (N, C) each, float32."""
    if taker := current_taker():
        mean, variance = taker(features, False)
        return mean, variance.sqrt()
    f = features.float()
    mean = f.mean((2, 3))
    return mean, (f - mean[:, :, None, None]).square().mean((2, 3)).sqrt()


def adain(features: Tensor, mean: Tensor, deviation: Tensor, *, gain: float = math.inf) -> Tensor:
    """Features (N, C, H, W) with other means and deviations (1 or N, C), in float32 (Huang & Belongie 2017).

    A channel without any deviation has none to be stretched, and becomes its new mean. None is stretched by more than
    `gain`: of a grey photo the channels of colour are noise.
    """
    own_mean, own_deviation = mean_deviation(features)
    scale = (deviation / own_deviation.clamp_min(LEAST)).clamp_max(gain)
    centered = features.float() - own_mean[:, :, None, None]  # first, or a nearly flat channel becomes rounding errors
    painted: Tensor = centered * scale[:, :, None, None] + mean[:, :, None, None]
    return painted


EPS = 1e-5
"""Added to the diagonal of a correlation matrix, so that features that do not fill their space can be whitened."""


def mean_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means (N, C) and covariances (N, C, C) of features (N, C, H, W), float32."""
    if taker := current_taker():
        return taker(features, True)
    return own_covariance(features)


def own_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """`mean_covariance` of each picture by itself."""
    f = positions(features).float()
    mean = f.mean(1)
    return mean, mean_products(f - mean[:, None])


def correlation(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations (N, C) and correlations (N, C, C) of covariances (N, C, C); flat channels correlate with none."""
    deviation = covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
    scale = 1 / deviation.clamp_min(LEAST)
    return deviation, covariance * scale[:, :, None] * scale[:, None]


def whitening(covariance: Tensor, *, iterate: bool = False, eps: float = EPS) -> Tensor:
    """Matrices W with W S W^T = 1 for covariances S (N, C, C), as near as those have full rank.

    W is K^(-1/2) D^(-1), with deviations D and correlations K: of all W it leaves each channel most like itself, and
    channels of little variance do not spoil the accuracy of the others, as they do in S^(-1/2) (Kessy et al. 2018).
    `iterate`: by Newton and Schulz's iteration in the type of S, which ONNX has all operations of, in place of an
    eigen-decomposition in float64. Nothing is stretched by more than `eps`^(-1/2), beyond its channel's deviation.
    """
    deviation, k = correlation(covariance)
    k = k + eps * torch.eye(k.shape[1], dtype=k.dtype, device=k.device)
    root = newton_schulz(k) if iterate else power(k, -0.5)
    return root / deviation.clamp_min(LEAST)[:, None]


def coloring(covariance: Tensor) -> Tensor:
    """Matrices R with R R^T = S for covariances S (N, C, C), of any rank: D K^(1/2), see `whitening`."""
    deviation, k = correlation(covariance)
    return deviation[:, :, None] * power(k, 0.5)


def power(matrix: Tensor, exponent: float) -> Tensor:
    """Symmetric powers of positive matrices (N, C, C); what is not positive about them is taken for nothing."""
    values, vectors = torch.linalg.eigh(matrix.double())
    kept = torch.where(values > 0, values, torch.ones_like(values)) ** exponent
    made: Tensor = (vectors * torch.where(values > 0, kept, 0.0)[:, None]) @ vectors.mT
    return made.to(matrix.dtype)


def newton_schulz(matrix: Tensor, iterations: int = 24) -> Tensor:
    """Inverse square roots of positive matrices (N, C, C), by products alone (Higham 2008, 6.35).

    The smallest of the values grows by 1.5 an iteration until all are 1: 24 are enough for a condition of 10^7.
    """
    size = matrix.square().sum((1, 2), keepdim=True).sqrt()
    one = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    y, z = matrix / size, one.expand_as(matrix)
    for _ in range(iterations):
        t = 1.5 * one - 0.5 * z @ y
        y, z = y @ t, t @ z
    return z / size.sqrt()


def wct(features: Tensor, mean: Tensor, coloring: Tensor, *, iterate: bool = False, eps: float = EPS) -> Tensor:
    """Features (N, C, H, W) whitened, and given a mean (1 or N, C) and a coloring (1 or N, C, C), in float32.

    Li et al. 2017; see `whitening` and `coloring`.
    """
    own_mean, covariance = mean_covariance(features)
    matrix = coloring @ whitening(covariance, iterate=iterate, eps=eps)  # (N, C, C)
    centered = features.float().flatten(2) - own_mean[:, :, None]
    return (matrix @ centered + mean[:, :, None]).view(features.shape)
