"""What is done for GPUs, on the CPU: PyTorch's own is the device, and CUDA's streams and graphs are stood in for."""

import contextlib
import linecache
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import impasto
from clipmaker import blocks, write_clip
from conftest import random_palette
from impasto import gpu, large, runtimes
from impasto.errors import DeviceError, StyleError
from impasto.export import export_style, make_spec
from impasto.gpu import ChannelsLast, Frames, Held
from impasto.gpu_tiles import GpuTiler
from impasto.images import Picture, from_network, to_network
from impasto.large import Limit, Plan, make_plan
from impasto.networks.norm import InstanceNorm
from impasto.networks.shared import Joint, Known, own
from impasto.runtimes import GpuMemoryError, TorchRuntime
from impasto.specs import StyleEntry
from impasto.statistics import mean_covariance, mean_deviation, taken_by
from impasto.styles import Style, load_style, read_style
from impasto.stylize import stylize
from impasto.video import read_frames
from test_large import WHOLE, decibels, distance, scene

Pixels = npt.NDArray[np.uint8]
ONE = np.ones(1, np.float32)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the GPU be PyTorch's CPU, with memory for everything in these tests."""
    monkeypatch.setattr(runtimes, "torch_gpu", lambda: "cpu")
    monkeypatch.setattr(gpu, "free_bytes", lambda _: 8e9)


def style_of(path: Path) -> Style:
    """A style of its own, so that nothing of another test is in its networks."""
    style = read_style(path)
    return style if style.weights else style.choose({style.spec.names[0]: 1})


def network_of(style: Style, precision: str = "float32") -> Any:
    """Its TorchRuntime, of which tests replace parts."""
    runtime = style.runtime("gpu", precision)
    assert isinstance(runtime, TorchRuntime)
    return runtime


def rows_of(style: Style) -> list[npt.NDArray[np.float32]]:
    return [style.spec.mix(style.weights)] if style.spec.rows else []


# --------------------------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("name", ["tiny", "palette", "valid", "batch_norm"])
@pytest.mark.parametrize(("precision", "least"), [("float32", 75), ("auto", 45), ("bfloat16", 30)])
def test_it_is_the_network(name: str, precision: str, least: float, request: pytest.FixtureRequest) -> None:
    style = style_of(request.getfixturevalue(name))
    image = to_network(scene(64, 92))
    expected = style.runtime("cpu", "float32")(image, *rows_of(style)).copy()
    painted = network_of(style, precision)(image, *rows_of(style))
    assert painted.dtype == np.float32
    assert decibels(painted, expected, 1) > least


def test_only_convolutions_are_halved(palette: Path) -> None:
    net = network_of(style_of(palette), "auto").net
    kinds = {value.dtype for value in net.parameters() if value.ndim == 4}
    others = {value.dtype for name, value in net.named_parameters() if value.ndim == 2}
    assert (kinds, others) == ({torch.float16}, {torch.float32})


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (902.3, 2.0), (-3.0, 0.01), (0.0, 3000.0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_statistics_of_a_map_are_exact_whatever_its_type(mean: float, deviation: float, dtype: torch.dtype) -> None:
    """Of large means, whose squares hide the deviation, and of large deviations, whose squares float16 has not."""
    torch.manual_seed(0)
    x = (mean + deviation * torch.randn(1, 3, 31, 40)).to(dtype, memory_format=torch.channels_last)
    exact = x.double()
    found, variance = own(x, False)
    assert found.dtype == variance.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact.mean((2, 3)), rtol=1e-5, atol=1e-5 * deviation)
    torch.testing.assert_close(variance.double(), exact.var((2, 3), correction=0), rtol=2e-3, atol=1e-9)


def test_a_flat_map_has_no_variance_below_nothing() -> None:
    for dtype in (torch.float16, torch.float32):
        assert (own(torch.full((1, 2, 9, 9), 0.1, dtype=dtype), False)[1] >= 0).all()
        assert (own(torch.full((1, 2, 9, 9), 0.1, dtype=dtype), False)[1] < 1e-6).all()


def test_a_norm_whose_statistics_are_taken_is_the_norm_and_keeps_the_layout() -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(5).requires_grad_(False)
    norm.weight.copy_(torch.randn(5))
    norm.bias.copy_(torch.randn(5))
    x = torch.randn(1, 5, 17, 22).contiguous(memory_format=torch.channels_last)
    with taken_by(own):
        made = norm(x)
    torch.testing.assert_close(made, norm(x))
    assert made.is_contiguous(memory_format=torch.channels_last)
    several = torch.cat([x, 3 * x + 1, x.flip(3)])
    with taken_by(own):
        torch.testing.assert_close(norm(several)[:1], made)
        assert norm(several).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(several)[:1], made)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (4, 3, 2, 0), (0, 5, 6, 1)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_borders_are_pytorchs_in_the_layout_of_the_map(mode: str, pad: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 9, 7).to(dtype, memory_format=torch.channels_last)
    expected = F.pad(x, pad, mode=mode)
    with ChannelsLast(), Held() as held:
        made = F.pad(x, pad, mode=mode)
    assert torch.equal(made, expected)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert held.most < made.nbytes + 1000  # no copy beside


