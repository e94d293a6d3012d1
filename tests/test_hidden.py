"""What is stored under transparent pixels: it changes nothing of what shows, whatever paints or enlarges it."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto import Picture, cli, large, stylize, upscale
from impasto.config import TrainConfig
from impasto.easel import read_paintings
from impasto.hidden import CELLS, seen
from impasto.images import read_picture, write_image
from impasto.large import Limit
from impasto.photos import cut
from impasto.styles import load_style
from impasto.targets import Targets

verb = importlib.import_module("impasto.stylize")  # the module, not the function of its name

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]


def cut_out(height: int, width: int) -> Pixels:
    """Alpha of a disc with a soft edge."""
    rows, columns = np.ogrid[:height, :width]
    far = np.hypot((rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5) / 0.4
    made: Pixels = np.rint(255 * np.clip((1 - far) * 6, 0, 1)).astype(np.uint8)
    return made


def alike(
    noise: Noise, height: int = 90, width: int = 130, kind: type[np.generic] = np.uint8
) -> tuple[Picture, Picture]:
    """Two pictures of which the same shows."""
    one, other = (noise(height, width, seed=seed).astype(kind) * (257 if kind is np.uint16 else 1) for seed in (1, 2))
    alpha = cut_out(height, width)
    other[alpha > 0] = one[alpha > 0]
    assert (one != other).any()
    return Picture(one, alpha), Picture(other, alpha)


def same(one: Picture, other: Picture) -> None:
    """Assert that of both the same shows."""
    assert one.alpha is not None
    assert other.alpha is not None
    np.testing.assert_array_equal(one.alpha, other.alpha)
    np.testing.assert_array_equal(one.pixels[one.alpha > 0], other.pixels[one.alpha > 0])


# ------------------------------------------------------------------------------------------------------- the colours


def test_what_shows_everywhere_is_not_copied(noise: Noise) -> None:
    pixels = noise(5, 6)
    assert seen(pixels, None) is pixels
    assert seen(pixels, np.full((5, 6), 1, np.uint8)) is pixels


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40) | st.integers(CELLS - 2, 2 * CELLS + 3),
    width=st.integers(1, 40) | st.integers(CELLS - 2, 2 * CELLS + 3),
    share=st.sampled_from([0, 1, 30, 255]),
    kind=st.sampled_from([np.uint8, np.uint16]),
)
def test_hidden_colours_change_nothing(height: int, width: int, share: int, kind: Any) -> None:
    rng = np.random.default_rng(height * width)
    alpha = rng.integers(0, share + 1, (height, width)).astype(np.uint8)
    one, other = (rng.integers(0, np.iinfo(kind).max + 1, (height, width, 3)).astype(kind) for _ in range(2))
    other[alpha > 0] = one[alpha > 0]
    before = one.copy()
    made = seen(one, alpha)
    np.testing.assert_array_equal(one, before)
    np.testing.assert_array_equal(made, seen(other, alpha))
    np.testing.assert_array_equal(made[alpha > 0], one[alpha > 0])
    assert made.dtype == kind


@pytest.mark.parametrize("size", [(40, 60), (300, 700)])
def test_hidden_pixels_are_like_what_is_around_them(size: tuple[int, int]) -> None:
    height, width = size
    pixels, alpha = np.full((height, width, 3), 77, np.uint8), np.zeros((height, width), np.uint8)
    third = width // 3
    alpha[:, :third] = alpha[:, -third:] = 255
    pixels[:, :third], pixels[:, -third:] = (250, 0, 0), (0, 0, 250)
    made = seen(pixels, alpha).astype(int)
    middle = made[height // 2, third : width - third]
    assert np.abs(middle[0] - (250, 0, 0)).max() < 40
    assert np.abs(middle[-1] - (0, 0, 250)).max() < 40
    assert np.abs(np.diff(middle, axis=0)).max() < 40  # smooth
    assert (made[..., 1] == 0).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_one_colour_stays_one_colour(kind: Any) -> None:
    """White too, which more would be black of."""
    top = np.iinfo(kind).max
    for level in (0, 1, top // 3, top):
        pixels = np.zeros((301, 517, 3), kind)
        alpha = cut_out(301, 517)
        pixels[alpha > 0] = level
        assert np.abs(seen(pixels, alpha).astype(int) - int(level)).max() <= top // 255 // 100 + 1


def test_what_hardly_shows_hardly_counts() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :20], pixels[:, :20] = 255, 200
    alpha[:, 20:24] = 1  # rounded to anything by a program that has multiplied and divided again
    assert seen(pixels, alpha)[:, 26:].min() > 180


def test_where_nothing_shows_it_is_black(noise: Noise) -> None:
    assert not seen(noise(9, 300), np.zeros((9, 300), np.uint8)).any()


# ---------------------------------------------------------------------------------------------------------- paintings


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strength": 0.4},
        {"stroke": 2.0},
        {"max_side": 70},
        {"colors": "match"},
        {"colors": "histogram"},
        {"tile": 64},
        {"mask": cut_out(9, 9)},
    ],
    ids=lambda how: next(iter(how), "plain"),
)
def test_what_looks_alike_is_painted_alike(palette: Path, noise: Noise, how: dict[str, Any], kind: Any) -> None:
    one, other = alike(noise, kind=kind)
    before = one.pixels.copy()
    how = {"precision": "float32", **how}
    same(stylize(one, f"{palette}:one", **how), stylize(other, f"{palette}:one", **how))
    np.testing.assert_array_equal(one.pixels, before)


def test_so_it_is_in_several_styles(palette: Path, noise: Noise) -> None:
    one, other = alike(noise)
    regions = [(f"{palette}:{name}", noise(20, 20, seed=seed)[..., 0]) for seed, name in enumerate(("one", "two"))]
    same(stylize(one, regions), stylize(other, regions))


def test_the_photo_stays_the_photo(palette: Path, noise: Noise) -> None:
    one, _ = alike(noise)
    np.testing.assert_array_equal(stylize(one, f"{palette}:one", strength=0).pixels, one.pixels)


def test_a_file_and_a_folder(palette: Path, noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, picture in zip(("a", "b"), alike(noise), strict=True):
        write_image(f"photos/{name}.png", picture)
    for args in (["photos/a.png", "photos/b.png", "-o", "photos"], ["photos/*.png", "-o", "out"]):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["stylize", *args, "--style", f"{palette}:one"])
    for folder in ("photos", "out"):
        same(read_picture(f"{folder}/a-one.png"), read_picture(f"{folder}/b-one.png"))


def test_a_plan_counts_the_copy(palette: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (large, verb):
        monkeypatch.setattr(module, "resident_memory", lambda: 3e8)
    picture, _ = alike(noise, 400, 600)
    style = load_style(f"{palette}:one")
    limit = Limit(memory=8e9)
    (plain,) = verb.plans_of(picture.pixels, [style], limit=limit, timed=False)
    (copied,) = verb.plans_of(picture, [style], limit=limit, timed=False)
    assert copied.gigabytes - plain.gigabytes == pytest.approx(picture.pixels.nbytes / 1e9)
    (known,) = verb.plans_of(picture, [style], limit=Limit(memory=8e9, taken=1e8), timed=False)
    assert plain.gigabytes - known.gigabytes == pytest.approx(2e8 / 1e9 - picture.pixels.nbytes / 1e9)


# --------------------------------------------------------------------------------------------------- what else there is


@pytest.mark.usefixtures("upscalers_zoo")
@pytest.mark.parametrize("colors", ["rgb", "luma", "histogram"])
def test_what_looks_alike_is_enlarged_alike(noise: Noise, colors: str) -> None:
    one, other = alike(noise, 30, 40)
    same(upscale(one, 2, colors=colors), upscale(other, 2, colors=colors))


def test_paintings_that_look_alike_are_learnt_alike(noise: Noise, tmp_path: Path) -> None:
    photo = noise(64, 80, seed=5)
    painted, learnt, optimised, cuts = [], [], [], []
    for name, picture in zip(("a", "b"), alike(noise), strict=True):
        path = tmp_path / f"{name}.png"
        write_image(path, picture)
        painted.append(stylize(photo, str(path)))
        config = TrainConfig((path,), photos=tmp_path, output=tmp_path / "out.onnx", style_size=(64,))
        learnt.append(Targets(config, torch.device("cpu"), torch.float32).grams["relu1_1"].numpy())
        optimised.append(read_paintings([str(path)], photo)[0].pixels)
        cuts.append(cut(path.read_bytes(), 64, 0.0, 0.5, 0.5, 0.0))
    for one, other in (painted, learnt, optimised, cuts):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "command", [["stylize", "cat.png", "--style"], ["optimize", "cat.png"], ["train", "--photos", ".", "--steps", "1"]]
)
def test_a_painting_of_which_nothing_shows_is_none(
    noise: Noise,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image("cat.png", noise(64, 80))
    write_image("clear.png", Picture(noise(64, 80), np.zeros((64, 80), np.uint8)))
    output = "out.onnx" if command[0] == "train" else "out.png"
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "clear.png", "-o", output])
    assert caught.value.code != 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("impasto: ")
    assert last.endswith("clear.png: transparent everywhere, so that there is nothing to paint after")
    assert not Path(output).exists()
