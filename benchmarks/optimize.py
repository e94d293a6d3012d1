"""Painting by optimisation in figures: ``python benchmarks/optimize.py --help``.

``speed``: L-BFGS at 512 px with the compact loss network, against the same loop with a full VGG-19 in eager float32 (of
random weights, which cost the same); ``pairs``: pictures made with the compact network and with vgg19-small16x, judged
by the latter; ``balance``: every painting on three photos with the defaults; ``memory``: peaks of whole commands;
``kept``: iterations where the C library keeps memory that is freed, as the command has it, and where it does not.
"""

import argparse
import resource
import statistics
import sys
import time
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from impasto.config import OptimizeConfig
from impasto.images import fit, read_image, resize, write_image
from impasto.memory import keep_memory
from impasto.optimize import Run, optimize
from impasto.sheets import draw
from impasto.targets import scale_to
from measure import Judge, Pixels
from speed import parse, peak_gb, random_vgg19, record

SIDE = 512
ITERATIONS = 500
MEMORY = {2048: 3.0, 4096: 4.0}
"""Gigabytes aimed at, by size."""
SHOWN = 256
"""Long side in pixels of a picture in a sheet."""


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure painting by optimisation.")
    parser.add_argument("names", nargs="*", help="speed, pairs, balance, memory, kept; all unless given")
    parser.add_argument(
        "--photos", nargs="+", type=Path, required=True, help="pictures; of the balance the first three"
    )
    parser.add_argument("--paintings", nargs="+", type=Path, required=True, help="pictures; pairs go in turn")
    parser.add_argument("--loss-network", default="vgg19-compact")
    parser.add_argument("--judge", default="vgg19-small16x")
    parser.add_argument("--neutral", help="third network that judges the pairs, such as exact VGG-19 to relu3_1")
    parser.add_argument("--sheets", type=Path, required=True, help="folder for the sheets of pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=Path, help="folder to keep pictures in, and to take from what is there")
    args = parse(parser)
    torch.set_num_threads(args.threads)
    keep_memory()  # as the command does, for both of what is compared

    def measure(name: str) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            return {"loss_network": Path(args.loss_network).name} | MEASUREMENTS[name](args, Path(folder))

    record(args.names or MEASUREMENTS, args.json, measure)


def speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of an iteration, the two networks in turn."""
    full = random_vgg19(folder / "vgg19-random.safetensors", 64, "5_1")
    settings: dict[str, dict[str, Any]] = {
        "compact": {"loss_network": (args.loss_network,)},
        "full": {"loss_network": (full,), "precision": "float32"},
    }
    size: dict[str, Any] = {"size": SIDE, "min_size": SIDE, "first_iterations": ITERATIONS}
    runs = {
        name: Run(OptimizeConfig(args.photos[0], (str(args.paintings[0]),), output=folder / "a.png", **size, **s))
        for name, s in settings.items()
    }
    for run in runs.values():
        run.begin()
        run.step()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(5):
        for name, run in runs.items():
            for _ in range(20 if name == "compact" else 2):
                start = time.perf_counter()
                run.step()
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "size": [*runs["full"].plan.sizes[0]],
        "seconds_an_iteration": {name: round(value, 4) for name, value in medians.items()},
        "seconds_of_500_iterations": {name: round(ITERATIONS * value, 1) for name, value in medians.items()},
        "times_faster": round(medians["full"] / medians["compact"], 2),
        "aimed_at": 10,
    }


def pairs(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Content and style by the judge of pictures made with each of the two networks, and their sheet."""
    neutral = Judge(args.neutral) if args.neutral else None
    judge, rows, labels, found = Judge(args.judge), list[list[Pixels]](), list[list[str]](), {}
    for photo, painting in zip(args.photos, args.paintings, strict=False):
        shown: list[Pixels] = []
        figures = {}
        for network in (args.judge, args.loss_network):
            painted = paint(photo, painting, network, args.pictures or folder)
            shown = shown or [resize(read_image(photo), painted.shape[:2])]
            content, style = judge.distances(painted, judge.seen(shown[0]), painting)
            figures[Path(network).stem] = {
                "content": round(content, 4),
                "style": round(style, 5),
            }
            if neutral:
                name = Path(args.neutral).stem
                figures[Path(network).stem][f"style by {name}"] = round(
                    neutral.distances(painted, neutral.seen(shown[0]), painting)[1], 5
                )
            shown.append(painted)
        ours, theirs = figures[Path(args.loss_network).stem], figures[Path(args.judge).stem]
        found[f"{photo.stem}, {painting.stem}"] = figures | {"style_ratio": round(ours["style"] / theirs["style"], 3)}
        print(photo.stem, painting.stem, figures, flush=True)
        rows.append([square(picture) for picture in shown])
        labels.append(["", *(f"{painting.stem}, {name}" for name in figures)])
    write_image(args.sheets / "optimize-pairs.jpg", draw(labels, rows), quality=85)
    return {"pairs": found, "aimed_at": {"style_ratio": 1.1}}


def balance(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Content and style by the judge of every painting on three photos, and their sheet."""
    judge, found, rows, labels = Judge(args.judge), dict[str, Any](), list[list[Pixels]](), list[list[str]]()
    photos = args.photos[:3]
    for painting in args.paintings:
        found[painting.stem], pictures = {}, []
        for photo in photos:
            painted = paint(photo, painting, args.loss_network, args.pictures or folder)
            seen = judge.seen(resize(read_image(photo), painted.shape[:2]))
            content, style = judge.distances(painted, seen, painting)
            found[painting.stem][photo.stem] = {"content": round(content, 4), "style": round(style, 5)}
            pictures.append(square(painted))
        print(painting.stem, found[painting.stem], flush=True)
        rows.append(pictures)
        labels.append([painting.stem] * len(photos))
    two = [slice(i, i + 2) for i in range(0, len(rows), 2)]  # paintings a row
    sheet = draw([[*chain(*labels[s])] for s in two], [[*chain(*rows[s])] for s in two])
    write_image(args.sheets / "optimize-sheet.jpg", sheet, quality=80)
    values = [figures for by_photo in found.values() for figures in by_photo.values()]
    most = {key: max(figures[key] for figures in values) for key in ("content", "style")}
    return {"styles": found, "most": most, "aimed_at": {"content": 1.2, "style": 0.05}}


def paint(photo: Path, painting: Path, network: str, folder: Path) -> Pixels:
    """Picture by the defaults, unless the folder has it already, since an hour of them may be interrupted."""
    output = folder / f"{photo.stem}-{painting.stem}-{Path(network).stem}.png"
    if not output.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = OptimizeConfig(photo, (str(painting),), output=output, size=SIDE, loss_network=(network,))
        for _ in optimize(config):
            pass
    return read_image(output)


def square(picture: Pixels) -> Pixels:
    """A picture on a white square, reduced."""
    small = fit(picture, SHOWN)
    canvas = np.full((SHOWN, SHOWN, 3), 255, np.uint8)
    top, left = ((SHOWN - side) // 2 for side in small.shape[:2])
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak memory of whole commands at the large sizes alone, a few iterations each."""
    found, painting = dict[str, Any](), folder / "painting.png"
    write_image(painting, scale_to(read_image(args.paintings[0]), max(MEMORY)))  # a small one would take less
    for size, most in MEMORY.items():
        command = [sys.executable, "-m", "impasto", "optimize", str(args.photos[0]), str(painting)]
        command += ["-o", str(folder / "large.png"), "--size", str(size), "--min-size", str(size)]
        command += ["--first-iterations", "12", "--memory", str(most - 0.3), "--loss-network", args.loss_network]
        found[str(size)] = {"gigabytes": peak_gb(command), "aimed_at": most}
    return {"iterations": 12, "sizes": found}


def kept(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds and page faults of an iteration with memory kept and given back, in processes of their own, in turns."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(3):
        for keep, values in found.items():
            with get_context("spawn").Pool(1) as pool:
                values.append(pool.apply(iterate, (args.photos[0], args.paintings[0], args.loss_network, folder, keep)))
    keys = ("seconds_an_iteration", "page_faults_an_iteration")
    medians = {keep: [statistics.median(column) for column in zip(*v, strict=True)] for keep, v in found.items()}
    return {
        key: {"kept": round(medians[True][i], 4), "given_back": round(medians[False][i], 4)}
        for i, key in enumerate(keys)
    }


def iterate(photo: Path, painting: Path, network: str, folder: Path, keep: bool) -> tuple[float, float]:
    """Median seconds of an iteration at one size, and its page faults."""
    torch.set_num_threads(2)
    if keep:
        keep_memory()
    size: dict[str, Any] = {"size": SIDE, "min_size": SIDE, "first_iterations": ITERATIONS}
    run = Run(OptimizeConfig(photo, (str(painting),), output=folder / "a.png", loss_network=(network,), **size))
    run.begin()
    for _ in range(3):
        run.step()
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(15):
        start = time.perf_counter()
        run.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(seconds)


MEASUREMENTS = {"speed": speed, "pairs": pairs, "balance": balance, "memory": memory, "kept": kept}


if __name__ == "__main__":
    main()
