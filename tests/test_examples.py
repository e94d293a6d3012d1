"""The examples run."""

import contextlib
import fnmatch
import re
import runpy
import sys
from pathlib import Path

import pytest

from impasto.images import read_image
from impasto.styles import builtin_styles

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_make_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_pictures.py", "--folder", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "make_pictures.py"), run_name="__main__")
    shapes = {path.name: read_image(path).shape for path in tmp_path.iterdir()}
    tall = len(builtin_styles()) // 6 + 1  # rows of a sheet, the photo being in it
    assert shapes == {
        "first.jpg": (2 * 360 + 6, 4 * 480 + 3 * 6, 3),
        "crops.jpg": (8 + 2 * (360 + 30), 8 + 2 * (480 + 8), 3),
        "strength.jpg": (384, 4 * 512 + 3 * 6, 3),
        "strokes.jpg": (384, 3 * 512 + 2 * 6, 3),
        "blend.jpg": (384, 4 * 512 + 3 * 6, 3),
        "colors.jpg": (384, 4 * 512 + 3 * 6, 3),
        "mask.jpg": (384, 2 * 512 + 6, 3),
        "regions.jpg": (341, 2 * 512 + 6, 3),
        "sheet-astronaut.jpg": (8 + tall * (300 + 30), 8 + 6 * 308, 3),
        "sheet-coffee.jpg": (8 + tall * (200 + 30), 8 + 6 * 308, 3),
        "sheet-raccoon.jpg": (8 + tall * (225 + 30), 8 + 6 * 308, 3),
        "matrix-the_scream.jpg": (8 + 3 * (240 + 30), 8 + 4 * 248, 3),
        "matrix-mosaic.jpg": (8 + 3 * (160 + 30), 8 + 4 * 248, 3),
    }


def test_every_picture_of_the_documents_has_a_command_that_makes_it() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    table = text[text.index("docs/pictures") :].splitlines()
    named = [name for line in table if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    pictures = {path.stem for path in (EXAMPLES.parent / "docs" / "pictures").iterdir()}
    assert {one for name in named for one in fnmatch.filter(pictures, name)} == pictures


def test_a_picture_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for names, made in ((["mask"], ["mask.jpg"]), (["mask", "maks"], [])):
        folder = tmp_path / str(len(names))
        monkeypatch.setattr(sys, "argv", ["make_pictures.py", *names, "--folder", str(folder)])
        with contextlib.nullcontext() if made else pytest.raises(SystemExit):
            runpy.run_path(str(EXAMPLES / "make_pictures.py"), run_name="__main__")
        assert [path.name for path in folder.rglob("*")] == made
