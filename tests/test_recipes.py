"""Recipes: what a picture tells of its making, and making it again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import loss_network, picture
from impasto.cli import main
from impasto.decoding import EXIF_IFD, HISTORY, RECIPE_MARK
from impasto.errors import ImageError
from impasto.images import read_image, read_picture
from impasto.optimize import config_of, optimize
from impasto.recipes import find_files, hash_of, hash_of_mask, make_recipe, read_recipe, with_recipe

FORMATS = ["png", "jpg", "webp", "avif", "tiff"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with a photo and a painting."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png", 48, 60, 1)
    picture(tmp_path / "painting.png", 70, 80, 2)
    return tmp_path


def run(*args: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    assert ended.value.code == 0


def fails(capsys: pytest.CaptureFixture[str], code: int, *args: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    err = capsys.readouterr().err
    assert ended.value.code == code
    assert err.count("\n") == 1
    return err


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """An entry for each time that a command has memory kept, which of the tests' own process it does not."""
    times: list[bool] = []
    monkeypatch.setattr("impasto.memory.keep_memory", lambda: times.append(True))
    return times


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_stylised_picture_is_made_again_from_its_file(colors: Path, suffix: str) -> None:
    Image.new("L", (60, 48), 99).save("mask.png")
    options = ("--strength", 0.6, "--stroke", 0.2, "--mask", "mask.png", "--max-side", 50, "--precision", "float32")
    run("stylize", "photo.png", "--style", f"{colors}:red:0.7,{colors}:blue:0.3", *options, "-o", "one.png")
    run("stylize", "photo.png", "--style", f"{colors}:red:0.7,{colors}:blue:0.3", *options, "-o", f"told.{suffix}")
    run("redo", f"told.{suffix}", "-o", "two.png", "--files", colors.parent)
    np.testing.assert_array_equal(read_image("one.png"), read_image("two.png"))
    recipe = read_recipe(Path("two.png"))
    assert recipe == read_recipe(Path(f"told.{suffix}"))
    assert recipe["files"] == {p.name: hash_of(p) for p in (Path("photo.png"), colors, Path("mask.png"))}
    assert str(colors.parent) not in json.dumps(recipe)


def test_a_picture_made_with_the_package_s_loss_network_is_made_again(kept: list[bool]) -> None:
    small = ("--size", 48, "--min-size", 48, "--first-iterations", 3)
    run("optimize", "photo.png", "painting.png", "-o", "one.png", *small)
    assert kept == [True]
    assert read_recipe(Path("one.png"))["settings"]["loss_network"] == ["vgg19-compact"]
    run("redo", "one.png", "-o", "two.png")
    assert kept == [True, True]
    np.testing.assert_array_equal(read_image("one.png"), read_image("two.png"))


def test_an_optimised_picture_is_made_again_from_its_file(tmp_path: Path) -> None:
    loss_network(tmp_path / "vgg.safetensors", "3_1")
    small = ("--size", 48, "--min-size", 48, "--first-iterations", 5, "--content-layers", "relu2_1")
    more = (
        "--style-layers",
        "relu1_1",
        "relu3_1:2",
        "--loss-network",
        "vgg.safetensors",
        "--init",
        "noise",
        "--seed",
        3,
    )
    run("optimize", "photo.png", "painting.png:0.5", "photo.png", "-o", "one.png", *small, *more)
    recipe = read_recipe(Path("one.png"))
    assert recipe["engine"] == "optimize"
    assert recipe["settings"]["paintings"] == ["painting.png:0.5", "photo.png:1.0"]
    assert set(recipe["losses"]) == {"total", "content", "style", "tv"}
    assert recipe["networks"] == {"vgg.safetensors": hash_of(tmp_path / "vgg.safetensors")}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "one.png").rename(tmp_path / "elsewhere" / "one.png")
    run("redo", "elsewhere/one.png", "-o", "two.png")
    np.testing.assert_array_equal(read_image("elsewhere/one.png"), read_image("two.png"))
    assert read_recipe(Path("two.png")) == recipe


