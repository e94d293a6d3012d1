"""Many pictures in figures: ``python benchmarks/scale.py --help``.

``batch``: photos of 1 megapixel from folder to folder, against one after another on one processor; killed twice on the
way and run again, every painting once and the same. ``ray``: the same folder on Ray, begun for it on this machine,
against this program's own processes. ``tiles``, ``poster``, ``vast``: pictures of any size (see large.py). ``shares``:
photos of 16 megapixels and of 1, in little memory. ``odd``: a folder of odd files (see odd.py). Nothing else should
run on the machine.
"""

import argparse
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import impasto
from impasto.batch import stylize_folder
from impasto.config import BatchConfig
from impasto.images import read_image, read_picture, resize, write_image
from impasto.manifest import NAME
from impasto.recipes import read_recipe
from impasto.runtimes import processors, share_processors
from impasto.styles import Style, find_style, read_style
from large import MEMORY, poster, tiles, vast
from odd import Peaks, odd
from speed import parse, record

EXAMPLES = Path(__file__).parent.parent / "examples"
STYLE = "candy"
LARGE = 4000
"""Side in pixels of the photos that little memory is shared for."""
SINGLE = 60
"""Photos of which the rate of one after another is taken."""


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure many pictures.")
    parser.add_argument("names", nargs="*", help=f"{', '.join(MEASUREMENTS)}; all unless given")
    parser.add_argument("--count", type=int, default=2000, help="photos")
    parser.add_argument("--side", type=int, default=1000, help="of a photo, in pixels")
    parser.add_argument("--workers", type=int, default=processors(), help="pictures at a time")
    parser.add_argument(
        "--photo", type=Path, default=EXAMPLES / "raccoon.jpg", help="of tiles, poster and vast: is enlarged"
    )
    parser.add_argument("--painting", type=Path, help="of tiles: engines that paint after it are measured too")
    parser.add_argument("--share", type=float, default=1.0, help="of the sides of large pictures, to try quickly")
    parser.add_argument(
        "--memory", type=float, default=MEMORY, help="gigabytes that tiles, poster, vast and shares may use"
    )
    parser.add_argument("--odd", type=int, default=3000, help="odd files")
    args = parse(parser)

    def measure(name: str) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            return MEASUREMENTS[name](args, Path(folder))

    record(args.names or MEASUREMENTS, args.json, measure, load=True)


