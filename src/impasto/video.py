"""Video files in: frames as upright RGB with their times, and what a file says of itself.

Only local files of known containers are opened: a playlist, which could name any file or address of the machine, is
refused whatever its name. Frames are handed on one at a time, so that a video of any length takes the same memory.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition

from impasto import hdr
from impasto.errors import VideoError
from impasto.images import Pixels, fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS: Final = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,nut,mxf,gif,apng,ivf,yuv4mpegpipe,dv,h264,hevc"
)
"""FFmpeg's names of what is opened; none of them can lead to another file."""
MAX_PIXELS: Final = 8192 * 8192
"""Of one frame; a hostile header may state 4 gigapixels."""
UNKNOWN: Final = 2
"""FFmpeg's number for colours of which nothing is said; 0 is that of RGB, and of an unknown range."""
RGB: Final = 0
MPEG_RANGE, JPEG_RANGE = 1, 2
BT709, BT601, BT2020 = 1, 5, 9
MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""H.273's number of a matrix: the one of swscale that is the same."""
COPIED_FORMATS: Final = {False: "rgb24", True: "rgba"}
MILLISECOND: Final = Fraction(1, 1000)
FALLBACK_RATE: Final = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorTags:
    """What a stream says of its colours, as the numbers of H.273; the range is 1 (16 to 235), 2 (0 to 255) or 0."""

    matrix: int = UNKNOWN
    range: int = 0
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN

    def conversion(self, height: int) -> int:
        """Swscale's matrix; where nothing is said it is what players take, BT.709 above the height of a DVD."""
        return MATRICES.get(self.matrix, BT709 if height > 576 else BT601)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What a video file says of itself; sizes are those of the upright picture."""

    path: Path
    height: int
    width: int
    time_base: Fraction
    """Seconds of a tick."""
    rate: Fraction
    """Frames a second, on average or as stated."""
    frames: int | None
    """About how many, where the file lets one tell."""
    duration: Fraction | None
    """Seconds, as stated."""
    start: Fraction
    """Seconds at which the file's own times begin."""
    pixel_aspect: Fraction
    """Width of a pixel in its heights."""
    colors: ColorTags
    alpha: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame, upright, uint8 (H, W, 3) RGB, and when it is shown."""

    pixels: Pixels
    time: int
    """Ticks from the beginning of the file."""
    duration: int
    """Ticks; of a frame that says nothing the file's mean."""
    alpha: Pixels | None = None
    """uint8 (H, W), 255 is opaque."""


@dataclass(slots=True)
class Clock:
    """Times of frames that always rise, by at least a tick, whatever a file says."""

    step: int
    last: int | None = None
    mended: int = 0

    def __call__(self, stated: int | None) -> int:
        """Time of the next frame; one without a time, or out of order, comes a mean frame after the last."""
        if stated is None or (self.last is not None and stated <= self.last):
            self.mended += 1
            stated = 0 if self.last is None else self.last + self.step
        self.last = stated
        return stated


def read_clip(path: str | Path) -> Clip:
    """Read what a video says of itself, from its header and its first frame.

    Raises:
        VideoError: It is missing, no video, broken from the start, too large, or has no frames.

    """
    path = Path(path)
    if is_webp(path):
        from impasto.animations import read_webp_clip

        return read_webp_clip(path)
    with opened(path) as container:
        stream = video_stream(container, path)
        first = next(decoded(container, stream, Damage()), None)
        if first is None:
            raise VideoError(f"cannot read {path}: no frame of it can be decoded; is it complete?")
        return describe(path, container, stream, first)


def read_frames(
    path: str | Path, clip: Clip | None = None, *, start: float = 0.0, end: float | None = None, skip: int = 0
) -> Iterator[Frame]:
    """Yield the frames of a video that are shown from `start` to `end`, in seconds, after the first `skip` of them.

    What cannot be decoded is passed over, and told as a warning at the end, as are times that had to be mended, a file
    that ends early, and a picture that changes its size, which is then fitted into the first one's.

    Raises:
        VideoError: As of `read_clip`.

    """
    path = Path(path)
    clip = clip or read_clip(path)
    if is_webp(path):
        from impasto.animations import read_webp

        yield from read_webp(clip, start, end, skip)
        return
    with opened(path) as container:
        stream = video_stream(container, path)
        reading = Reading(clip)
        if start > 1 and stream.index_entries:
            seek(container, stream, clip.start + Fraction(start))
        kept = 0
        for frame in decoded(container, stream, reading.damage):
            time, duration = reading.when(frame)
            if time < ticks(start, clip):
                continue
            if end is not None and time >= ticks(end, clip):
                return
            kept += 1
            if kept > skip:
                yield reading.convert(frame, time, duration)
        reading.report(end)


