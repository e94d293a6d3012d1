"""GIF and animated WebP: WebP in through Pillow, both out from frames that were kept without loss.

A GIF has one palette for all its frames, and is dithered by a fixed pattern: colours chosen for every frame by itself,
or errors that are spread, would flicker.
"""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

import av
import numpy as np
from av.filter import Graph
from PIL import Image, ImageSequence

from impasto.errors import VideoError
from impasto.video import MAX_PIXELS, MILLISECOND, RGB, Clip, ColorTags, Frame, ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

HUNDREDTH: Final = Fraction(1, 100)
DEFAULT_MS: Final = 100
"""Of a frame that states no duration, as browsers take it."""
PALETTE_FRAMES: Final = 64
"""How many frames, evenly spread, a GIF's palette is chosen from."""


class Source(Protocol):
    """Frames that can be read again."""

    time_base: Fraction
    times: list[tuple[int, int]]
    """When each frame is shown and for how long, in ticks."""

    def frames(self) -> Iterator[VideoFrame]:
        """The frames, bgra."""


def read_webp_clip(path: Path) -> Clip:
    """What an animated WebP says of itself; raises VideoError where it is broken."""
    try:
        with Image.open(path, formats=["WEBP"]) as image:
            width, height = image.size
            check_size(path, width, height)
            count = int(getattr(image, "n_frames", 1))
            duration = sum(duration_of(frame) for frame in ImageSequence.Iterator(image))
    except VideoError:
        raise
    except Exception as error:  # decoders of hostile bytes raise anything
        raise VideoError(f"cannot read {path}: it is no WebP, or is broken ({error})") from error
    return Clip(
        path=path,
        height=height,
        width=width,
        time_base=MILLISECOND,
        rate=Fraction(1000 * count, duration),
        frames=count,
        duration=duration * MILLISECOND,
        start=Fraction(0),
        pixel_aspect=Fraction(1),
        colors=ColorTags(matrix=RGB),
        alpha=True,
    )


def check_size(path: Path, width: int, height: int) -> None:
    """Raise a VideoError for frames that are too large."""
    if width * height > MAX_PIXELS:
        raise VideoError(f"cannot read {path}: {width} x {height} is more than {MAX_PIXELS} pixels")


def duration_of(frame: Image.Image) -> int:
    """Milliseconds for which a frame of Pillow's is shown."""
    frame.load()  # which tells it
    return int(frame.info.get("duration") or DEFAULT_MS)


def read_webp(clip: Clip, start: float, end: float | None, skip: int) -> Iterator[Frame]:
    """Yield the frames of an animated WebP, as `video.read_frames` does."""
    time, kept = 0, 0
    try:
        with Image.open(clip.path, formats=["WEBP"]) as image:
            for picture in ImageSequence.Iterator(image):
                begin, time = time, time + duration_of(picture)
                if begin < ticks(start, clip) or (end is not None and begin >= ticks(end, clip)):
                    continue
                kept += 1
                if kept > skip:
                    pixels = np.array(picture.convert("RGBA"))
                    alpha = np.ascontiguousarray(pixels[..., 3])
                    rgb = np.ascontiguousarray(pixels[..., :3])
                    yield Frame(rgb, begin, time - begin, None if alpha.min() == 255 else alpha)
    except (OSError, EOFError, ValueError, SyntaxError) as error:
        warnings.warn(f"{clip.path}: ends early, after {time / 1000:.2f} seconds ({error})", stacklevel=2)


def write_webp(path: Path, source: Source, quality: int) -> None:
    """Write an animated WebP that repeats for ever."""
    begins, ends = zip(*((time, time + duration) for time, duration in source.times), strict=True)
    stamps = [round(time * source.time_base * 1000) for time in (*begins, ends[-1])]
    durations = [max(1, after - before) for before, after in itertools.pairwise(stamps)]
    pictures = (Image.fromarray(frame.to_ndarray(format="rgba")) for frame in source.frames())
    first = next(pictures)
    options = {"quality": quality, "method": 2, "loop": 0, "minimize_size": False}
    first.save(path, "WEBP", save_all=True, append_images=pictures, duration=durations, **options)


def write_gif(path: Path, source: Source) -> None:
    """Write a GIF that repeats for ever; its times are hundredths of a second."""
    use = indexing(make_palette(source))
    lasting = max(1, round(source.times[-1][1] * source.time_base * 100))
    options = {"loop": "0", "final_delay": str(lasting)}
    with av.open(str(path), "w", format="gif", options=options) as container:
        stream: VideoStream | None = None
        previous = -1
        for frame, (time, _) in zip(source.frames(), source.times, strict=True):
            indexed = use(frame)
            if stream is None:
                stream = container.add_stream("gif", rate=100)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "pal8"
                stream.codec_context.time_base = HUNDREDTH
            previous = max(previous + 1, round(time * source.time_base * 100))
            indexed.pts, indexed.time_base = previous, HUNDREDTH
            container.mux(stream.encode(indexed))
        if stream is not None:
            container.mux(stream.encode(None))


def make_palette(source: Source) -> VideoFrame:
    """The 255 colours, and none, that serve frames from all over the video best."""
    graph = Graph()
    every = -(-len(source.times) // PALETTE_FRAMES)
    opened = False
    for i, frame in enumerate(source.frames()):
        if i % every == 0:
            if not opened:
                entry = graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=HUNDREDTH
                )
                graph.link_nodes(entry, graph.add("palettegen"), graph.add("buffersink")).configure()
                opened = True
            frame.pts, frame.time_base = i, HUNDREDTH
            graph.vpush(frame)
    graph.vpush(None)
    return graph.vpull()


def indexing(palette: VideoFrame) -> Callable[[VideoFrame], VideoFrame]:
    """What gives a bgra frame in a palette's colours, dithered by a pattern that stays in its place."""
    graph = Graph()
    count = 0

    def use(frame: VideoFrame) -> VideoFrame:
        nonlocal count
        frame.pts, frame.time_base = count, HUNDREDTH
        if not count:
            sizes = ((frame.width, frame.height), (palette.width, palette.height))
            entries = [
                graph.add_buffer(width=w, height=h, format=frame.format, time_base=HUNDREDTH, name=name)
                for name, (w, h) in zip(("frames", "palette"), sizes, strict=True)
            ]
            use_palette = graph.add("paletteuse", "dither=bayer:bayer_scale=3")
            for port, entry in enumerate(entries):
                entry.link_to(use_palette, 0, port)
            use_palette.link_to(graph.add("buffersink"))
            graph.configure()
            palette.pts, palette.time_base = 0, HUNDREDTH
            graph.push(palette, at=1)
            graph.push(None, at=1)
        count += 1
        graph.push(frame, at=0)
        return graph.vpull()

    return use
