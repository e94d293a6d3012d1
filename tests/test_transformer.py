"""The network's variants: sizes, shapes of the weights, and what makes them different."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from impasto.config import TransformerArgs
from impasto.networks.rewrite import for_inference
from impasto.networks.transformer import TransformerNet


def make(**kwargs: Any) -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet(**({"width": 4, "blocks": 2} | kwargs)).eval().requires_grad_(False)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"norm": "batch"},
    {"upsample": "transposed"},
    {"padding": "zeros"},
    {"padding": "start"},
    {"output": "tanh"},
    {"padding": "zeros", "upsample": "transposed", "norm": "batch", "output": "tanh"},
]


@pytest.mark.parametrize("kwargs", VARIANTS)
@pytest.mark.parametrize("size", [(32, 32), (20, 44)])
def test_output_has_the_size_of_the_input(kwargs: dict[str, Any], size: tuple[int, int]) -> None:
    assert make(**kwargs)(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_the_published_network_has_1_68_million_parameters() -> None:
    net = TransformerNet(width=32)
    assert sum(p.numel() for p in net.parameters()) == 1_679_235
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes["encoder.0.conv.weight"] == (32, 3, 9, 9)
    assert shapes["encoder.2.conv.weight"] == (128, 64, 3, 3)
    assert net.output.weight.shape == (3, 32, 9, 9)


def test_tanh_output_stays_in_its_span_and_reaches_black_and_white() -> None:
    net = make(output="tanh")
    net.output.weight.mul_(1e4)
    out = net(torch.rand(1, 3, 32, 32))
    assert out.min() == pytest.approx(0.5 - 150 / 255)
    assert out.max() == pytest.approx(0.5 + 150 / 255)


def test_the_papers_padding_takes_all_it_adds() -> None:
    net = make(padding="start")
    grown = F.pad(torch.rand(1, 3, 32, 32), (16,) * 4, mode="reflect")
    assert net.residual[0](torch.rand(1, 16, 12, 12)).shape == (1, 16, 8, 8)
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    assert grown.shape[-1] == 32 + 2 * 8 * net.args.blocks


def test_a_batch_is_the_same_as_one_by_one_with_instance_norm() -> None:
    net, images = make(), torch.rand(3, 3, 24, 24)
    torch.testing.assert_close(net(images), torch.cat([net(i[None]) for i in images]))


def test_instance_norm_takes_out_contrast_and_brightness() -> None:
    net, image = make(), torch.rand(1, 3, 24, 24)
    torch.testing.assert_close(net(0.5 * image + 0.2), net(image), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "kwargs", [{"norm": "layer"}, {"upsample": "bilinear"}, {"padding": "same"}, {"output": "sigmoid"}, {"width": 0}]
)
def test_arguments_are_checked(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        TransformerArgs(**kwargs)


@pytest.mark.parametrize("kwargs", VARIANTS)
@pytest.mark.parametrize("size", [(20, 20), (32, 52)])
def test_rewritten_for_inference_it_computes_the_same(kwargs: dict[str, Any], size: tuple[int, int]) -> None:
    net = make(**kwargs).double()
    for module in net.modules():  # statistics and scales of a trained network, so that nothing is hidden by ones
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(for_inference(net)(image), net(image), rtol=0, atol=1e-11)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_rewriting_replaces_the_doubling_and_the_last_convolution() -> None:
    net = for_inference(make())
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes["decoder.0.conv.weight"] == (4 * 8, 16, 2, 2)
    assert shapes["decoder.1.conv.weight"] == (4 * 4, 8, 2, 2)
    assert shapes["output.weight"] == (12, 4, 10, 10)
