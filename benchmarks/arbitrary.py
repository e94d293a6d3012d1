"""Painting after any painting in figures: ``python benchmarks/arbitrary.py --help``.

``speed``: engines at 1920 x 1080 after the painting is encoded, against the same networks in eager float32 PyTorch;
``memory``: peaks of whole commands at 3840 x 2160; ``curves``: content and style distance over strength, and
``optimised``: over the style weight of optimisation; ``reconstruction``: photos through encoders and decoders alone;
``precision``: bfloat16 from float32; ``sheet``: a picture of paintings and photos. Of the paintings, those that no
training saw are used: every sixth.
"""

import argparse
import math
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from impasto.config import OptimizeConfig
from impasto.engines import Frozen
from impasto.export import load_network
from impasto.images import fit, read_image, resize, to_network, write_image
from impasto.networks.engines import DEEPEST, AdaINNet, HourglassNet, WCTNet, layer
from impasto.optimize import optimize
from impasto.paintings import available, engine_file, measure
from impasto.sheets import draw
from impasto.styles import load_style
from impasto.stylize import pad, stylize
from impasto.targets import to_tensor
from measure import Judge, Pixels
from speed import HD, THREADS, UHD, medians, noise_photo, parse, peak_gb, psnr, record, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HELD_OUT = 6
"""One of so many paintings was seen by no training."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
STYLE_WEIGHTS = (5.0, 20.0, 60.0)
"""Of optimisation."""
ITERATIONS = 300


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure painting after any painting.")
    parser.add_argument(
        "names", nargs="*", help="speed, memory, curves, optimised, reconstruction, precision, sheet; all but the last"
    )
    parser.add_argument("--paintings", type=Path, required=True, help="folder, of which every sixth is used")
    parser.add_argument("--photos", type=Path, help="folder of photos that no training saw")
    parser.add_argument("--count", type=int, default=20, help="of the photos")
    parser.add_argument("--engines", nargs="+", default=available(), help="only these")
    parser.add_argument("--judge", default="vgg19-small16x")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    args = parse(parser)
    torch.set_num_threads(THREADS)
    about = {"held_out": [path.name for path in held_out(args)]}
    names = args.names or [name for name in MEASUREMENTS if name != "sheet"]
    record(names, args.json, lambda name: about | MEASUREMENTS[name](args))


def held_out(args: argparse.Namespace) -> list[Path]:
    """Paintings that no training saw."""
    return sorted(path for path in args.paintings.iterdir() if path.is_file())[::HELD_OUT]


def pairs(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Photos, each with one of the paintings, which go in turn."""
    photos, paintings = sorted(args.photos.iterdir())[: args.count], held_out(args)
    return [(photo, paintings[i % len(paintings)]) for i, photo in enumerate(photos)]


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a picture of 1080p, beside eager float32 PyTorch, and of a painting's encoding."""
    painting, photo = held_out(args)[0], noise_photo(HD)
    found: dict[str, dict[str, Any]] = {}
    for name in args.engines:
        style = load_style(painting, engine=name)
        runtime, rows = style.runtime(), style.spec.mix(style.weights)
        padded = pad(photo, style.spec)
        image, net = to_network(padded), load_network(style.data)
        runs: dict[str, Callable[[], Any]] = {
            "seconds": lambda image=image, rows=rows, runtime=runtime: runtime(image, rows),  # type: ignore[misc]
            "eager": lambda image=image, rows=rows, net=net: eager(net, image, rows),  # type: ignore[misc]
        }
        took = medians(runs, 5)
        found[name] = {key: round(value, 3) for key, value in took.items()}
        found[name] |= {"times_faster": round(took["eager"] / took["seconds"], 2), "precision": runtime.precision}
        found[name]["bytes"] = engine_file(name).stat().st_size
    picture = read_image(painting)
    found["encoding"] = {"seconds": round(medians({"": lambda: measure(picture)}, 5)[""], 3)}
    return found


