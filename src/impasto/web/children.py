"""What the server's processes do: decode uploads within limits, and paint. `python -m impasto.web.children` is one.

A process that decodes forks for each upload where the system can: what a hostile file does to it ends with that upload.
"""

import contextlib
import io
import math
import os
import sys
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from impasto.errors import ImpastoError
from impasto.images import Picture, Pixels, image_size, lightness, read_picture, write_image
from impasto.web.frames import read_frame, write_frame
from impasto.web.limits import limit

if TYPE_CHECKING:
    from impasto.styles import Style

KEPT = 4
"""Paintings whose styles are kept: each holds the memory that the last picture was painted in."""
LARGEST = 1 << 33
"""Payload in bytes that a process takes from the server, which keeps limits of its own."""


def main(arguments: list[str]) -> None:
    """Be the process that the arguments ask for, until standard input ends."""
    warnings.simplefilter("ignore")
    kind, *rest = arguments
    if kind == "decode":
        serve_decoding(int(rest[0]), float(rest[1]))
    elif kind == "paint":
        serve_painting()
    else:
        from impasto.web.works import work

        sys.exit(work(kind, Path(rest[0]), int(rest[1])))


# --------------------------------------------------------------------------------------------------------- decoding


def serve_decoding(memory_mb: int, seconds: float) -> None:
    """Decode one upload after another, each in a process of its own where the system can fork."""
    import PIL.AvifImagePlugin
    import PIL.ImageCms
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.WebPImagePlugin  # noqa: F401 - here once, not after each fork

    with contextlib.suppress(ImportError):
        import pillow_heif  # noqa: F401
    write_frame(sys.stdout.buffer, {"ready": True})
    while (message := read_frame(sys.stdin.buffer, LARGEST)) is not None:
        if not hasattr(os, "fork"):
            answer(*message)
            continue
        child = os.fork()
        if not child:
            try:
                limit(memory_mb << 20, seconds=seconds)
                answer(*message)
            except BaseException:  # noqa: BLE001 - the parent tells by the exit code
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            os._exit(1)  # what it has written may be cut off: the server begins with a new process


def answer(asked: Mapping[str, Any], data: bytearray) -> None:
    """Write what `decode` gives, or in words why it could not."""
    try:
        head, payload = decode(asked, bytes(data))
    except ImpastoError as error:
        reason = str(error).removeprefix(f"cannot read {asked.get('path', 'the picture')}: ")
        head, payload = {"error": reason, "code": "unreadable"}, []
    except OverflowError as error:
        head, payload = {"error": str(error), "code": "too_large"}, []
    except MemoryError:
        head, payload = {"error": "it takes too much memory to decode", "code": "too_large"}, []
    write_frame(sys.stdout.buffer, head, *payload)


