"""The examples run."""

import runpy
import sys
from pathlib import Path

import pytest

from impasto.images import read_image
from impasto.styles import builtin_styles

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_make_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_pictures.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "make_pictures.py"), run_name="__main__")
    shapes = {path.name: read_image(path).shape for path in tmp_path.iterdir()}
    tall = len(builtin_styles()) // 6 + 1  # rows of a sheet, the photo being in it
    assert shapes == {
        "first.jpg": (2 * 360 + 6, 4 * 480 + 3 * 6, 3),
        "crops.jpg": (8 + 2 * (360 + 30), 8 + 2 * (480 + 8), 3),
        "strength.jpg": (384, 4 * 512 + 3 * 6, 3),
        "colors.jpg": (384, 4 * 512 + 3 * 6, 3),
        "mask.jpg": (384, 2 * 512 + 6, 3),
        "sheet-astronaut.jpg": (8 + tall * (300 + 30), 8 + 6 * 308, 3),
        "sheet-coffee.jpg": (8 + tall * (200 + 30), 8 + 6 * 308, 3),
        "sheet-raccoon.jpg": (8 + tall * (225 + 30), 8 + 6 * 308, 3),
        "matrix-the_scream.jpg": (8 + 3 * (240 + 30), 8 + 4 * 248, 3),
        "matrix-mosaic.jpg": (8 + 3 * (160 + 30), 8 + 4 * 248, 3),
    }
