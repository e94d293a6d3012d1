"""The examples run."""

import runpy
import sys
from pathlib import Path

import pytest

from impasto.images import read_image
from impasto.styles import builtin_styles

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_make_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "rain_princess" in builtin_styles()
    monkeypatch.setattr(sys, "argv", ["make_pictures.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "make_pictures.py"), run_name="__main__")
    shapes = {path.name: read_image(path).shape for path in tmp_path.iterdir()}
    assert shapes == {
        "raccoon-rain_princess.jpg": (768, 1024, 3),
        "strength.jpg": (384, 4 * 512 + 3 * 6, 3),
        "colors.jpg": (384, 4 * 512 + 3 * 6, 3),
        "mask.jpg": (384, 2 * 512 + 6, 3),
    }
