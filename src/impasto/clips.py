"""A video in, a painted video out: the frames one after another, in parts that survive an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import numpy as np
from av.error import FFmpegError

import impasto
from impasto.colors import blend
from impasto.encode import make_target
from impasto.errors import VideoError
from impasto.files import check_write
from impasto.flow import STEADY, Change, Motion, Steadier, check_steady
from impasto.hdr import is_hdr
from impasto.images import resize
from impasto.large import WHOLE
from impasto.parts import Coder, Parts, folder_of, join
from impasto.recipes import hash_of_mask
from impasto.runtimes import ABREAST, TorchRuntime
from impasto.stylize import check, check_stroke, regions_of, resize_mask, stylize, together
from impasto.video import Clip, Frame, read_clip, read_frames

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from concurrent.futures import Future

    from impasto.images import Pixels
    from impasto.styles import Style
    from impasto.stylize import Region

T = TypeVar("T")

AHEAD: Final = 2
"""Frames that wait between two stages of the work."""


class Painter(Protocol):
    """What paints one frame after another, each by itself."""

    def __call__(self, frame: Pixels) -> Pixels:
        """Paint uint8 (H, W, 3), RGB: the same size."""


@dataclass(frozen=True, slots=True)
class ClipStep:
    """One frame has been painted."""

    frame: int
    """Its number, from 1."""
    frames: int | None
    """About how many there are, where the file lets one tell."""
    seconds: float
    """Since the work began."""
    frames_per_second: float
    """Of this run."""
    seconds_left: float | None


def paint_video(
    source: str | Path,
    target: str | Path,
    style: str | Path | Style | Sequence[Region],
    *,
    strength: float | None = None,
    stroke: float | None = None,
    colors: str = "style",
    mask: Pixels | None = None,
    max_side: int | None = None,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    steady: float = STEADY,
    codec: str | None = None,
    quality: int | None = None,
    start: float = 0.0,
    end: float | None = None,
    resume: bool = True,
) -> Generator[ClipStep, None, None]:
    """Paint a video in a style, with its times, size, colours, sound and subtitles; yields each frame's step.

    `strength` to `precision`: as of `stylize`. `steady`: 0 paints every frame by itself, 1 holds on to the last one's
    strokes as firmly as can be. `codec`: h264, h265, vp9 or av1; by default what the target's suffix stands for.
    `quality`: 1 to 100. `start`, `end`: seconds. `resume`: continue what an interrupted run of the same call left in a
    folder beside the target. Of a suffix .gif or .webp it becomes an animation, without sound.

    Raises:
        ValueError: An argument is out of range.
        ImpastoError: The video cannot be read or written, or the style or device not be used.

    """
    check(strength, stroke, colors, mask, max_side)
    loaded = regions_of(style, engine)
    for one, _ in loaded:
        check_stroke(stroke, one)
    whole = together(loaded)

    def painter(frame: Pixels) -> Pixels:
        how: dict[str, Any] = {"strength": strength, "stroke": stroke, "colors": colors, "mask": mask}
        return stylize(frame, whole, **how, device=device, precision=precision, tile=WHOLE.tile)

    runtime = loaded[0][0].runtime(device, precision)
    abreast = ABREAST if isinstance(runtime, TorchRuntime) else 1
    job = {
        "styles": [[hashlib.sha256(one.data).hexdigest(), dict(one.weights), hash_of_mask(own)] for one, own in loaded],
        "settings": [strength, stroke, colors, max_side, runtime.device, runtime.precision],
        "mask": hash_of_mask(mask),
    }
    cut = Cut(start=start, end=end, max_side=max_side)
    how: dict[str, Any] = {"codec": codec, "quality": quality, "resume": resume}
    return paint_with(painter, source, target, job, cut=cut, steady=steady, abreast=abreast, **how)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What of a video is painted, and how large."""

    start: float = 0.0
    end: float | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        """Check every value; raises ValueError."""
        if not 0 <= self.start < float("inf"):
            raise ValueError(f"start is {self.start}; it must be at least 0 seconds")
        if self.end is not None and not self.start < self.end < float("inf"):
            raise ValueError(f"end is {self.end}; it must be after the start, {self.start} seconds")

    def size(self, clip: Clip) -> tuple[int, int]:
        """Height and width of what is painted; a reduced one has even sides, which every codec takes."""
        if self.max_side is None or self.max_side >= max(clip.height, clip.width):
            return clip.height, clip.width
        scale = self.max_side / max(clip.height, clip.width)
        height, width = (max(2, 2 * round(side * scale / 2)) for side in (clip.height, clip.width))
        return height, width

    def count(self, clip: Clip) -> int | None:
        """About how many frames there are to paint."""
        if clip.frames is None or clip.duration is None:
            return clip.frames
        last = float(clip.duration) if self.end is None else min(self.end, float(clip.duration))
        share = max(0.0, last - self.start) / float(clip.duration)
        return max(1, round(clip.frames * share))


