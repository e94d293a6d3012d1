"""What the benchmarks write down: how they were run, without the folders of the machine they ran on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpu
import speed
from impasto.styles import load_style
from speed import ran

RESULTS = sorted((Path(__file__).parent.parent / "benchmarks" / "results").glob("*.json"))


def test_a_command_names_files_without_their_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [str(tmp_path / "a b" / "x.onnx"), f"mine={tmp_path / 'y.onnx'}", f"--json={tmp_path / 'z.json'}"]
    kept = ["benchmarks/results/q.json", "x4=x4", "--at", "0.5,0.4", "../photos", ""]
    monkeypatch.setattr("sys.argv", ["benchmarks/speed.py", *words, *kept])
    assert ran() == "python benchmarks/speed.py x.onnx mine=y.onnx --json=z.json " + " ".join(kept)


def test_results_are_kept_beside_those_of_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "machine", lambda: {"processor": "any"})
    monkeypatch.setattr("sys.argv", ["benchmarks/any.py", "b"])
    file = tmp_path / "results.json"
    file.write_text('{"a": {"seconds": 1}, "b": {"seconds": 2}}')
    speed.record(["b", "c"], file, lambda name: {"name": name}, load=True)
    found = json.loads(file.read_text())
    assert [*found] == ["a", "b", "c"]
    assert found["a"] == {"seconds": 1}
    assert [*found["c"]] == ["machine", "command", "name"]
    assert found["b"]["machine"].keys() == {"processor", "load"}
    assert (found["b"]["command"], found["b"]["name"]) == ("python benchmarks/any.py b", "b")
    speed.record(["d"], None, lambda name: {"name": name})
    assert '"processor": "any"\n' in capsys.readouterr().out
    assert json.loads(file.read_text()) == found


def test_without_a_gpu_the_results_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "torch_gpu", lambda: None)
    monkeypatch.setattr(gpu, "machine", dict)
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py", "--json", str(tmp_path / "gpu.json")])
    gpu.main()
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert [*results] == ["painting", "large", "training"]
    for told in results.values():
        assert told["machine"] == {"gpu": "none was at hand, so nothing was measured"}
        assert [*told] == ["machine", "command"]


def test_a_gpu_is_rehearsed_on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    palette = load_style("candy")
    rows = [palette.spec.mix(palette.weights)]
    monkeypatch.setattr(gpu, "styles", lambda _: {"palette": (palette.choose(palette.weights), rows)})
    monkeypatch.setattr(gpu, "machine", dict)
    words = ["painting", "large", "--device", "cpu", "--share", "0.04", "--seconds", "0.01"]
    monkeypatch.setattr("sys.argv", ["benchmarks/gpu.py", *words, "--json", str(tmp_path / "gpu.json")])
    gpu.main()
    results = json.loads((tmp_path / "gpu.json").read_text())
    for size in ("1080p", "2160p"):
        told = results["painting"][f"palette {size}"]
        assert min(told["frames_a_second"].values()) > 0
        assert told["times_eager"] > 0
        assert told["share_of_matmul"] > 0
        assert told["db_to_eager_float32"] > 40
    told = results["large"]["palette"]
    assert told["db_tiles_to_whole"] > 40
    assert 0 < told["whole"]["taken_gb"] < told["whole"]["predicted_gb"]
    assert results["large"]["machine"]["gpu"] == "a rehearsal without one"


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
