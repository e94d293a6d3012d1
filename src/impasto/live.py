"""Frames that come as they will, painted as they come: a film's every frame, or of a camera's those in time."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from impasto.flow import STEADY, Motion, Steadier
from impasto.large import WHOLE
from impasto.stylize import check, check_image, check_stroke, paint, regions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from impasto.images import Pixels
    from impasto.styles import Style

SMALLEST: Final = 96
"""Long side in pixels below which a picture is not reduced to hold a rate."""
SETTLE: Final = 0.3
"""Share of the latest frame's time in the mean by which the size is chosen."""
FIRST: Final = 320
"""Long side of the first frame where a rate is to be held, until times have been measured."""


def stylize_frames(
    frames: Iterable[Pixels],
    style: str | Path | Style,
    *,
    fps: float | None = None,
    strength: float | None = None,
    stroke: float | None = None,
    colors: str = "style",
    mask: Pixels | None = None,
    max_side: int | None = None,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    steady: float = STEADY,
) -> Generator[Pixels, None, None]:
    """Paint frames, uint8 (H, W, 3) RGB, one after another; yields each in its own size.

    Without `fps` every frame is painted. With it `frames` is a live source: it is read in a thread, a frame that comes
    while another is painted replaces the one that waits, so that nothing lags behind, and each is painted no larger
    than lets so many a second be painted. `steady`: as of `paint_video`, the rest as of `stylize`; `max_side` bounds
    the size that is painted.

    Raises:
        ValueError: An argument is out of range.
        ImpastoError: The style or the device cannot be used.

    """
    check(strength, stroke, colors, mask, max_side)
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}; it must be more than 0")
    ((style, _),) = regions_of(style, engine)
    check_stroke(stroke, style)
    share = style.strength if strength is None else strength
    runtime = style.runtime(device, precision)

    def painter(frame: Pixels) -> Pixels:
        return paint(frame, style, runtime, share, stroke, colors, mask, WHOLE)

    return painted(frames, painter, Steadier(steady), Pace(fps, max_side))


class Pace:
    """Chooses the size at which frames are painted in time."""

    def __init__(self, fps: float | None, max_side: int | None) -> None:
        self.fps, self.max_side = fps, max_side
        self.side = FIRST if fps else None
        self.seconds_per_pixel: float | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which to paint a frame of this size."""
        long = max(height, width)
        wanted = min(side for side in (self.side, self.max_side, long) if side is not None)
        if wanted >= long:
            return height, width
        return max(1, round(height * wanted / long)), max(1, round(width * wanted / long))

    def took(self, seconds: float, height: int, width: int) -> None:
        """Note how long a frame of that size took; one that is a fifth too slow or too small is changed."""
        if self.fps is None or self.side is None:
            return
        latest = seconds / (height * width)
        before = latest if self.seconds_per_pixel is None else self.seconds_per_pixel
        self.seconds_per_pixel = (1 - SETTLE) * before + SETTLE * latest
        pixels = 1 / (self.fps * self.seconds_per_pixel)
        side = max(SMALLEST, int((pixels * max(height, width) / min(height, width)) ** 0.5) // 16 * 16)
        if not 0.9 * self.side <= side <= 1.2 * self.side:  # a new size is a cut, and costs the steadiness once
            self.side = side


def painted(
    frames: Iterable[Pixels], painter: Callable[[Pixels], Pixels], steadier: Steadier, pace: Pace
) -> Generator[Pixels, None, None]:
    """Yield frames painted, steady, in the sizes that they had."""
    motion = Motion() if steadier.share else None
    source = latest(frames) if pace.fps else (frame for frame in frames)
    with contextlib.closing(source):
        for frame in source:
            check_image(frame)
            begin = time.monotonic()
            height, width = frame.shape[:2]
            size = pace.size(height, width)
            small = scaled(frame, size)
            calm = steadier(painter(small), motion(small) if motion else None)
            result = scaled(calm, (height, width))
            pace.took(time.monotonic() - begin, *size)
            yield result.copy() if result is steadier.last else result  # which the next frame begins with


def scaled(image: Pixels, size: tuple[int, int]) -> Pixels:
    """An image at a size (height, width), quickly."""
    if image.shape[:2] == size:
        return image
    how = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=how), np.uint8)


def latest(frames: Iterable[Pixels]) -> Generator[Pixels, None, None]:
    """Yield of a live source always the newest frame, which a thread fetches; older ones are dropped."""
    ready = threading.Condition()
    waiting: list[Pixels] = []
    state: dict[str, BaseException | bool] = {"closed": False}

    def fetch() -> None:
        error: BaseException | None = None
        try:
            for frame in frames:
                with ready:
                    if state["closed"]:
                        return
                    waiting[:] = [frame]
                    ready.notify()
        except BaseException as caught:  # it is raised where the frames are used  # noqa: BLE001
            error = caught
        finally:
            with ready:
                state["ended"] = error or True
                ready.notify()

    threading.Thread(target=fetch, name="impasto-camera", daemon=True).start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: waiting or "ended" in state)
                if not waiting:
                    if isinstance(error := state["ended"], BaseException):
                        raise error
                    return
                frame = waiting.pop()
            yield frame
    finally:
        with ready:  # the thread ends with the next frame that it gets
            state["closed"] = True
