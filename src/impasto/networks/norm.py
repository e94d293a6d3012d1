"""Instance normalisation (Ulyanov et al. 2016) whose training step suits CPUs.

PyTorch's own copies channels-last maps to its layout and back, and group normalisation's backward
was a third of a training step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and deviation 1, then scaled and shifted: (N, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`, over the whole of each image."""
        if x.requires_grad and x.device.type == "cpu":
            return channels_last_norm(x, self.weight, self.bias)
        return F.instance_norm(x, weight=self.weight.to(x.dtype), bias=self.bias.to(x.dtype), eps=EPS)


def channels_last_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Instance normalisation with few passes over the memory of a channels-last `x`, forward and backward."""
    return ChannelsLastNorm.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class ChannelsLastNorm(torch.autograd.Function):
    """y = scale * x + shift, with scale and shift (N, C) from the image's statistics, which are kept in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: D102
        count = x.shape[2] * x.shape[3]
        x = x.contiguous(memory_format=torch.channels_last)
        mean = x.sum((2, 3), dtype=torch.float32) / count
        variance = (x - mean[:, :, None, None]).square_().sum((2, 3)) / count  # float32: the mean is
        deviation = torch.rsqrt(variance + EPS)
        ctx.save_for_backward(x, weight, mean, deviation)
        scale = weight * deviation
        return scale_shift(x, scale, bias - mean * scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        x, weight, mean, deviation = ctx.saved_tensors
        count = x.shape[2] * x.shape[3]
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_sum = grad.sum((2, 3), dtype=torch.float32)
        product = (grad * x).sum((2, 3), dtype=torch.float32)
        grad_weight = (product - mean * grad_sum) * deviation  # (N, C)
        a = weight * deviation
        b = -a * deviation * grad_weight / count
        grad_x = scale_shift(x, b, -a * grad_sum / count - b * mean)
        return scale_shift(grad, a, grad_x), grad_weight.sum(0), grad_sum.sum(0)


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale * x + shift: channels-last x (N, C, H, W), scale (N, C), shift (N, C) or shaped as x; in the type of x.

    Rows of W * C values are what the CPU's kernels run through fast: ten times faster than C values at a time.
    """
    width = x.shape[3]
    row_scale, row_shift = rows(scale, width, x.dtype), rows(shift, width, x.dtype)
    out = torch.addcmul(row_shift, x.permute(0, 2, 3, 1).flatten(2), row_scale)
    return out.view(*out.shape[:2], width, -1).permute(0, 3, 1, 2)


def rows(value: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """(N, C) repeated to a row (N, 1, W * C), or (N, C, H, W) seen as its rows (N, H, W * C)."""
    if value.dim() == 2:
        return value.to(dtype).repeat(1, width)[:, None]
    return value.permute(0, 2, 3, 1).flatten(2)