def test_metadata_is_kept_beside_a_recipe_and_an_old_one_is_not(colors: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "Somebody"
    exif[EXIF_IFD] = {0x9286: b"ASCII\0\0\0Our wedding"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    Image.open("photo.png").save("photo.jpg", exif=exif)
    run("stylize", "photo.jpg", "--style", f"{colors}:red", "-o", "one.jpg")
    with Image.open("one.jpg") as image:
        tags = image.getexif()
        assert tags[0x013B] == "Somebody"
        assert tags.get_ifd(0x8825)[1] == "N"
        assert tags.get_ifd(EXIF_IFD)[0x9286] == b"ASCII\0\0\0Our wedding"
    assert read_recipe(Path("one.jpg"))["settings"]["weights"] == {"red": 1.0}
    assert RECIPE_MARK.encode() not in read_picture("one.jpg").exif
    run("stylize", "one.jpg", "--style", f"{colors}:blue", "-o", "two.jpg")
    assert read_recipe(Path("two.jpg"))["settings"]["weights"] == {"blue": 1.0}


def test_a_recipe_gives_way_to_metadata_that_fill_a_jpeg(colors: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a" * 64_500
    Image.open("photo.png").save("photo.jpg", exif=exif)
    run("stylize", "photo.jpg", "--style", f"{colors}:red", "-o", "one.jpg")
    with Image.open("one.jpg") as image:
        assert image.getexif()[0x010E] == "a" * 64_500
    with pytest.raises(ImageError, match="holds no recipe"):
        read_recipe(Path("one.jpg"))


def write(value: Any, name: str = "made.png") -> Path:
    exif = Image.Exif()
    exif[EXIF_IFD] = {HISTORY: value if isinstance(value, str) else RECIPE_MARK + json.dumps(value)}
    Image.new("RGB", (8, 8)).save(name, exif=exif)
    return Path(name)


@pytest.mark.parametrize(
    "value",
    [
        "a fine day",
        RECIPE_MARK,
        RECIPE_MARK + "{",
        RECIPE_MARK + "[" * 60_000,
        RECIPE_MARK + "\xff\xfe",
        [],
        3,
        {},
        {"engine": "none", "settings": {}},
        {"engine": "stylize", "settings": []},
    ],
)
def test_what_is_no_recipe_is_told(value: Any) -> None:
    with pytest.raises(ImageError, match="holds no recipe"):
        read_recipe(write(value))


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({}, {}),
        ({}, []),
        ({"photo": 3}, {}),
        (
            {"photo": "photo.png", "style": "colors.onnx", "mask": None, "weights": []},
            {"photo.png": "", "colors.onnx": ""},
        ),
        ({"photo": "photo.png", "style": "colors.onnx", "mask": None, "weights": {"red": "a"}}, None),
        ({"photo": "photo.png", "style": "colors.onnx", "mask": None, "weights": {"red": 1}, "bad": 1}, None),
        ({"photo": "photo.png", "style": "colors.onnx", "mask": None, "weights": {"red": 1}, "max_side": "9"}, None),
        ({"paintings": 3, "loss_network": [], "init": "photo"}, {}),
        ({"paintings": ["a"], "loss_network": ["b"], "init": "c", "photo": "photo.png", "output": "x"}, {}),
    ],
)
def test_a_recipe_that_makes_no_sense_is_one_line(
    colors: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], files: Any
) -> None:
    names = files if files is not None else {"photo.png": 1, "colors.onnx": 1}
    if isinstance(names, dict):
        names = {name: hash_of(colors if name == "colors.onnx" else Path(name)) for name in names}
    for engine in ("stylize", "optimize"):
        made = write({"engine": engine, "settings": settings, "files": names, "impasto": "0.1.0.dev0"})
        told = fails(capsys, 2, "redo", made, "-o", "out.png", "--files", colors.parent)
        assert "recipe is not one of this program's" in told or "must be" in told
        assert not Path("out.png").exists()


