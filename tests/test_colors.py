from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from impasto import colors
from impasto.choices import COLORS
from impasto.colors import blend, keep_colors

if TYPE_CHECKING:
    import numpy.typing as npt

    from impasto.images import Pixels

    Floats = npt.NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
MODES = [mode for mode in COLORS if mode != "style"]
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
levels = st.one_of(st.sampled_from([0, 1, 127, 128, 254, 255]), st.integers(0, 255))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Pixels, Pixels]:
    """Painting and photo of one shape; constant, grey, black and white ones come up often."""
    height, width = draw(shapes)
    channels = st.sampled_from([1, 3])

    def picture() -> Pixels:
        fill = st.nothing() if draw(st.booleans()) else levels
        pixels = draw(arrays(np.uint8, (height, width, draw(channels)), elements=levels, fill=fill))
        return np.broadcast_to(pixels, (height, width, 3)).copy()

    return picture(), picture()


def cloud(seed: int, center: tuple[int, int, int], spread: float, shape: tuple[int, int] = (96, 128)) -> Pixels:
    """Pixels of correlated colours that stay clear of 0 and 255."""
    random = np.random.default_rng(seed)
    mixed = random.uniform(-1, 1, (*shape, 3)) @ random.uniform(-1, 1, (3, 3))
    return np.asarray(np.rint(center + spread * mixed / np.abs(mixed).max()), np.uint8)


def statistics(image: Pixels) -> tuple[Floats, Floats]:
    pixels = image.reshape(-1, 3).astype(np.float64)
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


def constant(*color: int, shape: tuple[int, int] = (8, 9)) -> Pixels:
    return np.full((*shape, 3), color, np.uint8)


def luma(image: Pixels) -> Floats:
    return np.asarray(image @ LUMA)


# Every mode


@given(pairs(), st.sampled_from(COLORS))
def test_every_mode_gives_a_picture_of_the_same_form_and_leaves_its_arguments(
    pair: tuple[Pixels, Pixels], mode: str
) -> None:
    painted, photo = pair
    before = painted.copy(), photo.copy()
    result = keep_colors(painted, photo, mode)
    assert result.dtype == np.uint8
    assert result.shape == painted.shape
    assert result.flags.writeable
    np.testing.assert_array_equal(painted, before[0])
    np.testing.assert_array_equal(photo, before[1])


def test_style_is_the_painting_itself() -> None:
    painted = cloud(0, (90, 120, 150), 60)
    assert keep_colors(painted, constant(1, 2, 3, shape=(96, 128)), "style") is painted


@pytest.mark.parametrize("mode", MODES)
def test_a_painting_that_is_the_photo_stays_the_photo(mode: str) -> None:
    photo = cloud(1, (90, 120, 150), 80)
    np.testing.assert_array_equal(keep_colors(photo.copy(), photo, mode), photo)


@given(pairs(), st.sampled_from(MODES))
def test_greys_stay_grey(pair: tuple[Pixels, Pixels], mode: str) -> None:
    painted, photo = (np.repeat(image[:, :, :1], 3, axis=2) for image in pair)
    result = keep_colors(painted, photo, mode).astype(int)
    assert np.ptp(result, axis=2).max() <= (1 if mode == "match" else 0)  # match: rounding of floats near a half


@pytest.mark.parametrize("mode", COLORS)
def test_arrays_that_are_views_work_as_their_copies_do(mode: str) -> None:
    painted, photo = cloud(2, (90, 120, 150), 60)[::-2, ::3], cloud(3, (150, 90, 120), 60)[::2, ::-3]
    painted.flags.writeable = photo.flags.writeable = False
    expected = keep_colors(painted.copy(), photo.copy(), mode)
    np.testing.assert_array_equal(keep_colors(painted, photo, mode), expected)
    np.testing.assert_array_equal(blend(painted, photo, 0.4), blend(painted.copy(), photo.copy(), 0.4))


@pytest.mark.parametrize("mode", ["Luma", "", "lab", None])
def test_an_unknown_mode_is_named_with_those_allowed(mode: Any) -> None:
    image = constant(1, 2, 3)
    with pytest.raises(ValueError, match=rf"mode is {mode!r}.*style, luma, match, histogram"):
        keep_colors(image, image, mode)


