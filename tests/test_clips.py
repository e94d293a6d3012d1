import errno
import itertools
import shutil
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import impasto
from clipmaker import Pixels, blocks, packets, stamps, turn, write_clip
from impasto import parts
from impasto.clips import ClipStep, Cut, ahead, paint_with
from impasto.errors import StyleError, VideoError
from impasto.video import read_clip, read_frames


def run(source: Path, target: Path, style: Path, **options: object) -> list[ClipStep]:
    return list(impasto.paint_video(source, target, style, **options))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part be ten frames long."""
    monkeypatch.setattr(parts, "PART_FRAMES", 10)


# -------------------------------------------------------------------------------------------------------------- results


def test_a_video_becomes_its_negative(tmp_path: Path, invert: Path) -> None:
    frames = blocks(count=25)
    source = write_clip(tmp_path / "a.mp4", frames, matrix=1, color_range=1, metadata={"title": "A walk"})
    steps = run(source, tmp_path / "b.mp4", invert, steady=0, quality=95)
    assert [step.frame for step in steps] == list(range(1, 26))
    assert steps[-1].frames == 25
    assert steps[-1].seconds_left == 0
    before, after = read_clip(source), read_clip(tmp_path / "b.mp4")
    assert (after.height, after.width, after.rate, after.duration) == (48, 64, before.rate, before.duration)
    assert after.colors == before.colors
    painted = [frame.pixels for frame in read_frames(tmp_path / "b.mp4")]
    wanted = [255 - frame.pixels for frame in read_frames(source)]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(painted, wanted, strict=True)) < 6
    assert names(tmp_path) == ["a.mp4", "b.mp4"]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.metadata["title"] == "A walk"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, invert: Path, suffix: str, codec: str) -> None:
    times = [0, *np.cumsum(np.random.default_rng(0).integers(1, 40, 34)).tolist()]
    source = write_clip(tmp_path / "a.mp4", blocks(count=len(times)), times=times, time_base=Fraction(1, 100))
    run(source, tmp_path / f"b{suffix}", invert, codec=codec)
    assert stamps(tmp_path / f"b{suffix}") == stamps(source) == [Fraction(t, 100) for t in times]


@pytest.mark.parametrize(("suffix", "codec"), [(".webm", "vp9"), (".webm", "av1"), (".mp4", "av1"), (".mkv", "vp9")])
def test_other_codecs_keep_times(tmp_path: Path, invert: Path, suffix: str, codec: str) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(47, 63, 25), pix_fmt="yuv444p")
    run(source, tmp_path / f"b{suffix}", invert, codec=codec)
    assert stamps(tmp_path / f"b{suffix}") == stamps(source)
    made = read_clip(tmp_path / f"b{suffix}")
    assert (made.height, made.width) == (47, 63)


def test_packets_are_decoded_before_they_are_shown(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=45))
    run(source, tmp_path / "b.mp4", invert)
    with av.open(str(tmp_path / "b.mp4")) as container:
        both = [(packet.dts or 0, packet.pts or 0) for packet in container.demux(video=0) if packet.size]
    assert all(dts <= pts for dts, pts in both)
    assert all(before < after for (before, _), (after, _) in itertools.pairwise(both))
    assert [pts for _, pts in both] != sorted(pts for _, pts in both)  # there are some that are coded ahead


def test_a_turned_video_with_wide_pixels(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=4), aspect=Fraction(4, 3))
    turn(source, 90)
    run(source, tmp_path / "b.mp4", invert)
    made = read_clip(tmp_path / "b.mp4")
    assert (made.height, made.width, made.pixel_aspect) == (64, 48, Fraction(3, 4))
    upright = next(read_frames(source)).pixels
    assert np.abs(255 - next(read_frames(tmp_path / "b.mp4")).pixels.astype(int) - upright).mean() < 12


def test_max_side_strength_and_mask(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", [np.full((48, 64, 3), 200, np.uint8)] * 3)
    mask = np.zeros((2, 2), np.uint8)
    mask[:, 1] = 255
    run(source, tmp_path / "b.mp4", invert, max_side=32, mask=mask, strength=0.5, quality=95)
    painted = next(read_frames(tmp_path / "b.mp4")).pixels
    assert painted.shape == (24, 32, 3)
    assert painted[:, :4].mean() == pytest.approx(200, abs=3)
    assert painted[:, -4:].mean() == pytest.approx((200 + 55) / 2, abs=3)


def test_styles_with_masks(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", [np.full((48, 64, 3), 200, np.uint8)] * 3)
    left = np.tile(np.array([[255, 0]], np.uint8), (2, 1))
    regions = [(invert, left), (invert, 255 - left)]
    only_left = [*impasto.paint_video(source, tmp_path / "b.mp4", regions[:1], quality=95)]
    assert len(only_left) == 3
    painted = next(read_frames(tmp_path / "b.mp4")).pixels
    assert painted[:, :4].mean() == pytest.approx(55, abs=3)
    assert painted[:, -4:].mean() == pytest.approx(200, abs=3)
    list(impasto.paint_video(source, tmp_path / "c.mp4", regions, quality=95))
    assert next(read_frames(tmp_path / "c.mp4")).pixels[:, -4:].mean() == pytest.approx(55, abs=4)
    with pytest.raises(ValueError, match="style is empty"):
        impasto.paint_video(source, tmp_path / "d.mp4", [])


@pytest.mark.parametrize(
    ("max_side", "size", "expected"),
    [(None, (101, 201), (101, 201)), (300, (101, 201), (101, 201)), (100, (101, 201), (50, 100)), (1, (9, 16), (2, 2))],
)
def test_reduced_sizes_are_even(
    tmp_path: Path, max_side: int | None, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", blocks(*size, count=1), pix_fmt="yuv444p"))
    assert Cut(max_side=max_side).size(clip) == expected


def test_transparency_becomes_white_where_it_cannot_be_kept(tmp_path: Path, invert: Path) -> None:
    frames = [np.dstack((pixels, np.full(pixels.shape[:2], 255, np.uint8))) for pixels in blocks(count=3)]
    for pixels in frames:
        pixels[:, :32, 3] = 0
    source = write_clip(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb")
    with pytest.warns(UserWarning, match=r"\.mp4 keeps no transparency; it is white"):
        run(source, tmp_path / "b.mp4", invert, steady=0)
    assert next(read_frames(tmp_path / "b.mp4")).pixels[:, :24].max() < 10  # white, painted


def test_hdr_is_mapped_and_told(tmp_path: Path, invert: Path) -> None:
    paper = round(255 * 0.5807)  # the code of white paper in PQ
    frames = [np.full((64, 64, 3), level, np.uint8) for level in (0, paper, 255)]
    source = write_clip(tmp_path / "a.mkv", frames, pix_fmt="yuv420p10le", matrix=9, color_range=1, transfer=16)
    assert read_clip(source).colors.transfer == 16
    levels = [int(frame.pixels.mean()) for frame in read_frames(source)]
    assert levels[0] <= 2
    assert 215 < levels[1] < 250
    assert levels[2] == 255
    with pytest.warns(UserWarning, match="is HDR, which is mapped to what a plain screen shows"):
        run(source, tmp_path / "b.mp4", invert)
    made = read_clip(tmp_path / "b.mp4")
    assert (made.colors.matrix, made.colors.primaries, made.colors.transfer) == (1, 1, 1)


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("stop_after", [1, 9, 10, 23, 39])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_resumed_video_is_as_if_never_stopped(tmp_path: Path, palette: Path, stop_after: int, suffix: str) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=40, step=1), seconds_of_sound=1.6)
    style = f"{palette}:one"
    run(source, tmp_path / f"whole{suffix}", style)  # type: ignore[arg-type]
    target = tmp_path / f"b{suffix}"
    steps = impasto.paint_video(source, target, style)
    for step in steps:
        if step.frame == stop_after:
            break
    steps.close()
    assert not target.exists()
    finished = stop_after // 10 * 10
    assert (tmp_path / f".b{suffix}.parts").exists() == (finished > 0)
    again = run(source, target, style)  # type: ignore[arg-type]
    assert again[0].frame == finished + 1
    assert target.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert names(tmp_path) == sorted(["a.mp4", target.name, f"whole{suffix}"])


def test_another_job_or_no_resume_begins_anew(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=25))

    def interrupt() -> None:
        steps = impasto.paint_video(source, tmp_path / "b.mp4", invert)
        next(step for step in steps if step.frame == 15)
        steps.close()

    interrupt()
    with pytest.warns(UserWarning, match="painted otherwise; begun anew"):
        assert run(source, tmp_path / "b.mp4", invert, steady=0.1)[0].frame == 1
    interrupt()
    assert run(source, tmp_path / "b.mp4", invert, resume=False)[0].frame == 1
    interrupt()
    write_clip(source, blocks(count=25, seed=1))
    with pytest.warns(UserWarning, match="painted otherwise; begun anew"):
        assert run(source, tmp_path / "b.mp4", invert)[0].frame == 1
    assert names(tmp_path) == ["a.mp4", "b.mp4"]


def test_a_painter_that_fails_leaves_what_is_finished(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=25))
    (tmp_path / "b.mp4").write_bytes(b"old")
    count = 0

    def painter(frame: Pixels) -> Pixels:
        nonlocal count
        count += 1
        if count == 16:
            raise StyleError("no more paint")
        return frame

    with pytest.raises(StyleError, match="no more paint"):
        list(paint_with(painter, source, tmp_path / "b.mp4", {"engine": "test"}))
    assert (tmp_path / "b.mp4").read_bytes() == b"old"
    steps = list(paint_with(painter, source, tmp_path / "b.mp4", {"engine": "test"}))
    assert (steps[0].frame, steps[-1].frame) == (11, 25)
    assert read_clip(tmp_path / "b.mp4").frames == 25


def test_a_painter_that_changes_the_size_is_told(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=3))
    with pytest.raises(ValueError, match=r"painter gave uint8 \(40, 64, 3\); it must be uint8 \(48, 64, 3\)"):
        list(paint_with(lambda frame: frame[:40], source, tmp_path / "b.mp4", {}))
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("place", ["add", "join"])
def test_a_full_disk_is_one_line_and_leaves_no_broken_output(
    tmp_path: Path, invert: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=25))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if place == "add":
            patch.setattr(parts.PartWriter, "mux", full)
        else:
            patch.setattr(parts, "pictures", full)
        with pytest.raises(VideoError, match=r"cannot write .*b\.mp4: No space left on device") as caught:
            run(source, tmp_path / "b.mp4", invert)
    assert ("25 frames are kept: run the same command to continue" in str(caught.value)) == (place == "join")
    assert names(tmp_path) == ([".b.mp4.parts"] if place == "join" else []) + ["a.mp4"]
    run(source, tmp_path / "b.mp4", invert)
    assert names(tmp_path) == ["a.mp4", "b.mp4"]


def test_a_file_that_may_grow_no_further(tmp_path: Path) -> None:
    """The system's own refusal, in a process of its own."""
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    write_clip(tmp_path / "a.mkv", [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(30)])
    code = (
        "import resource, impasto; resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
        "from impasto.clips import paint_with\n"
        "try: list(paint_with(lambda f: f, 'a.mkv', 'b.mp4', {}, steady=0, quality=100))\n"
        "except impasto.VideoError as error: print(error)"
    )
    if sys.platform == "win32":
        pytest.skip("there is no such limit")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("cannot write b.mp4: File too large"), done.stderr
    assert done.stdout.count("\n") == 1
    assert names(tmp_path) == ["a.mkv"]


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steady": -0.1}, "steady is -0.1"),
        ({"steady": 1.1}, "steady is 1.1"),
        ({"start": -1}, "start is -1; it must be at least 0"),
        ({"start": 2, "end": 1}, "end is 1; it must be after the start, 2 seconds"),
        ({"end": 0}, "end is 0"),
        ({"codec": "vp8"}, "codec is 'vp8'"),
        ({"quality": 0}, "quality is 0"),
        ({"strength": 2}, "strength is 2"),
        ({"colors": "none"}, "colors is 'none'"),
        ({"max_side": 0}, "max_side is 0"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, invert: Path, options: dict[str, object], words: str) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=2))
    with pytest.raises(ValueError, match=words):
        impasto.paint_video(source, tmp_path / "b.mp4", invert, **options)  # type: ignore[arg-type]
    assert names(tmp_path) == ["a.mp4"]


