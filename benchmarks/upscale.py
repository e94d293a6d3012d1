"""Super-resolution in figures: ``python benchmarks/upscale.py --help``.

``quality``: PSNR and SSIM of lightness on photos that no training saw, made small by a Gaussian of deviation 1 and
bicubic interpolation, and how far features are from the photo's, over how far those of the bicubic enlargement are;
``grid``: energy at the periods of grids, over the photo's; ``speed``: to 1920 x 1080; ``sheet``: a picture of crops.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from impasto.images import fit, read_image, to_network, write_image
from impasto.losses import distance
from impasto.networks.weights import load_loss_network
from impasto.sheets import draw
from impasto.targets import to_tensor
from impasto.train_upscaler import psnr, reduced
from impasto.upscale import bicubic, upscale
from impasto.upscalers import Upscaler, load_upscaler
from measure import PERIODS, at, spectrum
from quality import ssim
from speed import HD, THREADS, medians, noise_photo, parse, record

Pixels = npt.NDArray[np.uint8]
LAYERS = ("relu1_2", "relu2_1", "relu2_2", "relu3_1")
MULTIPLE = 8
"""Sides of the photos are cut to multiples of this, so that they can be made small to all scales."""
LONGEST = 512
"""Long side in pixels to which the photos of the sheet are reduced."""
CROP, ZOOM = 96, 3
"""Side in pixels of a sheet's crops, and times that they are shown larger."""


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure super-resolution.")
    parser.add_argument(
        "names", nargs="*", default=[*MEASUREMENTS], help=f"{', '.join(MEASUREMENTS)}; unless given all"
    )
    parser.add_argument(
        "--upscalers", nargs="+", required=True, help="NAME=FILE, or NAME=x4 of a built-in one; each at its own scale"
    )
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="a folder, for the sheet files")
    parser.add_argument("--count", type=int, help="of the photos")
    parser.add_argument("--judge", default="vgg19-compact", help="loss network that gives the features")
    parser.add_argument("--blur", type=float, default=1.0, help="deviation of the Gaussian")
    parser.add_argument("--at", nargs="+", default=[], help="centres of the sheet's crops, as 0.5,0.4, one a photo")
    parser.add_argument("--sheet", type=Path, default=Path("upscale.png"), help="picture to write")
    args = parse(parser)
    torch.set_num_threads(THREADS)
    record(args.names, args.json, lambda name: MEASUREMENTS[name](args))


def by_scale(args: argparse.Namespace) -> dict[int, dict[str, Upscaler]]:
    """Upscalers by scale and name."""
    found: dict[int, dict[str, Upscaler]] = {}
    for text in args.upscalers:
        name, _, source = text.partition("=")
        loaded = load_upscaler(source)
        found.setdefault(loaded.scale, {})[name] = loaded
    return dict(sorted(found.items()))


