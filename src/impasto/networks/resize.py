"""Resize convolutions (Odena et al. 2016): doubling of the size and a convolution, computed on the small map.

An output pixel is a sum over small pixels whose weights depend on its phase, the place in its block of 2 x 2. So the
four phases are four convolutions of the small map, interleaved: the same function with a quarter of the bytes and, as
weights that doubling makes act on the same small pixel are summed once, fewer multiplications.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResizeConv(nn.Module):
    """Doubling, ``nearest`` or ``bilinear``, and a convolution whose border is padded by repeating it.

    `weight` (outputs, inputs, kernel, kernel) is that of the convolution on the doubled map; those of the phases are
    made of it at each call.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, upsample: str) -> None:
        super().__init__()
        like = nn.Conv2d(inputs, outputs, kernel)  # for its initialisation
        self.weight, self.bias = like.weight, nn.Parameter(torch.zeros(outputs))
        self.register_buffer("shares", shares(kernel, upsample), persistent=False)
        self.shares: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, 2 H, 2 W)."""
        return phase_conv(x, *small_weights(self.weight, self.bias, self.shares))


class PhaseConv(nn.Module):
    """A resize convolution whose small weights are made once and for all."""

    def __init__(self, weight: Tensor, bias: Tensor, upsample_shares: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            small = small_weights(weight, bias, upsample_shares)
        self.weight, self.bias = (nn.Parameter(value, requires_grad=False) for value in small)
        self.shares = upsample_shares

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, 2 H, 2 W)."""
        return phase_conv(x, self.weight, self.bias)


def small_weights(weight: Tensor, bias: Tensor, upsample_shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (4 outputs, inputs, P, P) and bias of the four phases, each output's side by side."""
    s = upsample_shares.to(weight.dtype)
    return torch.einsum("oihw,aph,bqw->oabipq", weight, s, s).flatten(0, 2), bias.repeat_interleave(4)


def large_weight(weight: Tensor, upsample_shares: Tensor) -> Tensor:
    """Weight of the convolution on the doubled map, from that of its phases: `small_weights` undone."""
    s = upsample_shares.to(weight.dtype)
    inverse = torch.linalg.pinv(s.flatten(0, 1)).reshape(-1, *s.shape[:2])
    return torch.einsum("oabipq,hap,wbq->oihw", weight.reshape(-1, 2, 2, *weight.shape[1:]), inverse, inverse)


def phase_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve the small map x (N, I, H, W) with the phases' weights (4 O, I, P, P): (N, O, 2 H, 2 W).

    With P even the blocks lie around the corners of small pixels and the outermost are half outside, hence the crop.
    """
    pad = weight.shape[2] // 2
    x = F.pixel_shuffle(F.conv2d(F.pad(x, (pad, pad, pad, pad), mode="replicate"), weight, bias), 2)
    return x if weight.shape[2] % 2 else x[:, :, 1:-1, 1:-1]


def shares(kernel: int, upsample: str) -> Tensor:
    """(2, P, kernel): share of each weight of a row of the kernel that falls on each of P small pixels, by phase.

    The phases are pixels 2k and 2k + 1 where P is odd, 2k - 1 and 2k where it is even: whichever needs fewer.
    """
    return min((shares_from(start, kernel, upsample) for start in (-1, 0)), key=lambda made: made.shape[1])


def shares_from(start: int, kernel: int, upsample: str) -> Tensor:
    """See `shares`; the first phase is pixel 2k + `start`."""
    parts: list[tuple[int, int, int, float]] = []  # phase, small pixel from k, weight, share
    for phase in range(2):
        for index in range(kernel):
            small, odd = divmod(start + phase + index - kernel // 2, 2)
            if upsample == "nearest":
                parts.append((phase, small, index, 1.0))
            else:
                parts += [(phase, small, index, 0.75), (phase, small + (1 if odd else -1), index, 0.25)]
    reach = max(max(-small, small - start) for _, small, _, _ in parts)
    made = torch.zeros(2, 2 * reach + 1 + start, kernel)
    for phase, small, index, share in parts:
        made[phase, small + reach, index] += share
    return made
