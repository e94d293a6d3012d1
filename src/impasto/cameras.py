"""Cameras, and where their painted pictures go: a window, a virtual camera, a file."""

from __future__ import annotations

import contextlib
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import av
import cv2
import numpy as np
from av.error import FFmpegError

from impasto.encode import CONTAINERS, Encoder, make_target, muxer_options
from impasto.errors import VideoError
from impasto.files import atomic_write
from impasto.video import MILLISECOND, Clip, ColorTags, to_rgb

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from impasto.images import Pixels

SYSTEMS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's way to cameras."""
FIRST: Final = {"linux": "/dev/video0", "darwin": "0", "win32": "video=Integrated Camera"}
ESCAPE, QUIT = 27, ord("q")
HELP: Final = "name one by --camera, or paint a video file by impasto stylize"


class Sink(Protocol):
    """Where painted pictures go."""

    def show(self, picture: Pixels) -> bool:
        """Take a picture, uint8 (H, W, 3); false where no more are wanted."""


def camera_frames(name: str | None = None) -> Generator[Pixels, None, None]:
    """Yield what a camera sees, uint8 (H, W, 3), as fast as it gives it; the system's first one unless named.

    Raises:
        VideoError: There is none, or it cannot be used.

    """
    device = name or FIRST.get(sys.platform, "")
    kind = SYSTEMS.get(sys.platform)
    if kind is None:
        raise VideoError(f"cameras are not known on {sys.platform}; paint a video file by impasto stylize")
    if kind == "v4l2" and not Path(device).exists():
        raise VideoError(f"there is no camera {device}; {HELP}")
    try:
        with av.open(device, "r", format=kind) as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                yield to_rgb(frame, still_clip((frame.height, frame.width)))
    except (FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "it gives no pictures"
        raise VideoError(f"the camera {device} cannot be used ({reason}); {HELP}") from error


def still_clip(size: tuple[int, int], rate: float = 30.0) -> Clip:
    """What a camera would say of itself as a file."""
    return Clip(
        path=Path("camera"),
        height=size[0],
        width=size[1],
        time_base=MILLISECOND,
        rate=Fraction(rate).limit_denominator(1001),
        frames=None,
        duration=None,
        start=Fraction(0),
        pixel_aspect=Fraction(1),
        colors=ColorTags(),
        alpha=False,
    )


@contextlib.contextmanager
def opened_sink(output: str | None, rate: float) -> Iterator[Sink]:
    """A window where nothing is named, a virtual camera for a device of the system, else a video file.

    Raises:
        VideoError: There is no window on this machine, or the device or file cannot be written.
        ValueError: The file's suffix is none of a video.

    """
    if output is None:
        yield Window()
    elif output.startswith("/dev/"):
        with device_sink(output, rate) as sink:
            yield sink
    else:
        with file_sink(Path(output), rate) as sink:
            yield sink


class Window:
    """A window of OpenCV's; closed by Escape, Q or its own button."""

    title = "impasto"

    def show(self, picture: Pixels) -> bool:
        """Show a picture."""
        try:
            cv2.imshow(self.title, np.ascontiguousarray(picture[..., ::-1]))
            key = cv2.waitKey(1) & 0xFF
            return key not in (ESCAPE, QUIT) and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error as error:
            raise VideoError(
                "this OpenCV has no window; write to a file or a virtual camera by --output, or install opencv-python "
                "in place of opencv-python-headless"
            ) from error


@contextlib.contextmanager
def device_sink(device: str, rate: float) -> Iterator[Sink]:
    """A virtual camera, such as the Linux module v4l2loopback makes."""
    if not Path(device).exists():
        raise VideoError(f"there is no device {device}; make one by: sudo modprobe v4l2loopback")
    try:
        with av.open(device, "w", format="v4l2") as container:
            yield RawSink(container, rate)
    except (FFmpegError, ValueError) as error:
        raise VideoError(f"{device} takes no pictures ({error}); is it a virtual camera?") from error


class RawSink:
    """Pictures uncompressed, of the size of the first one."""

    def __init__(self, container: OutputContainer, rate: float) -> None:
        self.container, self.rate = container, rate
        self.stream: VideoStream | None = None

    def show(self, picture: Pixels) -> bool:
        """Write a picture."""
        if self.stream is None:
            self.stream = self.container.add_stream("rawvideo", rate=Fraction(self.rate).limit_denominator(1001))
            self.stream.height, self.stream.width = picture.shape[:2]
            self.stream.pix_fmt = "yuv420p"
        self.container.mux(self.stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        return True


@contextlib.contextmanager
def file_sink(path: Path, rate: float) -> Iterator[Sink]:
    """A video file, which is there when it is complete; its times are those at which pictures came."""
    suffix = path.suffix.lower()
    codecs = CONTAINERS.get(suffix, ("", ()))
    if not codecs[1]:
        videos = ", ".join(name for name, (_, kinds) in CONTAINERS.items() if kinds)
        raise ValueError(f"--output is {path}; it must end in one of {videos}, or be a device")
    try:
        with atomic_write(path) as stream:
            place = str(Path(stream.name))
            with av.open(place, "w", format=codecs[0], options=muxer_options(suffix)) as container:
                sink = FileSink(container, suffix, rate)
                yield sink
                sink.finish()
    except OSError as error:
        raise VideoError(f"cannot write {path}: {error.strerror or error}") from error


class FileSink:
    """Pictures coded into a container, each at the time at which it came."""

    def __init__(self, container: OutputContainer, suffix: str, rate: float) -> None:
        self.container, self.suffix, self.rate = container, suffix, rate
        self.encoder: Encoder | None = None
        self.begin, self.last = 0.0, -1

    def show(self, picture: Pixels) -> bool:
        """Code a picture."""
        if self.encoder is None:
            size = (picture.shape[0], picture.shape[1])
            made = make_target(still_clip(size, self.rate), self.suffix, None, None, size)
            self.encoder = Encoder(self.container, made)
            self.begin = time.monotonic()
        self.last = max(self.last + 1, round(1000 * (time.monotonic() - self.begin)))
        self.container.mux(list(self.encoder.write(picture, None, self.last, round(1000 / self.rate))))
        return True

    def finish(self) -> None:
        """Write what is held back; raises VideoError where no picture came."""
        if self.encoder is None:
            raise VideoError("no picture came, so nothing is written")
        self.container.mux(list(self.encoder.finish()))
