"""Exact rewrites of a network for inference: the same function, fewer multiplications and fewer bytes moved.

Both rewrites work on 2 x 2 blocks of pixels. A resize convolution is computed on the small map (networks/resize.py). A
convolution to three channels leaves most of a vector unit idle; four neighbouring pixels at once fill it.
"""

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.resize import PhaseConv, ResizeConv, large_weight, shares
from impasto.networks.transformer import TransformerNet, UpsampleNorm

NetT = TypeVar("NetT", bound=nn.Module)


def for_inference(net: NetT) -> NetT:
    """Copy of `net` in evaluation mode that computes the same faster; it cannot be trained or loaded into."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(net.modules()):
        if isinstance(module, UpsampleNorm):
            rewrite_upsampling(module)
        for name, child in module.named_children():
            if isinstance(child, ResizeConv):
                setattr(module, name, PhaseConv(child.weight, child.bias, child.shares))
    if isinstance(net, TransformerNet):
        net.output = BlockConv(net.output)  # type: ignore[assignment]
    return net


def undone(net: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that `net` has in the places that its copy for inference, whose weights are given, has others in."""
    made = {}
    for name, module in for_inference(net).named_modules():
        if isinstance(module, PhaseConv):
            made[f"{name}.weight"] = large_weight(weights[f"{name}.weight"], module.shares)
            made[f"{name}.bias"] = weights[f"{name}.bias"][::4]
        elif isinstance(module, BlockConv):
            made[f"{name}.weight"] = weights[f"{name}.weight"][::4, :, :-1, :-1]
            made[f"{name}.bias"] = weights[f"{name}.bias"][::4]
    return made


def rewrite_upsampling(layer: UpsampleNorm) -> None:
    """Replace resize and convolution by one convolution on the small map, where that is exact.

    Reflection by one at the border of the doubled map equals repetition on the small one; zeros have no equal there.
    """
    if layer.resize and isinstance(layer.conv, nn.Conv2d) and layer.conv.padding_mode == "reflect":
        layer.resize, layer.conv = False, PhaseConv(layer.conv.weight, bias_of(layer.conv), shares(3, "nearest"))


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
