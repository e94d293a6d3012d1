"""Painting by tiles: what is planned, and that tiles agree with each other and with the picture painted whole."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from conftest import invert_spec, random_palette
from impasto import Picture, large, load_style, stylize
from impasto.convert import load_checkpoint
from impasto.errors import DeviceError
from impasto.export import export_style, make_spec
from impasto.large import Limit, Plan, Tiler, make_plan
from impasto.needs import needs_of
from impasto.specs import StyleEntry
from impasto.styles import Style
from impasto.tiles import even_tiles
from test_convert import PROJECTS, make, save

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
WHOLE = 1 << 20


def scene(height: int, width: int, seed: int = 0) -> Pixels:
    """Patches of colour with some grain: unlike at every place, as a photo is."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def decibels(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic], top: float = 255) -> float:
    error = np.square(one.astype(np.float64) - other.astype(np.float64)).mean() / top**2
    return -10 * math.log10(max(float(error), 1e-12))


def distance(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# -------------------------------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize("size", [(128, 128), (512, 640), (516, 1040), (128, 4000), (260, 260), (1000, 256)])
@pytest.mark.parametrize(("side", "margin", "grid"), [(256, 55, 4), (260, 16, 16), (129, 40, 4), (1 << 20, 70, 8)])
def test_even_tiles_cover_once_and_see_what_they_need(size: tuple[int, int], side: int, margin: int, grid: int) -> None:
    height, width = (-(-length // grid) * grid for length in size)
    made = even_tiles(height, width, side, margin, grid)
    covered = np.zeros((height, width), int)
    for tile in made:
        (top, bottom, left, right), (above, below, before, behind) = tile.core, tile.window
        covered[top:bottom, left:right] += 1
        assert 0 <= above <= max(0, top - margin) or above == 0
        assert top - above >= min(margin, top)
        assert below - bottom >= min(margin, height - bottom)
        assert left - before >= min(margin, left)
        assert behind - right >= min(margin, width - right)
        assert above % grid == before % grid == 0
        assert max(below - above, behind - before) <= max(side, 0)
    assert (covered == 1).all()
    assert len({(t.window[1] - t.window[0], t.window[3] - t.window[2]) for t in made}) == 1


def test_a_side_that_leaves_no_core() -> None:
    with pytest.raises(ValueError, match="side is 100; with margins of 48 it must be more than 112"):
        even_tiles(1600, 1600, 100, 48, 16)


# ------------------------------------------------------------------------------------------------------------- agree


@pytest.mark.parametrize("size", [(401, 503), (230, 777), (777, 231)])
@pytest.mark.parametrize("style", ["tiny", "palette", "valid", "batch_norm"])
def test_tiles_are_the_whole(style: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    """With the same statistics, but for the order of additions: no pixel is off by more than a level."""
    path: Path = request.getfixturevalue(style)
    name = f"{path}:one" if style == "palette" else str(path)
    photo = scene(*size)
    whole = stylize(photo, name, tile=WHOLE, precision="float32")
    tiled = stylize(photo, name, tile=1, precision="float32")
    assert whole.std() > 5
    assert distance(whole, tiled) <= 1
    assert decibels(whole, tiled) > 65


@pytest.mark.parametrize("project", PROJECTS)
def test_tiles_of_converted_networks_are_the_whole(project: str, tmp_path: Path) -> None:
    net = load_checkpoint(save(tmp_path / "net.pth", make(project).state_dict())).net
    export_style(net, tmp_path / "net.onnx", make_spec(net, entries=(StyleEntry(name="net"),)))
    style, photo = load_style(tmp_path / "net.onnx"), scene(293, 330)
    assert make_plan((293, 330), (293, 330), style, style.runtime("cpu"), Limit(tile=1)).tiles >= 4
    whole, tiled = (stylize(photo, style, tile=tile, precision="float32") for tile in (WHOLE, 1))
    assert whole.std() > 5
    assert distance(whole, tiled) <= 1
    assert decibels(whole, tiled) > 60


def test_there_are_tiles_of_all_that(tiny: Path, palette: Path, valid: Path) -> None:
    """Or the test before says nothing."""
    for style in (load_style(tiny), load_style(f"{palette}:one"), load_style(valid)):
        plan = make_plan((401, 503), (401, 503), style, style.runtime("cpu"), Limit(tile=1))
        assert plan.tiles >= 4


def test_without_shared_statistics_tiles_would_not_agree(tiny: Path) -> None:
    photo = scene(401, 503)
    whole = stylize(photo, tiny, tile=WHOLE, precision="float32")
    corner = stylize(np.ascontiguousarray(photo[:200, :200]), tiny, tile=WHOLE, precision="float32")
    assert decibels(whole[:120, :120], corner[:120, :120]) < 40


def test_bfloat16_tiles_are_as_near_as_its_rounding(palette: Path) -> None:
    photo = scene(401, 503)
    style = load_style(f"{palette}:one")
    exact = stylize(photo, style, tile=WHOLE, precision="float32")
    rounded = stylize(photo, style, tile=WHOLE, precision="bfloat16")
    tiled = stylize(photo, style, tile=1, precision="bfloat16")
    assert decibels(exact, tiled) > min(45, decibels(exact, rounded) - 4)


@pytest.mark.parametrize(("stroke", "strength"), [(0.05, 1.0), (0.05, 0.6), (0.4, 1.0), (0.4, 0.5)])
def test_strokes_keep_their_meaning(palette: Path, stroke: float, strength: float) -> None:
    """Where the picture is painted larger or smaller than it is, it is resized by tiles too."""
    photo = scene(300, 420)
    how = {"stroke": stroke, "strength": strength, "precision": "float32"}
    name = f"{palette}:two"
    whole, tiled = stylize(photo, name, tile=WHOLE, **how), stylize(photo, name, tile=1, **how)  # type: ignore[arg-type]
    assert decibels(whole, tiled) > 45  # Pillow resizes large pictures in two steps, tiles in one
    assert distance(whole[5:-5, 5:-5], tiled[5:-5, 5:-5]) < 12


@pytest.mark.parametrize("colors", ["luma", "match", "histogram"])
def test_colours_masks_and_strength_stay_right(tiny: Path, colors: str) -> None:
    photo = scene(300, 420)
    mask = np.zeros((30, 42), np.uint8)
    mask[:, 20:] = 255
    how = {"colors": colors, "mask": mask, "strength": 0.7, "precision": "float32"}
    whole, tiled = stylize(photo, tiny, tile=WHOLE, **how), stylize(photo, tiny, tile=1, **how)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tiled[:, :150], photo[:, :150])
    assert decibels(whole, tiled) > 60
    assert (tiled[:, 250:] != photo[:, 250:]).any()


def test_regions_and_what_a_picture_carries(tiny: Path, palette: Path) -> None:
    photo, alpha = scene(300, 420), scene(300, 420, 1)[..., 0]
    mask = np.zeros((300, 420), np.uint8)
    mask[:150] = 255
    regions = [(tiny, mask), (f"{palette}:one", 255 - mask)]
    picture = Picture(photo, alpha, b"", 300.0)
    whole = stylize(picture, regions, tile=WHOLE, precision="float32")  # type: ignore[arg-type]
    tiled = stylize(picture, regions, tile=1, precision="float32")  # type: ignore[arg-type]
    assert tiled.alpha is alpha
    assert tiled.dpi == 300
    assert decibels(whole.pixels, tiled.pixels) > 60


def test_sixteen_bits_by_tiles(palette: Path) -> None:
    photo = Picture((scene(300, 420).astype(np.uint16) * 257) ^ 5)  # type: ignore[arg-type]
    name = f"{palette}:one"
    whole, tiled = (stylize(photo, name, tile=t, precision="float32").pixels for t in (WHOLE, 1))
    assert whole.dtype == tiled.dtype == np.uint16
    assert decibels(whole, tiled, 65_535) > 75
    assert len(np.unique(tiled & 255)) > 200  # not eight bits made longer
    np.testing.assert_array_equal(stylize(photo, name, strength=0, tile=1).pixels, photo.pixels)


# ------------------------------------------------------------------------------------------------------------ samples


def test_a_sample_stands_for_the_whole(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, name = scene(1200, 1500), f"{palette}:one"
    whole = stylize(photo, name, tile=WHOLE, precision="float32")
    monkeypatch.setattr(large, "SAMPLE", (450_000, 450_000))
    monkeypatch.setattr(large, "ROUNDS", 0)
    sampled = stylize(photo, name, tile=512, precision="float32")
    assert decibels(whole, sampled) > 33
    assert distance(whole, sampled) > 1  # it is one
    np.testing.assert_array_equal(sampled, stylize(photo, name, tile=512, precision="float32"))


def test_tiles_of_a_sample_leave_no_seam(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tiles meet, neighbours differ as everywhere."""
    photo = scene(700, 900)
    monkeypatch.setattr(large, "SAMPLE", (250_000, 250_000))
    monkeypatch.setattr(large, "ROUNDS", 0)
    painted = stylize(photo, tiny, tile=256, precision="float32").astype(float)
    style = load_style(tiny)
    plan = make_plan((700, 900), (700, 900), style, style.runtime("cpu", "float32"), Limit(tile=256))
    parts = Tiler(photo, style, style.runtime("cpu", "float32"), [], plan).tiles()
    edges = sorted({t.core[2] for t in parts} - {0})
    steps = np.abs(np.diff(painted, axis=1)).mean((0, 2))
    assert len(edges) >= 3
    assert steps[[edge - 1 for edge in edges]].mean() < 1.05 * steps.mean()


def test_of_few_rounds_all_of_the_picture_is_measured(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a sample that is not the whole, by tiles."""
    style, photo = load_style(f"{palette}:one"), scene(401, 503)
    whole = stylize(photo, style, tile=WHOLE, precision="float32")
    rounds = needs_of(palette.read_bytes(), str(palette)).rounds
    assert rounds > 2
    monkeypatch.setattr(large, "ROUGH", 190_000)
    monkeypatch.setattr(large, "ROUNDS", rounds)
    plan = plan_of(style, (401, 503), tile=256)
    assert (plan.rounds, plan.sample) == (rounds, 190_000)
    assert plan.tiles >= 4
    assert distance(whole, stylize(photo, style, tile=256, precision="float32")) <= 1
    monkeypatch.setattr(large, "SAMPLE", (190_000, 190_000))
    monkeypatch.setattr(large, "ROUNDS", rounds - 1)
    assert plan_of(style, (401, 503), tile=256).rounds == 0
    assert distance(whole, stylize(photo, style, tile=256, precision="float32")) > 1


def test_maps_that_are_larger_than_the_picture_are_sampled(valid: Path, batch_norm: Path) -> None:
    """What a network sees beyond the picture no tile's core has."""
    assert not needs_of(valid.read_bytes(), str(valid)).aligned
    assert needs_of(valid.read_bytes(), str(valid)).rounds == 0
    assert needs_of(batch_norm.read_bytes(), str(batch_norm)).rounds == 0


# ------------------------------------------------------------------------------------------------------------- plans


def plan_of(style: Style, size: tuple[int, int], **limit: float) -> Plan:
    return make_plan(size, size, style, style.runtime("cpu", "float32"), Limit(**limit))  # type: ignore[arg-type]


def test_a_picture_goes_whole_where_it_fits(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = load_style(f"{palette}:one")
    monkeypatch.setattr(large, "resident_memory", lambda: 2e8)
    monkeypatch.setattr(large, "free_memory", lambda: 4e9)
    assert not plan_of(style, (1000, 2000)).tiled
    assert not plan_of(style, (2000, 3000)).tiled
    free = plan_of(style, (8400, 12000))
    assert free.tiled
    assert free.gigabytes < 1.21
    assert plan_of(style, (8400, 12000), memory=64e9).tiles == 1
    tight = plan_of(style, (8400, 12000), memory=7e8)
    assert tight.tiled
    assert tight.gigabytes <= 0.7
    assert tight.side < free.side or tight.sample < free.sample
    assert plan_of(style, (8400, 12000), memory=9e8, tile=20_000).tiles == 1


def test_too_little_memory_is_one_line_that_says_what_is_needed(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = load_style(f"{palette}:one")
    monkeypatch.setattr(large, "resident_memory", lambda: 2e8)
    told = r"^a picture of 12000 x 8400 needs some 0\.\d GB by the smallest tiles, and 0\.4 may be used; allow more"
    with pytest.raises(DeviceError, match=told) as caught:
        plan_of(style, (8400, 12000), memory=4e8)
    assert "\n" not in str(caught.value)


def test_deep_pictures_need_more(palette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = load_style(f"{palette}:one")
    monkeypatch.setattr(large, "resident_memory", lambda: 2e8)
    runtime = style.runtime("cpu", "float32")
    limit = Limit(memory=6e8)
    one, two = (make_plan((6000, 8000), (6000, 8000), style, runtime, limit, depth) for depth in (1, 2))
    assert two.side < one.side


def test_small_pictures_ask_nothing_of_the_graph(invert: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "needs_of", None)
    assert stylize(noise(40, 50), invert).shape == (40, 50, 3)


def test_margin_and_stride_of_a_network(palette: Path, tiny: Path, invert: Path) -> None:
    needs = [needs_of(path.read_bytes(), str(path)) for path in (palette, tiny, invert)]
    assert [n.stride for n in needs] == [4, 4, 1]
    assert needs[2].margin == 0
    assert 12 < needs[0].margin < 40
    assert 12 < needs[1].margin < 50
    assert all(n.values >= 6 for n in needs)


def test_margins_are_neither_too_small_nor_far_too_large(palette: Path) -> None:
    """What is beyond the margin does not move a pixel; what is within half of it does."""
    style, needs = load_style(f"{palette}:one"), needs_of(palette.read_bytes(), str(palette))
    plan = Plan(size=(256, 256), side=256, tiles=1, sample=256**2, gigabytes=0, seen=256**2)
    photo = scene(256, 256)
    runtime = style.runtime("cpu", "float32")
    tiler = Tiler(photo, style, runtime, [style.spec.mix(style.weights)], plan)
    painter = tiler.painter(tiler.measure(), (256, 256))
    from impasto.images import to_network

    before = painter(to_network(photo)).copy()
    for reach, same in ((needs.margin + 1, True), (needs.margin // 2, False)):
        other = photo.copy()
        other[:, 128 + reach :] ^= 255
        moved = np.abs(painter(to_network(other)) - before)[..., :128]
        assert (moved.max() < 1e-5) == same


@pytest.mark.parametrize(("argument", "value"), [("memory", 0), ("memory", float("nan")), ("tile", 0), ("memory", -1)])
def test_a_wrong_limit_is_a_value_error(invert: Path, noise: Noise, argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is {value}; it must be"):
        stylize(noise(8, 8), invert, **{argument: value})  # type: ignore[arg-type]


def test_seconds_are_foretold(palette: Path, tiny: Path, noise: Noise) -> None:
    photo = noise(300, 420)
    for name in (f"{palette}:one", str(tiny)):
        style = load_style(name)
        rows = [style.spec.mix(style.weights)] if style.spec.rows else []
        for limit in (Limit(tile=1), Limit(tile=WHOLE)):
            plan = make_plan((300, 420), (300, 420), style, style.runtime("cpu", "float32"), limit)
            seconds = large.foretold(photo, style, style.runtime("cpu", "float32"), rows, plan)
            assert 0 < seconds < 60


def test_what_a_multiple_asks_for(tmp_path: Path) -> None:
    """A file may ask for a multiple that is no stride of its network."""
    net = random_palette(("one",))
    spec = make_spec(net, entries=(StyleEntry(name="one", strokes=(64, 96)),))
    path = tmp_path / "six.onnx"
    export_style(net, path, replace(spec, multiple=12))
    photo = scene(301, 422)
    whole, tiled = (stylize(photo, path, tile=t, precision="float32") for t in (WHOLE, 1))
    assert distance(whole, tiled) <= 1


def test_a_style_without_a_network_goes_by_tiles_too(invert: Path) -> None:
    assert invert_spec().multiple == 4
    photo = scene(301, 422)
    np.testing.assert_array_equal(stylize(photo, invert, tile=1, precision="float32"), 255 - photo)
