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
    f = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, C): no copy of a channels-last map
    return Gram.apply(f)  # type: ignore[no-any-return, no-untyped-call]


class Gram(torch.autograd.Function):
    """F^T F / P of F (N, P, C), with one product in its gradient where automatic differentiation makes two.

    The second is the transpose of the first, and adding the two in their different layouts costs more than either:
    together they were a sixth of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(f)
        return f.transpose(1, 2) @ f / f.shape[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: D102
        (f,) = ctx.saved_tensors
        return f @ ((grad + grad.transpose(1, 2)) / f.shape[1])  # type: ignore[no-any-return]


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