@pytest.mark.parametrize("factor", [2, 3])
def test_blocks_of_pixels_are_pytorchs_in_the_layout_of_the_map(factor: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4 * factor**2, 6, 5).contiguous(memory_format=torch.channels_last)
    with ChannelsLast(), Held() as held:
        made = F.pixel_shuffle(x, factor)
    assert torch.equal(made, F.pixel_shuffle(x, factor))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert held.most == made.nbytes


@pytest.mark.parametrize("name", ["tiny", "palette", "valid", "batch_norm"])
def test_all_maps_of_a_network_are_channels_last(name: str, request: pytest.FixtureRequest) -> None:
    network, photo = network_of(style_of(request.getfixturevalue(name)), "auto"), scene(48, 64)
    steps: list[int] = []  # from channel to channel, of parts of maps too
    for module in network.net.modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) == 4:
            module.register_forward_hook(
                lambda _module, given, made: steps.extend(value.stride(1) for value in (*given, made))
            )
    network.paint(photo, *rows_of(style_of(request.getfixturevalue(name))))
    assert len(steps) > 10
    assert {*steps} == {1}


def test_crops_that_are_a_picture_have_its_statistics() -> None:
    """Cut apart, with a border that does not count around each part; a map of half the size has the middle's counts."""
    torch.manual_seed(0)
    picture = torch.randn(1, 4, 24, 36) * 3 + 7
    wide = F.pad(picture, (4, 4, 4, 4), mode="reflect")
    crops = torch.cat([wide[:, :, y : y + 20, x : x + 20] for y in (0, 12) for x in (0, 12, 24)])
    counts = torch.zeros(6, 1, 20, 20)
    counts[:, :, 4:16, 4:16] = 2.5
    for products in (False, True):
        joint = Joint(counts)
        expected = mean_covariance(picture) if products else mean_deviation(picture)
        found = joint(crops, products)
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1] if products else expected[1].square())
        assert joint.found == [found]
    half = Joint(counts)(F.avg_pool2d(crops, 2), False)
    torch.testing.assert_close(half[0], mean_deviation(F.avg_pool2d(picture, 2))[0])


def test_what_is_taken_otherwise_is_so_in_one_thread_and_inside_alone() -> None:
    x = torch.randn(1, 2, 8, 8)
    given = torch.ones(1, 2), torch.full((1, 2), 4.0)
    with taken_by(Known([given, given])), ThreadPoolExecutor(1) as other:
        assert mean_deviation(x)[1].tolist() == [[2, 2]]
        assert other.submit(mean_deviation, x).result()[1].tolist() != [[2, 2]]
        with pytest.raises(ZeroDivisionError), taken_by(None):
            raise ZeroDivisionError
        assert mean_deviation(x)[0].tolist() == [[1, 1]]
    assert mean_deviation(x)[1].tolist() != [[2, 2]]


# ------------------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("name", ["tiny", "palette"])
def test_bytes_in_and_out_are_as_by_floats(name: str, request: pytest.FixtureRequest) -> None:
    style, photo = style_of(request.getfixturevalue(name)), scene(52, 76)
    network = network_of(style)
    expected = from_network(network(to_network(photo), *rows_of(style)))
    painted = network.paint(photo, *rows_of(style))
    assert painted.dtype == np.uint8
    assert distance(painted, expected) <= 1
    assert expected.std() > 3


def test_several_pictures_at_once(palette: Path) -> None:
    style, photos = style_of(palette), np.stack([scene(40, 56, seed) for seed in range(3)])
    network = network_of(style)
    together = network.paint(photos, *rows_of(style))
    assert together.shape == photos.shape
    for photo, painted in zip(photos, together, strict=True):
        assert distance(painted, network.paint(photo, *rows_of(style))) <= 1


def test_arrays_as_they_come(palette: Path) -> None:
    """Turned, cut out of others, not to be written to: no warning, no change."""
    style, photo = style_of(palette), scene(48, 64)
    network, expected = network_of(style), network_of(style).paint(photo, *rows_of(style))
    fixed = photo.copy()
    fixed.flags.writeable = False
    padded = np.zeros((60, 80, 3), np.uint8)
    padded[5:53, 7:71] = photo
    for same in (fixed, padded[5:53, 7:71], np.ascontiguousarray(photo[::-1])[::-1]):
        np.testing.assert_array_equal(network.paint(same, *rows_of(style)), expected)
    assert (fixed == photo).all()


def test_values_that_are_none_and_beyond_become_those_of_a_picture() -> None:
    values = torch.tensor([float("nan"), -1, 2, 0.5, float("inf"), 127.49 / 255]).reshape(1, 1, 2, 3)
    frames = Frames(lambda image: values.expand(1, 3, 2, 3) + 0 * image, "cpu")
    made = frames(np.zeros((2, 3, 3), np.uint8))
    np.testing.assert_array_equal(made, from_network(values.expand(1, 3, 2, 3).numpy()))


def test_a_strangers_network_of_another_size_is_a_style_error(tiny: Path) -> None:
    style = style_of(tiny)
    network_of(style, "auto").net = lambda image: image[:, :, ::2, ::2]
    with pytest.raises(StyleError, match=r"its network gives \(1, 3, 20, 24\) for \(40, 48, 3\)"):
        stylize(scene(40, 48), style, device="gpu")


