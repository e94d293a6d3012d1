import importlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import STROKES, colors_model, invert_spec
from impasto import Picture, load_style, stylize
from impasto.choices import COLORS
from impasto.colors import keep_colors
from impasto.errors import DeviceError, StyleError
from impasto.images import fit, resize
from impasto.specs import StyleEntry
from impasto.styles import Style, read_style

verb = importlib.import_module("impasto.stylize")  # the module, not the function of its name

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
sides = st.integers(1, 70)


@pytest.fixture(scope="module")
def negative(invert: Path) -> Style:
    """The style that inverts, in float32 whatever is asked, so that every result is exact."""
    style = read_style(invert)  # not the one that others are given
    style._runtimes["auto", "auto", style.own] = style.runtime("cpu", "float32")
    return style


# -------------------------------------------------------------------------------------------------------------- sizes


@settings(deadline=None)
@given(height=sides, width=sides)
def test_every_size_is_kept_and_exact(negative: Style, noise: Noise, height: int, width: int) -> None:
    photo = noise(height, width)
    painted = stylize(photo, negative)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted, 255 - photo)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3), (7, 9), (16, 16), (17, 16), (101, 75)])
def test_a_network_gives_every_size(tiny: Path, noise: Noise, size: tuple[int, int]) -> None:
    assert stylize(noise(*size), tiny).shape == (*size, 3)