@torch.inference_mode()
def eager(net: nn.Module, image: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> Tensor:
    """A style's network in PyTorch."""
    painted: Tensor = net(torch.from_numpy(image), torch.from_numpy(rows))
    return painted


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of the whole command at 3840 x 2160."""
    with TemporaryDirectory() as folder:
        photo = Path(folder) / "large.jpg"
        write_image(photo, noise_photo(UHD))
        command = [
            tool(),
            "stylize",
            str(photo),
            "-o",
            str(Path(folder) / "out.jpg"),
            "--style",
            str(held_out(args)[0]),
        ]
        return {"peak_gb": {name: peak_gb([*command, "--engine", name]) for name in args.engines}}


def curves(args: argparse.Namespace) -> dict[str, Any]:
    """Mean content and style distance over pairs, by strength of the engines; and the photos' own style distance."""
    judge = Judge(args.judge)
    unpainted = [judge.distances(read_image(x), judge.seen(read_image(x)), p)[1] for x, p in pairs(args)]
    found = {
        name: curve({s: partial(by_engine, engine=name, strength=s) for s in STRENGTHS}, judge, args)
        for name in args.engines
    }
    return {"pairs": len(unpainted), "unpainted": round(float(np.mean(unpainted)), 4), "curves": found}


def optimised(args: argparse.Namespace) -> dict[str, Any]:
    """Mean content and style distance over pairs, by style weight of optimisation."""
    ways = {weight: partial(by_optimisation, style_weight=weight) for weight in STYLE_WEIGHTS}
    return {"pairs": len(pairs(args)), "curve": curve(ways, Judge(args.judge), args)}


def curve(
    ways: "Mapping[float, Callable[[Path, Path], Pixels]]", judge: Judge, args: argparse.Namespace
) -> list[dict[str, float]]:
    """Mean content and style distance over pairs, by setting."""
    points = []
    for setting, paint in ways.items():
        values = [
            judge.distances(paint(photo, painting), judge.seen(read_image(photo)), painting)
            for photo, painting in pairs(args)
        ]
        content, style = np.mean(values, 0)
        points.append({"at": setting, "content": round(float(content), 4), "style": round(float(style), 4)})
        print(points[-1], flush=True)
    return points


def by_engine(photo: Path, painting: Path, engine: str, strength: float) -> Pixels:
    """A photo painted by an engine."""
    return stylize(read_image(photo), load_style(painting, engine=engine), strength=strength)


def by_optimisation(photo: Path, painting: Path, style_weight: float) -> Pixels:
    """A photo painted by so many steps of L-BFGS at its own size."""
    side, seen = max(read_image(photo).shape[:2]), read_image(painting)
    with TemporaryDirectory() as folder:
        if (scale := side / max(seen.shape[:2])) > 1:  # one that is smaller would need steps at its own size before
            painting = Path(folder) / "painting.png"
            write_image(painting, resize(seen, (math.ceil(scale * seen.shape[0]), math.ceil(scale * seen.shape[1]))))
        config = OptimizeConfig(
            photo,
            (str(painting),),
            output=Path(folder) / "painted.png",
            size=side,
            min_size=side,
            first_iterations=ITERATIONS,
            style_weight=style_weight,
            resume=False,
        )
        steps = optimize(config)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                pixels: Pixels = finished.value.pixels
                return pixels


def reconstruction(args: argparse.Namespace) -> dict[str, Any]:
    """PSNR, dB, of photos through encoder and decoder without any painting; of WCT by level, and through all."""
    found: dict[str, list[float]] = {}
    for photo, painting in pairs(args):
        for name in args.engines:
            style = load_style(painting, engine=name)
            image = to_tensor(pad(read_image(photo), style.spec))
            for key, again in undone(load_network(style.data), image).items():
                found.setdefault(f"{name}{key}", []).append(psnr(again.numpy(), image.numpy()))
    return {"psnr_db": {key: round(float(np.mean(values)), 2) for key, values in found.items()}}


@torch.inference_mode()
def undone(frozen: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What an engine's decoders make of an image's own features, by level."""
    assert isinstance(frozen, Frozen)
    net = frozen.graph.net
    if isinstance(net, AdaINNet):
        return {"": net.decoder(net.encoder(image, [layer(4)])[layer(4)])}
    if isinstance(net, HourglassNet):
        features = net.encoder(image, [layer(level) for level in net.levels])
        return {"": net.decoder(*(features[layer(level)] for level in net.levels))}
    assert isinstance(net, WCTNet)
    made, x = {}, image
    for level in net.levels:
        through = [
            net.decoders[str(level)](net.encoders[str(level)](y, [layer(level)])[layer(level)]) for y in (image, x)
        ]
        made[f" {level}"] = through[0].clamp(0, 1)
        x = x if level == DEEPEST else through[1].clamp(0, 1)  # of the deepest what it loses is added again
    return made | {" all": x}


def precision(args: argparse.Namespace) -> dict[str, Any]:
    """PSNR, dB, of pictures in bfloat16 from those in float32."""
    found: dict[str, list[float]] = {name: [] for name in args.engines}
    for photo, painting in pairs(args):
        for name in args.engines:
            style, image = load_style(painting, engine=name), read_image(photo)
            one, other = (stylize(image, style, precision=p) / 255 for p in ("bfloat16", "float32"))
            found[name].append(psnr(one, other))
    return {"psnr_db": {name: round(float(np.mean(values)), 1) for name, values in found.items()}}


def sheet(args: argparse.Namespace) -> dict[str, Any]:
    """Write a picture: a row for each painting, the photos painted after it by each engine."""
    photos = [fit(read_image(photo), 512) for photo in sorted(args.photos.glob("*.jpg"))[: min(args.count, 3)]]
    texts, rows = [], []
    start = time.perf_counter()
    for painting in held_out(args):
        styles = [load_style(painting, engine=name) for name in args.engines]
        texts.append([painting.stem, *(name for name in args.engines for _ in photos)])
        painted = [stylize(photo, style) for style in styles for photo in photos]
        rows.append([square(picture) for picture in (read_image(painting), *painted)])
    write_image(args.sheet, draw(texts, rows), quality=85)
    return {"pictures": len(rows) * (len(rows[0]) - 1), "seconds": round(time.perf_counter() - start, 1)}


def square(picture: Pixels, side: int = 208) -> Pixels:
    """The middle of a picture."""
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (side, side)))


MEASUREMENTS = {
    "speed": speed,
    "memory": memory,
    "curves": curves,
    "optimised": optimised,
    "reconstruction": reconstruction,
    "precision": precision,
    "sheet": sheet,
}


if __name__ == "__main__":
    main()
