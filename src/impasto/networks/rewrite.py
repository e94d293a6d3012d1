"""Exact rewrites of a network for inference: the same function, fewer multiplications and fewer bytes moved.

Both rewrites work on 2 x 2 blocks of pixels. A resize convolution multiplies each small pixel by up to nine weights
that nearest-neighbour doubling makes act on the same four small pixels; their sums are computed once, here. A
convolution to three channels leaves most of a vector unit idle; four neighbouring pixels at once fill it.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.transformer import TransformerNet, UpsampleNorm


def for_inference(net: TransformerNet) -> TransformerNet:
    """Copy of `net` in evaluation mode that computes the same faster; it cannot be trained or loaded into.

    A zero-padded resize convolution is left as it is: only reflection at the border of the doubled map has an equal
    on the small one, replication.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for layer in net.decoder:
        if isinstance(layer, UpsampleNorm):
            rewrite_upsampling(layer)
    net.output = BlockConv(net.output)  # type: ignore[assignment]
    return net


def rewrite_upsampling(layer: UpsampleNorm) -> None:
    """Replace resize and convolution by one convolution on the small map, where that is exact."""
    if layer.resize and isinstance(layer.conv, nn.Conv2d) and layer.conv.padding_mode == "reflect":
        layer.resize, layer.conv = False, UpsampleConv(layer.conv)


class UpsampleConv(nn.Module):
    """Nearest-neighbour doubling, reflection padding of 1 and a 3x3 convolution, as one 2x2 convolution.

    Output pixels 2k - 1 and 2k both see small pixels k - 1 and k, in both directions, so that the four outputs around
    a corner of the small grid are one 2x2 convolution with four times the channels. The first row and column of such
    blocks lie half outside, hence the crop.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        with torch.no_grad():
            # Which of the three weights of a row fall on small pixels k - 1 and k, for outputs 2k - 1 and 2k.
            odd, even = torch.tensor([[1.0, 1, 0], [0, 0, 1]]), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
            phases = torch.stack([odd, even]).to(conv.weight.dtype)  # (output phase, small pixel, weight)
            weight = torch.einsum("oihw,aph,bqw->oabipq", conv.weight, phases, phases)
            self.weight = nn.Parameter(weight.reshape(-1, conv.in_channels, 2, 2), requires_grad=False)
            self.bias = nn.Parameter(bias_of(conv).repeat_interleave(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, 2 H, 2 W)."""
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.weight, self.bias)
        return F.pixel_shuffle(x, 2)[:, :, 1:-1, 1:-1]


class BlockConv(nn.Module):
    """A convolution of stride 1, as one of stride 2 that gives the four pixels of a 2 x 2 block as channels."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        self.pad = int(conv.padding[0])
        with torch.no_grad():
            shifted = [F.pad(conv.weight, (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)]
            self.weight = nn.Parameter(torch.stack(shifted, 1).flatten(0, 1), requires_grad=False)
            self.bias = nn.Parameter(bias_of(conv).repeat_interleave(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W), H and W even."""
        x = F.pad(x, (self.pad,) * 4, mode=self.mode)
        return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, stride=2), 2)


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Bias of a convolution, zeros where it has none."""
    return conv.bias if conv.bias is not None else torch.zeros(conv.out_channels, dtype=conv.weight.dtype)
