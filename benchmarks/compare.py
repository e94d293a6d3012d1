"""Networks and ways to train them, compared after equal training: ``python benchmarks/compare.py --help``.

Every candidate is trained on the same paintings with the same seed, steps and photos, then timed, measured on
validation photos, and drawn. A run that was stopped continues where it was. Nothing else should run meanwhile.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from impasto.config import StyleNetArgs, TrainConfig
from impasto.export import make_network
from impasto.images import read_image, write_image
from impasto.networks.stylenet import StyleNet, tables
from impasto.photos import find_photos
from impasto.sheets import sheet
from impasto.styles import Style, load_file
from impasto.stylize import stylize
from impasto.train import train
from measure import Judge, energies
from speed import machine, ran, write

HD = (1080, 1920)
CANDIDATES: dict[str, dict[str, Any]] = {
    "16-48": {},
    "16-48 bilinear": {"stylenet": StyleNetArgs(widths=(16, 48), upsample="bilinear")},
    "16-32-96": {"stylenet": StyleNetArgs(widths=(16, 32, 96))},
    "16-32-96 skips": {"stylenet": StyleNetArgs(widths=(16, 32, 96), skips=True)},
    "24-48": {"stylenet": StyleNetArgs(widths=(24, 48))},
    "16-64 separable": {"stylenet": StyleNetArgs(widths=(16, 64), separable=True, blocks=8)},
    "16-48 by Adam": {"optimizer": "adam"},
}
"""Settings of training that each departs in."""


def main() -> None:
    """Train, time and measure every candidate; write the figures as JSON and a sheet each."""
    parser = argparse.ArgumentParser(description="Compare networks and ways to train them after equal training.")
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="folder to train on")
    parser.add_argument("--validation", type=Path, required=True, help="folder of photos to measure on")
    parser.add_argument("--loss-network", nargs="+", default=["vgg19-small16x"])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder of style files and sheets")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--names", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "command": ran()}
    for name in args.names:
        path = args.out / f"{name.replace(' ', '-')}.onnx"
        if not path.exists() or load_file(path).spec.recipe["steps"] != args.steps:
            for _ in train(config_of(args, CANDIDATES[name], path)):
                pass
        results[name] = examine(load_file(path), args.paintings, args.validation, args.loss_network[-1])
        results[name] |= {"steps": args.steps, "course": course(path)}
        styles = [load_file(path).choose({name: 1.0}) for name in load_file(path).spec.names]
        photo = read_image(find_photos(args.validation)[0].read())
        write_image(path.with_suffix(".png"), sheet(photo, styles))
        print(name, json.dumps(results[name]), flush=True)
        write(results, args.json)


def config_of(args: argparse.Namespace, departures: Mapping[str, Any], path: Path) -> TrainConfig:
    """Settings that are the same for every candidate."""
    return TrainConfig(
        tuple(args.paintings),
        photos=args.photos,
        output=path,
        loss_network=tuple(args.loss_network),
        steps=args.steps,
        image_size=(128,),
        batch_size=(8,),
        style_weight=(10.0,),
        tv_weight=0.05,
        validation=args.validation,
        **departures,
    )


def examine(style: Style, paintings: Sequence[Path], validation: Path, loss_network: str) -> dict[str, Any]:
    """Figures of one candidate: size, time, and by style content, style and energy at small periods."""
    net = make_network(style.spec)
    assert isinstance(net, StyleNet)
    shared = sum(p.numel() for p in net.parameters()) - sum(t.numel() for t in tables(net).values())
    figures = {}
    judge = Judge(loss_network)
    for painting, entry in zip(paintings, style.spec.entries, strict=True):
        chosen, rows = style.choose({entry.name: 1.0}), []
        for photo in find_photos(validation):
            pixels = read_image(photo.read())
            painted = stylize(pixels, chosen)
            rows.append([*judge.distances(painted, judge.seen(pixels), painting), *energies(painted, pixels).values()])
        names = ("content", "style", *energies(pixels, pixels))
        figures[painting.stem] = dict(zip(names, np.mean(rows, 0).round(4).tolist(), strict=True))
    return {
        "shape": style.spec.arguments,
        "shared_parameters": shared,
        "parameters_a_row": sum(t[0].numel() for t in tables(net).values()),
        "seconds_1080p": round(seconds_of(style), 4),
        "styles": figures,
    }


def course(path: Path) -> dict[int, dict[str, float]]:
    """Losses by step, at every quarter of the run that made a style file: means over the tenth before it."""
    lines = [json.loads(line) for line in path.with_name(f"{path.name}.training").joinpath("log.jsonl").open()]
    found = {}
    for share in (0.25, 0.5, 0.75, 1.0):
        part = [line for line in lines if share - 0.1 < line["progress"] <= share]
        if not part:
            continue  # of a run too short for the log's interval
        found[part[-1]["step"]] = {k: round(statistics.mean(p[k] for p in part), 4) for k in ("content", "style", "tv")}
    return found


def seconds_of(style: Style, runs: int = 7) -> float:
    """Median time of the network at 1080p."""
    runtime, image = style.runtime(), np.random.default_rng(0).random((1, 3, *HD), np.float32)
    rows = style.spec.mix({style.spec.names[0]: 1.0})
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        runtime(image, rows)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