@pytest.mark.parametrize("size", [(45, 67), (17, 64), (64, 19), (5, 6)])
def test_the_border_is_that_of_the_reflected_image(tiny: Path, noise: Noise, size: tuple[int, int]) -> None:
    """Nothing but the photo itself, reflected, is seen beyond the border."""
    photo = noise(*size)
    below, right = (max(-(-side // 4) * 4, 8) - side for side in size)
    larger = np.pad(photo, ((0, below), (0, right), (0, 0)), mode="reflect")
    assert larger.shape != photo.shape
    expected = stylize(larger, tiny, precision="float32")[: size[0], : size[1]]
    np.testing.assert_array_equal(stylize(photo, tiny, precision="float32"), expected)


@settings(deadline=None)
@given(height=sides, width=sides, multiple=st.integers(1, 64), min_size=st.integers(1, 90))
def test_pad_gives_the_network_what_it_needs(height: int, width: int, multiple: int, min_size: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    padded = verb.pad(photo, replace(invert_spec(), multiple=multiple, min_size=min_size))
    for side, before in zip(padded.shape[:2], (height, width), strict=True):
        assert side % multiple == 0
        assert side >= max(before, min_size)
        assert side - multiple < max(before, min_size)  # and no more than that
    np.testing.assert_array_equal(padded[:height, :width], photo)


def test_pad_copies_nothing_when_it_need_not(noise: Noise) -> None:
    photo = noise(16, 24)
    assert verb.pad(photo, invert_spec()) is photo


def test_max_side_reduces_first(negative: Style, noise: Noise) -> None:
    photo = noise(60, 90)
    np.testing.assert_array_equal(stylize(photo, negative, max_side=30), 255 - fit(photo, 30))
    np.testing.assert_array_equal(stylize(photo, negative, max_side=90), 255 - photo)
    assert stylize(photo, negative, max_side=1).shape == (1, 1, 3)


# ----------------------------------------------------------------------------------------- strength, mask and colours


def test_strength_mixes_painting_and_photo(negative: Style, noise: Noise) -> None:
    photo = noise(23, 31)
    np.testing.assert_array_equal(stylize(photo, negative, strength=0), photo)
    np.testing.assert_array_equal(stylize(photo, negative, strength=1), 255 - photo)
    half = stylize(photo, negative, strength=0.5).astype(int)
    assert set(np.unique(half)) <= {127, 128}
    quarter = 0.25 * (255.0 - photo) + 0.75 * photo
    assert np.abs(stylize(photo, negative, strength=0.25) - quarter).max() <= 0.5 + 1e-3


def test_the_photo_is_neither_changed_nor_returned(negative: Style, noise: Noise) -> None:
    photo = noise(16, 16)
    before = photo.copy()
    for strength in (0.0, 0.5, 1.0):
        stylize(photo, negative, strength=strength)[:] = 7
    np.testing.assert_array_equal(photo, before)


def test_a_mask_says_where(negative: Style, noise: Noise) -> None:
    photo = noise(20, 30)
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 10:] = 255
    expected = np.where(mask[:, :, None] > 0, 255 - photo, photo)
    np.testing.assert_array_equal(stylize(photo, negative, mask=mask), expected)


def test_a_mask_is_soft_and_goes_with_strength(negative: Style, noise: Noise) -> None:
    photo = noise(20, 30)
    mask = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    amount = mask[:, :, None] / 255
    for strength in (1.0, 0.6):
        expected = (1 - amount * strength) * photo + amount * strength * (255.0 - photo)
        painted = stylize(photo, negative, mask=mask, strength=strength)
        assert np.abs(painted - expected).max() <= 1.01
    np.testing.assert_array_equal(stylize(photo, negative, mask=mask, strength=0), photo)


def test_a_mask_of_another_size_is_resized(negative: Style, noise: Noise) -> None:
    photo = noise(40, 60)
    mask = np.zeros((10, 15), np.uint8)
    mask[:, 8:] = 255
    painted = stylize(photo, negative, mask=mask)
    np.testing.assert_array_equal(painted[:, :20], photo[:, :20])
    np.testing.assert_array_equal(painted[:, 44:], 255 - photo[:, 44:])
    small = stylize(photo, negative, mask=mask, max_side=30)
    np.testing.assert_array_equal(small[:, 22:], 255 - fit(photo, 30)[:, 22:])


@pytest.mark.parametrize("colors", COLORS)
def test_colors_are_kept_as_asked(negative: Style, noise: Noise, colors: str) -> None:
    photo = resize(noise(5, 7), (37, 50))
    expected = keep_colors(255 - photo, photo, colors)
    np.testing.assert_array_equal(stylize(photo, negative, colors=colors), expected)
    assert (colors == "style") == bool((expected == 255 - photo).all())


# -------------------------------------------------------------------------------------------------------------- types


def test_a_picture_keeps_what_it_carries(negative: Style, noise: Noise) -> None:
    alpha = np.maximum(noise(21, 34)[:, :, 0], 1)
    picture = Picture(noise(21, 34), alpha, b"Exif\0\0II*\0\x08\0\0\0\0\0", 300.0)
    painted = stylize(picture, negative)
    assert isinstance(painted, Picture)
    np.testing.assert_array_equal(painted.pixels, 255 - picture.pixels)
    assert (painted.alpha is alpha, painted.exif, painted.dpi) == (True, picture.exif, 300.0)
    small = stylize(picture, negative, max_side=17)
    assert small.alpha is not None
    assert small.pixels.shape == (*small.alpha.shape, 3) == (10, 17, 3)


def test_an_array_that_is_not_contiguous_is_taken(negative: Style, noise: Noise) -> None:
    photo = noise(40, 40)[::2, ::-1]
    np.testing.assert_array_equal(stylize(photo, negative), 255 - photo)


def test_a_read_only_array_is_taken(negative: Style, noise: Noise) -> None:
    photo = noise(17, 17)
    photo.flags.writeable = False
    np.testing.assert_array_equal(stylize(photo, negative), 255 - photo)


def test_a_style_is_a_name_a_file_or_loaded(negative: Style, invert: Path, noise: Noise) -> None:
    photo = noise(16, 16)
    for style in (str(invert), invert, negative):
        np.testing.assert_array_equal(stylize(photo, style, precision="float32"), 255 - photo)
    with pytest.raises(StyleError, match="unknown style 'no_such_style'"):
        stylize(photo, "no_such_style")


def test_device_and_precision_are_passed_on(negative: Style, noise: Noise) -> None:
    with pytest.raises(ValueError, match="device is 'tpu'"):
        stylize(noise(16, 16), negative, device="tpu")
    with pytest.raises(ValueError, match="precision is 'int8'"):
        stylize(noise(16, 16), negative, precision="int8")


def test_a_device_is_refused_even_at_strength_0(negative: Style, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.runtimes.torch_gpu", lambda: None)
    monkeypatch.setattr("impasto.runtimes.openvino_devices", lambda: ["CPU"])
    with pytest.raises(DeviceError, match="no GPU"):
        stylize(noise(16, 16), negative, device="gpu", strength=0)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8, 1), np.uint8), r"uint8 \(8, 8, 1\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\(1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8, 4), np.uint16), "uint16"),
        (np.zeros((8, 8, 3), np.bool_), "bool"),
        ("photo.jpg", "str"),
        (b"", "bytes"),
        (None, "NoneType"),
        ([[[0, 0, 0]]], "list"),
    ],
)
def test_what_is_no_image_is_a_value_error(negative: Style, image: Any, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^image is .*{told}.*; it must be"):
        stylize(image, negative)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"strength": -0.1}, "strength is -0.1; it must be from 0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"colors": "blue"}, "colors is 'blue'; it must be one of style, luma, match, histogram"),
        ({"mask": np.zeros((8, 8, 3), np.uint8)}, r"mask is uint8 \(8, 8, 3\)"),
        ({"mask": np.zeros((8, 8), np.float32)}, "mask is float32"),
        ({"mask": np.zeros((8, 8), np.bool_)}, "mask is bool"),
        ({"mask": np.zeros((0, 8), np.uint8)}, "not empty"),
        ({"mask": [[255]]}, "mask is a list"),
        ({"max_side": 0}, "max_side is 0; it must be at least 1"),
        ({"max_side": -5}, "max_side is -5"),
        ({"strength": "0.5"}, "strength is '0.5'"),
        ({"stroke": [1]}, r"stroke is \[1\]"),
        ({"max_side": "900"}, "max_side is '900'"),
        ({"max_side": 1.5}, "max_side is 1.5; .* a whole number"),
        ({"memory": "4GB"}, "memory is '4GB'; it must be more than 0, in gigabytes"),
        ({"tile": "256"}, "tile is '256'"),
        ({"tile": 64.5}, "tile is 64.5"),
    ],
)
def test_a_wrong_argument_is_a_value_error_before_any_work(noise: Noise, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stylize(noise(8, 8), "no_such_style", **arguments)


@pytest.mark.parametrize(
    ("style", "told"),
    [
        (None, "style is a NoneType; it must be a style"),
        (5, "style is a int"),
        (b"candy", "style is a bytes"),
        (np.zeros((8, 8, 3), np.uint8), "style is a ndarray"),
        ({"candy": 0.5, "udnie": 0.5}, "style is a dict; .*'candy:0.7,udnie:0.3'"),
        ([], "style is empty"),
        (["candy", "udnie"], "it must be of pairs of a style and a mask"),
        (("candy", 0.3), "it must be of pairs of a style and a mask"),
        ([("candy",)], "it must be of pairs of a style and a mask"),
    ],
)
def test_what_is_no_style_is_a_value_error(noise: Noise, style: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stylize(noise(8, 8), style)


def test_numbers_of_numpy_are_numbers(noise: Noise, negative: Style) -> None:
    photo = noise(20, 30)
    given: dict[str, Any] = {"strength": np.float32(0.5), "max_side": np.int64(15), "memory": np.float64(4)}
    painted = stylize(photo, negative, **given)
    np.testing.assert_array_equal(painted, stylize(photo, negative, strength=0.5, max_side=15, memory=4))


def test_threads_share_a_style(invert: Path) -> None:
    images = [np.full((64 + 4 * i, 80, 3), 20 * i, np.uint8) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for image, painted in zip(images * 8, pool.map(lambda i: stylize(i, invert), images * 8), strict=True):
            np.testing.assert_array_equal(painted, 255 - image)


def test_an_enlarged_mask_does_not_ring(invert: Path) -> None:
    mask = np.repeat(np.array([[0] * 4 + [255] * 4], np.uint8), 8, axis=0)
    photo = np.zeros((80, 80, 3), np.uint8)
    painted = stylize(photo, invert, mask=mask, precision="float32")[40, :, 0]
    assert (painted[:34] == 0).all()
    assert (painted[46:] == 255).all()
    assert (np.diff(painted.astype(int)) >= 0).all()


# ---------------------------------------------------------------------------------------------------------- palettes


def test_the_recommended_strength_is_used_unless_another_is_asked_for(tmp_path: Path, noise: Noise) -> None:
    entries = (StyleEntry(name="red", strokes=STROKES, strength=0.4), StyleEntry(name="blue", strokes=STROKES))
    path, photo = tmp_path / "weak.onnx", noise(20, 30)
    path.write_bytes(colors_model(entries=entries).SerializeToString())
    for style, share, color in ((f"{path}:red", 0.4, (220, 40, 0)), (f"{path}:red,{path}:blue", 0.7, (110, 50, 85))):
        painted = stylize(photo, style, precision="float32")
        np.testing.assert_allclose(painted, (1 - share) * photo + share * np.array(color), atol=0.51)
    full = stylize(photo, f"{path}:red", strength=1, precision="float32")
    np.testing.assert_allclose(full, np.broadcast_to([220, 40, 0], photo.shape), atol=0.51)


def red(colors: Path) -> Style:
    style = read_style(colors).choose({"red": 1.0})  # not the one that others are given
    style._runtimes["auto", "auto", style.own] = style.runtime("cpu", "float32")
    return style


def test_strength_of_a_palette_is_in_its_rows(colors: Path, noise: Noise) -> None:
    photo = noise(20, 30)
    painted = stylize(photo, red(colors), strength=0.25)
    np.testing.assert_allclose(painted, 0.75 * photo + 0.25 * np.array([220, 40, 0]), atol=0.51)
    np.testing.assert_array_equal(stylize(photo, red(colors), strength=0), photo)


@pytest.mark.parametrize(
    ("stroke", "color"),
    [(0.05, (200, 0, 0)), (0.1, (220, 40, 0)), (0.2, (240, 80, 0)), (4.0, (240, 80, 0)), (None, (220, 40, 0))],
)
def test_stroke_is_relative_to_the_picture(
    colors: Path, noise: Noise, stroke: float | None, color: tuple[int, ...]
) -> None:
    painted = stylize(noise(60, 100), red(colors), stroke=stroke)
    assert painted.shape == (60, 100, 3)
    assert abs(painted.astype(int) - color).max() <= 1


@pytest.mark.parametrize(
    ("stroke", "side", "expected"),
    [
        (None, 50, (None, 1.0)),
        (0.125, 2048, (256, 1.0)),
        (0.125, 512, (256, 4.0)),  # as a picture of 2048 pixels, reduced
        (0.1, 4000, (400, 1.0)),
        (1.0, 4000, (400, 0.1)),  # no strokes so broad: a smaller picture is painted
        (1.0, 400, (400, 1.0)),
        (1.0, 100, (400, 4.0)),
    ],
)
def test_pictures_are_painted_at_the_scale_whose_strokes_there_are(
    colors: Path, stroke: float | None, side: int, expected: tuple[float | None, float]
) -> None:
    assert verb.stroke_size(red(colors), stroke, side) == pytest.approx(expected)


def test_strokes_finer_than_there_are_come_out_broader(colors: Path) -> None:
    style = red(colors)
    style.spec = replace(style.spec, entries=tuple(replace(e, strokes=(320, 512)) for e in style.spec.entries))
    assert verb.stroke_size(style, 0.1, 2500) == pytest.approx((320, 1.28))
    assert verb.stroke_size(style, 0.05, 2500) == pytest.approx((320, 2.0))
    assert verb.stroke_size(style, 0.05, 500) == pytest.approx(
        (320, 8.192)
    )  # a picture of 2048, painted twice as large


def test_blends_of_styles_with_different_strokes_go_from_one_s_to_the_other_s(colors: Path) -> None:
    palette = read_style(colors)  # not the one that others are given
    one, other = palette.spec.entries
    palette.spec = replace(palette.spec, entries=(one, replace(other, strokes=(20, 40, 80))))
    blends = [palette.choose({one.name: 1 - share, other.name: share}) for share in (0, 1e-9, 0.5, 1 - 1e-9, 1)]
    sizes = [verb.stroke_size(blend, 0.1, 3000)[0] for blend in blends]
    assert sizes == pytest.approx([300, 300, (300 * 80) ** 0.5, 80, 80])


def test_a_preview_is_painted_as_its_large_picture_is(palette: Path, noise: Noise) -> None:
    style = load_style(f"{palette}:one")
    large = resize(noise(9, 12), (768, 1024))
    small = resize(large, (192, 256))
    for stroke in (0.07, 0.5, 2.0):
        one, other = (stylize(photo, style, stroke=stroke, precision="float32") for photo in (small, large))
        assert np.abs(one.astype(int) - resize(other, (192, 256))).mean() < 2


def test_a_photo_painted_smaller_or_larger_has_its_size(palette: Path, noise: Noise) -> None:
    style = load_style(f"{palette}:one")
    for size in ((301, 200), (17, 16), (40, 257)):
        for stroke in (0.1, 1.0, 4.0):
            assert stylize(noise(*size), style, stroke=stroke).shape == (*size, 3)


def test_a_network_of_one_style_has_one_size_of_strokes(negative: Style, noise: Noise) -> None:
    with pytest.raises(StyleError, match=r"invert\.onnx: a network of one style, whose strokes have one size"):
        stylize(noise(20, 20), negative, stroke=1.0)


@pytest.mark.parametrize("stroke", [0, -1, 0.01, 5, float("nan")])
def test_a_stroke_out_of_range_is_told(colors: Path, noise: Noise, stroke: float) -> None:
    with pytest.raises(ValueError, match=r"stroke is .*; it must be from 0\.05"):
        stylize(noise(20, 20), red(colors), stroke=stroke)


def test_a_blend_is_between_its_styles(colors: Path, noise: Noise) -> None:
    painted = stylize(noise(20, 20), f"{colors}:red:0.75,{colors}:blue:0.25", precision="float32")
    np.testing.assert_allclose(painted, np.broadcast_to([165, 45, 42.5], painted.shape), atol=1)


def test_settings_of_a_palette_vary_smoothly(palette: Path, noise: Noise) -> None:
    """No jump between neighbouring settings: the largest step is under twice the mean step."""
    photo = resize(noise(12, 16), (96, 128))
    style = load_style(f"{palette}:one")
    for settings_ in (
        [{"strength": s} for s in np.linspace(0.05, 1, 9)],
        [{"stroke": s} for s in np.linspace(0.05, 0.75, 9)],
    ):
        painted = [stylize(photo, style, precision="float32", **kw).astype(int) for kw in settings_]
        steps = [np.abs(a - b).mean() for a, b in itertools.pairwise(painted)]
        assert max(steps) < 2 * np.mean(steps)


def test_the_mask_and_colors_work_on_a_palette(colors: Path, noise: Noise) -> None:
    photo = noise(20, 30)
    mask = np.zeros((20, 30), np.uint8)
    mask[:, :10] = 255
    painted = stylize(photo, red(colors), mask=mask)
    np.testing.assert_array_equal(painted[:, 10:], photo[:, 10:])
    assert abs(painted[:, :10].astype(int) - (220, 40, 0)).max() <= 1
    kept = stylize(photo, red(colors), colors="luma")
    np.testing.assert_array_equal(
        kept, keep_colors(np.broadcast_to(np.array([220, 40, 0], np.uint8), photo.shape), photo, "luma")
    )


def test_the_photos_share_stays_sharp_where_a_smaller_picture_is_painted(colors: Path, noise: Noise) -> None:
    photo = noise(600, 800)
    for strength in (0.02, 0.5):
        painted = stylize(photo, red(colors), stroke=4.0, strength=strength)
        np.testing.assert_allclose(painted, (1 - strength) * photo + strength * np.array([240, 80, 0]), atol=3)


def test_a_palette_of_which_no_style_is_chosen_is_told(colors: Path, noise: Noise) -> None:
    with pytest.raises(StyleError, match="holds red, blue; name one"):
        stylize(noise(20, 20), read_style(colors))