def test_files_are_known_by_their_content(colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stylize", "photo.png", "--style", f"{colors}:red", "-o", "one.png")
    capsys.readouterr()
    assert "colors.onnx: is nowhere to be found; name the folder" in fails(
        capsys, 1, "redo", "one.png", "-o", "two.png"
    )
    picture(Path("photo.png"), 48, 60, 9)
    told = fails(capsys, 1, "redo", "one.png", "-o", "two.png", "--files", colors.parent)
    assert "photo.png: photo.png is another file" in told


def test_a_hostile_recipe_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    picture(tmp_path / "secret" / "a.png", 20, 20, 1)
    name = str(tmp_path / "secret" / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: is nowhere to be found"):
        find_files({"files": {name: hash_of(Path(name))}}, [tmp_path])


def test_a_hostile_recipe_reads_nothing_that_it_does_not_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"photo": str(tmp_path / "photo.png"), "paintings": [str(tmp_path / "painting.png")], "init": "photo"}
    made = write({"engine": "optimize", "settings": settings | {"loss_network": []}, "files": {}, "impasto": "0"})
    with pytest.raises(SystemExit):
        main(["redo", str(made), "-o", "out.png"])
    assert "the recipe is not one of this program's" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"size": None}, {"seed": 1.5}, {"iterations": 2.5}, {"save_every": 1}, {"resume": True}, {"size": "9"}]
)
def test_settings_of_the_wrong_kind_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any]
) -> None:
    settings = {"photo": "photo.png", "paintings": ["painting.png"], "init": "photo", "loss_network": []} | wrong
    files = {name: hash_of(tmp_path / name) for name in ("photo.png", "painting.png")}
    made = write({"engine": "optimize", "settings": settings, "files": files, "impasto": "0.1.0.dev0"})
    assert f"program's ({next(iter(wrong))})" in fails(capsys, 2, "redo", made, "-o", "out.png")


def test_a_painting_with_a_sign_in_its_name_is_found_again(tmp_path: Path) -> None:
    loss_network(tmp_path / "vgg.safetensors", "3_1")
    picture(tmp_path / "me@home:2.png", 70, 80, 3)
    layers = ("--content-layers", "relu2_1", "--style-layers", "relu1_1", "--loss-network", "vgg.safetensors")
    small = ("--size", 48, "--min-size", 48, "--first-iterations", 2)
    run("optimize", "photo.png", "me@home:2.png", "-o", "one.png", *small, *layers)
    (tmp_path / "there").mkdir()
    (tmp_path / "me@home:2.png").rename(tmp_path / "there" / "me@home:2.png")
    run("redo", "one.png", "-o", "two.png", "--files", "there")
    np.testing.assert_array_equal(read_image("one.png"), read_image("two.png"))


def test_a_mask_of_the_photos_name_costs_only_the_recipe(colors: Path) -> None:
    Path("masks").mkdir()
    Image.new("L", (60, 48), 99).save("masks/photo.png")
    run("stylize", "photo.png", "--style", f"{colors}:red", "--mask", "masks/photo.png", "-o", "one.png")
    with pytest.raises(ImageError, match="holds no recipe"):
        read_recipe(Path("one.png"))


