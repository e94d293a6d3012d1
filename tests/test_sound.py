from fractions import Fraction
from pathlib import Path

import av
import pytest

import impasto
from clipmaker import blocks, packets, stamps, write_clip
from impasto.clips import paint_with


def paint(source: Path, target: Path, style: Path, **options: object) -> None:
    for _ in impasto.paint_video(source, target, style, **options):  # type: ignore[arg-type]
        pass


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of pictures and sound."""
    return write_clip(tmp_path / "a.mp4", blocks(count=50), seconds_of_sound=2.0)


def duration(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return Fraction(container.duration or 0, av.time_base)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_bit_for_bit(clip: Path, invert: Path, suffix: str) -> None:
    target = clip.with_name(f"b{suffix}")
    paint(clip, target, invert)
    before, after = packets(clip, "audio"), packets(target, "audio")
    assert len(before) > 90
    assert [data for _, data in after] == [data for _, data in before]
    if suffix != ".mkv":  # whose times are whole milliseconds, from nought on
        assert [time for time, _ in after] == [time for time, _ in before]
    assert abs(duration(target) - duration(clip)) <= Fraction(1, 25)
    first = stamps(target)[0]  # Matroska, whose times are not negative, moves all by the sound's run-in
    assert [stamp - first for stamp in stamps(target)] == stamps(clip)


def test_sound_of_a_cut_begins_and_ends_with_it(clip: Path, invert: Path) -> None:
    target = clip.with_name("b.mp4")
    paint(clip, target, invert, start=0.5, end=1.2)
    every = {data: time or 0 for time, data in packets(clip, "audio")}
    after = packets(target, "audio")
    first = Fraction(13, 25)  # the frame that is shown next after 0.5 s
    assert stamps(target) == [Fraction(i, 25) for i in range(17)]
    assert all(every[data] - (time or 0) == first * 48000 for time, data in after)
    assert first * 48000 <= every[after[0][1]] < first * 48000 + 1024
    assert 1.2 * 48000 - 1024 <= every[after[-1][1]] < 1.2 * 48000
    assert abs(duration(target) - (Fraction(6, 5) - first)) <= Fraction(1, 25)


def test_sound_of_strangers_is_coded_anew_and_the_rest_left_out(tmp_path: Path, invert: Path) -> None:
    secret = {"title": "A secret", "artist": "Nobody"}
    clip = write_clip(tmp_path / "a.mp4", blocks(count=50), seconds_of_sound=2.0, metadata=secret)
    target = tmp_path / "b.mp4"
    style = impasto.load_style(invert)
    for _ in paint_with(lambda frame: impasto.stylize(frame, style), clip, target, {}, trusted=False):
        pass
    before, after = ({data for _, data in packets(path, "audio")} for path in (clip, target))
    assert len(after) > 90
    assert not before & after
    assert abs(duration(target) - 2) <= Fraction(1, 10)
    assert stamps(target) == stamps(clip)
    with av.open(str(target)) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]
        assert not {"title", "artist"} & {*container.metadata}


def test_sound_that_a_container_cannot_hold_is_coded_anew(clip: Path, invert: Path) -> None:
    target = clip.with_name("b.webm")
    with pytest.warns(UserWarning, match=r"audio 1 \(aac\) is coded anew as opus for webm"):
        paint(clip, target, invert, start=0.4)
    with av.open(str(target)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["libvpx-vp9", "opus"] or [
            stream.codec_context.name for stream in container.streams
        ] == ["vp9", "opus"]
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / 48000 == pytest.approx(1.6, abs=0.05)


def test_subtitles_and_languages_are_kept(tmp_path: Path, invert: Path) -> None:
    subtitled = tmp_path / "a.mkv"
    plain = write_clip(tmp_path / "plain.mkv", blocks(count=25), seconds_of_sound=1.0)
    lines = tmp_path / "a.srt"
    lines.write_text("1\n00:00:00,200 --> 00:00:00,600\nGood morning.\n\n2\n00:00:00,700 --> 00:00:00,900\nYes.\n")
    with av.open(str(plain)) as video, av.open(str(lines)) as text, av.open(str(subtitled), "w") as joined:
        streams = {s.index: joined.add_stream_from_template(s) for s in video.streams if s.type != "data"}
        words = joined.add_stream_from_template(text.streams.subtitles[0])
        words.metadata["language"] = "eng"
        streams[1].metadata["language"] = "fra"
        for packet in video.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                joined.mux(packet)
        for packet in text.demux():
            if packet.size:
                packet.stream = words
                joined.mux(packet)
    target = tmp_path / "b.mkv"
    paint(subtitled, target, invert)
    assert packets(target, "subtitle") == packets(subtitled, "subtitle") != []
    with av.open(str(target)) as container:
        assert {stream.type: stream.language for stream in container.streams if stream.type != "video"} == {
            "audio": "fra",
            "subtitle": "eng",
        }
    with pytest.warns(UserWarning, match=r"subtitle 2 \(subrip\) cannot be kept in mp4; use .mkv"):
        paint(subtitled, tmp_path / "b.mp4", invert)
    assert packets(tmp_path / "b.mp4", "subtitle") == []
    assert len(packets(tmp_path / "b.mp4", "audio")) == len(packets(subtitled, "audio"))


def test_sound_that_begins_before_the_pictures_stays_with_them(tmp_path: Path, invert: Path) -> None:
    late = write_clip(tmp_path / "a.mkv", blocks(count=20), times=range(10, 30), seconds_of_sound=1.2)
    paint(late, tmp_path / "b.mkv", invert)
    assert stamps(tmp_path / "b.mkv") == stamps(late)
    assert packets(tmp_path / "b.mkv", "audio") == packets(late, "audio")


def test_a_video_without_sound(tmp_path: Path, invert: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", blocks(count=5))
    paint(clip, tmp_path / "b.mp4", invert)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
