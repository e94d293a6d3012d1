"""The fast instance normalisation against PyTorch's own."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from impasto.networks.norm import InstanceNorm, channels_last_norm

SHAPES = [(2, 4, 8, 8), (1, 3, 7, 5), (3, 1, 6, 9), (1, 1, 2, 1), (2, 5, 1, 11), (2, 5, 11, 1), (1, 64, 3, 3)]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "slice": lambda x: F.pad(x, (1, 2, 3, 1))[:, :, 3:-1, 1:-2],
    "every second": lambda x: x.repeat_interleave(2, 1)[:, ::2],
}


def results(x: Tensor, norm: Callable[[Tensor, Tensor, Tensor], Tensor], grad: Tensor) -> list[Tensor]:
    """Output, and gradients of x, weight and bias."""
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(2, *x.shape[:2], generator=generator).to(torch.promote_types(x.dtype, torch.float32))
    leaves = [x.detach().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    y = norm(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))]


def reference(x: Tensor, grad: Tensor) -> list[Tensor]:
    """What PyTorch's own gives in float64, contiguous: its gradients of one channels-last image are wrong (2.13)."""
    x, grad = (t.double().clone(memory_format=torch.contiguous_format) for t in (x, grad))
    return results(x, lambda x, w, b: F.instance_norm(x, eps=1e-5) * w[:, :, None, None] + b[:, :, None, None], grad)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients_are_pytorchs(shape: tuple[int, ...], layout: Callable[[Tensor], Tensor]) -> None:
    x, grad = layout(0.5 + 2 * noise(*shape)), layout(noise(*shape, seed=2))
    for ours, theirs in zip(results(x, channels_last_norm, grad), reference(x, grad), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-5, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 13), st.integers(2, 13)),
    mean=st.floats(-20, 20),
    deviation=st.floats(0.1, 10),
)
def test_output_and_gradients_are_pytorchs_at_any_size(
    shape: tuple[int, int, int, int], mean: float, deviation: float
) -> None:
    x, grad = mean + deviation * noise(*shape), noise(*shape, seed=3)
    spread = x.double().var((2, 3), correction=0) + 1e-5
    cancelled = 1 + float((x.double().square().mean((2, 3)) / spread).max())
    for ours, theirs in zip(results(x, channels_last_norm, grad), reference(x, grad), strict=True):
        error, size = float((ours - theirs).abs().max()), 1 + float(theirs.abs().max())
        assert error < 4e-6 * cancelled * size


@pytest.mark.parametrize("shape", [(2, 4, 32, 32), (1, 3, 17, 15)], ids=str)
def test_bfloat16_is_near_and_keeps_its_type(shape: tuple[int, ...]) -> None:
    x, grad = (0.5 + 2 * noise(*shape)).bfloat16(), noise(*shape, seed=2).bfloat16()
    ours = results(x, channels_last_norm, grad)
    assert [value.dtype for value in ours] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for value, theirs in zip(ours, reference(x, grad), strict=True):
        assert (value.double() - theirs).square().mean().sqrt() < 0.01 * theirs.square().mean().sqrt() + 0.003


def test_statistics_are_not_kept_in_bfloat16() -> None:
    """A sum of thousands of values stops growing in bfloat16."""
    x = (3 + noise(1, 2, 128, 128)).bfloat16()
    y = results(x, channels_last_norm, torch.ones_like(x))[0].float()
    expected = reference(x, torch.ones_like(x))[0]
    assert (y.mean((2, 3)) - expected.mean((2, 3))).abs().max() < 0.02
    assert (y.std((2, 3)) / expected.std((2, 3)) - 1).abs().max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_flat_map_becomes_the_bias(dtype: torch.dtype) -> None:
    """An empty sky must not become what rounding left of it, three hundred times enlarged."""
    x = torch.full((1, 2, 31, 33), 7.3, dtype=dtype)
    leaves = [x.requires_grad_(), torch.tensor([[2.0, 0.5]]), torch.tensor([[0.25, -3.0]])]
    y = channels_last_norm(*leaves)
    assert (y.float() - leaves[2][:, :, None, None]).abs().max() < 2e-3
    (grad,) = torch.autograd.grad(y.float().square().sum(), x)
    assert grad.isfinite().all()


def test_module_is_the_same_in_training_and_without_gradients() -> None:
    norm = InstanceNorm(3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = noise(2, 3, 9, 6)
    trained = norm(x.requires_grad_())
    assert "ChannelsLastNorm" in type(trained.grad_fn).__name__
    with torch.inference_mode():
        torch.testing.assert_close(norm(x.detach()), trained.detach(), rtol=1e-5, atol=1e-5)
    expected = F.instance_norm(x.detach(), weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-5)


def test_output_stays_channels_last() -> None:
    x = noise(2, 6, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = channels_last_norm(x, torch.ones(1, 6), torch.zeros(1, 6))
    assert y.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    assert grad.is_contiguous(memory_format=torch.channels_last)


def test_input_and_gradient_are_left_as_they_were() -> None:
    x, grad = noise(2, 3, 5, 5), noise(2, 3, 5, 5, seed=1)
    results(x, channels_last_norm, grad)
    assert torch.equal(x, noise(2, 3, 5, 5))
    assert torch.equal(grad, noise(2, 3, 5, 5, seed=1))
