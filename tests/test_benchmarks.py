"""What the benchmarks write down: how they were run, without the folders of the machine they ran on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speed import ran

RESULTS = sorted((Path(__file__).parent.parent / "benchmarks" / "results").glob("*.json"))


def test_a_command_names_files_without_their_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [str(tmp_path / "a b" / "x.onnx"), f"mine={tmp_path / 'y.onnx'}", f"--json={tmp_path / 'z.json'}"]
    kept = ["benchmarks/results/q.json", "x4=x4", "--at", "0.5,0.4", "../photos", ""]
    monkeypatch.setattr("sys.argv", ["benchmarks/speed.py", *words, *kept])
    assert ran() == "python benchmarks/speed.py x.onnx mine=y.onnx --json=z.json " + " ".join(kept)


def texts(value: Any) -> Iterator[str]:
    """Every text in what a JSON file holds."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for part in value if isinstance(value, list) else ():
        yield from texts(part)
    if isinstance(value, str):
        yield value


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_name_no_folder_of_a_machine(path: Path) -> None:
    for text in texts(json.loads(path.read_text("utf-8"))):
        folders = set(re.findall(r"(?:^|[\s=,\'\"(])(/[^\s,]+)", text)) - {"/usr/bin/time"}
        assert not folders, f"{path.name}: {text}"
