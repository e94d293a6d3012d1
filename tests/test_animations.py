from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import impasto
from clipmaker import Pixels, blocks, write_clip
from impasto.errors import VideoError
from impasto.video import read_clip, read_frames


def save(path: Path, frames: list[Pixels], durations: list[int], **options: Any) -> Path:
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, **options)
    return path


def paint(source: Path, target: Path, style: Path, **options: object) -> None:
    for _ in impasto.paint_video(source, target, style, **options):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("source", ["gif", "webp"])
@pytest.mark.parametrize("target", ["gif", "webp"])
def test_an_animation_keeps_times_colours_and_transparency(
    tmp_path: Path, invert: Path, source: str, target: str
) -> None:
    frames = [np.dstack((pixels, np.full(pixels.shape[:2], 255, np.uint8))) for pixels in blocks(33, 47, 4)]
    for frame in frames:
        frame[:8, :, 3] = 0
    durations = [100, 50, 210, 90]
    path = save(
        tmp_path / f"a.{source}", frames, durations, **{"lossless": True} if source == "webp" else {"disposal": 2}
    )
    paint(path, tmp_path / f"b.{target}", invert, steady=0, quality=100)
    clip = read_clip(tmp_path / f"b.{target}")
    read = list(read_frames(clip.path))
    assert (clip.height, clip.width) == (33, 47)
    assert [frame.duration * clip.time_base for frame in read] == [Fraction(d, 1000) for d in durations]
    for shown, pixels in zip(read, frames, strict=True):
        assert shown.alpha is not None
        np.testing.assert_array_equal(shown.alpha, pixels[..., 3])
        wanted = 255 - pixels[8:, :, :3].astype(int)
        assert np.abs(shown.pixels[8:].astype(int) - wanted).mean() < 12


def test_a_video_becomes_an_animation_without_sound(tmp_path: Path, invert: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", blocks(count=10), rate=20, seconds_of_sound=0.4)
    paint(path, tmp_path / "b.gif", invert, steady=0)
    with Image.open(tmp_path / "b.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (10, 0)  # type: ignore[attr-defined]
    read = list(read_frames(tmp_path / "b.gif"))
    assert [frame.time for frame in read] == [5 * i for i in range(10)]
    assert all(frame.alpha is None for frame in read)


def test_what_stands_still_is_dithered_alike_in_every_frame(tmp_path: Path, invert: Path) -> None:
    """A gradient has more colours than a GIF; its pattern of dots must not crawl."""
    gradient = np.dstack([np.tile(np.linspace(0, 255, 160), (120, 1))] * 3).astype(np.uint8)
    gradient[..., 1] = gradient[:, ::-1, 1]
    gradient[..., 2] = np.linspace(0, 255, 120)[:, None].astype(np.uint8)
    frames = [gradient.copy() for _ in range(4)]
    for i, frame in enumerate(frames):
        frame[10:20, 10 * i : 10 * i + 10] = 255
    path = write_clip(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    paint(path, tmp_path / "b.gif", invert, steady=0)
    read = [frame.pixels[40:] for frame in read_frames(tmp_path / "b.gif")]
    assert all((pixels == read[0]).all() for pixels in read)
    assert len(np.unique(read[0].reshape(-1, 3), axis=0)) <= 256


def test_frames_without_a_duration_last_as_browsers_take_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.webp", blocks(count=3), [0, 0, 0], lossless=True)
    assert [frame.time for frame in read_frames(path)] == [0, 100, 200]
    assert [frame.time for frame in read_frames(path, start=0.1, skip=1)] == [200]
    assert [frame.time for frame in read_frames(path, end=0.1)] == [0]


def test_broken_animations(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.webp", blocks(count=8), [50] * 8).read_bytes()
    (tmp_path / "head.webp").write_bytes(whole[:40])
    with pytest.raises(VideoError, match="it is no WebP, or is broken"):
        read_clip(tmp_path / "head.webp")
    (tmp_path / "bad.gif").write_bytes(b"GIF89a" + bytes(20))
    with pytest.raises(VideoError, match="cannot read"):
        read_clip(tmp_path / "bad.gif")


def test_a_giant_webp_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.webp", blocks(count=2), [50, 50])
    monkeypatch.setattr("impasto.animations.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match="64 x 48 is more than"):
        read_clip(path)
