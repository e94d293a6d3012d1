"""What a GPU does: ``python benchmarks/gpu.py [--json FILE]`` on a machine with one that PyTorch runs.

``painting``: frames a second at 360p, 1080p and 4K, from bytes to bytes, of the palette and the full network, against
the same network in eager float32; alone, several abreast as of a video, with batches where they are small and without
any, and in batches as such; the network's share of the matrix product's rate. ``large``: 24 megapixels whole and by
tiles in little memory: what was predicted and what was taken. ``training``: images a second as the built-in palette was
trained, and minutes that follow for all its steps and for a style that is added. Where there is no GPU the results say
so; ``--device cpu`` rehearses all of it there.
"""

import argparse
import itertools
import json
import math
import time
import tomllib
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from impasto.config import TrainConfig
from impasto.export import load_network
from impasto.gpu import Held, is_full
from impasto.images import Floats, Pixels, write_image
from impasto.large import GPU_APART, GPU_SLACK, Limit, make_plan
from impasto.photos import Crops, Prefetch
from impasto.runtimes import ABREAST, TOGETHER, TorchRuntime, torch_gpu
from impasto.styles import Style, load_style
from impasto.stylize import stylize
from impasto.train import DEFAULT_STEPS, Run
from large import psnr
from speed import HD, STYLE, UHD, full_style, loss_networks, machine, noise_photo, parse, ran, write

SMALL = (360, 640)
LARGE = (4000, 6000)
LITTLE = 1.0
"""Gigabytes for tiles."""
WHOLE = 1 << 20
"""Side of a tile that no picture is larger than."""
RECIPE = Path(__file__).parent.parent / "recipes" / "palette.toml"
PAINTINGS = 16
"""That the built-in palette was trained on."""


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure a GPU.")
    parser.add_argument("names", nargs="*", help=f"{', '.join(MEASUREMENTS)}; all unless given")
    parser.add_argument("--device", help="cuda, mps, or cpu to rehearse; the GPU that there is unless given")
    parser.add_argument("--share", type=float, default=1.0, help="of the sides of all pictures, to try quickly")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each figure is taken over")
    args = parse(parser)
    args.device = args.device or torch_gpu()
    results = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name in args.names or MEASUREMENTS:
        results[name] = {"machine": machine() | about(args.device), "command": ran()}
        if args.device:
            with TemporaryDirectory() as folder:
                results[name] |= MEASUREMENTS[name](args, Path(folder))
        print(name, json.dumps(results[name], indent=2), flush=True)
        write(results, args.json)


def about(device: str | None) -> dict[str, Any]:
    """What there is to say of a GPU, with the matrix rates that bound it."""
    if device is None:
        return {"gpu": "none was at hand, so nothing was measured"}
    rates = {kind: round(matmul_tflops(device, getattr(torch, kind)), 3) for kind in ("float32", "float16")}
    told: dict[str, Any] = {"device": device, "gpu": "a rehearsal without one", "matmul_tflops_there": rates}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(device)
        told |= {"gpu": properties.name, "gpu_gb": round(properties.total_memory / 1e9, 1)}
        told |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
        told["float32_by_tf32"] = {"cudnn": torch.backends.cudnn.allow_tf32}  # of convolutions
    return told


def matmul_tflops(device: str, dtype: torch.dtype) -> float:
    """Rate of a large matrix product."""
    size = 512 if device == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / 1e12 / seconds_of(lambda: a @ a, 1.0, device)


def seconds_of(run: Callable[[], object], least: float, device: str) -> float:
    """Seconds of a run, over at least three and so many seconds, after two that do not count."""
    for _ in range(2):
        run()
    done(device)
    start, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - start < least:
        run()
        count += 1
    done(device)
    return (time.perf_counter() - start) / count


def done(device: str) -> None:
    """Wait until all is computed."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def sized(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Height and width at a share, as multiples of 8, which any network takes."""
    height, width = (max(64, round(side * share / 8) * 8) for side in size)
    return height, width


