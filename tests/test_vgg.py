"""The loss network against the definition of VGG written out, and what it must not compute."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.vgg import VGG, LossNetwork
from impasto.statistics import gram

VGG16 = "1_1 1_2 P 2_1 2_2 P 3_1 3_2 3_3 P 4_1 4_2 4_3 P 5_1 5_2 5_3"
VGG19 = "1_1 1_2 P 2_1 2_2 P 3_1 3_2 3_3 3_4 P 4_1 4_2 4_3 4_4 P 5_1 5_2 5_3 5_4"
PLANS = {"vgg16": VGG16.split(), "vgg19": VGG19.split()}
WIDTHS = (5, 6, 7, 8, 9)


def random_state(architecture: str, last: str = "5_9") -> dict[str, Tensor]:
    """A narrow network of noise, down to convolution `last`."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}
    inputs = 3
    for name in PLANS[architecture]:
        if name != "P" and name <= last:
            outputs = WIDTHS[int(name[0]) - 1]
            state[f"conv{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.3
            state[f"conv{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
            inputs = outputs
    return state


def defined(
    architecture: str, state: Mapping[str, Tensor], x: Tensor, *, mode: str = "constant", average: bool = False
) -> dict[str, Tensor]:
    """Features of all layers from the definition; `x` is what conv1_1 sees."""
    features: dict[str, Tensor] = {}
    for step in PLANS[architecture]:
        if step == "P":
            x = F.avg_pool2d(x, 2) if average else F.max_pool2d(x, 2)
        elif f"conv{step}.weight" in state:
            padded = F.pad(x, (1, 1, 1, 1), mode=mode)
            x = F.conv2d(padded, state[f"conv{step}.weight"], state[f"conv{step}.bias"]).clamp(min=0)
            features[f"relu{step}"] = x
    return features


def photo(height: int = 37, width: int = 50) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(8))


def imagenet(image: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image - mean[:, None, None]) / std[:, None, None]


def assert_same(features: Tensor, expected: Tensor) -> None:
    """Equal but for rounding, and not for being empty."""
    assert features.shape == expected.shape
    assert (features - expected).abs().max() < 1e-4 * expected.max()


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_features_are_those_of_the_definition(architecture: str, pooling: str, padding: str) -> None:
    state = random_state(architecture)
    network = VGG(architecture, state, pooling=pooling, padding=padding)
    mode = "reflect" if padding == "reflect" else "constant"
    expected = defined(architecture, state, imagenet(photo()), mode=mode, average=pooling == "avg")
    features = network(photo(), network.layers)
    assert list(features) == network.layers == list(expected)
    for layer, value in features.items():
        assert_same(value, expected[layer])


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_a_layer_is_the_same_whatever_else_is_asked_for(pooling: str) -> None:
    """Where a layer before a pooling is not asked for, its ReLU may come behind it, if that is the same."""
    net = VGG("vgg19", random_state("vgg19"), pooling=pooling)
    every = net(photo(), net.layers)
    for layer in net.layers:
        assert torch.equal(net(photo(), [layer])[layer], every[layer])


def test_a_map_of_one_pixel_is_not_pooled() -> None:
    net = VGG("vgg19", random_state("vgg19"))
    assert net(photo(2, 2), ["relu2_2"])["relu2_2"].shape == (2, WIDTHS[1], 1, 1)


def test_layers_are_named_shallow_to_deep() -> None:
    assert VGG("vgg16", random_state("vgg16")).layers == [f"relu{x}" for x in PLANS["vgg16"] if x != "P"]
    assert VGG("vgg19", random_state("vgg19", last="3_1")).layers == [
        *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
    ]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (63, 34)])
