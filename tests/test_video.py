import itertools
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipmaker import Pixels, blocks, turn, write_clip
from impasto.errors import VideoError
from impasto.video import Clock, ColorTags, read_clip, read_frames


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# ------------------------------------------------------------------------------------------------ what is in the file


def test_frames_come_with_their_pixels_and_times(tmp_path: Path) -> None:
    frames = blocks(count=12)
    clip = read_clip(write_clip(tmp_path / "a.mp4", frames, pix_fmt="yuv444p"))
    assert (clip.height, clip.width, clip.frames) == (48, 64, 12)
    assert clip.rate == 25
    assert clip.duration == Fraction(12, 25)
    read = list(read_frames(clip.path))
    assert [frame.time * clip.time_base for frame in read] == [Fraction(i, 25) for i in range(12)]
    assert {frame.duration * clip.time_base for frame in read} == {Fraction(1, 25)}
    assert max(difference(a.pixels, b) for a, b in zip(read, frames, strict=True)) < 1.5
    assert all(frame.alpha is None for frame in read)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 7, 8, 30, 31, 90]
    clip = read_clip(write_clip(tmp_path / "a.mp4", blocks(count=6), times=times, time_base=Fraction(1, 100)))
    assert [frame.time * clip.time_base for frame in read_frames(clip.path)] == [Fraction(t, 100) for t in times]


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("color_range", [1, 2])
def test_colours_are_those_of_the_matrix_and_range(tmp_path: Path, matrix: int, color_range: int) -> None:
    frames = blocks(count=1)
    path = write_clip(tmp_path / "a.mkv", frames, pix_fmt="yuv444p", matrix=matrix, color_range=color_range)
    clip = read_clip(path)
    assert (clip.colors.matrix, clip.colors.range) == (matrix, color_range)
    assert difference(next(read_frames(path)).pixels, frames[0]) < 1.5


def test_an_untagged_video_is_taken_as_players_take_it() -> None:
    assert (ColorTags().conversion(480), ColorTags().conversion(720)) == (5, 1)
    assert ColorTags(matrix=1).conversion(480) == 1


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_a_turned_video_is_read_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    frames = blocks(count=2)
    path = write_clip(tmp_path / "a.mp4", frames, pix_fmt="yuv444p", aspect=Fraction(4, 3))
    turn(path, degrees)
    clip = read_clip(path)
    read = next(read_frames(path)).pixels
    upright = [np.rot90(frames[0], -turns), np.rot90(frames[0], turns)]
    assert read.shape[:2] == (clip.height, clip.width) == upright[0].shape[:2]
    assert min(difference(read, picture) for picture in upright) < 1.5
    assert difference(read, upright[0]) < 1.5  # the matrix turns clockwise
    assert clip.pixel_aspect == (Fraction(3, 4) if turns % 2 else Fraction(4, 3))


@pytest.mark.parametrize(("codec", "pix_fmt"), [("libx264", "yuv422p10le"), ("ffv1", "gbrp12le")])
def test_deep_formats(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    frames = blocks(count=2)
    path = write_clip(tmp_path / "a.mkv", frames, codec=codec, pix_fmt=pix_fmt)
    assert difference(next(read_frames(path)).pixels, frames[0]) < 4


def test_transparency_is_read(tmp_path: Path) -> None:
    frames = [np.dstack((pixels, np.full(pixels.shape[:2], 255, np.uint8))) for pixels in blocks(count=2)]
    frames[0][:10, :, 3] = 0
    path = write_clip(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb")
    first, second = read_frames(path)
    assert read_clip(path).alpha
    assert first.alpha is not None
    np.testing.assert_array_equal(first.alpha, frames[0][..., 3])
    np.testing.assert_array_equal(first.pixels[10:], frames[0][10:, :, :3])
    assert second.alpha is None


def test_grey_and_palette_formats(tmp_path: Path) -> None:
    frames = [np.repeat(pixels[..., :1], 3, axis=2) for pixels in blocks(count=2)]
    path = write_clip(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="gray")
    assert difference(next(read_frames(path)).pixels, frames[0]) < 1.5
    Image.fromarray(frames[0]).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.fromarray(frames[1])], duration=[50, 70]
    )
    assert [frame.time for frame in read_frames(tmp_path / "a.gif")] == [0, 5]


def test_times_begin_at_nought_whatever_the_file_says(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.ts", blocks(count=5), times=range(100, 105)))
    assert clip.start == 4
    assert [round(frame.time * clip.time_base * 25) for frame in read_frames(clip.path)] == [0, 1, 2, 3, 4]


# ----------------------------------------------------------------------------------------------------- parts of a file


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.4), (0.4, None), (2.0, 2.52), (3.11, 3.2)])
def test_what_is_shown_between_two_times(tmp_path: Path, start: float, end: float | None) -> None:
    path = write_clip(tmp_path / "a.mp4", blocks(count=100), options={"g": "12", "bf": "2"})
    every = [(f.time, f.pixels) for f in read_frames(path)]
    clip = read_clip(path)
    wanted = [p for p in every if p[0] >= start / clip.time_base and (end is None or p[0] < end / clip.time_base)]
    read = [(f.time, f.pixels) for f in read_frames(path, start=start, end=end)]
    assert [time for time, _ in read] == [time for time, _ in wanted]
    assert all((a[1] == b[1]).all() for a, b in zip(read, wanted, strict=True))
    assert wanted


