"""Conversion: each project's network is written again here, from its definition, and must give the same pixels."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.choices import Convention
from impasto.convert import load_checkpoint
from impasto.errors import WeightsError

SIZES = [(64, 64), (48, 100), (37, 61)]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class PaddedConv(nn.Module):
    """pytorch/examples and gordicaleksa: a padded convolution, named conv2d, after an optional upsampling."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return self.conv2d(self.pad(x))  # type: ignore[no-any-return]


class NestedConv(nn.Module):
    """gordicaleksa: the upsampling layer has a padded convolution of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv2d = PaddedConv(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"))  # type: ignore[no-any-return]


class JohnsonBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = PaddedConv(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)
        self.conv2, self.in2 = PaddedConv(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.in2(self.conv2(F.relu(self.in1(self.conv1(x))))) + x  # type: ignore[no-any-return]


class Johnson(nn.Module):
    """pytorch/examples with up="deconv"; gordicaleksa with up="up", nested or, as forks have it, not."""

    def __init__(self, width: int, blocks: int, up: str = "deconv", *, nested: bool = False) -> None:
        super().__init__()
        w, self.blocks, self.up = width, blocks, up
        self.conv1, self.in1 = PaddedConv(3, w, 9), nn.InstanceNorm2d(w, affine=True)
        self.conv2, self.in2 = PaddedConv(w, 2 * w, 3, 2), nn.InstanceNorm2d(2 * w, affine=True)
        self.conv3, self.in3 = PaddedConv(2 * w, 4 * w, 3, 2), nn.InstanceNorm2d(4 * w, affine=True)
        for i in range(1, blocks + 1):
            self.add_module(f"res{i}", JohnsonBlock(4 * w))
        for i, (a, b) in enumerate([(4 * w, 2 * w), (2 * w, w)], 1):
            self.add_module(f"{up}{i}", NestedConv(a, b) if nested else PaddedConv(a, b, 3, scale=2))
            self.add_module(f"in{i + 3}", nn.InstanceNorm2d(b, affine=True))
        self.add_module(f"{up}3", PaddedConv(w, 3, 9))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.get_submodule
        for i in (1, 2, 3):
            x = F.relu(layer(f"in{i}")(layer(f"conv{i}")(x)))
        for i in range(1, self.blocks + 1):
            x = layer(f"res{i}")(x)
        for i in (1, 2):
            x = F.relu(layer(f"in{i + 3}")(layer(f"{self.up}{i}")(x)))
        return layer(f"{self.up}3")(x)  # type: ignore[no-any-return]


class Conv(nn.Module):
    """eriklindernoren: padding and convolution in `block`, then `norm`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        up: bool = False,
        norm: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.up, self.relu = up, relu
        self.block = nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel, stride))
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(F.interpolate(x, scale_factor=2) if self.up else x)
        x = self.norm(x) if self.norm is not None else x
        return F.relu(x) if self.relu else x


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(Conv(channels, channels, 3), Conv(channels, channels, 3, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + x  # type: ignore[no-any-return]


class Erik(nn.Module):
    def __init__(self, w: int, blocks: int) -> None:
        super().__init__()
        encoder = [Conv(3, w, 9), Conv(w, 2 * w, 3, stride=2), Conv(2 * w, 4 * w, 3, stride=2)]
        decoder = [Conv(4 * w, 2 * w, 3, up=True), Conv(2 * w, w, 3, up=True), Conv(w, 3, 9, norm=False, relu=False)]
        self.model = nn.Sequential(*encoder, *(Residual(4 * w) for _ in range(blocks)), *decoder)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]


class RLayer(nn.Module):
    """rrmina's ConvLayer, or its DeconvLayer."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, norm: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        if up:
            self.conv_transpose = nn.ConvTranspose2d(inputs, outputs, kernel, stride, kernel // 2, 1)
        else:
            self.conv_layer = nn.Conv2d(inputs, outputs, kernel, stride)
        self.pad, self.up = nn.ReflectionPad2d(kernel // 2), up
        self.norm_layer = nn.InstanceNorm2d(outputs, affine=True) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_transpose(x) if self.up else self.conv_layer(self.pad(x))
        return self.norm_layer(x) if self.norm_layer is not None else x


class RBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = RLayer(channels, channels, 3), RLayer(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x))) + x  # type: ignore[no-any-return]


class RPreactivated(nn.Module):
    """Half of a residual block of rrmina's TransformerNetworkV2; only its order of keys matters here."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_layer = nn.InstanceNorm2d(channels, affine=True)
        self.conv_layer = nn.Conv2d(channels, channels, 3)


class RMina(nn.Module):
    def __init__(self, w: int, blocks: int) -> None:
        super().__init__()
        relu = nn.ReLU()
        encoder = [RLayer(3, w, 9), relu, RLayer(w, 2 * w, 3, 2), relu, RLayer(2 * w, 4 * w, 3, 2), relu]
        decoder = [RLayer(4 * w, 2 * w, 3, 2, up=True), relu, RLayer(2 * w, w, 3, 2, up=True), relu]
        self.ConvBlock = nn.Sequential(*encoder)
        self.ResidualBlock = nn.Sequential(*(RBlock(4 * w) for _ in range(blocks)))
        self.DeconvBlock = nn.Sequential(*decoder, RLayer(w, 3, 9, norm=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.DeconvBlock(self.ResidualBlock(self.ConvBlock(x)))  # type: ignore[no-any-return]


Run = Callable[[nn.Module, Tensor], Tensor]
RUNS: dict[Convention, Run] = {
    "rgb255": lambda net, x: net(x * 255) / 255,
    "bgr255": lambda net, x: net(x.flip(1) * 255).flip(1) / 255,
    "imagenet": lambda net, x: net((x - MEAN) / STD) * STD + MEAN,
    "rgb1": lambda net, x: net(x),
}
PROJECTS: dict[str, tuple[Callable[[int, int], nn.Module], Convention, str]] = {
    "examples": (Johnson, "rgb255", "pytorch/examples"),
    "gordic": (lambda w, b: Johnson(w, b, "up", nested=True), "imagenet", "gordicaleksa"),
    "gordic-fork": (lambda w, b: Johnson(w, b, "up"), "imagenet", "gordicaleksa"),
    "erik": (Erik, "imagenet", "eriklindernoren"),
    "rrmina": (RMina, "bgr255", "rrmina"),
}


@torch.no_grad()
def make(project: str, width: int = 4, blocks: int = 2, convention: Convention | None = None) -> nn.Module:
    """Reference network whose painted pixels spread over the range of its convention, as a trained one's do."""
    build, own, _ = PROJECTS[project]
    torch.manual_seed(width + blocks)
    net = build(width, blocks).eval()
    for module in net.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.3)
    *_, last = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    spread, middle = {"imagenet": (1.0, 0.1), "rgb1": (0.25, 0.5)}.get(convention or own, (60.0, 120.0))
    last.weight.normal_(0, spread * (81 * width) ** -0.5)
    assert last.bias is not None
    last.bias.copy_(middle * torch.tensor([0.8, 1.0, 1.3]))  # channels differ, so that a wrong order shows
    return net


def photo(height: int, width: int) -> Tensor:
    """Smooth and noisy at once, each channel different, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(1, 3, 5, 5, generator=generator) ** torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.1 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 1)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def difference(net: nn.Module, reference: nn.Module, run: Run, size: tuple[int, int]) -> float:
    """Mean absolute difference of pixels, of 255."""
    image = photo(*size)
    ours, theirs = net(image), run(reference, image)
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05
    return float((ours - theirs).abs().mean() * 255)


@pytest.mark.parametrize(("width", "blocks"), [(4, 2), (5, 1), (7, 3), (32, 5)])
@pytest.mark.parametrize("project", PROJECTS)
def test_gives_the_pixels_of_the_source(project: str, width: int, blocks: int, tmp_path: Path) -> None:
    reference = make(project, width, blocks)
    converted = load_checkpoint(save(tmp_path / "net.pth", reference.state_dict()))
    _, convention, source = PROJECTS[project]
    assert source in converted.source
    assert converted.convention == convention
    assert not converted.note
    assert not converted.net.training
    assert (converted.net.args.width, converted.net.args.blocks) == (width, blocks)
    for size in SIZES if width < 32 else SIZES[:1]:
        assert difference(converted.net, reference, RUNS[convention], size) < 0.02


@pytest.mark.parametrize("project", PROJECTS)
@torch.no_grad()
def test_extreme_pictures_keep_their_borders(project: str, tmp_path: Path) -> None:
    """A mean that is taken off after padding, or a channel out of order, shows most at the border of such pictures."""
    reference = make(project)
    net = load_checkpoint(save(tmp_path / "net.pth", reference.state_dict())).net
    blocks = (torch.arange(3 * 40 * 40).reshape(1, 3, 40, 40) // 20 % 2).float()
    faint = (128 + torch.randint(0, 2, (1, 3, 40, 40), generator=torch.Generator().manual_seed(0))) / 255
    primary = torch.tensor([1.0, 0.0, 0.0])[:, None, None] * blocks
    for image in (blocks, faint, primary):
        theirs = RUNS[PROJECTS[project][1]](reference, image)
        assert (net(image) - theirs).abs().mean() * 255 < 0.05
        assert (net(image) - theirs).abs().max() * 255 < 1


@pytest.mark.parametrize("convention", RUNS)
@pytest.mark.parametrize("project", ["gordic", "rrmina"])
def test_convention_overrides_the_projects_own(project: str, convention: Convention, tmp_path: Path) -> None:
    reference = make(project, convention=convention)
    path = save(tmp_path / "fork.pth", reference.state_dict())
    converted = load_checkpoint(path, convention=convention)
    assert converted.convention == convention
    assert not converted.note
    assert difference(converted.net, reference, RUNS[convention], (40, 56)) < 0.02


def test_unknown_convention_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"convention is 'cmyk'.*rgb255"):
        load_checkpoint(tmp_path / "net.pth", convention="cmyk")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "commit_hash": "abc", "num_of_epochs": 2, "optimizer_state": {"state": {}}},
        lambda s: {"epoch": 3, "model_state_dict": s, "loss": torch.tensor(1.0)},
        lambda s: OrderedDict((f"module.{k}", v) for k, v in s.items()),
        lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {k: nn.Parameter(v) for k, v in s.items()},
        lambda s: {k: v.double() for k, v in s.items()},
    ],
    ids=["gordic", "model_state_dict", "module", "nested-prefixes", "parameters", "double"],
)
@pytest.mark.parametrize("project", PROJECTS)
def test_wrapped_state(project: str, wrap: Callable[[dict[str, Tensor]], Any], tmp_path: Path) -> None:
    reference = make(project)
    converted = load_checkpoint(save(tmp_path / "net.pth", wrap(reference.state_dict())))
    assert difference(converted.net, reference, RUNS[PROJECTS[project][1]], (32, 44)) < 0.02


def test_safetensors_and_old_files(tmp_path: Path) -> None:
    reference = make("examples")
    state = reference.state_dict()
    save_file(state, tmp_path / "named-otherwise.bin")
    torch.save(state, tmp_path / "old.model", _use_new_zipfile_serialization=False)
    for name in ("named-otherwise.bin", "old.model"):
        assert difference(load_checkpoint(tmp_path / name).net, reference, RUNS["rgb255"], (32, 44)) < 0.02


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    reference = make("examples").half()
    converted = load_checkpoint(save(tmp_path / "net.pth", reference.state_dict()))
    assert {p.dtype for p in converted.net.parameters()} == {torch.float32}
    assert difference(converted.net, reference.float(), RUNS["rgb255"], (32, 44)) < 0.02


def test_deprecated_statistics_are_ignored_for_the_project_that_has_them(tmp_path: Path) -> None:
    for project in ("examples", "erik"):
        state = make(project).state_dict()
        norms = [k.removesuffix(".weight") for k, v in state.items() if k.endswith("weight") and v.dim() == 1]
        for norm in norms:
            for kind in ("mean", "var"):
                state[f"{norm}.running_{kind}"] = torch.rand_like(state[f"{norm}.weight"])
        path = save(tmp_path / f"{project}.pth", state)
        if project == "examples":
            assert difference(load_checkpoint(path).net, make(project), RUNS["rgb255"], (32, 44)) < 0.02
        else:
            with pytest.raises(WeightsError, match="unexpected"):
                load_checkpoint(path)


def test_conversion_draws_no_random_numbers_and_leaves_the_network_trainable(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", make("examples").state_dict())
    before = torch.get_rng_state()
    net = load_checkpoint(path).net
    assert torch.equal(before, torch.get_rng_state())
    net.train()(photo(32, 32)).mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_default_weights_are_converted_with_a_note(tmp_path: Path) -> None:
    faint = save(tmp_path / "faint.pth", RMina(4, 1).state_dict())
    assert "TransformerNetworkTanh" in load_checkpoint(faint).note
    normalised = save(tmp_path / "fork.pth", make("examples", convention="imagenet").state_dict())
    assert "convention" in load_checkpoint(normalised).note
    harsh = save(tmp_path / "harsh.pth", make("gordic", convention="rgb255").state_dict())
    assert "convention" in load_checkpoint(harsh).note


# what is refused


def refused(path: Path, *parts: str) -> str:
    """Message of the one WeightsError, of one line, that names the file and has all `parts`."""
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) - len(str(path)) < 900
    for part in parts:
        assert part in message
    return message


@pytest.mark.parametrize("project", PROJECTS)
def test_differences_are_listed(project: str, tmp_path: Path) -> None:
    state = dict(make(project).state_dict())
    names = list(state)
    missing, wrong = names[5], names[8]
    del state[missing]
    state[wrong] = torch.zeros(2, 3)
    state |= {f"extra.{i}": torch.zeros(1) for i in range(20)}
    path = save(tmp_path / "net.pth", state)
    message = refused(path, f"1 missing ({missing})", "20 unexpected (extra.0, extra.1, extra.2, ...)", "2x3, not")
    assert f"1 of the wrong shape ({wrong}" in message
    assert all(name in message for name in ("pytorch/examples", "eriklindernoren", "gordicaleksa", "rrmina"))


@pytest.mark.parametrize("project", PROJECTS)
def test_every_single_key_matters(project: str, tmp_path: Path) -> None:
    state = make(project, 2, 1).state_dict()
    for name in state:
        refused(save(tmp_path / "net.pth", {k: v for k, v in state.items() if k != name}), f"1 missing ({name})")
        grown = {k: torch.cat([v, v]) if k == name else v for k, v in state.items()}
        refused(save(tmp_path / "net.pth", grown), "of the wrong shape")


def test_missing_blocks_are_named(tmp_path: Path) -> None:
    state = make("examples", 4, 3).state_dict()
    gap = {k: v for k, v in state.items() if not k.startswith("res2.")}
    refused(save(tmp_path / "gap.pth", gap), "8 missing (res2.conv1.conv2d.weight")
    none = {k: v for k, v in state.items() if not k.startswith("res")}
    refused(save(tmp_path / "none.pth", none), "40 missing (res1.conv1.conv2d.weight")
    many = {**state, "res999.conv1.conv2d.weight": torch.zeros(1)}
    refused(save(tmp_path / "many.pth", many), "1 unexpected (res999.conv1.conv2d.weight)")


def test_other_kernels_are_refused(tmp_path: Path) -> None:
    state = make("gordic").state_dict()
    state["conv2.conv2d.weight"] = torch.zeros(8, 4, 4, 4)
    refused(save(tmp_path / "net.pth", state), "conv2.conv2d.weight is 8x4x4x4, not 8x4x3x3")


@pytest.mark.parametrize("variant", ["resnext", "dense", "preactivated", "batch"])
def test_rrminas_other_networks_are_refused(variant: str, tmp_path: Path) -> None:
    net = RMina(4, 2)
    if variant == "resnext":
        for block in net.ResidualBlock:
            block.conv1, block.conv2 = RLayer(16, 8, 1), RLayer(8, 8, 3)
            block.add_module("conv3", RLayer(8, 16, 1))
    elif variant == "dense":
        net.DenseBlock, net.ResidualBlock = nn.Sequential(RLayer(16, 16, 1)), nn.Sequential()
    elif variant == "preactivated":
        for block in net.ResidualBlock:
            block.conv1, block.conv2 = RPreactivated(16), RPreactivated(16)
    else:
        for layer in (m for m in net.modules() if isinstance(m, RLayer) and m.norm_layer is not None):
            layer.norm_layer = nn.BatchNorm2d(layer.norm_layer.num_features)  # type: ignore[union-attr, assignment]
    expected = {
        "resnext": "conv3",
        "dense": "DenseBlock",
        "preactivated": "TransformerNetworkV2",
        "batch": "num_batches_tracked",
    }
    message = refused(save(tmp_path / "net.pth", net.state_dict()), "rrmina")
    assert expected[variant] in message or (variant == "batch" and "running_mean" in message)


def test_shuffled_keys_are_no_other_network(tmp_path: Path) -> None:
    reference = make("rrmina")
    state = dict(reversed(reference.state_dict().items()))
    converted = load_checkpoint(save(tmp_path / "net.pth", state))
    assert difference(converted.net, reference, RUNS["bgr255"], (32, 44)) < 0.02


def test_values_that_are_no_weights(tmp_path: Path) -> None:
    state = make("examples").state_dict()
    broken = {**state, "in2.weight": torch.full((8,), float("nan"))}
    refused(save(tmp_path / "nan.pth", broken), "not finite", "in2.weight")
    whole = {**state, "in2.weight": torch.ones(8, dtype=torch.int64)}
    refused(save(tmp_path / "int.pth", whole), "1 of whole numbers (in2.weight)")
    sparse = {**state, "in2.weight": torch.ones(8).to_sparse()}
    refused(save(tmp_path / "sparse.pth", sparse), "no state dictionary")


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in Johnson(400, 5).state_dict().items()}
    refused(save(tmp_path / "net.pth", {k: torch.zeros(1).expand(s) for k, s in shapes.items()}), "no state dictionary")


def test_a_width_beyond_all_networks(tmp_path: Path) -> None:
    state = {**make("examples").state_dict(), "conv1.conv2d.weight": torch.zeros(600, 3, 9, 9)}
    refused(save(tmp_path / "wide.pth", state), "conv1.conv2d.weight is 600x3x9x9, not 512x3x9x9")
    state["conv1.conv2d.weight"] = torch.tensor(1.0)
    refused(save(tmp_path / "scalar.pth", state), "conv1.conv2d.weight is a single number")


@pytest.mark.parametrize(
    "content",
    [{}, [], 3, "weights", torch.zeros(3), {"state_dict": {}}, {"epoch": 3}, {3: torch.zeros(1)}, None],
    ids=repr,
)
def test_files_without_a_state_dictionary(content: Any, tmp_path: Path) -> None:
    refused(save(tmp_path / "net.pth", content), "no state dictionary")


def test_a_dictionary_that_contains_itself(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["state_dict"] = loop
    refused(save(tmp_path / "net.pth", loop), "no state dictionary")


def test_another_network(tmp_path: Path) -> None:
    state = {f"features.{i}\n{'x' * 100}.weight": torch.zeros(1) for i in range(9)}
    refused(save(tmp_path / "net.pth", state), "no known project", "features.0", "understood are pytorch/examples")


class Hostile:
    """Pickle that makes a folder when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_not_run(zipped: bool, tmp_path: Path) -> None:
    target = tmp_path / "made"
    path = tmp_path / "net.pth"
    torch.save({"state_dict": Hostile(target)}, path, _use_new_zipfile_serialization=zipped)
    refused(path, "plain weights")
    path.write_bytes(pickle.dumps(Hostile(target)))
    refused(path, "plain weights")
    assert not target.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "module.pth", make("examples", 2, 1)), "state_dict()")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(99), b"PK\x03\x04", b"12345678{nonsense", b"hi"])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    refused(path, "broken")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pth", "No such file")
    refused(tmp_path, "Is a directory" if os.name == "posix" else "cannot be read")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, state = tmp_path_factory.mktemp("files"), make("examples", 2, 1).state_dict()
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "net.safetensors")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "net.safetensors"])
@given(part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_truncated_files(files: dict[str, Path], name: str, part: float) -> None:
    data = files[name].read_bytes()
    path = files[name].with_name(f"cut-{name}")
    path.write_bytes(data[: int(part * len(data))])
    refused(path)


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "net.safetensors"])
@given(where=st.floats(0, 0.2), junk=st.binary(min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_scribbled_files_are_refused_or_read(files: dict[str, Path], name: str, where: float, junk: bytes) -> None:
    data = bytearray(files[name].read_bytes())
    start = int(where * len(data))
    data[start : start + len(junk)] = junk
    path = files[name].with_name(f"scribbled-{name}")
    path.write_bytes(data)
    message = ""
    try:
        load_checkpoint(path)
    except WeightsError as error:
        message = str(error)
    assert message.isprintable()