def ticks(seconds: float | Fraction, clip: Clip) -> int:
    """Seconds as whole ticks of a clip's clock."""
    return round(Fraction(seconds) / clip.time_base)


def seek(container: InputContainer, stream: VideoStream, time: Fraction) -> None:
    """Go to the last key frame before a time; where a file cannot, it is read from its beginning."""
    with contextlib.suppress(FFmpegError):
        container.seek(int(time / time_base(stream)), stream=stream)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a local file of a known container; what goes wrong inside is one VideoError that names the file."""
    try:
        with path.open("rb") as stream:
            if not stream.read(1):
                raise VideoError(f"cannot read {path}: the file is empty; fetch or export it again")
    except OSError as error:
        raise VideoError(f"cannot read {path}: {error.strerror}") from error
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:
        with av.open(f"file:{path.resolve()}", "r", options=options, metadata_errors="replace") as container:
            yield container
    except (FFmpegError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise VideoError(f"cannot read {path}: it is no video, or is broken ({reason})") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """First stream of pictures that is no cover; raises VideoError where there is none, or frames are too large."""
    streams = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"cannot read {path}: it holds no moving pictures (only {kinds})")
    stream = streams[0]
    if stream.codec_context is None:
        raise VideoError(f"cannot read {path}: there is no decoder for its pictures; convert it to H.264")
    if stream.width * stream.height > MAX_PIXELS:
        raise VideoError(f"cannot read {path}: {stream.width} x {stream.height} is more than {MAX_PIXELS} pixels")
    stream.thread_type = "AUTO"
    return stream


@dataclass(slots=True)
class Damage:
    """What of a file could not be decoded."""

    packets: int = 0
    stopped: str = ""


def decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """Yield the frames of a stream as they come, past what is damaged."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError as error:  # the file ends in the middle of something
            damage.stopped = error.strerror or ""
            return
        if packet.is_corrupt:
            damage.packets += 1
        try:
            yield from packet.decode()
        except InvalidDataError:
            damage.packets += 1
        except FFmpegError as error:
            damage.stopped = error.strerror or ""
            return


def time_base(stream: VideoStream) -> Fraction:
    """Seconds of a tick; a broken file may state none."""
    return stream.time_base if stream.time_base and stream.time_base > 0 else Fraction(1, 90000)


def describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> Clip:
    """What a container, its stream and their first frame say."""
    base = time_base(stream)
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    rate = next((r for r in rates if r and 0 < r <= 1000), FALLBACK_RATE)
    duration = stream.duration * base if stream.duration and stream.duration > 0 else None
    if duration is None and container.duration and container.duration > 0:
        duration = Fraction(container.duration, av.time_base)
    count = stream.frames or (round(duration * rate) if duration else 0)
    begins = [s.start_time * s.time_base for s in (stream, *container.streams.audio) if s.start_time and s.time_base]
    if len(begins) < 1 + len(container.streams.audio):
        begins.append(Fraction(0))
    turned, aspect = rotation(first) % 2 == 1, stream.sample_aspect_ratio or Fraction(1)
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    return Clip(
        path=path,
        height=height,
        width=width,
        time_base=base,
        rate=rate,
        frames=count or None,
        duration=duration,
        start=max(Fraction(0), min(begins)),
        pixel_aspect=1 / aspect if turned else aspect,
        colors=color_tags(first),
        alpha=any(c.is_alpha for c in first.format.components) or first.format.name == "pal8",
    )


def color_tags(frame: VideoFrame) -> ColorTags:
    """What a frame says of its colours; of an RGB one there is no matrix."""
    tags = ColorTags(
        matrix=RGB if frame.format.is_rgb or frame.format.has_palette else int(frame.colorspace),
        range=int(frame.color_range),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
    )
    if frame.format.name.startswith("yuvj"):
        return ColorTags(matrix=tags.matrix, range=JPEG_RANGE, primaries=tags.primaries, transfer=tags.transfer)
    return tags


def rotation(frame: VideoFrame) -> int:
    """Quarter turns to the left that make a frame upright."""
    return round(frame.rotation / 90) % 4


