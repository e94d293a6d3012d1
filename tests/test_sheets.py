"""Contact sheets: what is where."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageFont

from impasto.images import resize
from impasto.sheets import GAP, LABEL, LARGE, SMALL, cut, draw, fitting, matrix, sheet
from impasto.styles import load_style

Pixels = npt.NDArray[np.uint8]


def cell(drawn: Pixels, photo: Pixels, row: int, column: int) -> Pixels:
    """The picture in a row and column of a sheet."""
    height, width = photo.shape[:2]
    top, left = GAP + row * (height + GAP + LABEL), GAP + column * (width + GAP)
    return drawn[top : top + height, left : left + width]


def label(drawn: Pixels, photo: Pixels, row: int, column: int) -> Pixels:
    """The place below it."""
    height, width = photo.shape[:2]
    top, left = GAP + row * (height + GAP + LABEL) + height, GAP + column * (width + GAP)
    return drawn[top : top + LABEL, left : left + width]


def test_sheet_has_the_photo_and_each_style_with_its_name(colors: Path, noise: Callable[..., Pixels]) -> None:
    photo = noise(40, 90)
    styles = [load_style(f"{colors}:{name}") for name in ("red", "blue", "red", "blue")]
    drawn = sheet(photo, styles, columns=3)
    assert drawn.shape == (GAP + 2 * (40 + GAP + LABEL), GAP + 3 * (90 + GAP), 3)
    np.testing.assert_array_equal(cell(drawn, photo, 0, 0), photo)
    for row, column, color in ((0, 1, (220, 40, 0)), (0, 2, (0, 60, 170)), (1, 0, (220, 40, 0)), (1, 1, (0, 60, 170))):
        assert abs(cell(drawn, photo, row, column).astype(int) - color).max() <= 1
        assert label(drawn, photo, row, column).min() < 100
    assert (cell(drawn, photo, 1, 2) == 255).all()
    assert (label(drawn, photo, 1, 2) == 255).all()


def test_matrix_has_strength_to_the_right_and_stroke_downwards(colors: Path, noise: Callable[..., Pixels]) -> None:
    photo = resize(noise(5, 10) // 4 + 90, (50, 100))  # smooth, since it is painted larger and reduced
    drawn = matrix(photo, load_style(f"{colors}:red"), strengths=(0.5, 1.0), strokes=(0.05, 0.1, 0.2))
    for row, color in enumerate(((200, 0, 0), (220, 40, 0), (240, 80, 0))):
        assert abs(cell(drawn, photo, row, 1).astype(int) - color).max() <= 1
        half = photo / 2 + np.array(color) / 2
        assert abs(cell(drawn, photo, row, 0) - half).max() <= 2


@pytest.mark.parametrize("width", [16, 60, 100, 320])
def test_labels_stay_in_their_columns(width: int) -> None:
    cells = [[np.full((12, width, 3), 90, np.uint8)] * 3]
    drawn = draw([["composition_vii", "woman\nwith_hat" + 10_000_000 * "t", "l"]], cells)
    below = drawn[GAP + 12 :]
    for column in range(3):
        left = GAP + column * (width + GAP)
        assert below[:, left : left + width].min() < 150
        assert (below[:, left + width : left + width + GAP] == 255).all()


def test_letters_are_as_large_as_fits_and_labels_are_cut_last() -> None:
    usual, least = ImageFont.load_default(LARGE), ImageFont.load_default(SMALL)
    assert fitting(["candy", "woman_with_hat"], 320).getlength("woman") == usual.getlength("woman")
    assert fitting(["candy", "woman_with_hat"], 16).getlength("woman") == least.getlength("woman")
    between = fitting(["candy", "woman_with_hat"], 96)
    assert least.getlength("woman") < between.getlength("woman") < usual.getlength("woman")
    assert cut("woman_with_hat", between, 96) == "woman_with_hat"
    assert re.fullmatch(r"woma.*[^.]\.\.\.", cut("woman_with_hat", least, 40))
    assert cut("woman_with_hat", least, 3) == ""
