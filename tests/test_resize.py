"""Resize convolutions on the small map: the same function as doubling and convolving."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.resize import PhaseConv, ResizeConv, shares
from impasto.networks.rewrite import undone


def plainly(layer: ResizeConv, x: Tensor, upsample: str) -> Tensor:
    """Doubling, repetition of the border, convolution."""
    doubled = F.interpolate(
        x, scale_factor=2.0, mode=upsample, **({"align_corners": False} if upsample != "nearest" else {})
    )
    pad = layer.weight.shape[2] // 2
    return F.conv2d(F.pad(doubled, (pad, pad, pad, pad), mode="replicate"), layer.weight, layer.bias)


def make(kernel: int, upsample: str) -> ResizeConv:
    torch.manual_seed(kernel)
    layer = ResizeConv(3, 2, kernel, upsample).double()
    nn.init.normal_(layer.bias)
    return layer


@settings(deadline=None, max_examples=60)
@given(
    kernel=st.sampled_from([1, 3, 5, 7, 9, 11]),
    upsample=st.sampled_from(["nearest", "bilinear"]),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
)
def test_it_is_doubling_and_a_convolution(kernel: int, upsample: str, height: int, width: int) -> None:
    layer = make(kernel, upsample)
    x = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(height))
    expected = plainly(layer, x, upsample)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    baked = PhaseConv(layer.weight, layer.bias, layer.shares)
    torch.testing.assert_close(baked(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_gradients_are_those_of_doubling_and_a_convolution(upsample: str) -> None:
    layer, x = make(5, upsample), torch.rand(1, 3, 4, 5, dtype=torch.float64)
    weight = torch.rand(1, 2, 8, 10, dtype=torch.float64)
    ours = torch.autograd.grad((layer(x) * weight).sum(), [layer.weight, layer.bias])
    theirs = torch.autograd.grad((plainly(layer, x, upsample) * weight).sum(), [layer.weight, layer.bias])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_as_few_small_pixels_as_can_be() -> None:
    assert [shares(kernel, "nearest").shape[1] for kernel in (1, 3, 5, 7, 9)] == [1, 2, 3, 4, 5]
    assert [shares(kernel, "bilinear").shape[1] for kernel in (1, 3, 5, 7)] == [2, 3, 4, 5]


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
@pytest.mark.parametrize("kernel", [3, 7])
def test_it_can_be_undone(kernel: int, upsample: str) -> None:
    layer = make(kernel, upsample)
    net = nn.Sequential(layer)
    baked = PhaseConv(layer.weight, layer.bias, layer.shares)
    made = undone(net, {f"0.{name}": value.float() for name, value in baked.state_dict().items()})
    torch.testing.assert_close(made["0.weight"], layer.weight.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made["0.bias"], layer.bias.float())