def paint_with(
    painter: Painter,
    source: str | Path,
    target: str | Path,
    job: dict[str, Any],
    *,
    cut: Cut | None = None,
    steady: float = STEADY,
    codec: str | None = None,
    quality: int | None = None,
    resume: bool = True,
    trusted: bool = True,
    abreast: int = 1,
) -> Generator[ClipStep, None, None]:
    """Paint a video by any engine; `job` is all that decides its frames, so that only the same one is continued.

    `abreast`: frames for which the painter is called at a time, in as many threads.
    `trusted`: sound, subtitles, chapters and metadata are copied; otherwise the sound is coded anew, and there is no
    more. The rest as of `paint_video`, which see.
    """
    check_steady(steady)
    order = make_order(source, target, job | {"steady": steady}, cut=cut, codec=codec, quality=quality)
    return carried_out(order, painted_parts(painter, order, steady, abreast), resume=resume, trusted=trusted)


@dataclass(frozen=True, slots=True)
class Order:
    """A video to paint."""

    clip: Clip
    cut: Cut
    target: Path
    parts: Parts
    job: dict[str, Any]
    """All that decides its frames."""


def make_order(
    source: str | Path,
    target: str | Path,
    job: Mapping[str, Any],
    *,
    cut: Cut | None = None,
    codec: str | None = None,
    quality: int | None = None,
) -> Order:
    """Order to paint a video as a job says; raises where it cannot be read or the target not be written."""
    source, target, cut = Path(source), Path(target), cut or Cut()
    clip = read_clip(source)
    made = make_target(clip, target.suffix, codec, quality, cut.size(clip))
    if is_hdr(clip.colors.transfer):
        warnings.warn(f"{source}: is HDR, which is mapped to what a plain screen shows", stacklevel=3)
    try:
        check_write(target)
    except OSError as error:
        raise VideoError(f"cannot write {target}: {error.strerror}") from error
    stamp = source.stat()
    told = {
        **job,
        "impasto": impasto.__version__,
        "source": [str(source.resolve()), stamp.st_size, stamp.st_mtime_ns],
        "cut": [cut.start, cut.end],
    }
    return Order(clip, cut, target, Parts(folder_of(target), made), told)


def carried_out(
    order: Order, steps: Generator[T, None, None], *, resume: bool, trusted: bool = True
) -> Generator[T, None, None]:
    """Yield the steps that paint what is not finished yet, join it, and remove the parts.

    Closed before, it leaves what is finished. `trusted`: see `paint_with`.
    """
    parts, target = order.parts, order.target
    try:
        if parts.open(order.job, resume=resume):
            warnings.warn(f"{target}: what was finished of it was painted otherwise; begun anew", stacklevel=2)
        yield from steps
        if not parts.done:
            raise VideoError(f"{order.clip.path}: has no frame to paint from {order.cut.start:g} seconds on")
        first = parts.done[0].times[0][0] if order.cut.start else 0
        join(parts, target, order.clip, first, order.cut.end, trusted=trusted)
    except (FFmpegError, OSError) as error:
        kept = f"; {parts.kept} frames are kept: run the same command to continue" if parts.kept else ""
        raise VideoError(f"cannot write {target}: {error.strerror or error}{kept}") from error
    finally:
        if not parts.kept:
            parts.remove()
    parts.remove()