def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=2))
    with pytest.raises(ValueError, match=r"not in \.avi"):
        impasto.paint_video(source, tmp_path / "b.avi", invert)
    with pytest.raises(VideoError, match=r"cannot write .*missing"):
        impasto.paint_video(source, tmp_path / "missing" / "b.mp4", invert)


def test_nothing_between_start_and_end(tmp_path: Path, invert: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", blocks(count=5))
    with pytest.raises(VideoError, match="has no frame to paint from 9 seconds on"):
        run(source, tmp_path / "b.mp4", invert, start=9)
    assert names(tmp_path) == ["a.mp4"]


# --------------------------------------------------------------------------------------------------------------- stages


def test_ahead_keeps_the_order_hands_on_errors_and_stops() -> None:
    assert list(ahead((i for i in range(50)), 3)) == list(range(50))
    closed, made = [], []

    def endless() -> Generator[int, None, None]:
        try:
            for i in range(10**9):
                made.append(i)
                yield i
        finally:
            closed.append(True)

    items = ahead(endless(), 2)
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    items.close()
    assert closed == [True]
    assert len(made) < 12

    def broken() -> Generator[int, None, None]:
        yield 1
        raise KeyError("gone")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(KeyError, match="gone"):
        next(items)


def test_no_thread_is_left_behind(tmp_path: Path, invert: Path) -> None:
    import threading

    source = write_clip(tmp_path / "a.mp4", blocks(count=30))
    steps = impasto.paint_video(source, tmp_path / "b.mp4", invert)
    next(steps)
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "impasto-frames"]
    shutil.rmtree(tmp_path / ".b.mp4.parts", ignore_errors=True)
    assert packets(source, "audio") == []