@pytest.mark.parametrize("mode", COLORS)
@pytest.mark.parametrize("shape", [(8, 10), (9, 8), (1, 72)])
def test_pictures_of_two_sizes_are_refused(mode: str, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="one size"):
        keep_colors(constant(1, 2, 3), constant(1, 2, 3, shape=shape), mode)
    with pytest.raises(ValueError, match="one size"):
        blend(constant(1, 2, 3), constant(1, 2, 3, shape=shape), 0.5)


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 9)), np.zeros((8, 9, 3)), np.zeros((8, 9, 4), np.uint8), np.zeros((0, 9, 3), np.uint8)]
)
def test_what_is_not_a_picture_is_refused_by_name(wrong: Any) -> None:
    right = constant(1, 2, 3)
    with pytest.raises(ValueError, match=r"photo is .*uint8"):
        keep_colors(right, wrong, "luma")
    with pytest.raises(ValueError, match=r"painted is .*uint8"):
        blend(wrong, right, 0.5)


# luma


@given(pairs())
def test_luma_is_the_paintings_even_where_the_photos_colours_do_not_fit(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = pair
    result = keep_colors(painted, photo, "luma")
    # Two roundings to whole luma, and one of each channel.
    assert np.abs(luma(result) - luma(painted)).max() <= 1.5


@given(pairs())
def test_chroma_is_the_photos_or_less_of_the_same_hue(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = pair
    chroma = keep_colors(painted, photo, "luma") - luma(painted)[:, :, None]
    wanted = photo - luma(photo)[:, :, None]
    size = (wanted**2).sum(axis=2, keepdims=True)
    factor = (chroma * wanted).sum(axis=2, keepdims=True) / np.maximum(size, 1e-9)
    assert np.abs(chroma - factor * wanted)[(size > 0)[:, :, 0]].max(initial=0) <= 2  # parallel, but for rounding
    vivid = size > 30**2
    assert factor[vivid].min(initial=0) >= -0.05
    assert factor[vivid].max(initial=0) <= 1.05


@given(pairs())
@example((np.full((1, 1, 3), 255, np.uint8), np.array([[[254, 255, 254]]], np.uint8)))  # of a luma rounded to 255
def test_luma_agrees_with_a_slow_reference_to_the_rounding(pair: tuple[Pixels, Pixels]) -> None:
    lumas = [np.asarray(Image.fromarray(image).convert("L"), np.float64)[:, :, None] for image in pair]
    chroma = pair[1] - lumas[1]
    room = np.where(chroma > 0, 255 - lumas[0], lumas[0]) / np.maximum(np.abs(chroma), 1e-9)
    factor = np.where((lumas[0] > 0) & (lumas[0] < 255), np.minimum(room.min(axis=2, keepdims=True), 1), 0)
    exact = lumas[0] + chroma * factor
    assert np.abs(keep_colors(*pair, "luma") - exact).max() <= 0.5 + 1e-4


def test_where_nothing_leaves_the_range_chroma_is_kept_exactly() -> None:
    painted, photo = cloud(4, (120, 130, 125), 40), cloud(5, (130, 120, 125), 40)
    difference = keep_colors(painted, photo, "luma").astype(int) - photo
    assert (np.ptp(difference, axis=2) == 0).all()


def test_a_bright_stroke_on_a_blue_sky_stays_blue_where_clipping_would_give_cyan() -> None:
    result = keep_colors(constant(225, 225, 225), constant(90, 140, 255), "luma")[0, 0].astype(float)
    red, green, blue = result
    assert blue == 255
    assert (green - red) / (blue - red) == pytest.approx((140 - 90) / (255 - 90), abs=0.03)


@pytest.mark.parametrize("grey", [0, 255])
def test_black_and_white_strokes_stay_black_and_white(grey: int) -> None:
    painted = constant(grey, grey, grey, shape=(96, 128))
    np.testing.assert_array_equal(keep_colors(painted, cloud(6, (128, 128, 128), 120), "luma"), painted)


def test_strips_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    painted, photo = cloud(7, (120, 90, 160), 90), cloud(8, (90, 160, 120), 90)
    whole = keep_colors(painted, photo, "luma"), blend(painted, photo, 0.3)
    monkeypatch.setattr(colors, "_STRIP_PIXELS", 7 * 128 + 5)  # 96 rows in bands of 7, the last one short
    np.testing.assert_array_equal(keep_colors(painted, photo, "luma"), whole[0])
    np.testing.assert_array_equal(blend(painted, photo, 0.3), whole[1])


# match


def test_match_gives_the_photos_mean_and_covariance() -> None:
    painted, photo = cloud(9, (150, 100, 90), 70), cloud(10, (120, 130, 140), 60)
    (mean, covariance), (expected_mean, expected) = statistics(keep_colors(painted, photo, "match")), statistics(photo)
    np.testing.assert_allclose(mean, expected_mean, atol=0.1)
    np.testing.assert_allclose(covariance, expected, atol=0.01 * np.abs(expected).max())


@given(st.integers(0, 2**32 - 1))
def test_the_map_is_symmetric_positive_and_matches_covariances(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = (m @ m.T * 100 + 5 * np.eye(3) for m in random.normal(size=(2, 3, 3)))
    matrix = colors._transport(source, target)
    np.testing.assert_allclose(matrix @ source @ matrix, target, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_swapped_channels_of_the_photo_and_the_painting_swap_those_of_the_result() -> None:
    painted, photo = cloud(11, (150, 100, 90), 70), cloud(12, (120, 130, 140), 60)
    swapped = keep_colors(painted[:, :, ::-1], photo[:, :, ::-1], "match")[:, :, ::-1].astype(int)
    assert np.abs(swapped - keep_colors(painted, photo, "match")).max() <= 1


@given(pairs())
def test_a_painting_of_one_colour_becomes_the_photos_mean(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = np.broadcast_to(pair[0][:1, :1], pair[0].shape), pair[1]
    result = keep_colors(painted, photo, "match")
    assert np.abs(result - statistics(photo)[0]).max() <= 0.51


@given(pairs())
def test_a_photo_of_one_colour_gives_that_colour(pair: tuple[Pixels, Pixels]) -> None:
    photo = np.broadcast_to(pair[1][:1, :1], pair[1].shape)
    for mode in ("match", "histogram"):
        np.testing.assert_array_equal(keep_colors(pair[0], photo, mode), photo)


def test_a_grey_photo_makes_a_grey_picture() -> None:
    photo = np.repeat(cloud(13, (120, 120, 120), 90)[:, :, :1], 3, axis=2)
    result = keep_colors(cloud(14, (150, 100, 90), 70), photo, "match")
    assert np.ptp(result.astype(int), axis=2).max() <= 1


def test_a_grey_painting_is_tinted_as_the_photo_is_from_dark_to_light() -> None:
    ramp = np.linspace(40, 215, 128)
    painted = np.rint(np.broadcast_to(ramp[:, None], (96, 128, 3))).astype(np.uint8)
    dark, light = np.array([20, 30, 90]), np.array([240, 220, 160])
    photo = np.rint(np.broadcast_to(dark + (light - dark) * np.linspace(0, 1, 128)[:, None], (96, 128, 3)))
    result = keep_colors(painted, photo.astype(np.uint8), "match")
    assert np.abs(result - photo).max() <= 3


def test_match_does_not_blow_up_noise() -> None:
    random = np.random.default_rng(15)
    painted = (128 + random.integers(0, 2, (96, 128, 3))).astype(np.uint8)
    result = keep_colors(painted, cloud(16, (128, 128, 128), 120), "match")
    deviations = np.sqrt(np.diag(statistics(result)[1]))
    assert deviations.max() < 20  # the photo's are about 50


def test_a_sample_of_the_pixels_speaks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    painted, photo = cloud(17, (150, 100, 90), 70), cloud(18, (120, 130, 140), 60)
    whole = keep_colors(painted, photo, "match").astype(int)
    monkeypatch.setattr(colors, "_SAMPLE_PIXELS", 96 * 128 // 4)
    sampled = keep_colors(painted, photo, "match")
    assert 0 < np.abs(whole - sampled).max() <= 6


# histogram


@given(pairs())
def test_the_table_never_falls_and_gives_only_levels_of_the_photo(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = pair
    result = keep_colors(painted, photo, "histogram")
    for channel in range(3):
        before, after = painted[:, :, channel].ravel(), result[:, :, channel].ravel()
        assert (np.diff(after[before.argsort(kind="stable")].astype(int)) >= 0).all()
        assert len(set(zip(before.tolist(), after.tolist(), strict=True))) == len(set(before.tolist()))
        assert set(after.tolist()) <= set(photo[:, :, channel].ravel().tolist())


@given(st.permutations(range(64)), st.lists(st.integers(0, 255), min_size=64, max_size=64))
def test_without_ties_the_histogram_is_the_photos(order: list[int], photo_levels: list[int]) -> None:
    painted = np.repeat(np.array(order, np.uint8).reshape(8, 8, 1), 3, axis=2)
    photo = np.repeat(np.array(photo_levels, np.uint8).reshape(8, 8, 1), 3, axis=2)
    result = keep_colors(painted, photo, "histogram")
    assert sorted(result[:, :, 0].ravel().tolist()) == sorted(photo_levels)


@given(pairs())
def test_pixels_of_one_level_get_the_median_of_what_ranks_would_give_them(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = (image[:, :, 1].ravel() for image in pair)
    assume(len(set(painted.tolist())) < painted.size)
    result = keep_colors(*pair, "histogram")[:, :, 1].ravel()
    ordered = np.sort(photo)
    for level in set(painted.tolist()):
        start, count = int((painted < level).sum()), int((painted == level).sum())
        block = ordered[start : start + count]
        assert (result[painted == level] == block[(count - 1) // 2]).all()


# blend


@given(pairs(), st.floats(0, 1))
def test_blend_rounds_to_the_nearest(pair: tuple[Pixels, Pixels], amount: float) -> None:
    painted, photo = (image.astype(np.float64) for image in pair)
    exact = photo + amount * (painted - photo)
    assert np.abs(blend(*pair, amount) - exact).max() <= 0.5 + 1e-4


@given(pairs(), arrays(np.uint8, (9, 9), elements=levels))
def test_a_mask_rounds_to_the_nearest(pair: tuple[Pixels, Pixels], mask: Pixels) -> None:
    painted, photo = (image.astype(np.float64) for image in pair)
    mask = mask[: painted.shape[0], : painted.shape[1]]
    exact = photo + mask[:, :, None] / 255 * (painted - photo)
    assert np.abs(blend(*pair, mask) - exact).max() <= 0.5


@given(pairs())
def test_the_ends_are_the_photo_and_the_painting_to_the_bit(pair: tuple[Pixels, Pixels]) -> None:
    painted, photo = pair
    mask = np.zeros(photo.shape[:2], np.uint8)
    for none, all_ in ((0, 1), (0.0, 1.0), (mask, mask + np.uint8(255))):
        np.testing.assert_array_equal(blend(painted, photo, none), photo)
        np.testing.assert_array_equal(blend(painted, photo, all_), painted)


def test_a_blend_is_a_new_array_even_at_the_ends() -> None:
    painted, photo = constant(1, 2, 3), constant(4, 5, 6)
    for amount in (0, 1):
        blend(painted, photo, amount)[:] = 9
    assert (painted[0, 0].tolist(), photo[0, 0].tolist()) == ([1, 2, 3], [4, 5, 6])


@pytest.mark.parametrize("amount", [-0.01, 1.01, float("nan"), float("inf"), 255])
def test_an_amount_outside_its_range_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"amount is .*0 \(photo\) to 1 \(painting\)"):
        blend(constant(1, 2, 3), constant(1, 2, 3), amount)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((9, 8), np.uint8),
        np.zeros((8, 9, 1), np.uint8),
        np.zeros((8, 9)),
        np.ones((8, 9), bool),
        np.array(1, np.uint8),
    ],
)
def test_a_mask_of_another_size_or_type_is_refused(mask: Any) -> None:
    with pytest.raises(ValueError, match=r"amount is a mask of .*uint8 \(8, 9\)"):
        blend(constant(1, 2, 3), constant(1, 2, 3), mask)


# ------------------------------------------------------------------------------------------------------------ 16 bits


@pytest.mark.parametrize("mode", COLORS)
def test_sixteen_bits_are_coloured_as_eight(mode: str) -> None:
    rng = np.random.default_rng(5)
    photo, painted = (rng.integers(0, 256, (40, 50, 3), np.uint8) // 2 + 60 for _ in range(2))
    eight = keep_colors(painted, photo, mode)
    deep = [picture.astype(np.uint16) * 257 for picture in (painted, photo)]
    sixteen = keep_colors(deep[0], deep[1], mode)  # type: ignore[arg-type]
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= (1.6 if mode != "histogram" else 0)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", COLORS)
def test_in_place_is_the_same(mode: str, depth: type[np.unsignedinteger[Any]]) -> None:
    rng = np.random.default_rng(6)
    top = np.iinfo(depth).max
    photo, painted = (rng.integers(0, top + 1, (70, 1200, 3)).astype(depth) for _ in range(2))
    apart = keep_colors(painted, photo, mode).copy()
    assert keep_colors(painted, photo, mode, in_place=True) is painted
    np.testing.assert_array_equal(painted, apart)


def test_sixteen_bits_are_blended() -> None:
    rng = np.random.default_rng(7)
    photo, painted = (rng.integers(0, 65536, (30, 40, 3)).astype(np.uint16) for _ in range(2))
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 20:30], mask[:, 30:] = 128, 255
    mixed = blend(painted, photo, mask)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mixed[:, :20], photo[:, :20])
    np.testing.assert_array_equal(mixed[:, 30:], painted[:, 30:])
    expected = photo[:, 20:30] + (painted[:, 20:30].astype(float) - photo[:, 20:30]) * 128 / 255
    assert np.abs(mixed[:, 20:30] - expected).max() <= 0.51
    half = blend(painted, photo, 0.25)  # type: ignore[arg-type]
    assert np.abs(half - (0.25 * painted + 0.75 * photo)).max() <= 0.51
