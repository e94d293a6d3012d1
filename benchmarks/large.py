"""Pictures of any size: ``python benchmarks/scale.py tiles poster vast [--photo PHOTO]``.

``tiles``: a photo of 24 megapixels painted by tiles, against the same painted whole, in three styles, and by every
engine after a ``--painting``: how near it is, and whether neighbours differ more across the tiles' borders than
elsewhere. ``poster``: the whole command on 100 megapixels in 1 GB: peak memory, seconds a megapixel against those of
1080p. ``vast``: the whole command on a TIFF of 600 megapixels, which are more bytes than the memory allowed. The photo,
of any size, is enlarged, with grain of its own at full size, so that there is detail at all scales. Nothing else should
run on the machine.
"""

import argparse
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from impasto.images import Pixels, read_image, write_image
from impasto.large import Limit, Tiler, make_plan
from impasto.paintings import available
from impasto.runtimes import OpenVINORuntime
from impasto.styles import load_style
from impasto.stylize import asked, stylize

STYLES = ("candy", "mosaic", "udnie")
LARGE, POSTER, VAST, HD = (4000, 6000), (8400, 12000), (20_000, 30_000), (1080, 1920)
MEMORY = 1.0
"""Gigabytes allowed, of the large photo and the poster."""
ITSELF = 2e8
"""Bytes of a command before it paints; this process has other pictures and networks beside."""
GRAIN = 4.0
"""Deviation of the grain, in levels of 255."""
WHOLE = 1 << 20
"""Side of a tile that no picture is larger than."""
RUNS = 3


def enlarged(photo: Path, size: tuple[int, int], share: float) -> Pixels:
    """The photo at a size (height, width), cropped to its shape, with grain; a band of rows at a time."""
    height, width = (max(64, round(side * share)) for side in size)
    source = Image.fromarray(read_image(photo))
    crop = min(source.width, source.height * width / height), min(source.height, source.width * height / width)
    left, top = (source.width - crop[0]) / 2, (source.height - crop[1]) / 2
    made = np.empty((height, width, 3), np.uint8)
    rng = np.random.default_rng(0)
    for start in range(0, height, 256):
        stop = min(height, start + 256)
        box = (left, top + crop[1] * start / height, left + crop[0], top + crop[1] * stop / height)
        band = np.asarray(source.resize((width, stop - start), Image.Resampling.BICUBIC, box), np.float32)
        grain = rng.standard_normal(band.shape[:2], np.float32)[..., None] * GRAIN
        made[start:stop] = np.clip(band + grain + 0.5, 0, 255)
    return made


def tiles(args: argparse.Namespace, _: Path) -> dict[str, Any]:
    """24 megapixels by tiles against the same painted whole."""
    photo = enlarged(args.photo, LARGE, args.share)
    result: dict[str, Any] = {"size": [photo.shape[1], photo.shape[0]]}
    styles = {name: load_style(name) for name in STYLES}
    if args.painting:
        styles |= {engine: load_style(args.painting, engine=engine) for engine in available()}
    for name, style in styles.items():
        runtime = style.runtime()
        canvas, *rows = asked(style, style.strength, None, photo.shape[:2])
        limit = Limit(memory=args.memory * 1e9, taken=ITSELF)
        plan = make_plan(photo.shape[:2], canvas, style, runtime, limit)
        assert isinstance(runtime, OpenVINORuntime)
        start = time.perf_counter()
        tiled = stylize(photo, style, tile=plan.side)
        between = time.perf_counter()
        whole = stylize(photo, style, tile=WHOLE)
        seconds = between - start, time.perf_counter() - between
        parts = Tiler(photo, style, runtime, rows, plan).tiles()
        borders = [sorted({part.core[axis] for part in parts} - {0}) for axis in (0, 2)]
        result[name] = {
            "precision": runtime.precision,
            "tiles": plan.tiles,
            "tile": plan.side,
            "sample_megapixels": round(plan.sample / 1e6, 1),
            "rounds_over_all": plan.rounds,
            "db_to_whole": round(psnr(tiled, whole), 2),
            "step_across_borders": round(steps(tiled, borders), 3),
            "the_same_of_the_whole": round(steps(whole, borders), 3),
            "seconds": {"tiles": round(seconds[0], 2), "whole": round(seconds[1], 2)},
        }
    return result


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures, dB; a band of rows at a time."""
    total = 0.0
    for start in range(0, len(one), 256):
        bands = (picture[start : start + 256].astype(np.float32) for picture in (one, other))
        total += float(np.square(np.subtract(*bands)).sum(dtype=np.float64))
    return -10 * math.log10(max(total / one.size / 255**2, 1e-12))


def steps(picture: Pixels, borders: list[list[int]]) -> float:
    """Mean difference of neighbours across rows and columns of borders, over that of lines to both sides of them."""
    across: list[float] = []
    beside: list[float] = []
    for axis, lines in enumerate(borders):
        for line in lines:
            for shift, into in ((0, across), *((by, beside) for by in (-24, -16, -8, 8, 16, 24))):
                pair = picture.take([line - 1 + shift, line + shift], axis).astype(np.int16)
                into.append(float(np.abs(np.diff(pair, axis=axis)).mean()))
    return float(np.mean(across) / np.mean(beside)) if across else 1.0


def poster(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """100 megapixels by the whole command, and 1080p by the same."""
    tool = shutil.which("impasto", path=str(Path(sys.executable).parent)) or "impasto"
    result: dict[str, Any] = {}
    for name, size, share in (("1080p", HD, 1.0), ("poster", POSTER, args.share)):
        photo = folder / f"{name}.jpg"
        pixels = enlarged(args.photo, size, share)
        write_image(photo, pixels)
        megapixels = pixels.size / 3e6
        del pixels
        command = [tool, "stylize", str(photo), "-o", str(folder / f"{name}-out.jpg"), "--style", STYLES[0]]
        if name == "poster":
            command += ["--memory", f"{args.memory:g}GB"]
        runs = [run(command) for _ in range(RUNS if name == "1080p" else 1)]
        seconds = sorted(taken for taken, _ in runs)[len(runs) // 2]
        result[name] = {
            "megapixels": round(megapixels, 2),
            "seconds": round(seconds, 2),
            "seconds_a_megapixel": round(seconds / megapixels, 4),
            "peak_gb": max(peak for _, peak in runs),
        }
    result["times_1080p"] = round(result["poster"]["seconds_a_megapixel"] / result["1080p"]["seconds_a_megapixel"], 2)
    return result


def vast(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """600 megapixels by the whole command, from TIFF to TIFF."""
    tool = shutil.which("impasto", path=str(Path(sys.executable).parent)) or "impasto"
    photo, painting = folder / "vast.tif", folder / "vast-out.tif"
    pixels = enlarged(args.photo, VAST, args.share)
    write_image(photo, pixels)
    megapixels = pixels.size / 3e6
    del pixels
    command = [tool, "stylize", str(photo), "-o", str(painting), "--style", STYLES[0], "--memory", f"{args.memory:g}GB"]
    seconds, peak = run(command)
    return {
        "megapixels": round(megapixels, 1),
        "photo_gb": round(photo.stat().st_size / 1e9, 2),
        "painting_gb": round(painting.stat().st_size / 1e9, 2),
        "seconds": round(seconds, 1),
        "seconds_a_megapixel": round(seconds / megapixels, 4),
        "peak_gb": peak,
    }


def run(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and its peak resident memory in GB, by the operating system's account."""
    code = "import resource, subprocess, sys, time; start = time.perf_counter();"
    code += "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    code += "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), round(int(kilobytes) * 1024 / 1e9, 2)
