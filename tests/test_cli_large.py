"""``impasto stylize`` on pictures of any size: --memory, --tile, --plan, 16 bits, and what is made again."""

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import impasto
from impasto import Picture, cli, large
from impasto.config import OptimizeConfig
from impasto.images import read_picture, write_image
from impasto.memory import Gigabytes
from impasto.recipes import read_recipe

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, with few pixels worth tiles."""
    monkeypatch.chdir(tmp_path)


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(arg) for arg in args])
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("text", "amount"), [("1", 1), ("1.5", 1.5), ("2GB", 2), ("600MB", 0.6), (" 4 gb ", 4), (0.25, 0.25)]
)
def test_memory_is_said_in_units(text: str | float, amount: float) -> None:
    assert Gigabytes(text) == pytest.approx(amount)


@pytest.mark.parametrize("text", ["", "GB", "much", "1TB", "1GiB"])
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        Gigabytes(text)


def test_optimize_takes_the_same_word() -> None:
    config = OptimizeConfig(photo=Path("a.jpg"), paintings=("b.jpg",), output=Path("c.png"), memory=Gigabytes("800MB"))
    assert config.memory == pytest.approx(0.8)


def test_a_plan_says_and_does_nothing(
    palette: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(large, "resident_memory", lambda: 2e8)  # this process has what other tests have left
    write_image("photo.png", noise(300, 420))
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "--tile", "1", "--plan") == 0
    out = capsys.readouterr().out
    assert out.startswith("photo.png  420 x 300  one  ")
    assert " tiles of 1; some 0." in out
    assert out.endswith("seconds (by a short trial)\n")
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "--plan", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["width"], told["height"], told["style"], told["tiles"]) == (420, 300, "one", 1)
    assert told["seconds"] >= 0
    assert sorted(path.name for path in Path().iterdir()) == ["photo.png"]


def test_a_plan_names_the_style_of_each_line(
    palette: Path, noise: Noise, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("photo.png", "mask.png"):
        write_image(name, noise(30, 42))
    both = f"{palette}:one@{tmp_path / 'mask.png'},{palette}:two@{tmp_path / 'mask.png'}"
    assert call("stylize", "photo.png", "--style", both, "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[2] for line in lines] == ["one", "two"]


@pytest.mark.usefixtures("upscalers_zoo")
def test_a_plan_tells_the_enlarging(palette: Path, noise: Noise, capsys: pytest.CaptureFixture[str]) -> None:
    write_image("photo.png", noise(300, 420))
    how = ("stylize", "photo.png", "--style", f"{palette}:one", "--upscale", "4", "--max-side", "210", "--plan")
    assert call(*how) == 0
    painted, enlarged = capsys.readouterr().out.splitlines()
    assert painted.startswith("photo.png  210 x 150  one  ")
    assert re.fullmatch(r"photo\.png  840 x 600  x4; some \d+(\.\d)? seconds \(by a short trial\)", enlarged)
    assert call(*how, "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[1])
    assert told.pop("seconds") >= 0
    assert told == {"input": "photo.png", "width": 840, "height": 600, "scale": "x4"}
    assert sorted(path.name for path in Path().iterdir()) == ["photo.png"]


@pytest.mark.usefixtures("upscalers_zoo")
@pytest.mark.parametrize("plan", [["--plan"], []])
def test_what_would_become_too_large_is_told_before_it_is_painted(
    palette: Path, noise: Noise, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, plan: list[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("impasto.upscale"), "MOST_PIXELS", 100 * 100)
    monkeypatch.setattr(impasto, "stylize", None)
    write_image("photo.png", noise(30, 42))
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "--upscale", "4", *plan) == 2
    assert "image would become 168 x 120" in capsys.readouterr().err


def test_tiles_are_in_the_recipe(palette: Path, noise: Noise) -> None:
    write_image("photo.png", noise(300, 420))
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "--tile", "200", "-o", "a.png") == 0
    assert read_recipe(Path("a.png"))["settings"]["tile"] == 200
    assert call("redo", "a.png", "-o", "b.png", "--files", palette.parent) == 0
    np.testing.assert_array_equal(read_picture("a.png").pixels, read_picture("b.png").pixels)
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "-o", "c.png") == 0
    assert read_recipe(Path("c.png"))["settings"]["tile"] is None  # every machine paints so small a picture whole


def test_too_little_memory_is_told(palette: Path, noise: Noise, capsys: pytest.CaptureFixture[str]) -> None:
    write_image("photo.png", noise(300, 420))
    assert call("stylize", "photo.png", "--style", f"{palette}:one", "--memory", "50MB") == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "a picture of 420 x 300 needs some" in told
    assert "may be used; allow more --memory" in told


def test_a_network_without_normalisation_is_painted_by_tiles(invert: Path, noise: Noise) -> None:
    write_image("photo.png", noise(300, 420))
    for how in (("--tile", "100"), ("--memory", "8GB")):
        assert call("stylize", "photo.png", "--style", invert, "--precision", "float32", *how, "-o", "a.png") == 0
        np.testing.assert_array_equal(read_picture("a.png").pixels, 255 - read_picture("photo.png").pixels)


def test_memory_that_is_none_is_a_mistake_in_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("stylize", "photo.png", "--style", "candy", "--memory", "much") == 2
    assert call("stylize", "photo.png", "--style", "candy", "--memory", "0") == 2
    assert "memory is 0" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_depth(invert: Path, suffix: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, 3)).astype(np.uint16)
    write_image("photo.tif", Picture(deep))  # type: ignore[arg-type]
    how = ("--style", invert, "--precision", "float32")
    assert call("stylize", "photo.tif", *how, "-o", f"same{suffix}", "--strength", "0") == 0
    np.testing.assert_array_equal(read_picture(f"same{suffix}", deep=True).pixels, deep)
    assert call("stylize", "photo.tif", *how, "-o", f"negative{suffix}") == 0
    painted = read_picture(f"negative{suffix}", deep=True).pixels
    assert np.abs(painted.astype(int) - (65535 - deep.astype(int))).max() <= 1
    assert call("stylize", "photo.tif", *how, "-o", "small.jpg") == 0
    assert read_picture("small.jpg", deep=True).pixels.dtype == np.uint8


def test_a_recipe_of_sixteen_bits_is_made_again(invert: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, 3)).astype(np.uint16)
    write_image("photo.tif", Picture(deep))  # type: ignore[arg-type]
    assert call("stylize", "photo.tif", "--style", invert, "-o", "a.png") == 0
    assert call("redo", "a.png", "-o", "b.png", "--files", invert.parent) == 0
    one, other = (read_picture(name, deep=True).pixels for name in ("a.png", "b.png"))
    assert one.dtype == np.uint16
    np.testing.assert_array_equal(one, other)


def test_free_memory_decides(palette: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image("photo.png", noise(500, 620))
    monkeypatch.setattr(large, "ALWAYS_WHOLE", 1000)
    monkeypatch.setattr(large, "COMPILED", 0.0)
    monkeypatch.setattr(large, "SAMPLE", (50_000, 100_000))
    monkeypatch.setattr(large, "ROUGH", 50_000)
    monkeypatch.setattr(large, "free_memory", lambda: 4 * 0.014e9)
    how = ("--style", f"{palette}:one", "--precision", "float32")  # bfloat16 takes half of it
    assert call("stylize", "photo.png", *how, "-o", "a.png") == 0
    assert 100 < read_recipe(Path("a.png"))["settings"]["tile"] < 620
