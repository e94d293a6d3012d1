"""What the server's processes do: decode uploads within limits, and paint. `python -m impasto.web.children` is one.

A process that decodes forks for each upload where the system can: what a hostile file does to it ends with that upload.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from impasto.errors import ImpastoError
from impasto.images import Picture, Pixels, image_size, lightness, read_picture, write_image
from impasto.web.frames import read_frame, write_frame

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

        sys.exit(work(kind, Path(rest[0])))


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
                limit(memory_mb, seconds)
                answer(*message)
            except BaseException:  # noqa: BLE001 - the parent tells by the exit code
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            os._exit(1)  # what it has written may be cut off: the server begins with a new process


def limit(memory_mb: int, seconds: float) -> None:
    """Limit what this process may take, where the system can."""
    try:
        import resource
    except ImportError:  # Windows, where the server's clock is the limit
        return
    wanted = {
        "RLIMIT_AS": memory_mb << 20,
        "RLIMIT_CPU": max(1, round(seconds)),
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 64,
    }
    for name, value in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS does not know or keep all of them
            resource.setrlimit(getattr(resource, name), (value, value))


def answer(asked: Mapping[str, Any], data: bytearray) -> None:
    """Write what `decode` gives, or in words why it could not."""
    try:
        head, payload = decode(asked, bytes(data))
    except ImpastoError as error:
        head, payload = {"error": str(error).removeprefix("cannot read the picture: "), "code": "unreadable"}, []
    except OverflowError as error:
        head, payload = {"error": str(error), "code": "too_large"}, []
    except MemoryError:
        head, payload = {"error": "the picture takes too much memory to decode", "code": "too_large"}, []
    write_frame(sys.stdout.buffer, head, *payload)


def decode(asked: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """A picture's pixels and, where it has one, its alpha; of a mask its lightness alone.

    Raises:
        OverflowError: It is larger than what is `asked` allows.
        ImpastoError: It cannot be read.

    """
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


# --------------------------------------------------------------------------------------------------------- painting


def serve_painting() -> None:
    """Paint one picture after another; the built-in palette is compiled, and warm, before it says that it is ready."""
    from impasto.styles import builtin_styles, load_style
    from impasto.stylize import stylize

    stylize(np.zeros((64, 64, 3), np.uint8), load_style(next(iter(builtin_styles()))))
    write_frame(sys.stdout.buffer, {"ready": True})
    while (message := read_frame(sys.stdin.buffer, LARGEST)) is not None:
        try:
            head, painted = paint(*message)
        except (ImpastoError, ValueError) as error:
            head, painted = {"error": str(error)}, memoryview(b"")
        except MemoryError:
            head, painted = {"error": "the picture takes too much memory to paint; make it smaller"}, memoryview(b"")
        write_frame(sys.stdout.buffer, head | {"memory": memory()}, painted)
        del message, painted


def paint(asked: Mapping[str, Any], data: bytearray) -> tuple[dict[str, Any], memoryview]:
    """Paint and encode a picture."""
    from impasto.recipes import with_recipe
    from impasto.styles import load_file
    from impasto.stylize import stylize

    picture, mask = unpack(asked, data)
    style = load_file(Path(asked["file"])).choose(asked["weights"])
    painted = stylize(picture, style, mask=mask, **asked["options"])
    exif = with_recipe(b"", asked["recipe"]) if asked["recipe"] else b""
    stream = io.BytesIO()
    write_image(stream, Picture(painted.pixels, painted.alpha, exif), format=asked["format"], quality=asked["quality"])
    height, width = painted.pixels.shape[:2]
    return {"height": height, "width": width}, stream.getbuffer()


def unpack(asked: Mapping[str, Any], data: bytearray) -> tuple[Picture, Pixels | None]:
    """Picture and mask of a payload: pixels, alpha, mask, those that there are."""
    height, width, values = asked["height"], asked["width"], np.frombuffer(data, np.uint8)
    size = height * width
    pixels = values[: 3 * size].reshape(height, width, 3)
    values = values[3 * size :]
    alpha = values[:size].reshape(height, width) if asked["alpha"] else None
    mask = values[size if asked["alpha"] else 0 :].reshape(asked["mask"]) if asked["mask"] else None
    return Picture(pixels, alpha), mask


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