def make_photos(folder: Path, count: int, side: int) -> Path:
    """A folder of so many photos, square, each another part of the examples."""
    chance = np.random.default_rng(0)
    larger = [resize(read_image(path), (side * 5 // 4, side * 5 // 4)) for path in sorted(EXAMPLES.glob("*.jpg"))]
    for i in range(count):
        photo = larger[i % len(larger)]
        top, left = chance.integers(0, side // 4 + 1, 2)
        part = photo[top : top + side, left : left + side]
        place = folder / "photos" / f"{i // 100:02}" / f"{i:04}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image(place, np.ascontiguousarray(part[:, ::-1] if i % 2 else part))
    return folder / "photos"


# --------------------------------------------------------------------------------------------------------------- batch


def batch(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A folder at once, and killed twice on the way."""
    photos = make_photos(folder, args.count, args.side)
    few = sorted(photos.rglob("*.jpg"))[:SINGLE]
    all_of_them = one_by_one(few, folder)
    share_processors(1)
    one = one_by_one(few, folder)
    begin = time.perf_counter()
    subprocess.run(command(photos, folder / "once", args.workers), check=True, stdout=subprocess.DEVNULL)
    rate = args.count / (time.perf_counter() - begin)
    kills = [killed(photos, folder / "killed", args, args.count * part // 3) for part in (1, 2)]
    subprocess.run(command(photos, folder / "killed", args.workers), check=True, stdout=subprocess.DEVNULL)
    once, again = hashes(folder / "once"), hashes(folder / "killed")
    lines = (folder / "killed" / NAME).read_text().splitlines()
    noted = Counter(json.loads(line)["output"] for line in lines)
    return {
        "photos": args.count,
        "megapixels": args.side**2 / 1e6,
        "workers": args.workers,
        "one_by_one_on_one_processor_per_second": round(one, 3),
        "one_by_one_on_all_processors_per_second": round(all_of_them, 3),
        "per_second": round(rate, 3),
        "of_one_processor_times_processors": round(rate / (one * processors()), 3),
        "killed_after": kills,
        "paintings": len(again),
        "identical": sum(once.get(name) == value for name, value in again.items()),
        "noted_once": sum(count == 1 for count in noted.values()),
        "left_behind": sum(path.name.startswith(".") for path in (folder / "killed").rglob("*")),
    }


def one_by_one(photos: list[Path], folder: Path) -> float:
    """Photos a second, read, painted and written one after another in this process."""
    style: Style = read_style(find_style(STYLE)).choose({STYLE: 1.0})
    impasto.stylize(read_picture(photos[0]), style)
    begin = time.perf_counter()
    for photo in photos:
        write_image(folder / "one.jpg", impasto.stylize(read_picture(photo), style))
    return len(photos) / (time.perf_counter() - begin)


def command(photos: Path, output: Path, workers: int) -> list[str]:
    """The command that paints a folder."""
    told = ["stylize", str(photos), "--style", STYLE, "-o", str(output), "--workers", str(workers)]
    return [sys.executable, "-m", "impasto", *told]


def killed(photos: Path, output: Path, args: argparse.Namespace, lines: int) -> int:
    """Run the command and kill it once so many files are done; how many there were in the end."""
    manifest = output / NAME
    process = subprocess.Popen(command(photos, output, args.workers), start_new_session=True)
    while process.poll() is None and not (manifest.exists() and manifest.read_bytes().count(b"\n") >= lines):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return manifest.read_bytes().count(b"\n")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the paintings in a folder, by name."""
    files = (path for path in folder.rglob("*.jpg") if not path.name.startswith("."))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ----------------------------------------------------------------------------------------------------------------- ray


def ray(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same folder on Ray and on processes of this program, with and without what it takes to begin."""
    photos = make_photos(folder, args.count, args.side)
    results: dict[str, Any] = {"photos": args.count, "megapixels": args.side**2 / 1e6, "workers": args.workers}
    for name, cluster in (("processes", None), ("ray", "auto")):
        asked = BatchConfig(workers=args.workers, cluster=cluster)
        begin = time.perf_counter()
        ends = [
            time.perf_counter()
            for step in stylize_folder(photos, folder / name, STYLE, batch=asked)
            if step.result and step.result.status == "done"
        ]
        results[name] = {
            "per_second": round(len(ends) / (time.perf_counter() - begin), 3),
            "per_second_from_the_first_on": round((len(ends) - 1) / max(1e-9, ends[-1] - ends[0]), 3),
            "first_after_s": round(ends[0] - begin, 2),
        }
    for what in ("per_second", "per_second_from_the_first_on"):
        results[f"ray_of_processes_{what}"] = round(results["ray"][what] / results["processes"][what], 3)
    both = [hashes(folder / name) for name in ("processes", "ray")]
    results["identical"] = sum(one == other for one, other in itertools.zip_longest(*(sorted(b.items()) for b in both)))
    return results


# -------------------------------------------------------------------------------------------------------------- shares


def shares(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A folder in little memory: what its processes take together, and by what tiles its photos were painted."""
    sides = [max(1, round(LARGE * args.share)), args.side]
    for place, side in enumerate(sides):
        make_photos(folder / "in" / f"{place}", 2 * args.workers, side)
    told = ["stylize", str(folder / "in"), "--style", STYLE, "-o", str(folder / "out")]
    told += ["--memory", str(args.memory), "--workers", str(args.workers)]
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "impasto", *told])
    peaks = Peaks(process.pid)
    try:
        code = process.wait()
    finally:
        process.kill()
        peaks.end()
    sizes = Counter(str(read_recipe(path)["settings"]["tile"]) for path in (folder / "out").rglob("*.jpg"))
    return {
        "photos": {f"{side} x {side}": 2 * args.workers for side in sides},
        "workers": args.workers,
        "memory_gb": args.memory,
        "exit_code": code,
        "paintings_by_side_of_tiles": sizes,
        "peak_gb_of_one_process": round(peaks.one / 1e9, 2),
        "peak_gb_of_all": round(peaks.all / 1e9, 2),
        "seconds": round(time.perf_counter() - begin, 1),
    }


MEASUREMENTS = {
    "batch": batch,
    "ray": ray,
    "tiles": tiles,
    "poster": poster,
    "vast": vast,
    "shares": shares,
    "odd": odd,
}

if __name__ == "__main__":
    main()