def photos(args: argparse.Namespace) -> list[Pixels]:
    """Photos, cut to sides that can be made small."""
    files = [file for path in args.photos for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    images = (read_image(file) for file in files[: args.count])
    return [image[: image.shape[0] // MULTIPLE * MULTIPLE, : image.shape[1] // MULTIPLE * MULTIPLE] for image in images]


def enlarged(photo: Pixels, scale: int, upscalers: Mapping[str, Upscaler], blur: float) -> Iterator[tuple[str, Pixels]]:
    """What bicubic interpolation and the upscalers make of a photo that was made small."""
    image = reduced(to_tensor(np.ascontiguousarray(photo)), scale, blur)[0]
    small = np.ascontiguousarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    yield "bicubic", bicubic(small, scale).copy()  # Pillow's own is read-only
    for name, one in upscalers.items():
        yield name, upscale(small, upscaler=one)


@torch.inference_mode()
def quality(args: argparse.Namespace) -> dict[str, Any]:
    """PSNR and SSIM without a border of `scale` pixels, and squared distances of features over bicubic's."""
    judge = load_loss_network(args.judge)
    layers = [layer for layer in LAYERS if layer in judge.layers]
    found: dict[str, Any] = {"judge": Path(args.judge).stem, "blur": args.blur}
    for scale, upscalers in by_scale(args).items():
        rows: dict[str, list[list[float]]] = {}
        inner = slice(scale, -scale)
        for photo in photos(args):
            image = to_tensor(np.ascontiguousarray(photo))
            own = np.ones(len(layers))
            target = judge(image, layers)
            for name, large in enlarged(photo, scale, upscalers, args.blur):
                picture = to_tensor(large)
                seen = judge(picture, layers)
                far = np.array([distance(seen[k], target[k], relative=False).item() for k in layers])
                own = far if name == "bicubic" else own  # it comes first
                figures = [psnr(picture[..., inner, inner], image[..., inner, inner])]
                figures.append(ssim(large[inner, inner], np.ascontiguousarray(photo[inner, inner])))
                rows.setdefault(name, []).append([*figures, *(far / own).tolist()])
        found[f"x{scale}"] = {name: named(layers, np.mean(values, 0)) for name, values in rows.items()}
        found["photos"] = len(rows["bicubic"])
    return found


def named(layers: list[str], values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Means with their names."""
    ratios = {layer: round(float(value), 3) for layer, value in zip(layers, values[2:], strict=True)}
    return {"psnr_db": round(float(values[0]), 2), "ssim": round(float(values[1]), 4), "features_over_bicubic": ratios}


def grid(args: argparse.Namespace) -> dict[str, Any]:
    """Energy at the periods of grids, over the photo's, means over the photos."""
    found: dict[str, Any] = {}
    for scale, upscalers in by_scale(args).items():
        rows: dict[str, list[list[float]]] = {}
        for photo in photos(args):
            own = spectrum(np.ascontiguousarray(photo))
            for name, large in enlarged(photo, scale, upscalers, args.blur):
                rows.setdefault(name, []).append([at(spectrum(large), p) / at(own, p) for p in PERIODS])
        found[f"x{scale}"] = {
            name: {str(period): round(float(v), 3) for period, v in zip(PERIODS, np.mean(values, 0), strict=True)}
            for name, values in rows.items()
        }
    return found


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds to a picture of 1920 x 1080, of the network alone and of the whole verb."""
    found: dict[str, Any] = {}
    for scale, upscalers in by_scale(args).items():
        small = noise_photo((HD[0] // scale, HD[1] // scale))
        for name, one in upscalers.items():
            for precision in ("auto", "float32"):
                found[f"{name} x{scale} {precision}"] = speed_of(one, small, precision) | {"bytes": len(one.data)}
    return found


def speed_of(one: Upscaler, small: Pixels, precision: str) -> dict[str, Any]:
    """Median seconds of the network and of the verb, and the arithmetic."""
    runtime, image = one.runtime("auto", precision), to_network(small)
    took = medians(
        {"network": lambda: runtime(image), "verb": lambda: upscale(small, upscaler=one, precision=precision)}, 7
    )
    return {key: round(value, 3) for key, value in took.items()} | {"precision": runtime.precision}


def sheet(args: argparse.Namespace) -> dict[str, Any]:
    """Write crops of photos: bicubic, by the upscalers, and as they were; the first scale alone."""
    scale, upscalers = next(iter(by_scale(args).items()))
    labels, rows = [], []
    for i, photo in enumerate(photos(args)):
        image = fit(photo, LONGEST)
        image = image[: image.shape[0] // MULTIPLE * MULTIPLE, : image.shape[1] // MULTIPLE * MULTIPLE]
        across, down = (float(text) for text in (args.at[i] if i < len(args.at) else "0.5,0.5").split(","))
        sides = zip((across, down), image.shape[1::-1], strict=True)
        left, top = (int(np.clip(place * side - CROP / 2, 0, side - CROP)) for place, side in sides)
        pictures = {**dict(enlarged(image, scale, upscalers, args.blur)), "original": image}
        crops = [picture[top : top + CROP, left : left + CROP] for picture in pictures.values()]
        rows.append([crop.repeat(ZOOM, 0).repeat(ZOOM, 1) for crop in crops])
        labels.append([*pictures])
    write_image(args.sheet, draw(labels, rows))
    return {"scale": scale, "sheet": args.sheet.name}


MEASUREMENTS = {"quality": quality, "grid": grid, "speed": speed, "sheet": sheet}

if __name__ == "__main__":
    main()
