"""The script that puts a palette into the package."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from impasto.styles import read_style

SCRIPT = Path(__file__).parent.parent / "recipes" / "ship.py"


def test_a_palette_is_shipped_with_its_figures_and_an_index(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("content", "style", "energy_2", "energy_3", "energy_4")
    measured = {name: {key: i + 0.5 for i, key in enumerate(keys, len(name))} for name in ("red", "blue")}
    figures = tmp_path / "quality.json"
    figures.write_text(json.dumps({"distances": {"photos": 7, "styles": measured}}))
    monkeypatch.setattr(sys, "argv", ["ship.py", str(colors), str(figures), str(tmp_path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    index = json.loads((tmp_path / "index.json").read_text("utf-8"))
    shipped, before = read_style(tmp_path / colors.name).spec, read_style(colors).spec
    assert list(index) == shipped.names == ["red", "blue"]
    for entry, old in zip(shipped.entries, before.entries, strict=True):
        assert entry.figures == measured[entry.name] | {"photos": 7}
        assert (entry.title, entry.strokes) == (old.title, old.strokes)
        assert index[entry.name] == {
            "file": colors.name,
            "title": old.title,
            "artist": old.artist,
            "year": old.year,
            "rights": old.rights,
            "strength": old.strength,
            "figures": entry.figures,
        }
    assert shipped.recipe == before.recipe