def decode(asked: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """A picture's pixels and, where it has one, its alpha; of a mask its lightness alone; of a video what it says.

    Raises:
        OverflowError: It is larger than what is `asked` allows.
        ImpastoError: It cannot be read.

    """
    if asked["kind"] == "video":
        return describe(Path(asked["path"])), []
    height, width = image_size(data)
    if max(height, width) > asked["max_side"] or height * width > asked["max_pixels"]:
        megapixels = asked["max_pixels"] / 1e6
        raise OverflowError(
            f"the picture is {width} x {height} pixels; it may have {megapixels:g} million, {asked['max_side']} a side"
        )
    picture = read_picture(data, max_pixels=asked["max_pixels"], max_side=asked["max_side"])
    if asked["kind"] == "mask":
        parts = [lightness(picture)]
    else:
        parts = [picture.pixels, *([] if picture.alpha is None else [picture.alpha])]
    height, width = parts[0].shape[:2]
    head = {"height": height, "width": width, "alpha": len(parts) > 1}
    return head, [part.tobytes() for part in parts]


def describe(path: Path) -> dict[str, Any]:
    """What a video says of itself; raises VideoError where it is none, or its first frame is broken."""
    from impasto.video import read_clip

    if hasattr(os, "sched_setaffinity"):  # its decoder would keep a frame in memory for each processor
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    clip = read_clip(path)
    seconds = None if clip.duration is None else float(clip.duration)
    return {"height": clip.height, "width": clip.width, "frames": clip.frames, "seconds": seconds}


# --------------------------------------------------------------------------------------------------------- painting


def serve_painting() -> None:
    """Paint one picture after another; the built-in palette is compiled, and warm, before it says that it is ready."""
    from impasto.memory import keep_memory
    from impasto.styles import builtin_styles, load_style
    from impasto.stylize import stylize

    keep_memory()
    stylize(np.zeros((64, 64, 3), np.uint8), load_style(next(iter(builtin_styles()))))
    write_frame(sys.stdout.buffer, {"ready": True})
    paintings = Paintings()
    while (message := read_frame(sys.stdin.buffer, LARGEST)) is not None:
        try:
            head, painted = paint(paintings, *message)
        except (ImpastoError, ValueError) as error:
            folder = Path(message[0]["file"]).parent  # where the server has its files is nobody's business
            head, painted = {"error": str(error).replace(f"{folder}{os.sep}", "")}, memoryview(b"")
        except MemoryError:
            head, painted = {"error": "the picture takes too much memory to paint; make it smaller"}, memoryview(b"")
        write_frame(sys.stdout.buffer, head | {"memory": memory()}, painted)
        del message, painted


class Paintings:
    """Styles of the last few paintings that came, each encoded and compiled once."""

    def __init__(self) -> None:
        self.styles: OrderedDict[tuple[str, str], Style] = OrderedDict()

    def style(self, asked: Mapping[str, Any], pixels: Pixels | None) -> "Style | None":
        """Style of the painting that is asked for; None where it is not kept and its pixels are not given."""
        from impasto.paintings import engine_style, measure

        key = asked["file"], asked["painting"]
        if key not in self.styles:
            if pixels is None:
                return None
            statistics = {name: measure(pixels) for name in asked["weights"]}
            made = engine_style(Path(asked["file"]).read_bytes(), statistics, Path(asked["file"]).name)
            self.styles[key] = made.choose(asked["weights"])
        self.styles.move_to_end(key)
        if len(self.styles) > KEPT:
            self.styles.popitem(last=False)
        return self.styles[key]


def paint(paintings: Paintings, asked: Mapping[str, Any], data: bytearray) -> tuple[dict[str, Any], memoryview]:
    """Paint and encode a picture, or say that the painting which it is to be painted after is not known."""
    from impasto.recipes import with_recipe
    from impasto.styles import load_file
    from impasto.stylize import stylize

    picture, mask, painting = unpack(asked, data)
    style: Style | None
    if asked["painting"] is None:
        style = load_file(Path(asked["file"])).choose(asked["weights"])
    elif (style := paintings.style(asked, painting)) is None:
        return {"unknown": True}, memoryview(b"")
    painted = stylize(picture, style, mask=mask, **asked["options"])
    exif = with_recipe(b"", asked["recipe"])
    stream = io.BytesIO()
    write_image(stream, Picture(painted.pixels, painted.alpha, exif), format=asked["format"], quality=asked["quality"])
    height, width = painted.pixels.shape[:2]
    return {"height": height, "width": width}, stream.getbuffer()


def unpack(asked: Mapping[str, Any], data: bytearray) -> tuple[Picture, Pixels | None, Pixels | None]:
    """Picture, mask and painting of a payload: pixels, alpha, mask, the painting's pixels, those that there are."""
    values, place = np.frombuffer(data, np.uint8), 0

    def take(*shape: int) -> Pixels:
        nonlocal place
        start, place = place, place + math.prod(shape)
        return values[start:place].reshape(shape)

    pixels = take(*asked["size"], 3)
    alpha = take(*asked["size"]) if asked["alpha"] else None
    mask = take(*asked["mask_size"]) if asked["mask_size"] else None
    painting = take(*asked["painting_size"], 3) if asked["painting_size"] else None
    return Picture(pixels, alpha), mask, painting


def memory() -> int:
    """Bytes that this process has taken at its largest; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1:])
