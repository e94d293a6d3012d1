"""The command line with paintings: any painting, several with masks, recipes, and a style file at once."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto import cli
from impasto.images import read_image

Run = Callable[..., str]
RED, BLUE = (200, 20, 40), (10, 30, 220)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: Path) -> None:
    """A photo, two paintings and two masks in a folder of their own."""
    assert engines.is_dir()
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save("photo.png")
    Image.new("RGB", (60, 40), RED).save("red.png")
    Image.new("RGB", (30, 50), BLUE).save("blue.png")
    left = np.zeros((20, 30), np.uint8)
    left[:, :15] = 255
    Image.fromarray(left).save("left.png")
    Image.fromarray(255 - left).save("right.png")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line; gives what it printed, or with `fails` the one line of its failure."""

    def call(*args: str, fails: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            cli.main(args)
        told = capsys.readouterr()
        assert stopped.value.code == fails, told.err
        if fails:
            assert told.err.startswith("impasto: ")
            assert told.err.count("\n") == 1
        return told.err if fails else told.out

    return call


def color(path: str, part: slice = slice(None)) -> list[int]:
    return [round(value) for value in read_image(path)[:, part].mean((0, 1))]


def test_a_painting(run: Run) -> None:
    out = run("stylize", "photo.png", "--style", "red.png", "--engine", "wct", "--json")
    assert json.loads(out)["style"] == "red"
    assert color("photo-red.png") == [*RED]


def test_a_blend(run: Run) -> None:
    run("stylize", "photo.png", "--style", "red.png:0.5,blue.png:0.5", "-o", "out.png", "--stroke", "2")
    assert color("out.png") == pytest.approx([105, 25, 130], abs=1)


def test_several_with_masks_and_their_recipe(run: Run) -> None:
    out = run("stylize", "photo.png", "--style", "red.png@left.png,blue.png@right.png")
    assert out.startswith("photo-red-blue.png  30 x 20  red-blue")
    assert color("photo-red-blue.png", slice(15)) == [*RED]
    assert color("photo-red-blue.png", slice(15, None)) == [*BLUE]
    run("redo", "photo-red-blue.png", "-o", "again.png")
    assert (read_image("again.png") == read_image("photo-red-blue.png")).all()


def test_masks_with_built_in_styles_too(run: Run) -> None:
    run("stylize", "photo.png", "--style", "candy@left.png,red.png@right.png", "--engine", "adain", "-o", "out.png")
    assert color("out.png", slice(15, None)) == [*RED]
    assert color("out.png", slice(15)) != [*RED]
    run("redo", "out.png", "-o", "again.png")
    assert (read_image("again.png") == read_image("out.png")).all()


@pytest.mark.parametrize("style", ["red.png", "red.png:0.2,blue.png:0.6"])
def test_a_recipe_of_paintings(run: Run, style: str) -> None:
    run("stylize", "photo.png", "--style", style, "-o", "one.png", "--strength", "0.7", "--mask", "left.png")
    run("redo", "one.png", "-o", "two.png")
    assert (read_image("one.png") == read_image("two.png")).all()


def test_a_recipe_whose_painting_is_another_one(run: Run) -> None:
    run("stylize", "photo.png", "--style", "red.png", "-o", "one.png")
    Image.new("RGB", (60, 40), BLUE).save("red.png")
    assert "red.png is another file" in run("redo", "one.png", "-o", "two.png", fails=1)


@pytest.mark.parametrize("regions", [5, [7], [{}], [{"mask": "left.png"}], [{"mask": "left.png", "paintings": 3}]])
def test_recipes_that_are_none(run: Run, monkeypatch: pytest.MonkeyPatch, regions: object) -> None:
    run("stylize", "photo.png", "--style", "red.png@left.png", "-o", "one.png")
    from impasto import recipes

    before = recipes.read_recipe
    monkeypatch.setattr(
        recipes, "read_recipe", lambda path: (r := before(path)) | {"settings": r["settings"] | {"regions": regions}}
    )
    assert "the recipe is not one of this program's" in run("redo", "one.png", "-o", "two.png", fails=2)


@pytest.mark.parametrize(
    ("code", "words", "args"),
    [
        (1, "cannot be blended; a mask for each works", ["--style", "red.png,candy"]),
        (2, "each of several styles with masks needs one", ["--style", "red.png@left.png,blue.png"]),
        (2, "each of several styles with masks needs one", ["--style", "red.png@left.png@right.png"]),
        (2, "style has 'red.png@'; each of several styles", ["--style", "red.png@,blue.png@right.png"]),
        (2, "style has '@left.png'; each of several styles", ["--style", "@left.png,blue.png@right.png"]),
        (2, "an engine is for paintings", ["--style", "candy", "--engine", "wct"]),
        (1, "engine hourglass is not in this installation", ["--style", "red.png", "--engine", "hourglass"]),
        (1, "missing.png", ["--style", "red.png@missing.png"]),
        (1, "unknown style 'nothing'", ["--style", "red.png@left.png,nothing@right.png"]),
        (2, "is one of the files that are read", ["--style", "red.png@left.png", "-o", "left.png"]),
        (2, "is one of the files that are read", ["--style", "red.png", "-o", "red.png"]),
    ],
)
def test_what_cannot_be_painted(run: Run, code: int, words: str, args: list[str]) -> None:
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert words in run("stylize", "photo.png", *args, fails=code)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_style_file_at_once(run: Run) -> None:
    assert run("style", "red.png", "blue.png", "-o", "mine.onnx") == "mine.onnx holds red, blue\n"
    Path("red.png").unlink()
    run("stylize", "photo.png", "--style", "mine.onnx:red", "-o", "out.png")
    assert color("out.png") == [*RED]
    assert [entry["name"] for entry in json.loads(run("styles", "mine.onnx", "--json"))] == ["red", "blue"]


@pytest.mark.parametrize(
    ("code", "words", "args"),
    [
        (2, "a style file ends in .onnx", ["red.png", "-o", "mine.jpg"]),
        (1, "missing.png", ["missing.png", "-o", "mine.onnx"]),
        (2, "paintings are none", ["-o", "mine.onnx"]),
        (1, "engine hourglass is not", ["red.png", "-o", "mine.onnx", "--engine", "hourglass"]),
    ],
)
def test_what_cannot_be_a_style_file(run: Run, code: int, words: str, args: list[str]) -> None:
    assert words in run("style", *args, fails=code)
    assert not Path("mine.onnx").exists()
