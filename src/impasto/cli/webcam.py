"""``impasto webcam``."""

import contextlib
import sys
import time
from typing import Annotated

from cyclopts import Parameter

from impasto.choices import Device, Engine, Precision
from impasto.cli.app import app, needs_extra
from impasto.cli.console import printable
from impasto.config import ClipConfig

EVERY_S = 5.0
"""Between lines."""


@app.command(usage="Usage: impasto webcam --style STYLE [OPTIONS]")
def webcam(
    *,
    style: str,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    camera: str | None = None,
    fps: float = 15.0,
    seconds: float | None = None,
    strength: float | None = None,
    stroke: float | None = None,
    max_side: int | None = None,
    engine: Engine | None = None,
    steady: float = ClipConfig.steady,
    device: Device = "auto",
    precision: Precision = "auto",
) -> int:
    """Paint what a camera sees while it sees it, in a window; Escape, Q or Ctrl-C ends it.

    Parameters
    ----------
    style
        As of impasto stylize.
    output
        Instead of a window a video file, or a virtual camera such as /dev/video9.
    camera
        Which one: /dev/video1 on Linux, a number on macOS, video=NAME on Windows; the first unless given.
    fps
        Pictures a second to hold: they are painted as large as can be in time, and what comes late is dropped.
    seconds
        After how many to end.
    strength
        0 is what the camera sees, 1 the painting; what the style recommends unless given.
    stroke
        Size of the strokes relative to the picture, as of impasto stylize.
    max_side
        Paint no larger than this many pixels on the long side.
    engine
        What paints after a painting; as of impasto stylize.
    steady
        0 paints every picture by itself, 1 holds on to the last one's strokes as firmly as can be.
    device
        Where to run; as of impasto stylize.
    precision
        Of the arithmetic; as of impasto stylize.

    """
    with needs_extra("video"):
        from impasto.cameras import camera_frames, opened_sink
        from impasto.live import stylize_frames
    from impasto.memory import keep_memory

    keep_memory()
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds is {seconds}; it must be more than 0")
    painted = stylize_frames(
        camera_frames(camera),
        style,
        fps=fps,
        strength=strength,
        stroke=stroke,
        max_side=max_side,
        engine=engine,
        device=device,
        precision=precision,
        steady=steady,
    )
    count, begin, told = 0, time.monotonic(), time.monotonic()
    with opened_sink(output, fps) as sink, contextlib.closing(painted):
        try:
            for picture in painted:
                count += 1
                now = time.monotonic()
                if not sink.show(picture) or (seconds is not None and now - begin >= seconds):
                    break
                if now - told >= EVERY_S:
                    told = now
                    print(f"{count / (now - begin):.1f} pictures a second", file=sys.stderr, flush=True)
        except KeyboardInterrupt:  # is how one ends it, and what was written until then is kept
            pass
    if output is not None:
        print(printable(f"{output}  {count} pictures"), flush=True)
    return 0
