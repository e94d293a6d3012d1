import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipmaker import Pixels, blocks, stamps
from impasto import cameras, cli
from impasto.errors import VideoError
from impasto.video import read_clip, read_frames


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(arg) for arg in args])
    return int(caught.value.code or 0)


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that sees blocks that move, for twelve pictures."""

    def frames(name: str | None) -> Iterator[Pixels]:
        assert name in (None, "mine")
        yield from blocks(48, 64, 12)

    monkeypatch.setattr(cameras, "camera_frames", frames)


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="this machine has a camera")
def test_a_machine_without_a_camera_says_so(capsys: pytest.CaptureFixture[str], invert: Path) -> None:
    assert call("webcam", "--style", invert) == 1
    told = capsys.readouterr().err
    assert told.startswith("impasto: there is no camera /dev/video0; name one by --camera")
    assert told.count("\n") == 1


def test_what_is_no_camera_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no camera")
    if sys.platform == "linux":
        with pytest.raises(VideoError, match=r"the camera .*file cannot be used \(.*\); name one"):
            next(cameras.camera_frames(str(tmp_path / "file")))
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(VideoError, match="cameras are not known on plan9"):
        next(cameras.camera_frames())


@pytest.mark.usefixtures("camera")
def test_a_camera_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], invert: Path) -> None:
    target = tmp_path / "a.mp4"
    assert call("webcam", "--style", invert, "--camera", "mine", "-o", target, "--fps", "20", "--steady", "0") == 0
    count = int(capsys.readouterr().out.split()[1])
    clip = read_clip(target)
    assert (clip.height, clip.width) == (48, 64)
    assert len(stamps(target)) == count >= 1
    assert stamps(target) == sorted(set(stamps(target)))
    painted = list(read_frames(target))[-1].pixels.astype(int)
    assert np.abs(painted - (255 - blocks(48, 64, 12)[-1].astype(int))).mean() < 8


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "a.avi"], "--output is a.avi; it must end in one of .mp4"),
        (["-o", "a.gif"], "it must end in one of .mp4"),
        (["-o", "/dev/impasto-none"], "there is no device /dev/impasto-none"),
        (["-o", "missing/a.mp4"], "cannot write missing/a.mp4"),
        (["--seconds", "0"], "seconds is 0"),
        (["--fps", "0"], "fps is 0"),
    ],
)
def test_where_it_cannot_go(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    invert: Path,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("webcam", "--style", invert, *options) in (1, 2)
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("camera")
def test_an_opencv_without_windows_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, invert: Path
) -> None:
    def missing(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "imshow", missing)
    assert call("webcam", "--style", invert) == 1
    assert "this OpenCV has no window" in capsys.readouterr().err


@pytest.mark.usefixtures("camera")
def test_a_window_ends_with_escape(monkeypatch: pytest.MonkeyPatch, invert: Path) -> None:
    shown: list[Pixels] = []
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: 27)
    assert call("webcam", "--style", invert) == 0
    assert len(shown) == 1
    assert shown[0].shape == (48, 64, 3)


def test_no_picture_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no picture came"), cameras.opened_sink(str(tmp_path / "a.mp4"), 30):
        pass
    assert list(tmp_path.iterdir()) == []
