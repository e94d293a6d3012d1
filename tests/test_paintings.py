"""Paintings as styles, by engines of which every result is known: they paint a painting's mean colour."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

import impasto
from clipmaker import write_clip
from impasto import ImageError, StyleError, load_style, paintings, stylize
from impasto.images import write_image
from impasto.paintings import SIZES, measure, names_of, write_style
from impasto.styles import builtin_styles, paintings_in, read_style
from impasto.video import read_frames

Pixels = npt.NDArray[np.uint8]
PHOTO = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
RED, BLUE = (200, 20, 40), (10, 30, 220)

pytestmark = pytest.mark.usefixtures("engines")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paintings of one colour each, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), RED).save("red.png")
    Image.new("RGB", (30, 50), BLUE).save("blue.png")


def near(painted: Pixels, color: tuple[float, ...]) -> bool:
    """Whether it is of one colour, to the rounding."""
    return bool((np.abs(painted - np.array(color)) <= 1).all())


def halves(height: int = 20, width: int = 33) -> tuple[Pixels, Pixels]:
    """Masks of the left and of the right half."""
    left = np.zeros((height, width), np.uint8)
    left[:, : width // 2] = 255
    return left, 255 - left


# ------------------------------------------------------------------------------------------------------------ painting


@pytest.mark.parametrize("style", ["red.png", Path("red.png")])
def test_a_painting_is_a_style(style: str | Path) -> None:
    assert near(stylize(PHOTO, style), RED)


def test_strength_is_between_photo_and_painting() -> None:
    assert (stylize(PHOTO, "red.png", strength=0) == PHOTO).all()
    half = stylize(PHOTO, "red.png", strength=0.5)
    assert np.abs(half - (PHOTO + np.array(RED)) / 2).max() <= 1


@pytest.mark.parametrize("stroke", [0.05, 1.0, 4.0])
def test_strokes_have_sizes(stroke: float) -> None:
    assert near(stylize(PHOTO, "red.png", stroke=stroke), RED)


def test_a_blend_of_paintings() -> None:
    blended = stylize(PHOTO, "red.png:0.6,blue.png:0.2")
    assert near(blended, tuple(0.75 * a + 0.25 * b for a, b in zip(RED, BLUE, strict=True)))
    assert near(stylize(PHOTO, "red.png,red.png"), RED)


def test_a_mask_and_colours_work_as_for_every_style() -> None:
    left, _ = halves()
    painted = stylize(PHOTO, "red.png", mask=left)
    assert near(painted[:, :16], RED)
    assert (painted[:, 16:] == PHOTO[:, 16:]).all()
    kept = stylize(PHOTO, "red.png", colors="luma")
    assert not near(kept, RED)


def test_a_painting_with_a_comma_in_its_name(tmp_path: Path) -> None:
    shutil.copy("red.png", tmp_path / "a,b:1.png")
    assert near(stylize(PHOTO, "a,b:1.png"), RED)
    assert paintings_in("a,b:1.png:0.5,blue.png") == {Path("a,b:1.png"): 0.5, Path("blue.png"): 1.0}


# ------------------------------------------------------------------------------------------------------------- regions


def test_paintings_with_masks() -> None:
    left, right = halves()
    painted = stylize(PHOTO, [("red.png", left), ("blue.png", right)])
    assert near(painted[:, :16], RED)
    assert near(painted[:, 16:], BLUE)


def test_masks_that_overlap_share_and_where_there_is_none_is_the_photo() -> None:
    whole, half = np.full((20, 33), 255, np.uint8), np.full((20, 33), 128, np.uint8)
    shared = stylize(PHOTO, [("red.png", whole), ("blue.png", whole)])
    assert near(shared, tuple((a + b) / 2 for a, b in zip(RED, BLUE, strict=True)))
    soft = stylize(PHOTO, [("red.png", half)])
    assert np.abs(soft - (PHOTO * 127.0 + np.array(RED) * 128) / 255).max() <= 1
    assert (stylize(PHOTO, [("red.png", 0 * whole)]) == PHOTO).all()


def test_masks_are_resized_and_soft() -> None:
    ramp = np.array([[255, 0]], np.uint8)
    painted = stylize(PHOTO, [("red.png", ramp), ("blue.png", 255 - ramp)])
    assert near(painted[:, :4], RED)
    assert near(painted[:, -4:], BLUE)
    assert len(np.unique(painted[0, :, 0])) > 5


def test_regions_take_built_in_styles_a_mask_for_all_and_pictures(colors: Path) -> None:
    left, right = halves()
    top = np.zeros((20, 33), np.uint8)
    top[:10] = 255
    painted = stylize(
        impasto.Picture(pixels=PHOTO), [("red.png", left), (f"{colors}:blue", right)], mask=top, engine="adain"
    ).pixels
    assert near(painted[:10, :16], RED)
    assert near(painted[:10, 16:], (0, 60, 170))
    assert (painted[10:] == PHOTO[10:]).all()


def test_regions_are_reduced_with_the_picture() -> None:
    left, right = halves()
    painted = stylize(PHOTO, [("red.png", left), ("blue.png", right)], max_side=11)
    assert painted.shape == (7, 11, 3)
    assert near(painted[:, :4], RED)


def test_regions_that_are_none() -> None:
    with pytest.raises(ValueError, match="style is empty"):
        stylize(PHOTO, [])
    with pytest.raises(ValueError, match="mask is float64"):
        stylize(PHOTO, [("red.png", np.zeros((3, 3)))])  # type: ignore[list-item]

    with pytest.raises(ValueError, match="mask is None"):
        stylize(PHOTO, [("red.png", None)])  # type: ignore[list-item]


def test_an_engine_is_for_the_paintings_among_several_styles(tmp_path: Path, colors: Path) -> None:
    left, right = halves()
    styles: list[Any] = [("red.png", left), (f"{colors}:blue", right)]
    clip = write_clip(tmp_path / "a.mp4", [np.full((20, 34, 3), 200, np.uint8)] * 2)
    assert len([*impasto.paint_video(clip, tmp_path / "b.mp4", styles, engine="adain", quality=95)]) == 2
    painted = next(read_frames(tmp_path / "b.mp4")).pixels
    assert np.abs(painted[:, :10].mean((0, 1)) - RED).max() < 12
    assert np.abs(painted[:, -10:].mean((0, 1)) - (0, 60, 170)).max() < 12
    Path("photos").mkdir()
    write_image("photos/a.png", PHOTO)
    assert [*impasto.stylize_folder("photos", "out", styles, engine="adain")][-1].painted == 1


def test_frames_take_an_engine() -> None:
    (frame,) = impasto.stylize_frames([PHOTO], "red.png", engine="wct")
    assert near(frame, RED)
    with pytest.raises(ValueError, match="engine is 'oil'"):
        impasto.stylize_frames([PHOTO], "red.png", engine="oil")


# -------------------------------------------------------------------------------------------------------------- engine


def test_the_best_engine_that_there_is_is_the_default(engines: Path) -> None:
    assert paintings.available() == ["adain", "wct"]
    assert load_style("red.png").spec.recipe["engine"] == "adain"
    assert load_style("red.png", engine="wct").spec.recipe["engine"] == "wct"
    (engines / "adain.onnx").unlink()
    assert load_style("red.png").spec.recipe["engine"] == "wct"


def test_engines_that_are_not_there(engines: Path) -> None:
    with pytest.raises(ValueError, match=r"engine is 'gatys'; it must be one of hourglass, adain, wct"):
        load_style("red.png", engine="gatys")
    with pytest.raises(StyleError, match=r"red.png: a picture, .*engine hourglass is not in this installation"):
        load_style("red.png", engine="hourglass")
    (engines / "painting.onnx").unlink()
    with pytest.raises(StyleError, match=r"red.png: a picture, not a style file, .*impasto train, or .*optimize"):
        load_style("red.png")


def test_an_engine_is_for_paintings_alone(invert: Path) -> None:
    with pytest.raises(ValueError, match=r"engine is 'wct' .* an engine is for paintings"):
        load_style(invert, engine="wct")


@pytest.mark.parametrize("style", ["red.png,candy", "candy:0.5,red.png:0.5", "red.png,mine.onnx"])
def test_paintings_cannot_be_blended_with_other_networks(style: str) -> None:
    assert "candy" in builtin_styles()
    with pytest.raises(StyleError, match=r"cannot be blended; a mask for each works"):
        load_style(style)


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\x0a"])
def test_a_broken_engine_is_told(engines: Path, content: bytes) -> None:
    (engines / "adain.onnx").write_bytes(content)
    with pytest.raises(StyleError, match=r"red\.png"):
        load_style("red.png")


def test_a_style_file_is_no_engine(engines: Path, invert: Path) -> None:
    shutil.copy(invert, engines / "adain.onnx")
    with pytest.raises(StyleError, match="engine is not one of this program's"):
        load_style("red.png")


# ------------------------------------------------------------------------------------------------------------ encoding


def test_a_painting_is_encoded_once_and_anew_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    before = paintings.measure

    def counting(image: Pixels) -> paintings.Statistics:
        counted.append(1)
        return before(image)

    monkeypatch.setattr(paintings, "measure", counting)
    first = load_style("red.png")
    assert load_style("red.png").runtime() is first.runtime()
    load_style(Path("red.png").absolute())
    assert len(counted) == 1
    Image.new("RGB", (61, 40), BLUE).save("red.png")
    assert near(stylize(PHOTO, "red.png"), BLUE)
    assert len(counted) == 2


def test_statistics_are_those_of_the_picture_at_every_size() -> None:
    rng = np.random.default_rng(1)
    painting = np.asarray(Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).resize((96, 64)))
    found = measure(painting)
    assert {key: value.shape for key, value in found.items()} == {
        "mean1": (len(SIZES), 3),
        "deviation1": (len(SIZES), 3),
        "coloring1": (len(SIZES), 3, 3),
    }
    flat = painting.reshape(-1, 3) / 255
    np.testing.assert_allclose(found["mean1"], np.tile(flat.mean(0), (3, 1)), atol=0.01)
    for coloring, deviation in zip(found["coloring1"], found["deviation1"], strict=True):
        np.testing.assert_allclose(coloring @ coloring.T, np.cov(flat.T), atol=0.01)
        np.testing.assert_allclose(deviation, flat.std(0), atol=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (900, 2), (5, 5)])
def test_paintings_of_any_shape(size: tuple[int, int]) -> None:
    Image.new("RGB", size, BLUE).save("strange.png")
    assert near(stylize(PHOTO, "strange.png"), BLUE)
    assert all(np.isfinite(value).all() for value in measure(np.full((*size, 3), 7, np.uint8)).values())


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_painting_that_cannot_be_read(content: bytes) -> None:
    Path("broken.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.png"):
        load_style("broken.png")


def test_a_painting_that_is_not_there() -> None:
    with pytest.raises(StyleError, match=r"missing\.jpg: there is no such painting"):
        load_style("missing.jpg")
    with pytest.raises(StyleError, match=r"missing\.jpg"):
        load_style("red.png,missing.jpg")


def test_paintings_have_names_of_their_own() -> None:
    files = [Path(text) for text in ("a/sky.jpg", "b/sky.png", "sky 2.jpg", "7.jpg", ":,.jpg", "x:y.jpg")]
    assert names_of(files) == ["sky", "sky 2", "sky 2 2", "painting 7", "__", "x_y"]


# -------------------------------------------------------------------------------------------------------------- freeze


def test_a_frozen_painting_needs_neither_painting_nor_engine(engines: Path) -> None:
    spec = write_style([Path("red.png")], Path("mine.onnx"))
    Path("red.png").unlink()
    shutil.rmtree(engines)
    style = read_style("mine.onnx")
    assert (style.name, style.spec) == ("red", spec)
    assert near(stylize(PHOTO, style), RED)
    assert (style.spec.multiple, style.spec.min_size, style.spec.precision) == (8, 16, "float32")


def test_several_frozen_paintings_are_a_palette() -> None:
    assert write_style([Path("red.png"), Path("blue.png")], Path("two.onnx")).names == ["red", "blue"]
    assert near(stylize(PHOTO, "two.onnx:blue"), BLUE)
    assert near(
        stylize(PHOTO, "two.onnx:blue:1,two.onnx:red:3"), tuple((3 * a + b) / 4 for a, b in zip(RED, BLUE, strict=True))
    )


def test_a_frozen_painting_is_plain_onnx() -> None:
    write_style([Path("red.png")], Path("mine.onnx"))
    model = onnx.load("mine.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [item.name for item in model.graph.input] == ["image", "style"]
    session = onnxruntime.InferenceSession("mine.onnx")
    image = np.zeros((1, 3, 16, 24), np.float32)
    painted = session.run(None, {"image": image, "style": np.array([0, 0, 1, 0], np.float32)})[0]
    np.testing.assert_allclose(painted[0, :, 3, 5] * 255, RED, atol=0.05)


def test_what_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="paintings are none"):
        write_style([], Path("mine.onnx"))
    with pytest.raises(ValueError, match="each only once"):
        write_style([Path("red.png"), Path("red.png")], Path("mine.onnx"))
    with pytest.raises(ImageError, match=r"missing\.png"):
        write_style([Path("missing.png")], Path("mine.onnx"))
    with pytest.raises(StyleError, match="cannot write the style file"):
        write_style([Path("red.png")], Path("no folder/mine.onnx"))
    assert not Path("mine.onnx").exists()


@pytest.mark.parametrize(
    ("paintings", "output", "told"),
    [
        ("red.png", "mine.onnx", "paintings is 'red.png'; it must be a list"),
        ("mine.onnx", ["red.png"], "paintings is 'mine.onnx'; it must be a list"),
        (Path("red.png"), "mine.onnx", "it must be a list"),
        (["red.png", 3], "mine.onnx", "it must be a list of pictures' paths"),
        (["red.png"], "blue.png", "output is 'blue.png'; it must be the path of the style file"),
        (["red.png"], ["mine.onnx"], "it must be the path of the style file to write, and end in .onnx"),
    ],
)
def test_arguments_in_another_order_or_of_another_kind(paintings: Any, output: Any, told: str) -> None:
    before = {path.name: path.read_bytes() for path in Path().glob("*.*")}
    with pytest.raises(ValueError, match=told):
        write_style(paintings, output)
    assert {path.name: path.read_bytes() for path in Path().glob("*.*")} == before