def test_quality_is_told_where_it_cannot_be_had(colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stylize", "photo.png", "--style", f"{colors}:red", "-o", "one.png")
    capsys.readouterr()
    assert "quality is 0" in fails(capsys, 2, "redo", "one.png", "-o", "two.jpg", "--quality", 0)


def test_quality_is_that_of_the_new_file(colors: Path) -> None:
    picture(Path("photo.png"), 200, 300, 1)
    run("stylize", "photo.png", "--style", f"{colors}:red", "--strength", "0.2", "-o", "one.jpg")
    for quality in (10, 95):
        run("redo", "one.jpg", "-o", f"{quality}.jpg", "--quality", quality, "--files", colors.parent)
    assert Path("10.jpg").stat().st_size < Path("95.jpg").stat().st_size / 2


@pytest.mark.parametrize("name", ["clip.mp4", "moving.gif"])
@pytest.mark.parametrize("output", ["again.mp4", "again.gif", "again.png"])
def test_a_video_is_not_made_again(name: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    told = fails(capsys, 2, "redo", name, "-o", output)
    assert f"{name} is a video, and videos hold no recipe; paint it again by the command that made it" in told


def test_two_files_of_one_name_are_told_apart_before_the_work() -> None:
    Path("other").mkdir()
    picture(Path("other/photo.png"), 20, 20, 5)
    with pytest.raises(ValueError, match=r"two different files are called photo\.png"):
        make_recipe("stylize", {}, [Path("photo.png"), Path("other/photo.png")])
    assert make_recipe("stylize", {}, [Path("photo.png"), Path("photo.png")])["files"].keys() == {"photo.png"}


def test_another_version_is_told(colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stylize", "photo.png", "--style", f"{colors}:red", "-o", "one.png")
    recipe = read_recipe(Path("one.png")) | {"impasto": "9.9"}
    Image.open("one.png").save("two.png", exif=with_recipe(b"", recipe))
    capsys.readouterr()
    run("redo", "two.png", "-o", "three.png", "--files", colors.parent)
    assert "made by version 9.9" in capsys.readouterr().err


def test_the_sources_are_not_written_over(colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stylize", "photo.png", "--style", f"{colors}:red", "-o", "one.png")
    capsys.readouterr()
    assert "one of the files that are read" in fails(capsys, 2, "redo", "one.png", "-o", "one.png")
    told = fails(capsys, 2, "redo", "one.png", "-o", "photo.png", "--files", colors.parent)
    assert "one of the files that are read" in told


def test_a_redo_that_was_interrupted_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loss_network(tmp_path / "vgg.safetensors", "3_1")
    small = ("--size", 48, "--min-size", 48, "--first-iterations", 8, "--content-layers", "relu2_1")
    more = ("--style-layers", "relu1_1", "--loss-network", "vgg.safetensors", "--style-weight", 5)
    run("optimize", "photo.png", "painting.png", "-o", "one.png", *small, *more)
    recipe = read_recipe(Path("one.png"))
    recipe["settings"]["style_weight"] = 5  # as from Python, where it may be whole
    config = config_of(recipe, find_files(recipe, [Path()]), Path("two.png"), resume=True)
    steps = optimize(config)
    for _ in range(3):
        next(steps)
    steps.close()
    capsys.readouterr()
    run("redo", "one.png", "-o", "two.png")
    assert "resumed at iteration 3" in capsys.readouterr().err
    np.testing.assert_array_equal(read_image("one.png"), read_image("two.png"))
    run("redo", "one.png", "-o", "two.png", "--no-resume")


def test_other_weights_by_the_same_name_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path))
    loss_network(tmp_path / "vgg19.safetensors", "3_1")
    small = ("--size", 48, "--min-size", 48, "--first-iterations", 2, "--content-layers", "relu2_1")
    named = ("--style-layers", "relu1_1", "--loss-network", "vgg19")
    run("optimize", "photo.png", "painting.png", "-o", "one.png", *small, *named)
    capsys.readouterr()
    run("redo", "one.png", "-o", "two.png")
    assert "other weights" not in capsys.readouterr().err
    loss_network(tmp_path / "vgg19.safetensors", "3_1", seed=1)
    run("redo", "one.png", "-o", "two.png")
    assert "made with other weights of vgg19: the picture may differ" in capsys.readouterr().err


def test_masks_of_the_same_bytes_and_another_shape_are_told_apart() -> None:
    mask = np.zeros((4, 6), np.uint8)
    assert hash_of_mask(mask) == hash_of_mask(mask.copy()) != hash_of_mask(mask.reshape(6, 4))
    assert hash_of_mask(None) is None
