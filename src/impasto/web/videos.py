"""Videos of visitors: which are taken, and how one is painted in a process of its own."""

import contextlib
import os
import signal
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.errors import VideoError
from impasto.web.forms import VIDEO
from impasto.web.limits import limit
from impasto.web.options import PAINTING, Own, number, parse
from impasto.web.refusal import Refusal
from impasto.web.settings import ServeConfig
from impasto.web.shown import Order, Shown, Told
from impasto.web.store import bytes_in

if TYPE_CHECKING:
    from impasto.images import Pixels
    from impasto.styles import Style

RESULT = "painting.mp4"
STYLE = "style.onnx"
"""A copy of a style that its owner has trained, which may be deleted before the video is painted."""
FASTEST = 120
"""Frames a second of a video that is taken."""
SPARE_S = 1.0
"""Beyond the limit: a video of five minutes is often some frames longer."""
STALL_S = 180
"""Without a frame, after which the process that paints is ended."""
SHOW_S = 2.0
"""Between frames that are shown."""
SHOWN_SIDE = 960
OPEN_FILES = 256
COUNT_S = 1.0
"""Between looks at how much has been written."""


def check_video(said: Mapping[str, Any], settings: ServeConfig) -> None:
    """Raise a Refusal for a video whose frames are too large, or that is too long, by what it states."""
    height, width, seconds = said["height"], said["width"], said["seconds"]
    if height * width > settings.video_pixels or max(height, width) > settings.max_side:
        most = f"{settings.video_megapixels:g} million, {settings.max_side} a side"
        raise Refusal(413, "too_large", f"the video is {width} x {height} pixels; it may have {most}")
    longest = 60 * settings.video_minutes
    if seconds is not None and seconds > longest + SPARE_S:
        told = f"{settings.video_minutes:g} minutes"
        raise Refusal(413, "too_large", f"the video lasts {seconds:.0f} seconds; it may last {told}")
    if (said["frames"] or 0) > FASTEST * (longest + SPARE_S):
        raise Refusal(413, "too_large", f"the video has {said['frames']} frames; it may have {FASTEST} a second")


def order_video(fields: Mapping[str, str], files: Mapping[str, list[str]], settings: ServeConfig, own: Own) -> Order:
    """How a video is to be painted; raises Refusal for values that are not allowed."""
    paintings, masks = files.get(PAINTING, []), files.get("mask", [])
    told = {name: value for name, value in fields.items() if name != "steady"}
    options = parse(told, own, painting=bool(paintings))
    longest = 60 * settings.video_minutes + SPARE_S
    side = min(options.size or settings.largest_video, settings.largest_video)
    return {
        "name": "-".join(options.weights),
        "file": str(options.file),
        "own": fields.get("style", "").strip() in own,
        "weights": dict(options.weights),
        "engine": options.engine,
        "painting": next(iter(paintings), None),
        "mask": next(iter(masks), None),
        "options": {**options.arguments, "max_side": side},
        "quality": options.quality,
        "steady": number(fields, "steady", 0, 1),
        "seconds": longest,
        "frames": round(FASTEST * longest),
        "memory": round(settings.painter_gb * 1e9),
    }


class Watched:
    """Paints frames one by one, and keeps the last one for a look."""

    def __init__(self, style: "Style", options: Mapping[str, Any]) -> None:
        self.style = style
        self.options = options
        self.last: Pixels | None = None
        self.looked = 0.0

    def __call__(self, frame: "Pixels") -> "Pixels":
        """See `clips.Painter`."""
        from impasto.stylize import stylize

        self.last = stylize(frame, self.style, **self.options)
        return self.last

    def look(self, frame: int) -> Path | None:
        """Write the last frame as a picture, if the one before was written long enough ago."""
        from impasto.images import fit, write_image

        if self.last is None or time.monotonic() < self.looked + SHOW_S:
            return None
        self.looked = time.monotonic()
        path = Path(f"frame-{frame:06}.jpg")
        write_image(path, fit(self.last, SHOWN_SIDE), quality=85)
        return path


def run_video(folder: Path, order: Order, room: int) -> Generator[Told]:
    """Paint a video, with a frame now and then; what it takes of memory, disk and time is limited."""
    from impasto.clips import Cut, paint_with
    from impasto.flow import STEADY
    from impasto.images import read_mask

    os.chdir(folder)  # what is told of files has their names alone
    limit(order["memory"], address_bytes=4 * order["memory"], file_bytes=max(1, room), files=OPEN_FILES)
    options = dict(order["options"])
    longest, side = order["seconds"], options.pop("max_side")
    options["mask"] = None if order["mask"] is None else read_mask(order["mask"])
    painter, shown, counted = Watched(style_of(order), options), Shown(), 0.0
    before = bytes_in(Path())
    steps = paint_with(
        painter,
        VIDEO,
        RESULT,
        {key: order[key] for key in ("weights", "engine", "options", "mask", "painting")},
        cut=Cut(end=longest, max_side=side),
        steady=STEADY if order["steady"] is None else order["steady"],
        quality=order["quality"],
        trusted=False,
    )
    with contextlib.closing(steps):
        watch()
        for step in steps:
            watch()
            if step.frame > order["frames"]:
                raise VideoError(f"the video has more than {order['frames']} frames")
            if time.monotonic() > counted + COUNT_S:
                counted = time.monotonic()
                if 2 * (bytes_in(Path()) - before) > room:  # joined, it is there twice
                    raise VideoError("the painted video takes more room than there is; paint it smaller")
            shown.take(painter.look(step.frame))
            yield {
                "step": step.frame,
                "steps": step.frames,
                "progress": step.frame / step.frames if step.frames else 0.0,
                "frames_per_second": round(step.frames_per_second, 2),
                "seconds_left": step.seconds_left,
                "picture": shown.name(Path()),
            }
    Path(VIDEO).unlink(missing_ok=True)  # what is uploaded is not kept


def style_of(order: Order) -> "Style":
    """Style of an order: of a file of ours, or of a painting that lies in this folder."""
    from impasto.paintings import load_paintings
    from impasto.styles import load_file

    if order["engine"]:
        return load_paintings({Path(order["painting"]): 1.0}, order["engine"])
    return load_file(Path(STYLE if order["own"] else order["file"])).choose(order["weights"])


def watch() -> None:
    """Have the system end this process, unless this is called again soon: a decoder may never come back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, STALL_S)