class Eager:
    """What one would write first: the network in float32, a photo after another."""

    def __init__(self, data: bytes, device: str) -> None:
        self.net, self.device = load_network(data).to(device), device

    @torch.inference_mode()
    def __call__(self, photo: Pixels, *rows: Floats) -> Pixels:
        """Paint uint8 (H, W, 3)."""
        x = torch.from_numpy(photo).to(self.device).permute(2, 0, 1)[None].float() / 255
        painted: Tensor = self.net(x.contiguous(), *(torch.from_numpy(values).to(self.device) for values in rows))[0]
        made: Pixels = (painted * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return made


def styles(folder: Path) -> dict[str, tuple[Style, list[Floats]]]:
    """The palette and the full network, with weights of rows."""
    palette, full = load_style(STYLE), load_style(full_style(folder))
    return {"palette": (palette, [palette.spec.mix(palette.weights, strength=0.8, size=600)]), "full": (full, [])}


def painting(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Frames a second, from bytes in this computer's memory to bytes there."""
    result: dict[str, Any] = {}
    for (name, (style, rows)), size in itertools.product(styles(folder).items(), (SMALL, HD, UHD)):
        photos = [noise_photo(sized(size, args.share)) ^ np.uint8(turn) for turn in range(2 * ABREAST)]
        network, eager = TorchRuntime(style.data, args.device), Eager(style.data, args.device)
        with FlopCounterMode(display=False) as counter:
            exact = eager(photos[0], *rows)
        flops = counter.get_total_flops()
        wanted: dict[str, Callable[[], object]] = {
            "eager_float32": partial(eager, photos[0], *rows),
            "one_by_one": partial(network.paint, photos[0], *rows),
            "network_alone": alone(network, photos[0], rows),
        }
        rates = {key: rate(run, args) for key, run in wanted.items()}
        rates["abreast"] = abreast(network, photos, rows, args)
        network.frames.apart.add(photos[0].shape)
        rates["abreast_without_batches"] = abreast(network, photos, rows, args)
        batch = rate(partial(network.paint, np.stack(photos[:TOGETHER]), *rows), args)
        rates[f"batches_of_{TOGETHER}"] = batch and batch * TOGETHER
        tflops = (rates["network_alone"] or math.nan) * flops / 1e12
        result[f"{name} {size[0]}p"] = {
            "size": [*photos[0].shape[1::-1]],
            "precision": network.precision,
            "frames_a_second": {key: value and round(value, 2) for key, value in rates.items()},
            "times_eager": round((rates["abreast"] or math.nan) / (rates["eager_float32"] or math.nan), 2),
            "tflops": round(tflops, 3),
            "share_of_matmul": round(tflops / matmul_tflops(args.device, getattr(torch, network.precision)), 3),
            "db_to_eager_float32": round(psnr(network.paint(photos[0], *rows), exact), 1),
            "graphs": len(network.frames.graphs),
        }
    return result


def rate(run: Callable[[], object], args: argparse.Namespace) -> float | None:
    """Runs a second, or None where memory does not suffice."""
    try:
        return 1 / seconds_of(run, args.seconds, args.device)
    except Exception as error:
        if not is_full(error):
            raise
        return None


def alone(network: TorchRuntime, photo: Pixels, rows: Sequence[Floats]) -> Callable[[], object]:
    """The network on a photo that is on the GPU already, by a captured graph where there is one, and left there."""
    given = tuple(torch.from_numpy(values).to(network.device) for values in (photo, *rows))
    frames = network.frames

    @torch.inference_mode()
    def run() -> object:
        graph = next(iter(frames.graphs.values()), None)
        return graph(*given) if graph else frames.pixels(*given)

    return run


def abreast(network: TorchRuntime, photos: Sequence[Pixels], rows: Sequence[Floats], args: argparse.Namespace) -> float:
    """Frames a second of several threads, as a video's are painted."""
    with ThreadPoolExecutor(ABREAST) as threads:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < args.seconds:
            for _ in threads.map(lambda photo: network.paint(photo, *rows), photos):
                count += 1
        return count / (time.perf_counter() - start)


def large(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A large photo whole, and by tiles in little memory: predicted and taken, and how they differ."""
    result: dict[str, Any] = {}
    for name, (style, _) in styles(folder).items():
        photo = noise_photo(sized(LARGE, args.share))
        network = TorchRuntime(style.data, args.device)
        style._runtimes["gpu", style.spec.precision, style.own] = network  # noqa: SLF001 - the CPU's too, to rehearse
        cost = GPU_SLACK * network.held(style.spec)
        told: dict[str, Any] = {"bytes_a_pixel_with_slack": round(cost)}
        painted = {}
        ways: dict[str, dict[str, Any]] = {"whole": {"tile": WHOLE}, "tiles": {"memory": LITTLE * args.share}}
        for key, how in ways.items():
            limit = Limit(memory=how.get("memory") and how["memory"] * 1e9, tile=how.get("tile"))
            network.forget()
            with warnings.catch_warnings(record=True) as caught, Peak(args.device) as peak:
                warnings.simplefilter("always")
                start = time.perf_counter()
                painted[key] = stylize(photo, style, device="gpu", **how)
                seconds = time.perf_counter() - start
            plan = make_plan(photo.shape[:2], photo.shape[:2], style, network, limit)
            predicted = plan.gigabytes or (math.prod(photo.shape[:2]) * cost + GPU_APART) / 1e9
            told[key] = {"tiles": plan.tiles, "tile": plan.side, "seconds": round(seconds, 2)}
            told[key] |= {"predicted_gb": round(predicted, 3), "taken_gb": round(peak.gigabytes, 3)}
            told[key]["warnings"] = [str(each.message) for each in caught]
        result[name] = told | {"db_tiles_to_whole": round(psnr(painted["tiles"], painted["whole"]), 1)}
    return result


class Peak:
    """Gigabytes that were taken at most of a GPU inside; of the CPU, those of tensors made in this thread."""

    def __init__(self, device: str) -> None:
        self.device, self.gigabytes = device, math.nan
        self.held: Any = Held()

    def __enter__(self) -> "Peak":
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_reserved()
        elif self.device == "cpu":
            self.held.__enter__()
        return self

    def __exit__(self, *caught: Any) -> None:
        if self.device == "cuda":
            self.gigabytes = (torch.cuda.max_memory_reserved() - self.before) / 1e9
        elif self.device == "cpu":
            self.held.__exit__(*caught)
            self.gigabytes = self.held.most / 1e9


def training(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Images a second of both trainings, and the minutes that all their steps would take: computed, not waited for."""
    recipe = tomllib.loads(RECIPE.read_text("utf-8"))
    (folder / "photos").mkdir()
    for i in range(64):
        write_image(folder / "photos" / f"{i}.jpg", noise_photo((480, 640)) ^ np.uint8(i))
    paintings = tuple(folder / f"painting{i}.png" for i in range(PAINTINGS))
    for i, path in enumerate(paintings):
        write_image(path, noise_photo((600, 800)) ^ np.uint8(i))
    common: dict[str, Any] = {"photos": folder / "photos", "device": args.device}
    shape: dict[str, Any] = {key: tuple(recipe[key]) for key in ("image_size", "batch_size", "style_weight")}
    shape |= {key: recipe[key] for key in ("steps", "tv_weight", "stability_weight")}
    config = TrainConfig(paintings, output=folder / "a.onnx", loss_network=loss_networks(folder), **common, **shape)
    added = TrainConfig(paintings[:1], output=folder / "b.onnx", base="palette", steps=DEFAULT_STEPS, **common)
    return {"palette": trained(config, args), "style_added": trained(added, args)}


def trained(config: TrainConfig, args: argparse.Namespace) -> dict[str, Any]:
    """Some steps of each part of a run, and what follows for all of them."""
    run = Run(config)
    run.open()
    parts, minutes = len(config.image_size), 0.0
    told: dict[str, Any] = {"precision": str(run.dtype).removeprefix("torch."), "steps": run.total_steps}
    with Prefetch(Crops(run.photos, 0)) as photos:
        for part in range(parts):
            run.step_count = math.ceil(part * run.total_steps / parts)
            seconds = seconds_of(lambda: run.step(photos), args.seconds, args.device)
            side, batch = config.image_size[part], config.batch_size[part]
            told[f"{batch} of {side} px, {part + 1}"] = {"images_a_second": round(batch / seconds, 1)}
            minutes += run.total_steps / parts * seconds / 60
    return told | {"minutes_computed_of_all_steps": round(minutes, 1)}


MEASUREMENTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "painting": painting,
    "large": large,
    "training": training,
}

if __name__ == "__main__":
    main()