@dataclass(slots=True)
class Reading:
    """State of reading one clip: its clock, and what there is to tell at the end."""

    clip: Clip
    damage: Damage = field(default_factory=Damage)
    clock: Clock = field(init=False)
    resized: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.clock = Clock(step=max(1, round(1 / (self.clip.rate * self.clip.time_base))))

    def when(self, frame: VideoFrame) -> tuple[int, int]:
        """Ticks at which a frame is shown, from the beginning of the file, and for how many."""
        offset = round(self.clip.start / self.clip.time_base)
        time = self.clock(None if frame.pts is None else frame.pts - offset)
        return time, frame.duration if frame.duration and frame.duration > 0 else self.clock.step

    def convert(self, frame: VideoFrame, time: int, duration: int) -> Frame:
        """A decoded frame as upright RGB of the clip's size."""
        if frame.width * frame.height > MAX_PIXELS:
            raise VideoError(f"{self.clip.path}: a frame of {frame.width} x {frame.height} is too large")
        pixels = to_rgb(frame, self.clip)
        if turns := rotation(frame):
            pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        if pixels.shape[:2] != (self.clip.height, self.clip.width):
            self.resized = self.resized or pixels.shape[:2]
            pixels = fitted(pixels, self.clip)
        if pixels.shape[2] == 3:
            return Frame(pixels, time, duration)
        alpha = np.ascontiguousarray(pixels[..., 3])
        return Frame(np.ascontiguousarray(pixels[..., :3]), time, duration, None if alpha.min() == 255 else alpha)

    def report(self, end: float | None) -> None:
        """Warn of what was not as it should be."""
        path, clip = self.clip.path, self.clip
        if self.damage.packets:
            warnings.warn(f"{path}: {self.damage.packets} damaged parts were passed over", stacklevel=3)
        last = 0 if self.clock.last is None else (self.clock.last + self.clock.step) * clip.time_base
        wanted = clip.duration if end is None or clip.duration is None else min(clip.duration, Fraction(end))
        if self.damage.stopped or (wanted and last < wanted - max(Fraction(1, 2), 3 / clip.rate)):
            stated = f" of {float(wanted):.2f}" if wanted else ""
            warnings.warn(f"{path}: ends early, after {float(last):.2f}{stated} seconds", stacklevel=3)
        if self.clock.mended:
            warnings.warn(
                f"{path}: {self.clock.mended} frames had no time of their own; they follow at "
                f"{float(clip.rate):.4g} a second",
                stacklevel=3,
            )
        if self.resized:
            warnings.warn(
                f"{path}: changes its size to {self.resized[1]} x {self.resized[0]} on the way; fitted into "
                f"{clip.width} x {clip.height}",
                stacklevel=3,
            )


def to_rgb(frame: VideoFrame, clip: Clip) -> Pixels:
    """A frame's colours as they are shown, uint8 (H, W, 3) or (H, W, 4); HDR is mapped to what a plain screen shows."""
    tags = color_tags(frame)
    high = hdr.is_hdr(tags.transfer)
    options: dict[str, Any] = {
        "format": "rgb48le" if high else COPIED_FORMATS[clip.alpha],
        "dst_color_range": JPEG_RANGE,
    }
    if tags.matrix != RGB:
        options["src_colorspace"] = tags.conversion(frame.height)
        options["src_color_range"] = tags.range or MPEG_RANGE
    pixels = frame.reformat(**options).to_ndarray()
    if high:
        return hdr.to_plain(cast("hdr.Deep", pixels), tags.transfer, wide=tags.primaries in (BT2020, UNKNOWN))
    return cast("Pixels", pixels)


def fitted(pixels: Pixels, clip: Clip) -> Pixels:
    """A picture of another size within the clip's, unstretched, on black."""
    height, width = pixels.shape[:2]
    scale = min(clip.height / height, clip.width / width)
    rgb = np.ascontiguousarray(pixels[..., :3])
    if scale > 1:
        from impasto.images import resize

        rgb = resize(rgb, (max(1, round(height * scale)), max(1, round(width * scale))))
    else:
        rgb = fit(rgb, max(1, round(max(height, width) * scale)))[: clip.height, : clip.width]
    canvas = np.zeros((clip.height, clip.width, pixels.shape[2]), np.uint8)
    top, left = (clip.height - rgb.shape[0]) // 2, (clip.width - rgb.shape[1]) // 2
    place = canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]]
    place[..., :3] = rgb
    place[..., 3:] = 255
    return canvas


def is_webp(path: Path) -> bool:
    """Whether a file is a WebP, by its first bytes; FFmpeg does not decode animated ones."""
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"
