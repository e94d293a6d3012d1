"""Engines of random weights: what is exported, frozen and loaded back is what PyTorch paints."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn

from conftest import colors_model
from impasto import StyleError, choices, engines, graphs, large, protobuf
from impasto.export import load_network
from impasto.images import to_network
from impasto.large import Limit, make_plan
from impasto.networks.autoencoder import WIDTHS, Decoder, encoder
from impasto.networks.engines import CALM, ENGINES, GAIN, AdaINNet, Between, HourglassNet, WCTNet
from impasto.paintings import SIZES, STATISTICS, Statistics, describe_engine, engine_style, measure
from impasto.runtimes import OpenVINORuntime, TorchRuntime
from impasto.specs import KEY
from impasto.statistics import mean_covariance, mean_deviation, whitening
from impasto.styles import Style
from impasto.stylize import stylize
from impasto.targets import scale_to, to_tensor
from test_large import WHOLE, decibels, distance, scene

Pixels = npt.NDArray[np.uint8]
RNG = np.random.default_rng(0)
PAINTING = (engines.noise(7)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
PHOTO = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((9, 9, 1))).astype(np.uint8)
KINDS: dict[str, Callable[[], nn.Module]] = {
    "adain": AdaINNet,
    "hourglass": HourglassNet,
    "wct": functools.partial(WCTNet, (2, 1)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the network of the statistics and engines of random weights."""
    made = tmp_path_factory.mktemp("engines")
    engines.export_statistics(made)
    for name, kind in KINDS.items():
        engines.export_engine(name, net_of(kind), made)
    return made