# -------------------------------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize("size", [(401, 503), (230, 777)])
@pytest.mark.parametrize("name", ["tiny", "palette", "valid", "batch_norm"])
def test_tiles_are_the_whole(name: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    style, photo = style_of(request.getfixturevalue(name)), scene(*size)
    assert make_plan(size, size, style, network_of(style), Limit(tile=1)).tiles >= 3
    whole, tiled = (stylize(photo, style, device="gpu", precision="float32", tile=tile) for tile in (WHOLE, 1))
    assert distance(whole, stylize(photo, style, precision="float32", tile=WHOLE)) <= 1
    assert whole.std() > 3
    assert distance(whole, tiled) <= 1


def test_tiles_in_half_precision_are_as_near_as_its_rounding(palette: Path) -> None:
    style, photo = style_of(palette), scene(401, 503)
    exact = stylize(photo, style, precision="float32", tile=WHOLE)
    whole, tiled = (stylize(photo, style, device="gpu", tile=tile) for tile in (WHOLE, 1))
    assert decibels(exact, whole) > 45
    assert decibels(exact, tiled) > min(45, decibels(exact, whole) - 4)


def test_tiles_of_a_sample(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops, of which borders do not count, are near to the whole; and then all of it, tile by tile, is exact."""
    style, photo = style_of(palette), scene(800, 1000)
    whole = stylize(photo, style, device="gpu", precision="float32", tile=WHOLE)
    monkeypatch.setattr(large, "SAMPLE", (250_000, 250_000))
    monkeypatch.setattr(large, "ROUGH", 250_000)
    for rounds, near in ((0, False), (99, True)):
        monkeypatch.setattr(large, "ROUNDS", rounds)
        tiled = stylize(photo, style, device="gpu", precision="float32", tile=400)
        assert decibels(whole, tiled) > 30
        assert (distance(whole, tiled) <= 1) == near


@pytest.mark.parametrize("stroke", [None, 0.05, 0.4])
def test_deep_pictures_and_other_strokes_by_tiles(palette: Path, stroke: float | None) -> None:
    style, photo = style_of(palette), Picture((scene(300, 420).astype(np.uint16) * 257) ^ 5)  # type: ignore[arg-type]
    how: dict[str, Any] = {"device": "gpu", "precision": "float32", "stroke": stroke, "strength": 0.7}
    whole, tiled = (stylize(photo, style, tile=tile, **how).pixels for tile in (WHOLE, 1))
    assert whole.dtype == tiled.dtype == np.uint16
    assert decibels(whole, tiled, 65_535) > (75 if stroke is None else 45)


# ------------------------------------------------------------------------------------------------------------- memory


def test_memory_is_counted_as_it_is_taken_and_given_back() -> None:
    with Held() as held:
        x = torch.ones(1000)
        y = (x + 1).view(10, 100)
        del x
        z = [y * 2, y.t()]
        z[0].add_(1)
        del y
        z[0].sum()
    assert held.most == 2 * 4000 + 4
    assert held.now == 2 * 4000


def test_what_a_network_holds_is_a_matter_of_its_pixels(palette: Path, tiny: Path) -> None:
    def most(style: Style, precision: str, side: int) -> float:
        network = network_of(style, precision)
        photo, rows = torch.zeros((side, side, 3), dtype=torch.uint8), map(torch.from_numpy, rows_of(style))
        with Held() as held, torch.inference_mode():
            network.frames.pixels(photo, *rows)
        return float(held.most / side**2)

    for style in (style_of(palette), style_of(tiny)):
        wide, half = (network_of(style, precision).held(style.spec) for precision in ("float32", "auto"))
        assert 24 < half < wide
        assert most(style, "float32", 512) == pytest.approx(wide, rel=0.1)
        assert network_of(style).held(style.spec) == wide


def plan_of(style: Style, size: tuple[int, int], **limit: Any) -> Plan:
    return make_plan(size, size, style, network_of(style), Limit(**limit))


def test_tiles_are_as_large_as_the_memory_lets_them(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = style_of(palette)
    small, sides = (900, 1300), []
    assert not plan_of(style, small).tiled
    for room in (6e8, 4e8, 3.2e8, 1e8):
        monkeypatch.setattr(gpu, "free_bytes", lambda _, room=room: room)
        plan = plan_of(style, (6000, 9000))
        assert plan.tiled
        assert plan.gigabytes * 1e9 <= max(room, 6e8)  # that of the least sample
        sides.append(plan.side)
        assert plan == plan_of(style, (6000, 9000))
    assert sides == sorted(sides, reverse=True)
    assert len({*sides[:3]}) == 3
    assert plan_of(style, (6000, 9000), tile=1).side == 1  # whatever there is room for
    assert not plan_of(style, (6000, 9000), tile=WHOLE).tiled  # of a video
    monkeypatch.setattr(gpu, "free_bytes", lambda _: 8e9)
    assert plan_of(style, small, memory=3.5e8).tiled
    assert plan_of(style, (40_000, 40_000)).side == large.LARGEST


class Full:
    """A network that has no memory for more than so many pixels at once."""

    def __init__(self, net: Callable[..., Tensor], most: float) -> None:
        self.net, self.most = net, most
        self.failed: list[int] = []

    def __call__(self, image: Tensor, *rows: Tensor) -> Tensor:
        if image.shape[2] * image.shape[3] > self.most:
            self.failed.append(image.shape[2] * image.shape[3])
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self.net(image, *rows)


@pytest.fixture
def measured_in_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small pictures be measured in crops and then tile by tile, so that nothing large is looked at at once."""
    monkeypatch.setattr(large, "ROUGH", 150_000)
    monkeypatch.setattr(large, "ROUNDS", 99)


@pytest.mark.usefixtures("measured_in_crops")
def test_out_of_memory_is_painted_by_smaller_tiles_and_told(palette: Path) -> None:
    style, photo = style_of(palette), scene(600, 800)
    network = network_of(style)
    whole = stylize(photo, style, device="gpu", precision="float32", tile=WHOLE)
    network.net = full = Full(network.net, 100_000)
    told = r"^cpu: out of memory with a picture of 800 x 600; it is painted by \d+ tiles instead$"
    with pytest.warns(UserWarning, match=told) as caught:
        tiled = stylize(photo, style, device="gpu", precision="float32")
    assert distance(whole, tiled) <= 1
    assert full.failed == [480_000, *full.failed[1:]]
    assert all(after <= before / 2 for before, after in zip(full.failed, full.failed[1:], strict=False))
    assert len(caught) == len(full.failed)
    full.failed.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tile in (None, WHOLE):  # a photo, and a frame of a video, which would rather go whole
            assert distance(whole, stylize(photo, style, device="gpu", precision="float32", tile=tile)) <= 1
    assert not full.failed  # it is known what does not fit


@pytest.mark.parametrize("name", ["palette", "batch_norm", "invert"])
def test_out_of_memory_for_any_tile_is_painted_on_the_cpu_and_told(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    style, photo = style_of(path), scene(400, 500)
    exact = stylize(photo, style, precision="float32")
    if name == "invert":  # no network of ours; it cannot be loaded into PyTorch at all
        with pytest.raises(StyleError):
            stylize(photo, style, device="gpu", precision="float32")
        return
    network = network_of(style)
    network.net = Full(network.net, 0)
    network.bytes_a_pixel = 100.0
    with pytest.warns(UserWarning, match="picture of 500 x 400") as caught:
        painted = stylize(photo, style, device="gpu", precision="float32")
    assert distance(painted, exact) <= 1
    assert str(caught[-1].message).endswith("; it is painted on the CPU instead")
    assert all("tiles instead" in str(each.message) for each in caught.list[:-1])


def test_a_small_picture_goes_to_the_cpu_at_once(palette: Path) -> None:
    style, photo = style_of(palette), scene(60, 90)
    network = network_of(style)
    network.net, network.bytes_a_pixel = Full(network.net, 0), 100.0
    with pytest.warns(UserWarning, match="on the CPU instead") as caught:
        painted = stylize(photo, style, device="gpu", precision="float32")
    assert len(caught) == 1
    assert distance(painted, stylize(photo, style, precision="float32")) <= 1


def test_a_gpu_without_any_room_is_not_even_counted_on(palette: Path) -> None:
    style, photo = style_of(palette), scene(400, 500)
    network = network_of(style)
    network.net = Full(network.net, 0)
    assert network.held(style.spec) == float("inf")
    with pytest.warns(UserWarning, match="on the CPU instead"):
        painted = stylize(photo, style, device="gpu", precision="float32")
    assert distance(painted, stylize(photo, style, precision="float32")) <= 1
    network.net = network.net.net
    assert 24 < network.held(style.spec) < 1000  # another time there may be


def test_other_failures_are_told_and_not_gone_around(palette: Path) -> None:
    style = style_of(palette)
    network = network_of(style)

    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    network.net, network.bytes_a_pixel = broken, 100.0
    with pytest.raises(DeviceError, match=r"failed on a 96 x 64 image \(CUDA error: an illegal") as caught:
        stylize(scene(64, 96), style, device="gpu", precision="float32")
    assert not isinstance(caught.value, GpuMemoryError)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("CUDA error: out of memory", True),
        ("MPS backend out of memory (MPS allocated: 9 GB)", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("input tensor must fit into 32-bit index math", True),
        ("CUDA error: device-side assert triggered", False),
    ],
)
def test_the_words_for_no_memory(text: str, full: bool) -> None:
    assert gpu.is_full(RuntimeError(text)) == full


# --------------------------------------------------------------------------------------------------- graphs, transfers


class Tape(TorchDispatchMode):
    """A graph: what is computed inside can be computed again, from and to the same memory, as CUDA's are.

    As there, what it gives to the processor is an error.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        made = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        for func, args, kwargs, made in self.steps:
            for old, new in zip(gpu.tensors(made), gpu.tensors(func(*args, **kwargs)), strict=True):
                old.copy_(new)


class Stream:
    """A stream on which everything is done at once, or seems to be under way until the test lets it be done."""

    done = threading.Event()

    def __init__(self, *_: Any, priority: int = 0) -> None:
        self.waited, self.priority = 0, priority

    def wait_stream(self, _: Any) -> None:
        self.waited += 1

    def synchronize(self) -> None:
        pass

    def record_event(self) -> SimpleNamespace:
        return SimpleNamespace(synchronize=lambda: self.done.wait(20))

    def wait_event(self, _: SimpleNamespace) -> None:
        assert self.done.wait(20)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for CUDA's streams and graphs; counts the captures, and tells whether one is under way."""
    state = SimpleNamespace(captures=0, emptied=0, fails=None, current=threading.local())
    current = state.current
    current.stream = Stream()
    Stream.done.set()

    @contextlib.contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before, current.stream = getattr(current, "stream", None), stream
        try:
            yield
        finally:
            current.stream = before

    @contextlib.contextmanager
    def graph(tape: Tape, *, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert isinstance(stream, Stream)
        assert stream.priority == -1  # of the others one may be a thread's, as PyTorch has 32 and hands them out again
        assert capture_error_mode == "thread_local"
        if state.fails:
            current.stream = stream  # as PyTorch leaves it
            raise state.fails
        state.captures += 1
        with tape:
            yield

    for name, value in {
        "Stream": Stream,
        "current_stream": lambda _: getattr(current, "stream", None),
        "stream": on,
        "CUDAGraph": Tape,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(gpu, "pinned", torch.empty_like)

    def empty(_: str) -> None:
        state.emptied += 1

    monkeypatch.setattr(gpu, "emptied", empty)
    return state


def quick(network: Any) -> Any:
    """Have a network use streams and graphs."""
    network.frames.quick = True
    return network


@pytest.mark.parametrize("name", ["tiny", "palette", "valid"])
def test_a_shape_that_comes_again_is_captured(name: str, cuda: SimpleNamespace, request: pytest.FixtureRequest) -> None:
    """And paints other photos, in other mixtures, as they are painted without."""
    style = style_of(request.getfixturevalue(name))
    network, plain = quick(network_of(style)), TorchRuntime(style.data, "cpu", "float32")
    count = style.spec.rows
    for turn in range(5):
        photo = scene(64, 80, turn)
        rows = [np.roll(np.linspace(0, 1, count, dtype=np.float32), turn)] if count else []
        np.testing.assert_array_equal(network.paint(photo, *rows), plain.paint(photo, *rows))
        assert cuda.captures == (turn > 0)
    assert not torch.backends.cudnn.benchmark


def test_few_graphs_are_kept(palette: Path, cuda: SimpleNamespace) -> None:
    style = style_of(palette)
    network = quick(network_of(style))
    for side in (32, 36, 40, 44):
        for _ in range(2):
            network.paint(scene(side, 48), *rows_of(style))
    assert cuda.captures == gpu.KEPT
    for _ in range(gpu.OFTEN):
        network.paint(scene(60, 48), *rows_of(style))  # which would take another's place
        network.paint(scene(32, 48), *rows_of(style))
    assert cuda.captures == gpu.KEPT
    network.paint(scene(60, 48), *rows_of(style))  # and does: of the one not used for longest
    network.paint(scene(32, 48), *rows_of(style))
    assert (cuda.captures, len(network.frames.graphs)) == (gpu.KEPT + 1, gpu.KEPT)
    network.paint(scene(36, 48), *rows_of(style))  # and that one has to come as often again
    assert cuda.captures == gpu.KEPT + 1
    assert not network.frames.graphs.keys() & network.frames.seen.keys()
    network.forget()
    assert not network.frames.graphs


def test_many_shapes_are_not_all_remembered(cuda: SimpleNamespace) -> None:
    frames = Frames(lambda image: image, "cpu")
    frames.quick = True
    for side in range(2, gpu.NOTED + 20):
        frames(np.zeros((side, 2, 3), np.uint8))
    assert (len(frames.seen), cuda.captures) == (gpu.NOTED, 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("operation not permitted\nwhen stream is capturing"), "operation not permitted when stream is"),
        (torch.OutOfMemoryError("CUDA out of memory"), "there is not memory enough"),
    ],
)
def test_a_graph_that_cannot_be_captured_is_told_once_and_done_without(
    palette: Path, cuda: SimpleNamespace, error: RuntimeError, reason: str
) -> None:
    style, cuda.fails = style_of(palette), error
    network, plain = quick(network_of(style)), TorchRuntime(style.data, "cpu", "float32")
    photo, rows = scene(64, 80), rows_of(style)
    expected = plain.paint(photo, *rows)
    pixels, streams = network.frames.pixels, list[bool]()

    def watched(*given: Tensor) -> Tensor:
        streams.append(cuda.current.stream is network.frames.work)
        made: Tensor = pixels(*given)
        return made

    network.frames.pixels = watched
    network.paint(photo, *rows)
    with pytest.warns(UserWarning, match=f"a graph cannot be captured, so it goes on without .{reason}") as caught:
        np.testing.assert_array_equal(network.paint(photo, *rows), expected)
    assert len(caught) == 1
    cuda.fails = None
    for _ in range(3):
        np.testing.assert_array_equal(network.paint(photo, *rows), expected)
    assert cuda.captures == 0
    assert streams == [True, *gpu.WARM * [False], *4 * [True]]


def test_graphs_give_their_memory_back_where_it_runs_out(palette: Path, cuda: SimpleNamespace) -> None:
    style, small, big = style_of(palette), scene(32, 32), scene(64, 64)
    network, rows = quick(network_of(style)), rows_of(style)
    expected = network.paint(big, *rows)
    for _ in range(2):
        network.paint(small, *rows)
    net, failures = network.net, list[tuple[int, ...]]()

    def crowded(image: Tensor, *style: Tensor) -> Tensor:
        if network.frames.graphs and image.shape[3] > 32:
            failures.append(image.shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        made: Tensor = net(image, *style)
        return made

    network.net = crowded
    network.frames.seen.clear()
    np.testing.assert_array_equal(network.paint(big, *rows), expected)
    assert (len(failures), len(network.frames.graphs), cuda.emptied) == (1, 0, 1)
    network.net = Full(net, 0)
    with pytest.raises(GpuMemoryError), pytest.warns(UserWarning, match="there is not memory enough"):  # not for ever
        network.paint(big, *rows)


def test_threads_get_their_own_pictures(palette: Path, cuda: SimpleNamespace) -> None:
    style = style_of(palette)
    network, rows = quick(network_of(style)), rows_of(style)
    photos = [scene(40, 48, seed) for seed in range(12)]
    plain = TorchRuntime(style.data, "cpu", "float32")
    expected = [plain.paint(photo, *rows) for photo in photos]
    with ThreadPoolExecutor(3) as threads:
        painted = [*threads.map(lambda photo: network.paint(photo, *rows), photos)]
    np.testing.assert_array_equal(painted, expected)
    assert cuda.captures == 1


def painted_while_busy(frames: Frames, asked: Sequence[tuple[Pixels, Any]]) -> list[Any]:
    """Paintings, or errors, of pictures that wait together while a GPU is busy with others, each in its own row."""

    def until(true: Callable[[], bool]) -> None:
        begin = time.monotonic()
        while not true():
            assert time.monotonic() - begin < 20
            time.sleep(0.001)

    frames.quick = True
    Stream.done.clear()
    with ThreadPoolExecutor(len(asked) + runtimes.UNDER_WAY) as threads:
        busy = [threads.submit(frames, np.zeros((16, 16, 3), np.uint8), asked[0][1]) for _ in range(runtimes.UNDER_WAY)]
        until(lambda: len(frames.under_way) == runtimes.UNDER_WAY)
        waiting = [threads.submit(frames, *each) for each in asked]
        until(lambda: len(frames.waiting) == len(asked))
        Stream.done.set()
    assert [one.exception() for one in busy] == runtimes.UNDER_WAY * [None]
    assert (frames.under_way, frames.waiting) == (set(), [])
    return [one.exception() or one.result() for one in waiting]


class Darker:
    """A network of one weight, which notes what it is given, and for which memory holds so many pixels."""

    def __init__(self, most: float = math.inf) -> None:
        self.most, self.shapes = most, list[tuple[int, ...]]()

    def __call__(self, image: Tensor, row: Tensor) -> Tensor:
        self.shapes.append((image.shape[0], *image.shape[2:]))
        if image.shape[0] * image.shape[2] * image.shape[3] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return image * row


@pytest.fixture
def uncaptured(cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Without graphs, whose runs to warm up would be counted too."""
    monkeypatch.setattr(gpu, "KEPT", 0)
    monkeypatch.setattr(gpu, "OFTEN", math.inf)
    return cuda


@pytest.mark.usefixtures("uncaptured")
@pytest.mark.parametrize("count", [1, runtimes.TOGETHER - 1, runtimes.TOGETHER, 2 * runtimes.TOGETHER + 1])
def test_small_pictures_that_wait_are_painted_in_batches(count: int) -> None:
    """Of one size only, since each is a graph of its own."""
    net, photos = Darker(), [scene(30, 40, seed) for seed in range(count)]
    made = painted_while_busy(Frames(net, "cpu"), [(photo, ONE) for photo in photos])
    np.testing.assert_array_equal(made, photos)
    runs = [shape[0] for shape in net.shapes if shape[1:] == (30, 40)]
    batches, left = divmod(count, runtimes.TOGETHER)
    assert sorted(runs) == left * [1] + batches * [runtimes.TOGETHER]


@pytest.mark.usefixtures("uncaptured")
def test_only_small_pictures_of_one_shape_and_style_make_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TOGETHER_PIXELS", runtimes.TOGETHER * 30 * 40)
    few, many, net = runtimes.TOGETHER - 1, runtimes.TOGETHER + 1, Darker()
    asked = [(scene(height, width, seed), ONE) for height, width in ((30, 40), (40, 30)) for seed in range(few)]
    asked += [(scene(30, 40), 0 * ONE)] * few
    asked += [(scene(31, 40, seed), ONE) for seed in range(many)]
    asked += [(np.stack([scene(30, 40)] * 2), ONE)] * many  # which are batches already
    made = painted_while_busy(Frames(net, "cpu"), asked)
    for (photo, row), painted in zip(asked, made, strict=True):
        np.testing.assert_array_equal(painted, photo * np.uint8(row[0]))
    assert {shape[0] for shape in net.shapes} == {1, 2}


@pytest.mark.usefixtures("uncaptured")
def test_pictures_of_which_memory_holds_no_batch_are_painted_one_by_one() -> None:
    net, photos = Darker(most=30 * 40), [scene(30, 40, seed) for seed in range(2 * runtimes.TOGETHER)]
    frames = Frames(net, "cpu")
    np.testing.assert_array_equal(painted_while_busy(frames, [(photo, ONE) for photo in photos]), photos)
    np.testing.assert_array_equal(painted_while_busy(frames, [(photo, ONE) for photo in photos]), photos)
    assert [shape[0] for shape in net.shapes].count(runtimes.TOGETHER) == 1  # it is not tried again


@pytest.mark.usefixtures("uncaptured")
@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal instruction"), torch.OutOfMemoryError()])
def test_what_fails_costs_no_other_its_turn(error: RuntimeError) -> None:
    def broken(image: Tensor, row: Tensor) -> Tensor:
        if image.shape[2] == 31:
            raise error
        return image * row

    asked = [(scene(30 + seed % 2, 40, seed), ONE) for seed in range(2 * runtimes.TOGETHER)]
    made = painted_while_busy(Frames(broken, "cpu"), asked)
    assert made[1::2] == runtimes.TOGETHER * [error]
    np.testing.assert_array_equal(made[::2], [photo for photo, _ in asked[::2]])


@pytest.mark.usefixtures("cuda")
def test_interrupted_anywhere_it_goes_on_the_next_time() -> None:
    """At the first line of what leads to a painting, at the second, and so on, in threads of which each leads."""
    frames, photo = Frames(lambda image, row: image * row, "cpu"), scene(30, 40)
    frames.quick = True
    codes = {method.__code__ for method in (Frames.beside, Frames.lane, Frames.begin, Frames.group, Frames.together)}

    def interrupted(left: int) -> bool:
        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code not in codes:
                return None
            if event == "line" and "self.leave(" not in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            frames(photo, ONE)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    lines = 1
    while interrupted(lines):
        lines += 1
        assert not frames.waiting
        assert not frames.under_way
    assert lines > 20
    np.testing.assert_array_equal(frames(photo, ONE), photo)


def test_other_devices_paint_one_picture_at_a_time() -> None:
    """As many as are asked for at a time would take the memory of as many, of which one is reckoned with."""
    busy = threading.Lock()

    def alone(image: Tensor) -> Tensor:
        assert busy.acquire(blocking=False)
        time.sleep(0.01)
        busy.release()
        return image

    frames, photos = Frames(alone, "cpu"), [scene(30, 40, seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as threads:
        np.testing.assert_array_equal([*threads.map(frames, photos)], photos)


def test_without_streams_one_picture_is_painted_at_a_time() -> None:
    """Memory is reckoned for one, and Metal has neither streams nor batches here."""
    now, most = [0], [0]

    def slow(image: Tensor) -> Tensor:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.02)
        now[0] -= 1
        return image

    frames, photos = Frames(slow, "cpu"), [scene(8, 9, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        np.testing.assert_array_equal([*threads.map(frames, photos)], photos)
    assert most == [1]


@pytest.mark.usefixtures("cuda")
def test_a_batch_of_a_palette_is_its_pictures(palette: Path) -> None:
    style = style_of(palette)
    network, plain = network_of(style), TorchRuntime(style.data, "cpu", "float32")
    photos = [scene(40, 48, seed) for seed in range(runtimes.TOGETHER)]
    rows, batches = rows_of(style)[0], list[int]()
    pixels = network.frames.pixels

    def watched(photo: Tensor, *given: Tensor) -> Tensor:
        batches.append(photo.ndim)
        made: Tensor = pixels(photo, *given)
        return made

    network.frames.pixels = watched
    made = painted_while_busy(network.frames, [(photo, rows) for photo in photos])
    assert batches.count(4) == 1
    for photo, painted in zip(photos, made, strict=True):
        assert distance(painted, plain.paint(photo, rows)) <= 1


@pytest.mark.usefixtures("cuda")
def test_tiles_are_captured_with_their_own_statistics(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style, photo = style_of(palette), scene(401, 503)
    expected = stylize(photo, style, device="gpu", precision="float32", tile=1)
    init = Frames.__init__

    def captured(self: Frames, *args: Any) -> None:
        init(self, *args)
        self.quick = True

    monkeypatch.setattr(Frames, "__init__", captured)
    other = stylize(np.ascontiguousarray(photo[::-1]), style, device="gpu", precision="float32", tile=1)
    assert distance(stylize(photo, style, device="gpu", precision="float32", tile=1), expected) == 0
    assert distance(other, expected) > 1


def test_tiles_of_several_pictures_are_painted_one_picture_after_another(
    palette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was planned for the memory that there is for one."""
    style, photo = style_of(palette), scene(401, 503)
    expected = stylize(photo, style, device="gpu", precision="float32", tile=1)
    paint, now, most = GpuTiler.paint, [0], [0]

    def counted(self: GpuTiler, kept: float) -> Pixels:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.05)  # for another to come
        made: Pixels = paint(self, kept)
        now[0] -= 1
        return made

    monkeypatch.setattr(GpuTiler, "paint", counted)
    how: dict[str, Any] = {"device": "gpu", "precision": "float32", "tile": 1}
    with ThreadPoolExecutor(3) as threads:
        painted = [*threads.map(lambda one: stylize(one, style, **how), 3 * [photo])]
    for one in painted:
        np.testing.assert_array_equal(one, expected)
    assert (now, most) == ([0], [1])


# -------------------------------------------------------------------------------------------------------------- video


def test_frames_of_a_video_are_painted_abreast_and_come_in_order(
    tmp_path: Path, palette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, style = write_clip(tmp_path / "a.mp4", blocks(count=2 * runtimes.ABREAST)), style_of(palette)
    network = network_of(style)
    together = threading.Barrier(runtimes.ABREAST)
    paint: Callable[..., Pixels] = network.paint

    def slowed(photo: Pixels, *rows: Any) -> Pixels:
        together.wait(timeout=20)  # for as many as are to be at work
        return paint(photo, *rows)

    monkeypatch.setattr(network, "paint", slowed)
    how: dict[str, Any] = {"steady": 0, "precision": "float32", "quality": 95}
    assert len([*impasto.paint_video(source, tmp_path / "b.mkv", style, device="gpu", **how)]) == 2 * runtimes.ABREAST
    assert len([*impasto.paint_video(source, tmp_path / "c.mkv", style, device="cpu", **how)]) == 2 * runtimes.ABREAST
    one, other = ([f.pixels for f in read_frames(tmp_path / name)] for name in ("b.mkv", "c.mkv"))
    assert all(decibels(a, b) > 40 for a, b in zip(one, other, strict=True))
    assert min(decibels(one[0], later) for later in one[1:]) < 40  # or their order would not show


def test_a_video_whose_frames_do_not_fit_is_painted_all_the_same(tmp_path: Path, palette: Path) -> None:
    source, style = write_clip(tmp_path / "a.mp4", blocks(count=4)), style_of(palette)
    network = network_of(style)
    network.net, network.bytes_a_pixel = Full(network.net, 0), 100.0
    with pytest.warns(UserWarning, match="on the CPU instead"):
        assert len([*impasto.paint_video(source, tmp_path / "b.mp4", style, device="gpu", precision="float32")]) == 4


# -------------------------------------------------------------------------------------------------------------- folders


def test_photos_of_a_folder_are_in_hand_beside_each_other(
    tmp_path: Path, palette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from impasto import batch
    from impasto.painters import Here

    asked = list[tuple[int, float, int]]()

    class Several(Here):
        """Threads of this process in place of another's."""

        def __init__(self, work: Any, count: int, threads: int, memory: float, abreast: int) -> None:
            super().__init__(work)
            assert threads == 3
            self.size, self.threads = abreast, ThreadPoolExecutor(abreast)
            asked.append((count, memory, abreast))

    monkeypatch.setattr(batch, "Processes", Several)
    monkeypatch.setattr(batch, "processors", lambda: 6)
    monkeypatch.setattr(batch, "total_memory", lambda: 12e9)
    monkeypatch.setattr(batch, "free_memory", lambda: 12e9)
    style = style_of(palette)
    network, together = network_of(style), threading.Barrier(3)
    paint: Callable[..., Pixels] = network.paint

    def slowed(photo: Pixels, *rows: Any) -> Pixels:
        together.wait(timeout=20)  # for as many as are to be at work
        return paint(photo, *rows)

    monkeypatch.setattr(network, "paint", slowed)
    photos = {f"{seed}": scene(40, 48, seed) for seed in range(6)}
    (tmp_path / "in").mkdir()
    for name, photo in photos.items():
        impasto.write_image(tmp_path / "in" / f"{name}.png", photo)
    steps = impasto.stylize_folder(
        tmp_path / "in", tmp_path / "out", style, device="gpu", precision="float32", name="x"
    )
    assert [*steps][-1].painted == 6
    assert asked == [(2, 1e9, 3)]
    monkeypatch.undo()
    for name, photo in photos.items():
        expected = paint(photo, *rows_of(style))
        assert distance(impasto.read_image(tmp_path / "out" / f"{name}-x.png"), expected) == 0


def test_what_a_gpu_falls_back_to_is_a_note_of_the_folder(tmp_path: Path, palette: Path) -> None:
    from impasto.work import Job, Work, paint_file

    style = style_of(palette)
    network = network_of(style)
    network.net, network.bytes_a_pixel = Full(network.net, 0), 100.0
    impasto.write_image(tmp_path / "a.png", scene(60, 90))
    options = dict.fromkeys(("strength", "stroke", "mask", "max_side"))
    work = Work(style=style, options=options | {"colors": "style", "device": "gpu", "precision": "float32"})
    outcome = paint_file(work, Job(source=str(tmp_path / "a.png"), target=str(tmp_path / "b.png")))
    assert outcome.status == "done"
    assert [*outcome.notes] == ["cpu: out of memory with a picture of 90 x 60; it is painted on the CPU instead"]


def test_what_a_multiple_asks_for(tmp_path: Path) -> None:
    """A file may ask for a multiple that is no stride of its network."""
    net = random_palette(("one",))
    spec = make_spec(net, entries=(StyleEntry(name="one", strokes=(64, 96)),))
    export_style(net, tmp_path / "six.onnx", replace(spec, multiple=12))
    style, photo = load_style(tmp_path / "six.onnx"), scene(301, 422)
    whole, tiled = (stylize(photo, style, device="gpu", precision="float32", tile=t) for t in (WHOLE, 1))
    assert distance(whole, tiled) <= 1
