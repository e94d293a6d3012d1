"""Puts a trained palette into the package: ``python recipes/ship.py palette.onnx quality.json [FOLDER]``.

Its figures as measured (``benchmarks/quality.py distances --json quality.json``) go into its file, and what that says
of each style into the index of the built-in styles.
"""

import dataclasses
import json
import sys
from pathlib import Path

import onnx
from onnx import helper

from impasto.files import atomic_write
from impasto.specs import KEY
from impasto.styles import read_style, zoo

FIGURES = ("content", "style", "energy_2", "energy_3", "energy_4")


def main() -> None:
    """Write the palette and the index."""
    palette, figures = map(Path, sys.argv[1:3])
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else zoo()
    measured = json.loads(figures.read_text("utf-8"))["distances"]
    spec = read_style(palette).spec
    entries = [
        dataclasses.replace(
            entry,
            figures={key: measured["styles"][entry.name][key] for key in FIGURES} | {"photos": measured["photos"]},
        )
        for entry in spec.entries
    ]
    model = onnx.load(palette)
    helper.set_model_props(model, {KEY: dataclasses.replace(spec, entries=tuple(entries)).to_json()})
    with atomic_write(folder / palette.name) as stream:
        stream.write(model.SerializeToString())
    index = {
        entry.name: {"file": palette.name}
        | {key: getattr(entry, key) for key in ("title", "artist", "year", "rights", "strength", "figures")}
        for entry in entries
    }
    with atomic_write(folder / "index.json") as stream:
        stream.write((json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    main()