def test_frames_that_are_finished_are_skipped(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", blocks(count=9))
    assert [f.time for f in read_frames(path, skip=4)] == [f.time for f in read_frames(path)][4:]
    assert list(read_frames(path, skip=9)) == []


# -------------------------------------------------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    "text",
    [
        "just words\n" * 30,
        "ffconcat version 1.0\nfile 'secret.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:secret.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ts"])
def test_texts_and_playlists_are_refused(tmp_path: Path, text: str, name: str) -> None:
    write_clip(tmp_path / "secret.mp4", blocks(count=3))
    write_clip(tmp_path / "secret.ts", blocks(count=3))
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoError, match=r"cannot read .*: it is no video, or is broken"):
        read_clip(tmp_path / name)


def test_a_name_is_never_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "a.mp4", blocks(count=3))
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4|a.mp4", "subfile,,start,0,end,0,,:a.mp4", "file:a.mp4", "http://localhost/a.mp4"):
        with pytest.raises(VideoError, match="No such file"):
            read_clip(name)
    Path("pipe:0.mp4").write_bytes(Path("a.mp4").read_bytes())
    assert read_clip("pipe:0.mp4").frames == 3


def test_no_pictures_no_frames_no_file(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", layout="stereo")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (tmp_path / "empty.mp4").touch()
    whole = write_clip(tmp_path / "a.nut", blocks(count=1), format="nut").read_bytes()
    (tmp_path / "header.nut").write_bytes(whole[: whole.index(b"NK", 300)] if b"NK" in whole[300:] else whole[:300])
    for name, words in {
        "sound.m4a": "it holds no moving pictures \\(only audio\\)",
        "empty.mp4": "the file is empty",
        "missing.mp4": "No such file",
        ".": "Is a directory",
        "header.nut": "no frame of it can be decoded|it is no video, or is broken",
    }.items():
        with pytest.raises(VideoError, match=words):
            read_clip(tmp_path / name)


def test_a_truncated_file_gives_what_is_readable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", blocks(count=100, step=3), options={"g": "10"})
    whole = len(list(read_frames(path)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"ends early, after \d\.\d\d of 4\.00 seconds"):
        read = list(read_frames(path))
    assert 0.3 * whole < len(read) < 0.7 * whole
    bare = tmp_path / "a.mp4"
    write_clip(bare, blocks(count=20))
    bare.write_bytes(bare.read_bytes()[:-800])  # its index is at its end
    with pytest.raises(VideoError, match=r"holds no moving pictures|is no video"):
        read_clip(bare)


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", blocks(count=100, step=3), options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(range(256)) * 7 + bytes(208)
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = list(read_frames(path))
    assert len(read) >= 60
    assert all(frame.pixels.shape == (48, 64, 3) for frame in read)


def test_a_size_that_changes_is_fitted_into_the_first(tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{w}.h264", blocks(48, w, 5), format="h264") for w in (64, 32, 128)]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read = list(read_frames(path))
    assert any("changes its size to 32 x 48 on the way; fitted into 64 x 48" in str(w.message) for w in told)
    assert {frame.pixels.shape for frame in read} == {(48, 64, 3)}
    narrow, wide = read[7].pixels.astype(int), read[-1].pixels.astype(int)
    assert narrow[:, :14].max() < 3  # on black, unstretched
    assert narrow[:, 18:46].min(axis=2).mean() > 20
    assert wide[:10].max() < 3
    assert wide[16:32].mean() > 20


def test_times_that_are_missing_or_out_of_order_are_mended(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", blocks(count=6), format="h264")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        read = [frame.time for frame in read_frames(path)]
    assert len(read) == 6
    assert np.diff(read).min() > 0


@given(st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), max_size=40), st.integers(1, 50))
def test_a_clock_always_rises(stated: list[int | None], step: int) -> None:
    clock = Clock(step=step)
    times = [clock(time) for time in stated]
    assert all(after > before for before, after in itertools.pairwise(times))
    honest = all(t is not None for t in stated) and all(a < b for a, b in itertools.pairwise(stated))  # type: ignore[operator]
    assert (clock.mended == 0) == honest
    if honest:
        assert times == stated


def test_a_header_that_states_a_giant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", blocks(count=2))
    monkeypatch.setattr("impasto.video.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match=r"more than|it is no video"):
        read_clip(path)
