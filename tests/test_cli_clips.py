"""The command line where it paints videos."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmaker import blocks, stamps, write_clip
from impasto import cli
from impasto.video import read_clip, read_frames


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, where a.mp4 is."""
    monkeypatch.chdir(tmp_path)
    write_clip(Path("a.mp4"), blocks(count=25), seconds_of_sound=1.0)


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(arg) for arg in args])
    return int(caught.value.code or 0)


def test_a_video_is_painted_and_named_as_a_photo_is(capsys: pytest.CaptureFixture[str], invert: Path) -> None:
    assert call("stylize", "a.mp4", "--style", invert) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("a-invert.mp4  64 x 48  25 frames  invert  ")
    assert shown.err == ""
    assert stamps(Path("a-invert.mp4")) == stamps(Path("a.mp4"))


def test_photos_and_videos_together_and_json(capsys: pytest.CaptureFixture[str], invert: Path) -> None:
    Image.fromarray(blocks(count=1)[0]).save("b.png")
    Path("out").mkdir()
    assert call("stylize", "a.mp4", "b.png", "--style", invert, "-o", "out", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(t["output"]).name for t in told] == ["a-invert.mp4", "b-invert.png"]
    assert told[0]["frames"] == 25
    assert sorted(path.name for path in Path("out").iterdir()) == ["a-invert.mp4", "b-invert.png"]


@pytest.mark.parametrize(
    ("options", "frames"),
    [(["--preview", "0.4"], 10), (["--start", "0.2", "--preview", "0.4"], 10), (["--start", "0.6", "--end", "0.8"], 5)],
)
def test_pieces(invert: Path, options: list[str], frames: int) -> None:
    assert call("stylize", "a.mp4", "--style", invert, "-o", "b.mp4", *options) == 0
    assert len(stamps(Path("b.mp4"))) == frames


@pytest.mark.filterwarnings("default:.*coded anew")
@pytest.mark.parametrize(("target", "codec"), [("b.mov", "h265"), ("b.webm", "av1"), ("b.gif", None), ("b.webp", None)])
def test_formats(invert: Path, target: str, codec: str | None) -> None:
    options = ["--codec", codec] if codec else []
    assert call("stylize", "a.mp4", "--style", invert, "-o", target, "--quality", "60", *options) == 0
    assert read_clip(target).width == 64


def test_a_gif_that_moves_is_a_video_and_one_that_does_not_a_picture(invert: Path) -> None:
    frames = [Image.fromarray(pixels) for pixels in blocks(count=3)]
    frames[0].save("moves.gif", save_all=True, append_images=frames[1:], duration=80)
    frames[0].save("still.gif")
    assert call("stylize", "moves.gif", "still.gif", "--style", invert) == 0
    assert len(list(read_frames("moves-invert.gif"))) == 3
    assert np.asarray(Image.open("still-invert.png")).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["text.mp4"], 1, "cannot read text.mp4: it is no video, or is broken"),
        (["missing.mp4"], 1, "cannot read missing.mp4: No such file"),
        (["a.mp4", "-o", "b.avi"], 2, "not in .avi"),
        (["a.mp4", "-o", "b.png"], 2, "not in .png"),
        (["a.mp4", "-o", "-"], 2, "a video does not go to standard output; give --output a file"),
        (["a.mp4", "-o", "a.mp4"], 2, "is one of the files that are read"),
        (["a.mp4", "-o", "no/b.mp4"], 2, "its folder does not exist"),
        (["a.mp4", "--codec", "vp9", "-o", "b.mov"], 2, "codec is 'vp9'; it must be one of h264, h265 for .mov"),
        (["a.mp4", "--steady", "2"], 2, "steady"),
        (["a.mp4", "--start", "3", "--end", "2"], 2, "end"),
        (["a.mp4", "--preview", "0"], 2, "preview"),
        (["photo.png", "--steady", "0.5"], 2, "--steady is for videos, and photo.png is none"),
        (["a.mp4", "--start", "30"], 1, "has no frame to paint from 30 seconds on"),
    ],
)
def test_mistakes_and_failures_are_one_line(
    capsys: pytest.CaptureFixture[str], invert: Path, args: list[str], code: int, words: str
) -> None:
    Path("text.mp4").write_text("words " * 50)
    before = sorted(Path().iterdir())
    assert call("stylize", *args, "--style", invert) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


def test_one_that_fails_costs_only_itself(capsys: pytest.CaptureFixture[str], invert: Path) -> None:
    Path("text.mp4").write_text("words " * 50)
    assert call("stylize", "text.mp4", "a.mp4", "--style", invert) == 1
    shown = capsys.readouterr()
    assert "1 of 2" in shown.err
    assert shown.out.startswith("a-invert.mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_stopped_and_started_again_it_goes_on(tmp_path: Path, invert: Path) -> None:
    write_clip(Path("long.mp4"), blocks(240, 320, 400, step=1))
    command = [sys.executable, "-m", "impasto", "stylize", "long.mp4", "--style", str(invert), "-o", "b.mp4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    parts = tmp_path / ".b.mp4.parts"
    limit = time.monotonic() + 60
    while not (parts / "000000.json").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("this machine is too fast to be stopped")
    assert process.returncode == 130
    assert "stopped; run the same command to continue" in told
    assert not Path("b.mp4").exists()
    assert call(*command[3:]) == 0
    assert len(stamps(Path("b.mp4"))) == 400
    assert not parts.exists()
