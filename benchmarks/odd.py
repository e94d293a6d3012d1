"""A folder of odd files: ``python benchmarks/scale.py odd [--odd 3000]``.

Every format, mode and depth that Pillow writes, every orientation, other suffixes than the content's, files cut off and
damaged at random, bombs, what is empty or no picture at all, strange names, and beside them folders called .jpg, links
in a circle, links to nowhere. The whole command paints it; it is to finish, and its summary to add up.
"""

import argparse
import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from impasto.images import READ_SUFFIXES
from impasto.manifest import NAME

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B")
COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma")
"""Of a TIFF, of any mode; others are of one only, and libtiff complains on standard error."""
SUFFIXES = sorted(READ_SUFFIXES)
OWN = {"jpeg": ".jpg", "mpo": ".jpg", "dib": ".bmp"} | {suffix[1:]: suffix for suffix in SUFFIXES}
"""Suffix of a format, where it is one that is looked for."""
STRIPS = ((1, 1), (1, 3000), (3000, 1), (2, 2), (7, 2000))
NAMES = ("{} with spaces", "{}é画", "{}%20", "-{}", "{}[1]", "{};$(x)", "{}\n", "{}" + "x" * 150, "{}.tar", "{}:0.7")
TICK_S = 0.1
"""Between two looks at the memory."""
LIMIT_S = 3600.0

Rng = np.random.Generator
Maker = Callable[[Rng], tuple[bytes, str]]
"""Makes a file's bytes, and its suffix."""


def make_odd_files(folder: Path, count: int, seed: int = 0) -> None:
    """Make `count` files that are looked at, in folders below each other, and beside them some that are passed over."""
    rng = np.random.default_rng(seed)
    pictures = every_kind()
    whole, broken = picture_of(pictures), [cut_off(pictures), damaged(pictures)]
    makers: list[Maker] = [whole, whole, *broken, other_suffix(pictures), turned, strip, moving, bomb, no_picture]
    for i in range(count):
        place = folder / f"{i % 7}" / f"{i % 3}" if i % 2 else folder
        place.mkdir(parents=True, exist_ok=True)
        data, suffix = makers[i % len(makers)](rng)
        name = NAMES[i // 11 % len(NAMES)] if i % 11 == 0 else "{}"
        (place / f"{name.format(i)}{suffix.upper() if i % 13 == 0 else suffix}").write_bytes(data)
    make_no_files(folder)


def make_no_files(folder: Path) -> None:
    """Make what is called as pictures are, and is no file: folders, links that lead nowhere or in a circle, a pipe."""
    (folder / "folder.jpg" / "empty.png").mkdir(parents=True)
    (folder / "nowhere.jpg").symlink_to("gone.jpg")
    (folder / "one.png").symlink_to("other.png")
    (folder / "other.png").symlink_to("one.png")
    (folder / "folder.jpg" / "around").symlink_to(folder.absolute(), target_is_directory=True)
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    os.mkfifo(folder / "pipe.jpg")


# --------------------------------------------------------------------------------------------------------------- kinds


def sample(rng: Rng, mode: str, size: tuple[int, int] = (20, 14)) -> Image.Image:
    """A small picture of noise in a mode."""
    width, height = size
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    if mode.startswith("I;16"):
        deep = rng.integers(0, 1 << 16, (height, width)).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, size, deep.tobytes())
    if mode == "F":
        return Image.fromarray(rng.normal(0.5, 1, (height, width)).astype(np.float32))
    if mode in ("PA", "LA", "RGBX"):
        return noise.convert({"PA": "P", "LA": "L", "RGBX": "RGB"}[mode]).convert(mode)
    if mode == "LAB":
        return Image.merge("LAB", noise.split())
    return noise.convert(mode)


def every_kind() -> list[tuple[bytes, str]]:
    """Bytes and suffix of a picture in every format and mode that Pillow writes; empty where no such is looked for."""
    rng, found = np.random.default_rng(0), []
    Image.init()
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            for compression in compressions(mode) if kind == "TIFF" else [""]:
                stream = io.BytesIO()
                with suppress(Exception):  # most formats have few modes, and some need a program that is not there
                    sample(rng, mode).save(stream, kind, **({"compression": compression} if compression else {}))
                    found.append((stream.getvalue(), OWN.get(kind.lower(), "")))
    return found


