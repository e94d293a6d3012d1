"""Video files out: which codec and container, how fine, and the encoder that keeps times, size and colours."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import av
import numpy as np
from av.error import FFmpegError

from impasto import hdr
from impasto.errors import VideoError
from impasto.images import check_quality
from impasto.video import BT709, JPEG_RANGE, MPEG_RANGE, RGB, Clip, ColorTags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from impasto.images import Pixels

DEFAULT_QUALITY: Final = 75
KEPT: Final = "ffv1"
"""Codec without loss in which frames wait that become a GIF or WebP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How a codec is asked for: FFmpeg's encoder, its constant-quality numbers at quality 100 and 1, its options."""

    encoder: str
    finest: int
    coarsest: int
    options: dict[str, str] = field(default_factory=dict)
    odd: str = "yuv420p"
    """Pixel format for odd sizes: half-size chroma needs even ones in H.264 and H.265, which crop by whole chroma."""

    def crf(self, quality: int) -> str:
        """Its constant-quality number for a quality from 1 to 100."""
        return str(round(self.coarsest + (self.finest - self.coarsest) * (quality - 1) / 99))


CODECS: Final = {
    # With mbtree x264 (core 165, AVX-512) does not always code the same frames alike, and a resumed video would not be
    # the same.
    "h264": Codec(
        encoder="libx264",
        finest=8,
        coarsest=50,
        options={"preset": "veryfast", "x264-params": "mbtree=0"},
        odd="yuv444p",
    ),
    "h265": Codec(
        encoder="libx265",
        finest=10,
        coarsest=50,
        options={"preset": "veryfast", "x265-params": "log-level=error"},
        odd="yuv444p",
    ),
    "vp9": Codec(
        encoder="libvpx-vp9",
        finest=12,
        coarsest=62,
        options={"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    ),
    "av1": Codec(encoder="libsvtav1", finest=14, coarsest=62, options={"preset": "9"}),
}
CONTAINERS: Final = {
    ".mp4": ("mp4", ("h264", "h265", "vp9", "av1")),
    ".m4v": ("mp4", ("h264", "h265")),
    ".mov": ("mov", ("h264", "h265")),
    ".mkv": ("matroska", ("h264", "h265", "vp9", "av1")),
    ".webm": ("webm", ("vp9", "av1")),
    ".gif": ("gif", ()),
    ".webp": ("webp", ()),
}
"""FFmpeg's format of a suffix, and the codecs it may hold, the first unless another is asked for."""
APPLE_TAG: Final = "hvc1"
"""Of H.265 in MP4: players of Apple's show nothing of the tag that FFmpeg would write."""
X265_REORDERS: Final = 2
"""Frames that x265 sees before it tells when to decode one; where no more come, what it tells is not initialised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be written."""

    suffix: str
    codec: str
    quality: int
    height: int
    width: int
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction
    colors: ColorTags
    animated: bool
    """A GIF or WebP, whose frames are kept without loss until all are there."""


def make_target(clip: Clip, suffix: str, codec: str | None, quality: int | None, size: tuple[int, int]) -> Target:
    """What to write for a clip, of a size (height, width), into a file of a suffix.

    Raises:
        ValueError: The suffix is unknown, the codec does not go into it, or the quality is out of range.

    """
    suffix = suffix.lower()
    check_format(suffix, codec, quality)
    codecs = CONTAINERS[suffix][1]
    return Target(
        suffix=suffix,
        codec=codec or (codecs[0] if codecs else KEPT),
        quality=DEFAULT_QUALITY if quality is None else quality,
        height=size[0],
        width=size[1],
        time_base=clip.time_base,
        rate=clip.rate,
        pixel_aspect=clip.pixel_aspect,
        colors=written_colors(clip.colors),
        animated=not codecs,
    )


def check_format(suffix: str, codec: str | None, quality: int | None) -> None:
    """Raise a ValueError where a file of a suffix cannot be written so."""
    suffix = suffix.lower()
    if suffix not in CONTAINERS:
        raise ValueError(f"a video's name ends in one of {', '.join(CONTAINERS)}, not in {suffix or 'nothing'}")
    check_quality(quality)
    codecs = CONTAINERS[suffix][1]
    if codec is not None and codec not in codecs:
        allowed = f"it must be one of {', '.join(codecs)} for {suffix}" if codecs else f"{suffix} has none to choose"
        raise ValueError(f"codec is {codec!r}; {allowed}")


def written_colors(tags: ColorTags) -> ColorTags:
    """Tags of the output: the input's own; BT.709 where that was HDR or RGB."""
    if hdr.is_hdr(tags.transfer):
        return ColorTags(matrix=BT709, range=MPEG_RANGE, primaries=BT709, transfer=BT709)
    return replace(tags, matrix=BT709, range=MPEG_RANGE) if tags.matrix == RGB else tags


class Encoder:
    """Frames in, packets out; `stream` belongs to an open container, and its header can be written at once."""

    def __init__(self, container: OutputContainer, target: Target) -> None:
        self.container, self.target, self.written = container, target, 0
        self.stream = add_stream(container, target)

    def write(self, pixels: Pixels, alpha: Pixels | None, time: int, duration: int) -> Iterator[Packet[Any]]:
        """Yield the packets that a frame, uint8 (H, W, 3) shown at `time` ticks, brings forth."""
        frame = to_frame(pixels, alpha, self.target, str(self.stream.pix_fmt))
        frame.pts, frame.time_base, frame.duration = time, self.target.time_base, duration
        self.written += 1
        yield from self.stream.encode(frame)

    def finish(self) -> Iterator[Packet[Any]]:
        """Yield the packets that were held back."""
        for packet in self.stream.encode(None):
            if self.target.codec == "h265" and self.written <= X265_REORDERS:
                packet.dts = packet.pts
            yield packet


def to_frame(pixels: Pixels, alpha: Pixels | None, target: Target, pix_fmt: str) -> av.VideoFrame:
    """RGB as a frame of the target's colours."""
    if target.animated:
        opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
        return av.VideoFrame.from_ndarray(np.dstack((pixels[..., ::-1], opaque)), "bgra")
    tags = target.colors
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
        format=pix_fmt,
        dst_colorspace=tags.conversion(target.height),
        src_color_range=JPEG_RANGE,
        dst_color_range=tags.range or MPEG_RANGE,
    )
    frame.colorspace, frame.color_range = tags.matrix, tags.range
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
    return frame


def add_stream(container: OutputContainer, target: Target) -> VideoStream:
    """Add the stream of a target to a container, with its encoder open; raises VideoError where that does not work."""
    options: dict[str, Any] = {}
    if target.animated:
        name, pix_fmt = KEPT, "bgra"
    else:
        codec = CODECS[target.codec]
        name, odd = codec.encoder, target.width % 2 or target.height % 2
        pix_fmt = codec.odd if odd else "yuv420p"
        options = codec.options | {"crf": codec.crf(target.quality)}
    os.environ.setdefault("SVT_LOG", "1")  # or SVT-AV1 tells its settings on standard error
    try:
        stream = cast("VideoStream", container.add_stream(name, rate=target.rate, options=options))
        stream.width, stream.height, stream.pix_fmt = target.width, target.height, pix_fmt
        context: VideoCodecContext = stream.codec_context
        stream.time_base = context.time_base = target.time_base
        context.sample_aspect_ratio = target.pixel_aspect
        if not target.animated:
            context.colorspace, context.color_range = target.colors.matrix, target.colors.range
            context.color_primaries, context.color_trc = target.colors.primaries, target.colors.transfer
        if target.codec == "h265" and container.format.name in ("mp4", "mov"):
            context.codec_tag = APPLE_TAG
        with ordinary_priority():
            context.open()
    except (FFmpegError, ValueError) as error:
        raise VideoError(
            f"{target.codec} cannot be written at {target.width} x {target.height} here ({error}); try another --codec"
        ) from error
    return stream


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Leave threads no more urgent than they were.

    SVT-AV1, where root runs it, makes its threads and the calling one real-time ones of the highest priority: before
    them, and before all that this process starts later, nothing else on the machine would run.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = _urgent_threads()
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in _urgent_threads() - before:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, policy, priority)


def _urgent_threads() -> set[int]:
    """Real-time ones of this process."""
    found = set()
    for entry in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(int(entry.name)) == os.SCHED_FIFO:
                found.add(int(entry.name))
    return found


def keep_metadata(container: OutputContainer, metadata: dict[str, str]) -> None:
    """Give a container what the source says of its title, author and date."""
    kept = ("title", "artist", "author", "album", "date", "creation_time", "comment", "description", "copyright")
    container.metadata.update({key: value for key, value in metadata.items() if key.lower() in kept})


def muxer_options(suffix: str) -> dict[str, str]:
    """Options of the muxer for files of a suffix.

    MP4 has its index at the front, so that it plays while it loads, and is exact to a sample in where a stream begins.
    """
    return {"movflags": "faststart", "movie_timescale": "48000"} if suffix in (".mp4", ".m4v", ".mov") else {}
