import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clipmaker import Pixels, blocks, write_clip
from impasto.encode import CODECS, CONTAINERS, Encoder, Target, make_target
from impasto.video import Clip, ColorTags, read_clip, read_frames


def target(frames: list[Pixels], codec: str, **about: object) -> Target:
    given = {
        "suffix": ".mkv",
        "codec": codec,
        "quality": 95,
        "height": frames[0].shape[0],
        "width": frames[0].shape[1],
        "time_base": Fraction(1, 1000),
        "rate": Fraction(25),
        "pixel_aspect": Fraction(1),
        "colors": ColorTags(matrix=1, range=1, primaries=1, transfer=1),
        "animated": False,
    }
    return Target(**given | about)


def write(path: Path, frames: list[Pixels], made: Target, format: str = "matroska") -> Path:  # noqa: A002
    with av.open(str(path), "w", format=format) as container:
        encoder = Encoder(container, made)
        for i, pixels in enumerate(frames):
            container.mux(list(encoder.write(pixels, None, 40 * i, 40)))
        container.mux(list(encoder.finish()))
    return path


def clip_of(path: Path) -> Clip:
    return read_clip(write_clip(path, blocks(count=2)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (64, 67)])
def test_every_codec_keeps_size_times_and_colours(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    frames = blocks(*size, count=6)
    path = write(tmp_path / "a.mkv", frames, target(frames, codec))
    clip = read_clip(path)
    read = list(read_frames(path))
    assert (clip.height, clip.width) == size
    assert (clip.colors.matrix, clip.colors.range, clip.colors.primaries, clip.colors.transfer) == (1, 1, 1, 1)
    assert [frame.time * clip.time_base for frame in read] == [Fraction(i, 25) for i in range(6)]
    errors = [np.abs(a.pixels.astype(int) - b.astype(int)).mean() for a, b in zip(read, frames, strict=True)]
    assert max(errors) < 8  # of half-size chroma at the edges of blocks
    wrong = [np.abs(a.pixels.astype(int) - b.astype(int)).mean() for a, b in zip(read, frames[::-1], strict=True)]
    assert min(wrong) > 1.5 * max(errors) or size[1] == 67


@pytest.mark.parametrize(("matrix", "color_range"), [(1, 1), (1, 2), (6, 1), (6, 2), (2, 0), (9, 1)])
def test_colours_come_back_through_every_matrix(tmp_path: Path, matrix: int, color_range: int) -> None:
    frames = [np.full((64, 64, 3), color, np.uint8) for color in ((200, 30, 40), (20, 190, 60), (30, 60, 210))]
    tags = ColorTags(matrix=matrix, range=color_range)
    path = write(tmp_path / "a.mkv", frames, target(frames, "h264", colors=tags))
    assert (read_clip(path).colors.matrix, read_clip(path).colors.range) == (matrix, color_range)
    for frame, pixels in zip(read_frames(path), frames, strict=True):
        assert np.abs(frame.pixels.astype(int) - pixels.astype(int)).max() <= 4


def test_pixel_aspect_is_kept(tmp_path: Path) -> None:
    frames = blocks(count=3)
    path = write(tmp_path / "a.mkv", frames, target(frames, "h264", pixel_aspect=Fraction(16, 15)))
    assert read_clip(path).pixel_aspect == Fraction(16, 15)


@pytest.mark.parametrize("codec", CODECS)
def test_quality_is_finer_and_larger(tmp_path: Path, codec: str) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    sizes = [
        write(tmp_path / f"{quality}.mkv", frames, target(frames, codec, quality=quality)).stat().st_size
        for quality in (1, 50, 100)
    ]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    finest, coarsest = CODECS[codec].crf(100), CODECS[codec].crf(1)
    assert (int(finest), int(coarsest)) == (CODECS[codec].finest, CODECS[codec].coarsest)


def test_h265_in_mp4_has_the_tag_that_apple_plays(tmp_path: Path) -> None:
    frames = blocks(count=2)
    path = write(tmp_path / "a.mp4", frames, target(frames, "h265", suffix=".mp4"), "mp4")
    assert b"hvc1" in path.read_bytes()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_shortest_videos_have_times(tmp_path: Path, suffix: str, count: int) -> None:
    """What x265 says of when to decode one or two frames is left over from what its memory held before."""
    frames = blocks(count=count)
    for _ in range(40):
        with av.open(str(tmp_path / f"a{suffix}"), "w", format=CONTAINERS[suffix][0]) as container:
            encoder = Encoder(container, target(frames, "h265", suffix=suffix))
            for i, pixels in enumerate(frames):
                container.mux(list(encoder.write(pixels, None, 40 * i, 40)))
            packets = list(encoder.finish())
            times = sorted((packet.pts, packet.dts) for packet in packets)
            assert [shown for shown, _ in times] == [40 * i for i in range(count)]
            assert all(-80 <= decoded <= shown for shown, decoded in times)  # type: ignore[operator]
            container.mux(packets)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux")
@pytest.mark.parametrize("codec", CODECS)
def test_no_thread_becomes_more_urgent(tmp_path: Path, codec: str) -> None:
    """SVT-AV1 takes the highest priority of all where it may: as root."""
    frames = blocks(64, 64, 3)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        encoder = Encoder(container, target(frames, codec))
        for i, pixels in enumerate(frames):
            container.mux(list(encoder.write(pixels, None, 40 * i, 40)))
        container.mux(list(encoder.finish()))
        threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}


def test_targets_follow_suffix_and_clip(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "a.mp4")
    codecs = {suffix: make_target(clip, suffix, None, None, (48, 64)).codec for suffix in CONTAINERS}
    assert codecs == {
        ".mp4": "h264",
        ".m4v": "h264",
        ".mov": "h264",
        ".mkv": "h264",
        ".webm": "vp9",
        ".gif": "ffv1",
        ".webp": "ffv1",
    }
    made = make_target(clip, ".MP4", "av1", 3, (24, 32))
    assert (made.suffix, made.codec, made.quality, made.height, made.width) == (".mp4", "av1", 3, 24, 32)
    assert (made.time_base, made.rate, made.colors) == (clip.time_base, clip.rate, clip.colors)


@pytest.mark.parametrize(
    ("suffix", "codec", "quality", "words"),
    [
        (".avi", None, None, "a video's name ends in one of .mp4, .*, not in .avi"),
        ("", None, None, "not in nothing"),
        (".webm", "h264", None, "codec is 'h264'; it must be one of vp9, av1 for .webm"),
        (".gif", "h264", None, "codec is 'h264'; .gif has none to choose"),
        (".mp4", "theora", None, "codec is 'theora'; it must be one of h264, h265, vp9, av1"),
        (".mp4", None, 0, "quality is 0; it must be a whole number from 1 to 100"),
        (".mp4", None, 101, "quality is 101"),
    ],
)
def test_what_does_not_fit_is_told(
    tmp_path: Path, suffix: str, codec: str | None, quality: int | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make_target(clip_of(tmp_path / "a.mp4"), suffix, codec, quality, (48, 64))


def test_hdr_and_rgb_are_written_as_bt709() -> None:
    from impasto.encode import written_colors

    plain = ColorTags(matrix=1, range=1, primaries=1, transfer=1)
    assert written_colors(ColorTags(matrix=9, range=1, primaries=9, transfer=16)) == plain
    assert written_colors(ColorTags(matrix=0)) == ColorTags(matrix=1, range=1)
    assert written_colors(ColorTags(matrix=9, primaries=9, transfer=14)).matrix == 9
