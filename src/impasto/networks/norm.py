"""Instance normalisation (Ulyanov et al. 2016) whose training step suits CPUs.

PyTorch's own copies channels-last maps to its layout and back, and group normalisation's backward
was a third of a training step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.statistics import Taker, current_taker

EPS = 1e-5


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and deviation 1, then scaled and shifted: (N, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`, over the whole of each image."""
        if trains_on_cpu(x):
            size = x.shape[:2]
            return channels_last_norm(x, self.weight.expand(size), self.bias.expand(size))
        if taker := current_taker():
            return taken_norm(taker, x, self.weight, self.bias)
        return F.instance_norm(x, weight=self.weight.to(x.dtype), bias=self.bias.to(x.dtype), eps=EPS)


def normalize(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Instance normalisation with scales and shifts (N, C) of an image's own: (N, C, H, W) -> the same."""
    if trains_on_cpu(x):
        return channels_last_norm(x, scale, shift)
    if taker := current_taker():
        return taken_norm(taker, x, scale[0], shift[0])
    return F.instance_norm(x, eps=EPS) * scale.to(x.dtype)[:, :, None, None] + shift.to(x.dtype)[:, :, None, None]


def taken_norm(taker: Taker, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalisation of x (N, C, H, W) by statistics that `taker` takes, of all or of each picture; scale, shift (C,).

    As batch normalisation, which leaves a channels-last map in its layout and computes in float32 whatever its type.
    """
    mean, variance = taker(x, False)
    if x.device.type == "mps":  # where all have to be of one type
        return F.batch_norm(x.float(), mean[0], variance[0], scale, shift, eps=EPS).to(x.dtype)
    if len(mean) == 1:
        return F.batch_norm(x, mean[0], variance[0], scale, shift, eps=EPS)
    parts = zip(x.split(1), mean, variance, strict=True)  # type: ignore[no-untyped-call]
    return torch.cat([F.batch_norm(one, m, v, scale, shift, eps=EPS) for one, m, v in parts])


def trains_on_cpu(x: Tensor) -> bool:
    """Whether `channels_last_norm` is the faster way."""
    return x.requires_grad and x.device.type == "cpu"


def channels_last_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """As `normalize`, with few passes over the memory of a channels-last `x`, forward and backward."""
    return ChannelsLastNorm.apply(x, scale, shift)  # type: ignore[no-any-return, no-untyped-call]


class ChannelsLastNorm(torch.autograd.Function):
    """Instance normalisation whose statistics and differences are float32, whatever the type of the map.

    Folding the mean into the shift would save a pass, but in bfloat16 a nearly flat map then comes out as noise
    hundreds of times its size, and training on a photo of one colour blows up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: D102
        x = x.contiguous(memory_format=torch.channels_last)
        centered = x - x.mean((2, 3), keepdim=True, dtype=torch.float32)
        deviation = torch.rsqrt(centered.square().mean((2, 3)) + EPS)
        normalized = scale_shift(centered, deviation, torch.zeros_like(deviation)).to(x.dtype)
        ctx.save_for_backward(normalized, weight, deviation)
        return scale_shift(normalized, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        normalized, weight, deviation = ctx.saved_tensors
        count = grad.shape[2] * grad.shape[3]
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_bias = grad.sum((2, 3), dtype=torch.float32)  # (N, C)
        grad_weight = (grad * normalized).sum((2, 3), dtype=torch.float32)
        scale = weight * deviation
        from_statistics = scale_shift(normalized, -scale * grad_weight / count, -scale * grad_bias / count)
        return scale_shift(grad, scale, from_statistics), grad_weight, grad_bias


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