def compressions(mode: str) -> list[str]:
    """Those of a TIFF in a mode."""
    return [*COMPRESSIONS, *(["group3", "group4"] if mode == "1" else ["jpeg"] if mode in ("L", "RGB") else [])]


def picture_of(pictures: list[tuple[bytes, str]]) -> Maker:
    """Pictures one after another: every format, mode and depth comes before one comes again."""
    place = 0

    def make(rng: Rng) -> tuple[bytes, str]:
        nonlocal place
        data, suffix = pictures[place % len(pictures)]
        place += 1
        return data, suffix or str(rng.choice(SUFFIXES))

    return make


def turned(rng: Rng) -> tuple[bytes, str]:
    """A picture with an orientation: one of the eight, or none that there is."""
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = int(rng.choice([*range(1, 9), 0, 9, 255]))
    kind, suffix = (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"))[rng.integers(4)]
    sample(rng, "RGB", (17, 11)).save(stream, kind, exif=exif)
    return stream.getvalue(), suffix


def strip(rng: Rng) -> tuple[bytes, str]:
    """A picture of a size that there hardly is."""
    stream = io.BytesIO()
    sample(rng, "RGB", STRIPS[rng.integers(len(STRIPS))]).save(stream, "PNG")
    return stream.getvalue(), ".png"


def cut_off(pictures: list[tuple[bytes, str]]) -> Maker:
    """Pictures that end somewhere."""

    def make(rng: Rng) -> tuple[bytes, str]:
        data, suffix = pictures[rng.integers(len(pictures))]
        return data[: rng.integers(len(data))], suffix or ".jpg"

    return make


def damaged(pictures: list[tuple[bytes, str]]) -> Maker:
    """Pictures of which some bytes are others."""

    def make(rng: Rng) -> tuple[bytes, str]:
        data, suffix = pictures[rng.integers(len(pictures))]
        found = bytearray(data)
        for at in rng.integers(0, len(found), rng.integers(1, 20)):
            found[at] = rng.integers(256)
        return bytes(found), suffix or ".png"

    return make


def other_suffix(pictures: list[tuple[bytes, str]]) -> Maker:
    """Pictures that are called as those of another format are."""

    def make(rng: Rng) -> tuple[bytes, str]:
        return pictures[rng.integers(len(pictures))][0], str(rng.choice(SUFFIXES))

    return make


def moving(rng: Rng) -> tuple[bytes, str]:
    """A GIF, WebP, PNG or TIFF of several pictures."""
    kind, suffix = (("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png"), ("TIFF", ".tif"))[rng.integers(4)]
    stream = io.BytesIO()
    first, *rest = (sample(rng, "RGB") for _ in range(3))
    first.save(stream, kind, save_all=True, append_images=rest, **({} if kind == "TIFF" else {"duration": 40}))
    return stream.getvalue(), suffix


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *parts: bytes) -> bytes:
    """A PNG that says to be of a size, with parts behind its header."""
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
    """A TIFF of entries (tag, type, count, value), and where its next directory is."""
    fields = b"".join(struct.pack("<2H2I", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + struct.pack("<I", after)


def bomb(rng: Rng) -> tuple[bytes, str]:
    """What is small, and takes much memory or time of whoever believes it."""
    return BOMBS[rng.integers(len(BOMBS))]


def bombs() -> list[tuple[bytes, str]]:
    """All of them."""
    zeros = zlib.compress(bytes(30_000_000), 9)
    jpeg = io.BytesIO()
    Image.new("RGB", (20, 14)).save(jpeg, "JPEG")
    at = jpeg.getvalue().index(b"\xff\xc0") + 5  # where the size is
    large = jpeg.getvalue()[:at] + b"\xff\xff\xff\xff" + jpeg.getvalue()[at + 4 :]
    sizes = ((256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    strips = ((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 60_000), (279, 4, 1, 4_000_000_000))
    return [
        (png(60_000, 60_000, chunk(b"IDAT", zeros)), ".png"),
        (png(2**31 - 1, 2**31 - 1), ".png"),
        (png(12_000, 12_000, chunk(b"IDAT", zeros)), ".png"),  # below the limit, and cut off
        (png(20, 14, chunk(b"zTXt", b"a\0\0" + zeros), chunk(b"IDAT", zeros[:1000])), ".png"),
        (png(20, 14, chunk(b"iCCP", b"a\0\0" + zeros), chunk(b"IDAT", zlib.compress(bytes(61 * 14)))), ".png"),
        (large, ".jpg"),
        (b"GIF89a" + b"\xff" * 4 + b"\0\0\0,\0\0\0\0" + b"\xff" * 4 + b"\0\x08\x02\x4c\x01\0;", ".gif"),
        (b"BM" + struct.pack("<3I", 100, 0, 54) + struct.pack("<I2i2H", 40, 2**30, 2**30, 1, 24) + bytes(60), ".bmp"),
        (b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6, ".webp"),
        (tiff(*sizes, *strips), ".tif"),
        (tiff((256, 4, 2**31, 8), after=8), ".tif"),
        (tiff(after=8), ".tiff"),
    ]


BOMBS = bombs()


def no_picture(rng: Rng) -> tuple[bytes, str]:
    """Nothing, text, noise, zeros, a program, a style's beginning."""
    kinds = (
        b"",
        b"not a picture\n",
        b"<html><body>404</body></html>",
        rng.bytes(1000),
        bytes(5_000_000),
        b"\x7fELF\2\1",
    )
    return kinds[rng.integers(len(kinds))], str(rng.choice(SUFFIXES))


# ------------------------------------------------------------------------------------------------------------ measuring


def odd(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole command on such a folder."""
    make_odd_files(folder / "odd", args.odd)
    found = paint_odd(folder / "odd", folder / "out", "candy", args.workers)
    return {"files": args.odd, "workers": args.workers} | found


def paint_odd(photos: Path, output: Path, style: str, workers: int) -> dict[str, Any]:
    """What the whole command says of a folder, and the memory that it takes."""
    told = ["stylize", str(photos), "--style", style, "-o", str(output), "--workers", str(workers)]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto", *told], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peaks = Peaks(process.pid)
    try:
        said, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        peaks.end()
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (painted|failed)", said)}
    lines = [json.loads(line) for line in (output / NAME).read_text().splitlines()]
    noted = Counter(line["status"] for line in lines)
    done = [line for line in lines if line["status"] == "done"]
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "exit_code": process.returncode,
        "summary": said.strip().splitlines()[-1].partition("  ")[0] if said.strip() else errors[-500:],
        "painted": counts.get("painted", 0),
        "failed": counts.get("failed", 0),
        "in_the_manifest": {"painted": noted["done"], "failed": noted["failed"]},
        "paintings_there": sum((output / line["output"]).stat().st_size == line["bytes"] for line in done),
        "processes_that_died": sum("the process that painted it" in line.get("error", "") for line in lines),
        "tracebacks": errors.count("Traceback"),
        "slowest_s": max((line.get("seconds", 0.0) for line in lines), default=0.0),
        "peak_gb_of_one_process": round(peaks.one / 1e9, 2),
        "peak_gb_of_all": round(peaks.all / 1e9, 2),
    }


class Peaks:
    """Most memory that a process and those below it take, each and together, looked at many times a second."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.one = self.all = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self) -> None:
        """Look until told to end; what two processes share counts twice."""
        while not self.ended.wait(TICK_S):
            sizes = [resident(number) for number in family(self.number)]
            self.one, self.all = max(self.one, *sizes), max(self.all, sum(sizes))

    def end(self) -> None:
        """Look no more."""
        self.ended.set()
        self.thread.join()


def family(number: int) -> list[int]:
    """A process and all that it started, directly or not."""
    below: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            below.setdefault(int(place.read_text().rpartition(")")[2].split()[1]), []).append(int(place.parent.name))
    found = [number]
    for each in found:
        found += below.get(each, [])
    return found


def resident(number: int) -> int:
    """Bytes of memory that a process has now; 0 where it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