def net_of(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def statistics(folder: Path) -> Statistics:
    return measure(PAINTING, folder)


def style_of(folder: Path, name: str, statistics: Statistics) -> Style:
    return engine_style((folder / f"{name}.onnx").read_bytes(), {"noise": statistics}, "noise", folder=folder)


def test_the_statistics_are_those_of_the_encoder(statistics: Statistics) -> None:
    features = encoder()(to_tensor(scale_to(PAINTING, SIZES[1], multiple=16)), ["relu2_1", "relu4_1"])
    for level in (2, 4):
        value = features[f"relu{level}_1"]
        mean, deviation = mean_deviation(value)
        np.testing.assert_allclose(statistics[f"mean{level}"][1], mean[0], rtol=0.01, atol=1e-3)
        np.testing.assert_allclose(statistics[f"deviation{level}"][1], deviation[0], rtol=0.01, atol=1e-3)
        root = statistics[f"coloring{level}"][1]
        wanted = mean_covariance(value)[1][0].numpy()
        assert np.linalg.norm(root @ root.T - wanted) < 0.01 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", [*KINDS])
@pytest.mark.parametrize("style", [[0, 0, 1, 0], [0.4, 0.1, 0.2, 0.3]])
def test_a_frozen_painting_is_painted_as_by_pytorch(
    folder: Path, statistics: Statistics, name: str, style: list[float]
) -> None:
    frozen = style_of(folder, name, statistics)
    image, weights = np.ascontiguousarray(to_network(PHOTO[:32, :48])), np.array(style, np.float32)
    net = net_of(KINDS[name])
    inputs = [torch.from_numpy(statistics[key]) for key in net.inputs]  # type: ignore[union-attr]
    expected = net(torch.from_numpy(image), torch.from_numpy(weights), *inputs).clamp(0, 1).numpy()
    painted = OpenVINORuntime(frozen.data, precision="float32")(image, weights)
    assert expected.std() > 0.01
    assert np.abs(painted - expected).mean() < 4 / 255
    loaded = load_network(frozen.data)(torch.from_numpy(image), torch.from_numpy(weights))
    assert np.abs(loaded.numpy() - painted).mean() < 0.5 / 255


@pytest.mark.parametrize(
    ("name", "precision", "most"),
    [*((k, "float32", 0.5) for k in KINDS), ("adain", "auto", 1), ("hourglass", "auto", 1)],
)
def test_a_gpu_runs_a_frozen_painting_too(
    folder: Path, statistics: Statistics, name: str, precision: str, most: float
) -> None:
    frozen = style_of(folder, name, statistics)
    runtime = TorchRuntime(frozen.data, "cpu", precision)
    image, rows = to_network(PHOTO[:32, :48]), frozen.spec.mix(frozen.weights)
    expected = frozen.runtime(precision="float32")(image, rows)
    assert np.abs(runtime(image, rows) - expected).mean() < most / 255


@pytest.mark.parametrize("name", [*KINDS])
def test_a_gpu_paints_by_tiles_that_are_the_whole(
    folder: Path, statistics: Statistics, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on a sample, and then on all of the picture, tile by tile."""
    monkeypatch.setattr("impasto.runtimes.torch_gpu", lambda: "cpu")
    monkeypatch.setattr("impasto.gpu.free_bytes", lambda _: 8e9)
    monkeypatch.setattr(large, "ROUGH", 150_000)
    style, photo = style_of(folder, name, statistics), scene(460, 520)
    plan = make_plan((460, 520), (460, 520), style, style.runtime("gpu", "float32"), Limit(tile=300))
    assert plan.rounds
    assert plan.tiles >= 4
    whole, tiled = (stylize(photo, style, device="gpu", precision="float32", tile=t) for t in (WHOLE, 300))
    assert distance(whole, tiled) <= 2
    assert decibels(whole, tiled) > 60


def test_weights_that_are_of_another_network(folder: Path, statistics: Statistics) -> None:
    spec = dataclasses.replace(style_of(folder, "wct", statistics).spec, arguments={"levels": [3, 1]})
    data = b"".join(
        protobuf.written(*part)
        for part in protobuf.fields(style_of(folder, "wct", statistics).data)
        if part[0] != protobuf.PROPERTY
    )
    data += protobuf.model(inputs={}, constants={}, properties={KEY: spec.to_json()})
    with pytest.raises(StyleError, match="do not fit a WCTNet"):
        load_network(data)


def test_the_levels_of_wct_share_their_weights(folder: Path) -> None:
    """In the file too, which holds two decoders; the encoder is in that of the statistics."""
    net = net_of(KINDS["wct"])
    count = sum(value.numel() for value in net.parameters())
    parts = (encoder(2), encoder(1), Decoder(2), Decoder(1))
    assert count < sum(value.numel() for part in parts for value in part.parameters())
    ours = sum(value.numel() for part in parts[2:] for value in part.parameters())
    assert (folder / "wct.onnx").stat().st_size < 2 * ours + 110_000


@pytest.mark.parametrize("name", [*KINDS])
def test_the_encoder_is_put_into_an_engine_to_the_bit(folder: Path, statistics: Statistics, name: str) -> None:
    engine = (folder / f"{name}.onnx").read_bytes()
    encoder_of = describe_engine(engine, name)["encoder"]
    there = {value.name: value for value in onnx.load(folder / STATISTICS).graph.initializer}
    before, after = (
        onnx.load_model_from_string(data).graph for data in (engine, style_of(folder, name, statistics).data)
    )
    onnx.checker.check_model(onnx.load_model_from_string(engine))
    assert len(encoder_of) == {"adain": 10, "hourglass": 10, "wct": 4}[name]
    assert {item.name for item in after.input} == {"image", "style"}
    assert {item.name for item in before.input} >= {*encoder_of}
    found = {value.name: value for value in after.initializer}
    assert not {*encoder_of} & {value.name for value in before.initializer}
    for own, other in encoder_of.items():
        assert own.split(".")[-3:] == other.split(".")[-3:]
        assert found[own].raw_data == there[other].raw_data
        assert found[own].dims == there[other].dims
    recipe = style_of(folder, name, statistics).spec.recipe
    for key, file in (("engine_sha256", f"{name}.onnx"), ("statistics_sha256", STATISTICS)):
        assert recipe[key] == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_an_engine_without_its_encoder(folder: Path, statistics: Statistics, tmp_path: Path) -> None:
    engine = (folder / "adain.onnx").read_bytes()
    for data in (None, b"", colors_model().SerializeToString(), (folder / STATISTICS).read_bytes()[:-1000]):
        if data is not None:
            (tmp_path / STATISTICS).write_bytes(data)
        with pytest.raises(StyleError, match="has no encoder for this engine; install impasto again"):
            engine_style(engine, {"noise": statistics}, "noise", folder=tmp_path)


def test_what_has_no_encoder_is_not_made_smaller_again(folder: Path) -> None:
    engine, network = ((folder / name).read_bytes() for name in ("hourglass.onnx", STATISTICS))
    assert engines.without_encoder(engine, network) == engine


@pytest.mark.parametrize("name", [*KINDS])
def test_photos_of_any_size_are_painted(folder: Path, statistics: Statistics, name: str) -> None:
    style = style_of(folder, name, statistics)
    for size in ((1, 1), (3, 50), (45, 63)):
        painted = stylize(PHOTO[: size[0], : size[1]], style)
        assert painted.shape == (*size, 3)


@pytest.mark.parametrize("name", [*KINDS])
def test_next_to_no_strength_is_next_to_the_photo(folder: Path, statistics: Statistics, name: str) -> None:
    style = style_of(folder, name, statistics)
    distances = [
        np.abs(stylize(PHOTO, style, strength=s, precision="float32").astype(float) - PHOTO).mean()
        for s in (0.001, 0.3, 1.0)
    ]
    assert distances[0] < 1
    assert distances == sorted(distances)


@pytest.mark.parametrize("name", [*KINDS])
def test_tiles_are_the_whole(folder: Path, statistics: Statistics, name: str) -> None:
    """What an engine takes of the whole photo, its tiles share."""
    style, photo = style_of(folder, name, statistics), scene(293, 330)
    plan = make_plan((293, 330), (293, 330), style, style.runtime("cpu", "float32"), Limit(tile=1))
    assert plan.tiles >= 4
    whole, tiled = (stylize(photo, style, strength=0.7, tile=tile, precision="float32") for tile in (WHOLE, 1))
    assert whole.std() > 5
    assert distance(whole, tiled) <= 2
    assert decibels(whole, tiled) > 65


@pytest.mark.parametrize("name", [*KINDS])
def test_larger_photos_are_measured_by_tiles(
    folder: Path, statistics: Statistics, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means, variances and covariances of all of the photo, from crops of which some differ from it."""
    style, photo = style_of(folder, name, statistics), scene(460, 520)
    whole = stylize(photo, style, tile=WHOLE, precision="float32")
    monkeypatch.setattr(large, "ROUGH", 200_000)
    plan = make_plan((460, 520), (460, 520), style, style.runtime("cpu", "float32"), Limit(tile=300))
    assert plan.rounds == (2 if name == "wct" else 1)
    assert plan.tiles >= 4
    tiled = stylize(photo, style, tile=300, precision="float32")
    assert distance(whole, tiled) <= 2
    assert decibels(whole, tiled) > 60
    monkeypatch.setattr(large, "ROUNDS", 0)
    monkeypatch.setattr(large, "SAMPLE", (200_000, 200_000))
    sampled = decibels(whole, stylize(photo, style, tile=300, precision="float32"))
    assert 25 < sampled <= (decibels(whole, tiled) if name == "wct" else 55)


@pytest.mark.parametrize("name", [*KINDS])
def test_what_does_not_count_is_in_no_statistic(folder: Path, statistics: Statistics, name: str) -> None:
    """Of several crops together: neither in means nor in the products that covariances are made of."""
    style, rows = style_of(folder, name, statistics), np.array([0.2, 0.4, 0.4, 0.0], np.float32)
    model = graphs.measuring(style.data, style.source)
    assert model is not None
    network = OpenVINORuntime(model, precision="float32")
    crops = np.concatenate([to_network(scene(160, 160, seed)) for seed in range(3)])
    counts = np.zeros((3, 1, 160, 160), np.float32)
    counts[:2, :, 48:112, 48:112] = np.array([1, 3], np.float32)[:, None, None, None]
    found = [value.copy() for value in network.infer(crops, rows, counts)]
    other = crops.copy()
    other[2], other[:2, :, :4], other[:2, :, -4:] = 0.5, 0.0, 1.0  # nobody in the middle sees as far as to the border
    moved = np.concatenate([other[[1, 0]], crops[[1]]])
    again = network.infer(moved, rows, np.concatenate([counts[[0, 0]] * 2, counts[[0]] * 4]))
    assert max(value.shape[-1] for value in found) >= 40
    for before, after in zip(found, again, strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())


def test_shares_of_photo_and_rows_come_to_what_is_asked() -> None:
    for photo in (0.0, 0.3, 0.9):
        style = torch.tensor([photo, (1 - photo) * 0.25, (1 - photo) * 0.75])
        own, shares = Between.shares(style)
        assert (own + shares.sum()).item() == pytest.approx(1)
        assert (shares[1] / shares[0]).item() == pytest.approx(3)
        # What is painted of the features, and shown of the picture, is together the share of the painting.
        assert ((1 - photo**2) * shares.sum()).item() == pytest.approx(1 - photo)
    own, shares = Between.shares(torch.tensor([1.0, 0.0]))
    assert (own.item(), shares.tolist()) == (0.5, [0.0])


def test_adain_at_full_strength_has_the_paintings_statistics(statistics: Statistics) -> None:
    net = AdaINNet().eval().requires_grad_(False)
    seen: list[torch.Tensor] = []
    net.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean, deviation = (torch.from_numpy(statistics[key]) for key in net.inputs)
    image = torch.rand(1, 3, 128, 160)
    net(image, torch.tensor([0.0, 0.0, 1.0, 0.0]), mean, deviation)
    found = mean_deviation(seen[0])
    lively = mean_deviation(net.encoder(image, ["relu4_1"])["relu4_1"])[1][0] > 1e-3  # a dead channel has no deviation
    assert lively.sum() > 60
    torch.testing.assert_close(found[0][0], mean[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1][0][lively], deviation[1][lively], rtol=1e-4, atol=1e-4)


def test_an_hourglass_has_the_paintings_statistics_on_four_levels(statistics: Statistics) -> None:
    net = HourglassNet().eval().requires_grad_(False)
    seen: list[torch.Tensor] = []
    net.decoder.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    image = torch.rand(1, 3, 64, 80)
    inputs = [torch.from_numpy(statistics[key]) for key in net.inputs]
    net(image, torch.tensor([0.0, 0.0, 1.0, 0.0]), *inputs)
    for level, value, mean, spread in zip(net.levels, seen, inputs[::2], inputs[1::2], strict=True):
        kept = net.encoder(image, [f"relu{level}_1"])[f"relu{level}_1"]
        found, covariance = mean_covariance(value)
        torch.testing.assert_close(found[0], mean[1], rtol=1e-4, atol=1e-4)
        if level in net.whitened:
            matrix = spread[1] @ whitening(mean_covariance(kept)[1], eps=CALM)[0]
            wanted = matrix @ mean_covariance(kept)[1][0] @ matrix.T
            torch.testing.assert_close(covariance[0], wanted, rtol=1e-3, atol=1e-4)
            assert torch.linalg.eigvalsh(spread[1] @ spread[1].T - covariance[0]).min() > -1e-4  # never more
        else:
            own = mean_deviation(kept)[1][0]
            wanted = torch.minimum(spread[1], GAIN * own)  # what is nearly flat in the photo is not blown up
            deviation = covariance[0].diagonal().sqrt()
            torch.testing.assert_close(deviation[own > 1e-3], wanted[own > 1e-3], rtol=1e-4, atol=1e-4)


def test_of_a_grey_photo_no_colour_is_made_of_noise(statistics: Statistics) -> None:
    """Whitened without a bound, rounding errors would become the painting's colours."""
    net = HourglassNet().eval().requires_grad_(False)
    seen: list[torch.Tensor] = []
    net.decoder.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    grey = torch.rand(1, 1, 64, 80).expand(1, 3, 64, 80)
    inputs = [torch.from_numpy(statistics[key]) for key in net.inputs]
    for image in (grey, grey + 1e-3 * torch.randn(grey.shape)):
        net(image, torch.tensor([0.0, 0.0, 1.0, 0.0]), *inputs)
    assert (seen[3] - seen[7]).square().mean() < 0.01 * seen[3].square().mean()


def test_an_hourglass_begins_as_the_decoder_that_it_is_given() -> None:
    plain, skips = Decoder(4), Decoder(4, skips=True)
    skips.load_state_dict(plain.state_dict(), strict=False)
    maps = [torch.rand(1, width, 64 // 2**i, 48 // 2**i) for i, width in enumerate(WIDTHS[:4])]
    before = plain(maps[3])
    torch.testing.assert_close(skips(*maps[::-1]), before)
    for skip in skips.skips.values():
        nn.init.ones_(skip.weight)  # type: ignore[arg-type]
        after = skips(*maps[::-1])
        assert not torch.equal(after, before)
        before = after


@pytest.mark.parametrize("levels", [(5, 4, 3, 2, 1), (3,), (4, 1)])
def test_any_levels_of_wct(levels: tuple[int, ...], statistics: Statistics) -> None:
    net = WCTNet(levels).eval().requires_grad_(False)
    assert len(net.inputs) == 2 * len(levels)
    assert {*net.inputs} <= {*statistics}
    inputs = [torch.from_numpy(statistics[key]) for key in net.inputs]
    image = torch.rand(1, 3, 32, 48)
    assert net(image, torch.tensor([0.0, 0.2, 0.3, 0.5]), *inputs).shape == image.shape


def test_what_the_deepest_decoder_loses_is_not_lost(statistics: Statistics) -> None:
    net = WCTNet((5,)).eval().requires_grad_(False)
    for value in net.decoders.parameters():
        value.zero_()
    image = torch.rand(1, 3, 32, 48)
    inputs = [torch.from_numpy(statistics[key]) for key in net.inputs]
    torch.testing.assert_close(net(image, torch.tensor([0.0, 0.2, 0.3, 0.5]), *inputs), image)


def test_every_engine_has_its_name_and_shape() -> None:
    assert {*ENGINES} == {*choices.ENGINES} == {*engines.SHAPES}


def test_an_engine_that_openvino_paints_otherwise_is_not_written(folder: Path) -> None:
    with pytest.raises(StyleError, match="OpenVINO's output is"):
        engines.export_engine("adain", net_of(AdaINNet), folder, tolerance=0)
