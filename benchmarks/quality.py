"""Quality of a palette in figures: ``python benchmarks/quality.py --help``.

``distances``: content and style distance of every style and the energy of grids, beside the published networks';
``curves``: the same distances by strength and by stroke;
``sliders``: whether a preview tells the truth, and whether strength, stroke and blends move smoothly; ``objective``:
Johnson et al.'s figure 5, the training objective of the network's output against L-BFGS on the pixels.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.config import TrainConfig
from impasto.images import read_image, resize
from impasto.lbfgs import LBFGS
from impasto.losses import content_loss, style_loss, total_variation
from impasto.memory import keep_memory
from impasto.photos import find_photos
from impasto.sheets import STRENGTHS, STROKES
from impasto.styles import Style, load_file
from impasto.stylize import BROADEST, FINEST, stylize
from impasto.targets import Targets, scale_to, to_tensor
from measure import PAINTING_SIDE, PERIODS, Judge, at, spectrum
from speed import parse, record

Pixels = npt.NDArray[np.uint8]
PUBLISHED = {
    "candy": (1.12, 0.094),
    "mosaic": (2.91, 0.067),
    "rain_princess": (1.05, 0.029),
    "udnie": (0.48, 0.046),
}
"""Content and style distance of pytorch/examples' networks, one of 1.68 M parameters a style, measured the same way."""
SIZES = (512, 2048)
"""Long sides at which one picture is painted with strokes of one size relative to it."""
LIKE_STROKES = (0.05, 0.2, 1.0)
ITERATIONS = (0, 25, 50, 100, 200, 500)
PRECISIONS = (torch.float32, torch.bfloat16)
"""Of the objective: as it is measured, and as L-BFGS goes down it."""
STARTS = ("noise", "photo")
"""Of L-BFGS: noise, as Johnson et al. did, or the photo, from which it is sooner there."""
DISTANCES = ("content", "style", *(f"energy_{period}" for period in PERIODS))
WORST = 5
"""Photos of the largest content distance, most of hardly anything; figures without them are told too."""
CURVE_PHOTOS = 5


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure a palette's quality.")
    parser.add_argument("names", nargs="*", help="distances, curves, sliders, objective; all but the last unless given")
    parser.add_argument("--palette", type=Path, required=True)
    parser.add_argument("--paintings", type=Path, required=True, help="folder of paintings named as the styles")
    parser.add_argument("--photos", type=Path, required=True, help="folder to measure on")
    parser.add_argument("--large", type=Path, help="photo for the sliders, painted at 512 and 2048 px")
    parser.add_argument("--loss-network", nargs="+", default=["vgg19-small16x"], help="the last one measures")
    parser.add_argument("--styles", nargs="+", help="only these")
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 512, 1024], help="of the objective's photos")
    parser.add_argument("--iterations", type=int, default=ITERATIONS[-1], help="of L-BFGS at most")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS, help="what L-BFGS begins with")
    parser.add_argument("--count", type=int, default=10, help="of the objective's photos")
    parser.add_argument("--threads", type=int, default=2)
    args = parse(parser)
    torch.set_num_threads(args.threads)
    keep_memory()
    palette, about = load_file(args.palette), {"palette": args.palette.name}
    names = args.names or ("distances", "curves", "sliders")
    record(names, args.json, lambda name: about | MEASUREMENTS[name](palette, args))


def distances(palette: Style, args: argparse.Namespace) -> dict[str, Any]:
    """Content, style and energies by style as it paints unless told otherwise, means over the photos."""
    judge, styles = Judge(args.loss_network[-1]), chosen(palette, args)
    textures = {name: spectrum(scale_to(read_image(painting), PAINTING_SIDE)) for name, _, painting in styles}
    rows: dict[str, list[list[float]]] = {name: [] for name, _, _ in styles}
    photos = find_photos(args.photos)
    for photo in photos:
        pixels = read_image(photo.read())
        seen, before = judge.seen(pixels), spectrum(pixels)
        for name, style, painting in styles:
            painted = stylize(pixels, style)
            own, texture = spectrum(painted), textures[name]
            grids = [at(own, period) / max(at(before, period), at(texture, period)) for period in PERIODS]
            rows[name].append([*judge.distances(painted, seen, painting), *grids])
    found = {}
    for name, values in rows.items():
        table = np.array(values)
        found[name] = dict(zip(DISTANCES, table.mean(0).round(4).tolist(), strict=True))
        most = table[np.argsort(table[:, 0])[: max(1, len(table) - WORST)]]
        for key, rest in (("median", np.median(table, 0)), (f"without_{WORST}", most.mean(0))):
            found[name] |= {f"{what}_{key}": round(float(rest[i]), 4) for i, what in enumerate(DISTANCES[:2])}
        if name in PUBLISHED:
            found[name] |= dict(zip(("published_content", "published_style"), PUBLISHED[name], strict=True))
        print(name, found[name], flush=True)
    return {"photos": len(photos), "styles": found}


