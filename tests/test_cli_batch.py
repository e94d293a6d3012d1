"""The command line where it paints folders: what it says, and what is left when it is stopped in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from impasto import batch, cli
from impasto.images import read_image
from impasto.painters import Here

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
Run = Callable[..., tuple[int, str, str]]
SLOW = 24
"""Photos for a run that is to be stopped."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    """Work in a folder of its own, with photos in it."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(9, 12, seed=i)).save(Path("photos", name))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, invert: Path) -> Run:
    """Call the command line, which paints in this process: exit code, standard output and error."""
    monkeypatch.setattr(batch, "Processes", lambda work, *_: Here(work))

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["stylize", *map(str, args), "--style", str(invert), "--precision", "float32"])
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


def outputs() -> list[str]:
    """Files in the output folder, hidden ones too, but for the manifest."""
    files = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    return [name for name in files if name != "manifest.jsonl"]


def lines() -> list[dict[str, Any]]:
    """Lines of the manifest; those that are broken off would raise."""
    return [json.loads(line) for line in Path("out/manifest.jsonl").read_text("ascii").splitlines()]


def test_a_folder_and_a_summary(run: Run) -> None:
    code, out, err = run("photos", "-o", "out")
    assert (code, err) == (0, "")
    assert out.startswith("3 painted in 0:0")
    assert out.endswith(" a second  out/manifest.jsonl\n")
    assert outputs() == ["a-invert.png", "b-invert.png", "sub/c-invert.png"]
    code, out, err = run("photos", "-o", "out")
    assert (code, out, err) == (0, "0 painted, 3 unchanged in 0:00  out/manifest.jsonl\n", "")


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["photos/*.png"], ["a-invert.png", "b-invert.png"]),
        (["photos/**/*.png", "--exclude", "b*"], ["a-invert.png", "sub/c-invert.png"]),
        (["photos", "--include", "sub/*", "b.png"], ["b-invert.png", "sub/c-invert.png"]),
        (["photos/a.png", "photos/sub"], ["a-invert.png", "sub/c-invert.png"]),
        (["photos/a.png", "photos/b.png", "--workers", "2"], ["a-invert.png", "b-invert.png"]),
    ],
)
def test_what_is_painted(run: Run, args: list[str], names: list[str]) -> None:
    assert run(*args, "-o", "out")[0] == 0
    assert outputs() == names
    assert len(lines()) == len(names)


def test_json_is_an_object_for_each_painting(run: Run) -> None:
    Path("photos/broken.jpg").write_bytes(b"x")
    code, out, err = run("photos", "-o", "out", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    keys = {"input", "output", "width", "height", "seconds", "style", "device", "precision"}
    assert [set(each) for each in told] == [keys] * 3
    assert [each["input"] for each in told] == ["a.png", "b.png", "sub/c.png"]
    assert (told[0]["width"], told[0]["height"], told[0]["style"]) == (12, 9, "invert")
    first, last = err.splitlines()
    assert first.startswith("impasto: cannot read photos/broken.jpg: ")
    assert last.startswith("impasto: 3 painted, 1 failed in ")
    assert code == 1


def test_failures_are_told_and_the_code_says_so_until_they_are_mended(run: Run) -> None:
    Path("photos/broken.jpg").write_bytes(b"x")
    code, out, err = run("photos", "-o", "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "3 painted, 1 failed" in out
    code, out, err = run("photos", "-o", "out")
    assert (code, err) == (1, "")
    assert "3 unchanged, 1 failed before (--retry-failed paints them once more)" in out
    assert run("photos", "-o", "out", "--retry-failed")[:2] == (1, "0 painted, 3 unchanged, 1 failed in 0:00  out/manifest.jsonl\n")  # fmt: skip  # noqa: E501
    Image.open("photos/a.png").save("photos/broken.jpg")
    assert run("photos", "-o", "out")[0] == 0


def test_it_stops_after_errors(run: Run) -> None:
    for i in range(3):
        Path(f"photos/0{i}.jpg").write_bytes(b"x")
    code, out, err = run("photos", "-o", "out", "--max-errors", "2")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(
        "impasto: stopped after 2 failed, as --max-errors says; run the same command"
    )


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["photos"], 2, "need --output, a folder"),
        (["photos", "-o", "-"], 2, "need --output, a folder"),
        (["photos/*.png"], 2, "need --output, a folder"),
        (
            ["photos/a.png", "--workers", "2"],
            2,
            "--workers is for many photos; leave it out, or let --output be a folder",
        ),
        (["photos/a.png", "--workers", "2", "-o", "x.png"], 2, "--workers is for many photos; leave it out"),
        (["photos/a.png", "--retry-failed", "-o", "-"], 2, "--retry-failed is for many photos; leave it out"),
        (["photos/a.png", "--exclude", "b*", "-o", "out"], 2, "--exclude is for folders, patterns and addresses, and"),
        (["photos", "--exclude", "b*"], 2, "folders, patterns and addresses need --output"),
        (["photos", "-o", "photos"], 2, "the folder that is read"),
        (["photos", "-o", "out.jpg"], 2, "it is a folder"),
        (["photos", "-o", "photos/a.png"], 2, "it is a folder"),
        (["photos", "-o", "photos/a.png/b"], 1, "cannot write photos/a.png/b/manifest.jsonl: Not a directory"),
        (["photos", "-o", "out", "--workers", "0"], 2, "workers is 0"),
        (["photos", "-o", "out", "--max-errors", "0"], 2, "max_errors is 0"),
        (["photos", "-o", "out", "--mask", "photos/none.png"], 1, "cannot read photos/none.png"),
        (["photos", "-o", "out", "--stroke", "1"], 1, "a network of one style"),
        (["photos", "-o", "odd://bucket"], 2, "Protocol not known: odd"),
        (["none://bucket/*.jpg", "-o", "out"], 2, "none://bucket"),
        (["nothing*", "-o", "out"], 1, "nothing*: there is nothing to paint"),
        (["--include", "*", "-o", "out"], 2, "no photograph given"),
    ],
)
def test_mistakes_are_one_line(run: Run, args: list[str], code: int, words: str) -> None:
    pytest.importorskip("fsspec")
    found, out, err = run(*args)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert words in err
    assert not Path("out").exists()


