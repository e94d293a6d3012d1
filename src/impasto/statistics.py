"""Statistics of feature maps, as pure functions."""

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