def test_a_block_halves_the_size_rounding_down(height: int, width: int) -> None:
    network = VGG("vgg19", random_state("vgg19"), padding="reflect")
    features = network(photo(height, width), ["relu1_2", "relu3_4", "relu5_1"])
    assert features["relu1_2"].shape == (2, 5, height, width)
    assert features["relu3_4"].shape == (2, 7, height // 4, width // 4)
    assert features["relu5_1"].shape == (2, 9, height // 16, width // 16)


def test_nothing_deeper_than_asked_is_run() -> None:
    network = VGG("vgg19", random_state("vgg19"))
    ran: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(network(photo(), ["relu2_1", "relu1_1"])) == ["relu1_1", "relu2_1"]
    assert ran == ["normalize", "conv1_1", "conv1_2", "conv2_1"]
    network(photo(), ["relu1_1"])
    assert ran[4:] == ["normalize", "conv1_1"]
    assert network(photo(), []) == {}


def test_the_file_s_own_normalisation_replaces_imagenet_s() -> None:
    state = random_state("vgg16", last="1_1")
    state["normalize.weight"] = 255 * torch.eye(3).flip(0)[:, :, None, None]
    state["normalize.bias"] = torch.tensor([-100.0, -110.0, -120.0])
    seen = 255 * photo().flip(1) - torch.tensor([100.0, 110.0, 120.0])[:, None, None]
    features = VGG("vgg16", state)(photo(), ["relu1_1"])["relu1_1"]
    assert_same(features, defined("vgg16", state, seen)["relu1_1"])


def test_projections_are_used_and_do_not_change_what_follows() -> None:
    state = random_state("vgg19", last="2_1")
    plain = VGG("vgg19", state)(photo(), ["relu1_1", "relu2_1"])
    state["project1_1.weight"], state["project1_1.bias"] = torch.randn(64, 5, 1, 1), torch.randn(64)
    projected = VGG("vgg19", state)(photo(), ["relu1_1", "relu2_1"])
    weight, bias = state["project1_1.weight"], state["project1_1.bias"]
    assert_same(projected["relu1_1"], F.conv2d(plain["relu1_1"], weight, bias).relu())
    assert torch.equal(projected["relu2_1"], plain["relu2_1"])
    assert plain["relu1_1"].shape[1] == 5


@pytest.mark.parametrize("width", [64, 4])  # more than the convolution's 5 channels, and fewer
def test_linear_projections_are_thinned_to_what_distances_see(width: int) -> None:
    state = random_state("vgg19", last="2_1")
    plain = VGG("vgg19", state)(photo(), ["relu1_1", "relu2_1"])
    state["linear1_1.weight"], state["linear1_1.bias"] = torch.randn(width, 5, 1, 1), torch.randn(width)
    whole, thin = (VGG("vgg19", state, thin=flag) for flag in (False, True))
    assert whole.compressed
    assert thin.compressed
    one, other = (whole(image, ["relu1_1"])["relu1_1"] for image in (photo(), photo().flip(1)))
    assert_same(one, F.conv2d(plain["relu1_1"], state["linear1_1.weight"], state["linear1_1.bias"]))
    small, smaller = (thin(image, ["relu1_1"])["relu1_1"] for image in (photo(), photo().flip(1)))
    assert small.shape == (*one.shape[:1], min(width, 6), *one.shape[2:])
    torch.testing.assert_close((small - smaller).square().sum(1), (one - other).square().sum(1), rtol=1e-4, atol=1e-6)
    before, after = (gram(a) - gram(b) for a, b in ((one, other), (small, smaller)))
    assert after.square().sum().item() == pytest.approx(before.square().sum().item(), rel=1e-4)
    assert torch.equal(thin(photo(), ["relu1_1", "relu2_1"])["relu2_1"], plain["relu2_1"])


def test_unknown_layers_are_refused_with_the_known() -> None:
    network = VGG("vgg16", random_state("vgg16", last="1_2"))
    with pytest.raises(ValueError, match=re.escape("['relu3_4'] are not in this network; it has relu1_1, relu1_2")):
        network(photo(), ["relu1_1", "relu3_4"])


@pytest.mark.parametrize("option", ["pooling", "padding"])
def test_unknown_options_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: "min"}
    with pytest.raises(ValueError, match=f"{option} is 'min'; it must be "):
        VGG("vgg16", random_state("vgg16"), **options)


def test_weights_are_frozen_while_the_image_gets_a_gradient() -> None:
    network = VGG("vgg19", random_state("vgg19"))
    image = photo().requires_grad_()
    network(image, ["relu5_1"])["relu5_1"].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not network.training
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_building_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    VGG("vgg19", random_state("vgg19"))
    assert torch.equal(torch.get_rng_state(), before)


def test_several_networks_give_each_layer_from_the_first_that_has_it() -> None:
    shallow, deep = VGG("vgg19", random_state("vgg19", last="2_2")), VGG("vgg16", random_state("vgg16"), pooling="avg")
    features = LossNetwork([shallow, deep])(photo(), ["relu2_2", "relu4_1"])
    assert torch.equal(features["relu2_2"], shallow(photo(), ["relu2_2"])["relu2_2"])
    assert torch.equal(features["relu4_1"], deep(photo(), ["relu4_1"])["relu4_1"])
    with pytest.raises(ValueError, match="relu5_4 are in no loss network"):
        LossNetwork([shallow, deep])(photo(), ["relu1_1", "relu5_4"])