def curves(palette: Style, args: argparse.Namespace) -> dict[str, Any]:
    """Content and style by strength, and by stroke at full strength: means over the first photos."""
    judge, styles = Judge(args.loss_network[-1]), chosen(palette, args)
    settings = [*((s, None) for s in (0.0, *STRENGTHS)), *((1.0, s) for s in STROKES)]
    rows: dict[str, list[list[tuple[float, float]]]] = {name: [] for name, _, _ in styles}
    for photo in find_photos(args.photos)[:CURVE_PHOTOS]:
        pixels = read_image(photo.read())
        seen = judge.seen(pixels)
        for name, style, painting in styles:
            painted = [stylize(pixels, style, strength=strength, stroke=stroke) for strength, stroke in settings]
            rows[name].append([judge.distances(picture, seen, painting) for picture in painted])
    found = {}
    for name, values in rows.items():
        means = np.mean(values, 0).round(4).tolist()
        keys = ("strength", "stroke", "content", "style")
        found[name] = [dict(zip(keys, (*s, *mean), strict=True)) for s, mean in zip(settings, means, strict=True)]
        print(name, found[name], flush=True)
    return {"photos": CURVE_PHOTOS, "styles": found}


def sliders(palette: Style, args: argparse.Namespace) -> dict[str, Any]:
    """Likeness of one picture painted at two sizes, and the largest step of each slider over its mean step."""
    photo = read_image(args.large or find_photos(args.photos)[0].read())
    small, large = (scale_to(photo, side) for side in SIZES)
    found: dict[str, Any] = {}
    for name, style, _ in chosen(palette, args):
        other = palette.spec.names[palette.spec.names.index(name) - 1]
        likeness = [
            ssim(resize(stylize(large, style, stroke=stroke), small.shape[:2]), stylize(small, style, stroke=stroke))
            for stroke in LIKE_STROKES
        ]
        found[name] = {"ssim_by_stroke": dict(zip(map(str, LIKE_STROKES), np.round(likeness, 3).tolist(), strict=True))}
        found[name] |= {k: round(unevenness(move), 2) for k, move in moves(palette, small, name, other).items()}
        print(name, found[name], flush=True)
    return {"large_photo": [*photo.shape[1::-1]], "styles": found}


def moves(palette: Style, photo: Pixels, name: str, other: str) -> dict[str, Callable[[float], Pixels]]:
    """Pictures of each slider by its place, 0 to 1: of a style, and of its blend with another."""
    style = palette.choose({name: 1.0})
    found: dict[str, Callable[[float], Pixels]] = {
        "strength": lambda place: stylize(photo, style, strength=place),
        "stroke": lambda place: stylize(photo, style, stroke=FINEST * (BROADEST / FINEST) ** place),
    }
    if other != name:
        found["blend"] = lambda place: stylize(photo, palette.choose({name: 1 - place, other: place}))
    return found


def unevenness(at_place: Callable[[float], Pixels], steps: int = 20) -> float:
    """Largest root-mean-square step of a slider's pictures from 0 to 1, over the mean step."""
    pictures = [at_place(i / steps).astype(np.float64) for i in range(steps + 1)]
    sizes = [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairwise(pictures)]
    return max(sizes) / float(np.mean(sizes))