def test_a_mask_in_the_output_folder_is_not_written_over(run: Run) -> None:
    Path("out").mkdir()
    Image.new("L", (4, 4)).save("out/a-invert.png")
    assert run("photos", "-o", "out", "--mask", "out/a-invert.png")[0] == 2
    assert outputs() == ["a-invert.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output(run: Run) -> None:
    Path("out").mkdir(mode=0o555)
    code, out, err = run("photos", "-o", "out")
    assert (code, out) == (1, "")
    assert "cannot write out/manifest.jsonl: Permission denied" in err


def test_pictures_are_those_of_a_single_command(run: Run) -> None:
    """To the byte, the recipe in them too."""
    run("photos", "-o", "out")
    run("photos/sub/c.png", "-o", "single.png")
    assert Path("single.png").read_bytes() == Path("out/sub/c-invert.png").read_bytes()


# -------------------------------------------------------------------------------------------------------- being stopped


def command(style: Path, *args: str) -> list[str]:
    told = ["photos", "-o", "out", "--style", str(style), "--precision", "float32", "--workers", "2", *args]
    return [sys.executable, "-m", "impasto", "stylize", *told]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_stopped_it_loses_nothing_and_goes_on(number: signal.Signals, invert: Path, noise: Noise) -> None:
    for i in range(SLOW):
        Image.fromarray(noise(300, 400, seed=i)).save(f"photos/{i:02}.png", compress_level=1)
    begin = command(invert)
    process = subprocess.Popen(begin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    manifest, limit = Path("out/manifest.jsonl"), time.monotonic() + 60
    while not (manifest.exists() and manifest.read_bytes().count(b"\n") >= 3) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("this machine is too fast to be stopped")
    wait_for_children()
    done = lines()
    assert 3 <= len(done) < SLOW + 3
    assert len({line["output"] for line in done}) == len(done)
    assert {line["status"] for line in done} == {"done"}
    assert not [name for name in outputs() if name.startswith(".")]
    assert {line["output"] for line in done} <= set(outputs())
    if number == signal.SIGKILL:
        assert process.returncode == -9
        assert len(outputs()) <= len(done) + 2  # what the two were painting: it is painted again
    else:
        assert process.returncode == 128 + number
        assert err == "impasto: stopped; run the same command to continue (out/manifest.jsonl)\n"
        assert len(outputs()) == len(done)
    again = subprocess.run(begin, capture_output=True, text=True, timeout=120, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith(f"{SLOW + 3 - len(done)} painted, {len(done)} unchanged in ")
    assert len(lines()) == SLOW + 3
    for line in lines():
        np.testing.assert_array_equal(read_image(f"out/{line['output']}"), 255 - read_image(f"photos/{line['input']}"))


def wait_for_children() -> None:
    """Wait until what a killed command was painting is written."""
    before, limit = None, time.monotonic() + 20
    while (now := outputs()) != before and time.monotonic() < limit:
        before = now
        time.sleep(0.7)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_processes_end_with_the_command_that_was_killed(invert: Path, noise: Noise) -> None:
    for i in range(SLOW):
        Image.fromarray(noise(200, 200, seed=i)).save(f"photos/{i:02}.png")
    process = subprocess.Popen(command(invert), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not outputs_begun() and time.monotonic() < limit:
        time.sleep(0.01)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = {int(pid) for task in tasks for pid in task.read_text().split()}
    process.kill()
    process.wait()
    while any(alive(pid) for pid in children) and time.monotonic() < limit + 30:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def outputs_begun() -> bool:
    return Path("out").exists() and bool(outputs())


def alive(pid: int) -> bool:
    """Whether a process runs, and is not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_of_one_photo_are_told_to_change_nothing(run: Run) -> None:
    code, _, err = run("photos/a.png", "--workers", "4", "-o", "out")
    assert (code, outputs()) == (0, ["a-invert.png"])
    assert err == "impasto: --workers is 4, of photos that are painted beside each other, and photos/a.png is one\n"
    for args in (["photos/a.png", "--workers", "1"], ["photos/a.png", "photos/b.png", "--workers", "4"], ["photos"]):
        assert run(*args, "-o", "out")[2] == ""