def painted_parts(painter: Painter, order: Order, steady: float, abreast: int = 1) -> Generator[ClipStep, None, None]:
    """Paint and code the frames that are not finished yet, part by part."""
    parts = order.parts
    steadier = Steadier(steady)
    motion = Motion() if steady else None
    if state := parts.state():
        steadier.restore(state)
        if motion:
            motion.restore(state)
    begin, before, total = time.monotonic(), parts.frames, order.cut.count(order.clip)
    coder, done = Coder(parts), before
    last: Change | None = None

    def kept() -> dict[str, Any]:
        return steadier.state() | (last.state() if last else {})

    try:
        # Three stages at once: reading and motion, painting, steadying and coding. What each computes is its own.
        for frame, last in ahead(painting(painter, ahead(moving(order, motion)), abreast)):
            coder.write(replace(frame, pixels=steadier(frame.pixels, last)), kept)
            done += 1
            seconds = time.monotonic() - begin
            rate = (done - before) / seconds if seconds else 0.0
            left = None if total is None else max(0, total - done) / rate
            yield ClipStep(done, total and max(total, done), seconds, rate, left)
        coder.finish(kept)
    finally:
        coder.abandon()


def moving(order: Order, motion: Motion | None) -> Generator[tuple[Frame, Change | None], None, None]:
    """Yield the frames that are not finished yet, of the size to paint, and how each differs from the one before."""
    clip, cut, parts = order.clip, order.cut, order.parts
    size, told = cut.size(clip), False
    for frame in read_frames(clip.path, clip, start=cut.start, end=cut.end, skip=parts.frames):
        pixels, alpha = frame.pixels, frame.alpha
        if alpha is not None and not parts.target.animated:
            if not told:
                warnings.warn(f"{parts.target.suffix} keeps no transparency; it is white", stacklevel=2)
            pixels, alpha, told = blend(pixels, np.full_like(pixels, 255), alpha), None, True
        if pixels.shape[:2] != size:
            pixels = resize(pixels, size)
            alpha = None if alpha is None else resize_mask(alpha, size)
        yield Frame(pixels, frame.time, frame.duration, alpha), motion(pixels) if motion else None


def painting(
    painter: Painter, frames: Generator[tuple[Frame, Change | None], None, None], abreast: int = 1
) -> Generator[tuple[Frame, Change | None], None, None]:
    """Yield frames painted, in their order, so many at a time."""
    waiting: deque[tuple[Frame, Change | None, Future[Pixels]]] = deque()
    with contextlib.closing(frames), ThreadPoolExecutor(abreast, "impasto-painter") as threads:
        for frame, change in frames:
            waiting.append((frame, change, threads.submit(painter, frame.pixels)))
            if len(waiting) == abreast:
                yield painted(*waiting.popleft())
        while waiting:
            yield painted(*waiting.popleft())


def painted(frame: Frame, change: Change | None, made: Future[Pixels]) -> tuple[Frame, Change | None]:
    """A frame with what its painter has made of it, or makes yet; raises ValueError for what is no such frame."""
    pixels = made.result()
    if pixels.shape != frame.pixels.shape or pixels.dtype != np.uint8:
        wanted = f"it must be uint8 {frame.pixels.shape}, as the frame is"
        raise ValueError(f"painter gave {pixels.dtype} {pixels.shape}; {wanted}")
    return replace(frame, pixels=pixels), change


def ahead(items: Generator[T, None, None], count: int = AHEAD) -> Generator[T, None, None]:
    """Yield items that a thread fetches in advance, at most so many at a time; closing stops it and closes `items`."""
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def fetch() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # it is raised where the items are used  # noqa: BLE001
            put(None, error)
        finally:
            items.close()

    thread = threading.Thread(target=fetch, name="impasto-frames", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield cast("T", item)
    finally:
        stopped.set()
        thread.join()