def ssim(one: Pixels, other: Pixels) -> float:
    """Structural similarity (Wang et al. 2004) of the lightness of uint8 (H, W, 3): Gaussian window, deviation 1.5."""
    weights = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(weights, weights)[None, None] / weights.sum() ** 2
    x, y = (torch.from_numpy(p @ np.array([0.299, 0.587, 0.114]))[None, None] for p in (one, other))

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window)

    a, b, c, d = mean(x), mean(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = mean(x * y) - a * b
    spread = mean(x * x) - a * a + mean(y * y) - b * b
    return float(((2 * a * b + c) * (2 * covariance + d) / ((a * a + b * b + c) * (spread + d))).mean())


def objective(palette: Style, args: argparse.Namespace) -> dict[str, Any]:
    """The objective of the palette's training, of its output and of L-BFGS on the pixels, by side and start."""
    photos = [read_image(photo.read()) for photo in find_photos(args.photos)[: args.count]]
    before = json.loads(args.json.read_text()).get("objective", {}) if args.json and args.json.exists() else {}
    found: dict[str, Any] = before.get("styles", {})  # one side at a time may be measured: it takes hours
    for name, style, painting in chosen(palette, args):
        exact, fast = (make_targets(style, painting, args.loss_network, dtype) for dtype in PRECISIONS)
        weights = weights_of(style)
        for side in args.sides:
            ours, curves = [], dict[str, list[list[float]]]()
            for photo in photos:
                pixels = scale_to(photo, side)
                image = to_tensor(pixels)
                judge = Objective(exact, weights, image)
                with torch.no_grad():
                    ours.append(judge(to_tensor(stylize(pixels, style, strength=1.0))).item())
                for start in args.starts:
                    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
                    begun = noise if start == "noise" else image.clone()
                    values = descend(Objective(fast, weights, image), judge, begun, args.iterations)
                    curves.setdefault(start, []).append(values)
            lbfgs = {start: dict(zip(ITERATIONS, mean_of(values), strict=False)) for start, values in curves.items()}
            found.setdefault(name, {})[str(side)] = {"network": mean_of(ours), "lbfgs": lbfgs}
            print(name, side, found[name][str(side)], flush=True)
        found[name]["weights"] = weights
    return {"photos": len(photos), "styles": found}


def mean_of(values: Sequence[Any]) -> Any:
    """Mean over photos of numbers, or of rows of them."""
    return np.mean(values, 0).round(4).tolist()


def make_targets(style: Style, painting: Path, loss_network: Sequence[str], dtype: torch.dtype) -> Targets:
    """What the painting asks for at the size that the style paints unless told otherwise."""
    (name,) = style.weights
    size = next(entry.size for entry in style.spec.entries if entry.name == name)
    config = TrainConfig(
        (painting,), photos=Path(), output=Path(), style_size=(size,), loss_network=tuple(loss_network)
    )
    return Targets(config, torch.device("cpu"), dtype)


def weights_of(style: Style) -> dict[str, float]:
    """Weights at the end of the training that the style's recipe tells of, but for what made up for a lag.

    Of palettes that were joined, the first one's.
    """
    (name,), recipe = style.weights, style.spec.recipe
    recipe = recipe["merged"][0]["recipe"] if "merged" in recipe else recipe
    return {
        "content": recipe["content_weight"],
        "style": recipe["style_weight"][-1] * recipe["emphasis"].get(name, 1.0),
        "tv": recipe["tv_weight"],
    }


class Objective:
    """Objective of a painted photo (1, 3, H, W), by the losses of training."""

    def __init__(self, targets: Targets, weights: Mapping[str, float], photo: Tensor) -> None:
        self.targets, self.weights = targets, weights
        with torch.no_grad():
            self.features = targets.loss_network(photo.to(targets.dtype), targets.content_weights)

    def __call__(self, painted: Tensor) -> Tensor:
        """The weighted sum, of one number."""
        t = self.targets
        features = t.loss_network(painted.to(t.dtype), t.content_weights | t.style_weights)
        losses = {
            "content": content_loss(features, self.features, t.content_weights),
            "style": style_loss(features, {k: v.float() for k, v in t.grams.items()}, t.style_weights),
            "tv": total_variation(painted) / t.tv,
        }
        return torch.stack([self.weights[part] * losses[part] for part in losses]).sum()


def descend(loss: Objective, judge: Objective, pixels: Tensor, iterations: int) -> list[float]:
    """Objective by the judge at each of `ITERATIONS` of L-BFGS on the pixels within [0, 1], which are moved."""
    optimizer = LBFGS(history=20)
    values = []
    for i in range(iterations + 1):
        if i in ITERATIONS:
            with torch.no_grad():
                values.append(judge(pixels).item())
        if i < iterations:
            (gradient,) = torch.autograd.grad(loss(pixels.requires_grad_()), pixels)
            optimizer.step(pixels.requires_grad_(False), gradient)
    return values


def chosen(palette: Style, args: argparse.Namespace) -> list[tuple[str, Style, Path]]:
    """Name, style and painting of those that are asked for."""
    paintings = {path.stem: path for path in args.paintings.iterdir()}
    names = args.styles or palette.spec.names
    return [(name, palette.choose({name: 1.0}), paintings[name]) for name in names]


MEASUREMENTS = {"distances": distances, "curves": curves, "sliders": sliders, "objective": objective}


if __name__ == "__main__":
    main()
