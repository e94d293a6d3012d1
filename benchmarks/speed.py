"""How fast Impasto is, as ratios measured in one run: ``python benchmarks/speed.py [--json FILE]``.

Both sides of a ratio take turns in one process, or one shell for whole commands, and their medians are compared. The
full network is Johnson et al.'s of 1.68 M parameters with seeded weights: time and memory do not depend on their
values. Nothing else should run on the machine.
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from impasto.config import TrainConfig, TransformerArgs
from impasto.export import export_style, load_network, make_spec
from impasto.images import write_image
from impasto.memory import keep_memory
from impasto.networks.norm import InstanceNorm
from impasto.networks.transformer import TransformerNet
from impasto.networks.vgg import conv_names
from impasto.networks.weights import load_loss_network
from impasto.photos import Crops, Prefetch
from impasto.runtimes import OpenVINORuntime
from impasto.specs import StyleEntry
from impasto.styles import find_style, load_style
from impasto.targets import to_tensor
from impasto.train import Run

FRAME, HD, UHD = (720, 1280), (1080, 1920), (2160, 3840)
THREADS = 2
STYLE = "candy"
JOHNSON_MACS = 154e3
"""Multiply-adds a pixel of the full network."""
PEER = """
import sys
import numpy as np
import torch
from PIL import Image
from torch import nn

torch.set_num_threads(2)
photo, weights, output = sys.argv[1:]


class Conv(nn.Sequential):
    def __init__(self, i, o, k, stride=1):
        super().__init__(nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, stride))


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.body = nn.Sequential(
            Conv(c, c, 3), nn.InstanceNorm2d(c, affine=True), nn.ReLU(),
            Conv(c, c, 3), nn.InstanceNorm2d(c, affine=True),
        )

    def forward(self, x):
        return x + self.body(x)


def stage(*layers):
    return nn.Sequential(*layers, nn.InstanceNorm2d(layers[-1][1].out_channels, affine=True), nn.ReLU())


net = nn.Sequential(
    stage(Conv(3, 32, 9)), stage(Conv(32, 64, 3, 2)), stage(Conv(64, 128, 3, 2)),
    *(Residual(128) for _ in range(5)),
    stage(nn.Upsample(scale_factor=2), Conv(128, 64, 3)), stage(nn.Upsample(scale_factor=2), Conv(64, 32, 3)),
    Conv(32, 3, 9),
)
if not __import__("os").path.exists(weights):
    torch.save(net.state_dict(), weights)
net.load_state_dict(torch.load(weights, weights_only=True))
net.eval()
image = torch.from_numpy(np.asarray(Image.open(photo).convert("RGB"))).permute(2, 0, 1)[None].float()
with torch.no_grad():
    painted = net(image)[0].clamp(0, 255).byte().permute(1, 2, 0).numpy()
Image.fromarray(painted).save(output, quality=92)
"""
"""The usual script around a published network, float32."""


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure Impasto's speed.")
    parser.add_argument("names", nargs="*", help="what to measure; everything unless given")
    args = parse(parser)
    torch.set_num_threads(THREADS)
    keep_memory()  # as the commands do, for both sides of a ratio
    with tempfile.TemporaryDirectory() as folder:
        record(args.names or MEASUREMENTS, args.json, lambda name: MEASUREMENTS[name](Path(folder)))


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Arguments of a benchmark, with the file for its results."""
    parser.add_argument("--json", type=Path, help="file for the results; what it has of others is kept")
    return parser.parse_args()


def record(
    names: Iterable[str], file: Path | None, measure: Callable[[str], Mapping[str, Any]], *, load: bool = False
) -> None:
    """Take one measurement after another, print each, and write it to the file of results, if there is one.

    `load`: whether that of the machine, before each, is written too.
    """
    results: dict[str, Any] = json.loads(file.read_text()) if file and file.exists() else {}
    for name in names:
        here = machine() | ({"load": os.getloadavg()[0]} if load else {})
        results[name] = {"machine": here, "command": ran(), **measure(name)}
        print(name, json.dumps(results[name], indent=2), flush=True)
        write(results, file)


def write(results: Mapping[str, Any], file: Path | None) -> None:
    """Write results to their file, if there is one."""
    if file:
        file.write_text(json.dumps(results, indent=2) + "\n")


def ran() -> str:
    """The command that measures, without this machine's folders."""
    return " ".join(["python", *map(without_folder, sys.argv)])


def without_folder(word: str) -> str:
    """A word of a command, in which a file at an absolute path, ``NAME=FILE`` too, is its name alone."""
    key, sign, value = word.rpartition("=")
    return f"{key}{sign}{Path(value).name}" if Path(value).is_absolute() else word


def machine() -> dict[str, Any]:
    """What the figures were taken on, with the matrix rates that bound them."""
    model = next((v for k, v in cpu_info() if k == "model name"), platform.processor())
    flags = next((v.split() for k, v in cpu_info() if k == "flags"), [])
    return {
        "processor": model,
        "threads": THREADS,
        "bf16_instructions": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags],
        "matmul_tflops": {str(t).removeprefix("torch."): matmul_rate(t) for t in (torch.float32, torch.bfloat16)},
        "python": platform.python_version(),
        **{package: version(package) for package in ("impasto", "openvino", "torch", "numpy", "pillow")},
    }


def cpu_info() -> Iterator[tuple[str, str]]:
    """Keys and values of /proc/cpuinfo, where there is one."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Rate of a large matrix product, TFLOP/s."""
    a = torch.randn(size, size).to(dtype)
    return round(2 * size**3 / medians({"": lambda: a @ a}, 5)[""] / 1e12, 3)


def medians(runs: Mapping[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Median seconds of each, taking turns, after one run of each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(count):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def seeded_net(width: int) -> TransformerNet:
    """Network of the given width with seeded weights."""
    torch.manual_seed(0)
    return TransformerNet(TransformerArgs(width=width)).eval().requires_grad_(False)


def full_style(folder: Path) -> Path:
    """Style file of the full network."""
    path = folder / "full.onnx"
    if not path.exists():
        net = seeded_net(32)
        export_style(net, path, make_spec(net, entries=(StyleEntry(name="full"),)))
    return path


def network(folder: Path) -> dict[str, Any]:
    """The full network at 1920 x 1080, against the same in eager float32 PyTorch."""
    net, image = seeded_net(32), np.random.default_rng(0).random((1, 3, *HD), dtype=np.float32)
    x = torch.from_numpy(image)
    data = full_style(folder).read_bytes()
    engines = {f"full {precision}": OpenVINORuntime(data, precision=precision) for precision in ("float32", "bfloat16")}

    def eager() -> Tensor:
        with torch.inference_mode():
            painted: Tensor = net(x)
            return painted

    runs = {name: partial(engine, image) for name, engine in engines.items()}
    seconds = medians({"eager float32": eager, **runs}, 5)
    result: dict[str, Any] = {name: {"seconds": round(s, 3)} for name, s in seconds.items()}
    for name in engines:
        result[name]["times_faster"] = round(seconds["eager float32"] / seconds[name], 2)
    rate = 2 * JOHNSON_MACS * math.prod(HD) / 1e12
    for name in ("eager float32", "full float32", "full bfloat16"):
        result[name]["tflops"] = round(rate / seconds[name], 3)
    reference = eager().numpy()
    result["full float32"]["psnr_to_pytorch_db"] = psnr(engines["full float32"](image), reference)
    exact = engines["full float32"](image).copy()
    result["full bfloat16"]["psnr_to_float32_db"] = psnr(engines["full bfloat16"](image), exact)
    return result


def palette(_: Path) -> dict[str, Any]:
    """The built-in palette at three sizes, against the full network in eager float32 PyTorch."""
    style = load_style(STYLE)
    rows = style.spec.mix(style.weights, strength=0.8, size=600)
    images = {size: np.random.default_rng(0).random((1, 3, *size), dtype=np.float32) for size in (FRAME, HD, UHD)}
    full, x = seeded_net(32), torch.from_numpy(images[HD])

    def eager() -> Tensor:
        with torch.inference_mode():
            painted: Tensor = full(x)
            return painted

    engines = {precision: OpenVINORuntime(style.data, precision=precision) for precision in ("float32", "bfloat16")}
    runs = {(name, size): partial(engines[name], images[size], rows) for name in engines for size in images}
    turns = {f"{name} {size[0]}p": run for (name, size), run in runs.items() if size != FRAME}
    seconds = medians({"eager float32": eager, **turns}, 5)
    for name in engines:  # frame after frame, as in a video: between pictures of other sizes memory is fetched anew
        seconds |= medians({f"{name} 720p": runs[name, FRAME]}, 15)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        load_network(style.data)(x, torch.from_numpy(rows))
    result: dict[str, Any] = {name: {"seconds": round(s, 4)} for name, s in seconds.items()}
    for name in engines:
        result[f"{name} 1080p"] |= {
            "times_faster": round(seconds["eager float32"] / seconds[f"{name} 1080p"], 1),
            "tflops": round(counter.get_total_flops() / seconds[f"{name} 1080p"] / 1e12, 3),
        }
        result[f"{name} 2160p"]["times_1080p"] = round(seconds[f"{name} 2160p"] / seconds[f"{name} 1080p"], 2)
        result[f"{name} 720p"]["frames_per_second"] = round(1 / seconds[f"{name} 720p"], 1)
    exact = engines["float32"](images[HD], rows).copy()
    result["bfloat16 1080p"]["psnr_to_float32_db"] = psnr(engines["bfloat16"](images[HD], rows), exact)
    result["multiply_adds_a_pixel"] = round(counter.get_total_flops() / 2 / math.prod(HD))
    result["megabytes"] = round(find_style(STYLE).stat().st_size / 1e6, 2)
    return result


def psnr(image: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1] as they would be shown, dB."""
    difference = image.clip(0, 1).astype(np.float64) - reference.clip(0, 1)
    return round(-10 * math.log10(max(float(np.square(difference).mean()), 1e-12)), 1)


def command(folder: Path) -> dict[str, Any]:
    """Whole commands on a 1080p JPEG: ``impasto stylize`` against a PyTorch script with the full network."""
    photo, weights, script = folder / "photo.jpg", folder / "weights.pth", folder / "peer.py"
    write_image(photo, noise_photo(HD))
    script.write_text(PEER)
    peer = [sys.executable, str(script), str(photo), str(weights), str(folder / "peer.jpg")]
    ours = [tool(), "stylize", str(photo), "-o", str(folder / "ours.jpg"), "--style"]
    commands = {"peer": peer, STYLE: [*ours, STYLE], "full": [*ours, str(full_style(folder))]}
    seconds = medians({name: partial(run_command, c) for name, c in commands.items()}, 5)
    return {
        name: {"seconds": round(s, 3), "times_faster": round(seconds["peer"] / s, 2)} for name, s in seconds.items()
    }


def noise_photo(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth random colours, uint8 (H, W, 3), that compress as a photo does."""
    coarse = torch.rand(1, 3, size[0] // 20, size[1] // 20, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, size, mode="bicubic")[0].permute(1, 2, 0)
    return (smooth * 255).clamp(0, 255).to(torch.uint8).numpy()


def tool() -> str:
    """The ``impasto`` command of this environment."""
    return shutil.which("impasto", path=str(Path(sys.executable).parent)) or "impasto"


def run_command(command: list[str]) -> None:
    """Run a command to its end; its failure is ours."""
    subprocess.run(command, check=True, capture_output=True)


def start(_: Path) -> dict[str, Any]:
    """Import and ``--help``, less nothing: whole processes, and the import alone beside an empty Python."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import impasto": [sys.executable, "-c", "import impasto"],
        "import impasto, stylize": [sys.executable, "-c", "import impasto; impasto.stylize"],
        "impasto --help": [tool(), "--help"],
    }
    seconds = medians({name: partial(run_command, c) for name, c in commands.items()}, 9)
    return {name: round(s, 3) for name, s in seconds.items()}


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory of the whole command at 3840 x 2160, by the operating system's account."""
    photo = folder / "large.jpg"
    write_image(photo, noise_photo(UHD))
    peaks = {}
    for name, style in {"full": str(full_style(folder)), STYLE: STYLE}.items():
        for precision in ("float32", "bfloat16"):
            command = [tool(), "stylize", str(photo), "-o", str(folder / "large-out.jpg"), "--style", style]
            peaks[f"{name} {precision}"] = peak_gb([*command, "--precision", precision])
    return {"peak_gb": peaks}


def peak_gb(command: list[str]) -> float:
    """Peak resident memory of a command, GB."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    return round(int(done.stdout) * 1024 / 1e9, 2)


def training_step(folder: Path) -> dict[str, Any]:
    """One training step as ``impasto train`` takes it, against the plain eager float32 step of the same network.

    Half-width network, 8 crops of 128 pixels, VGG-19 to relu3_1 and its compressed form below, with random weights.
    """
    run, plain = make_run(folder), PlainStep(folder)
    with Prefetch(Crops(run.photos, 0)) as photos:
        image = to_tensor(photos.batch(0, 0, 8, 128)).contiguous()
        seconds = medians({"impasto": lambda: run.step(photos), "plain float32": lambda: plain(image)}, 15)
    ratio = seconds["plain float32"] / seconds["impasto"]
    rows: dict[str, Any] = {
        k: {"seconds": round(v, 3), "images_per_second": round(8 / v, 1)} for k, v in seconds.items()
    }
    return rows | {"times_faster": round(ratio, 2), "precision": str(run.dtype).removeprefix("torch.")}


def training_profile(folder: Path) -> dict[str, Any]:
    """Where the time of both training steps goes: milliseconds a step by operator, the largest eight."""
    run, plain = make_run(folder), PlainStep(folder)
    with Prefetch(Crops(run.photos, 0)) as photos:
        image = to_tensor(photos.batch(0, 0, 8, 128)).contiguous()
        return {
            "plain float32": profile_of(lambda: plain(image)),
            "impasto": profile_of(lambda: run.step(photos)),
        }


def profile_of(step: Callable[[], Any], count: int = 5) -> dict[str, float]:
    """Milliseconds a step of the operators that take most, and of all together."""
    step()
    with torch.profiler.profile() as profiler:
        for _ in range(count):
            step()
    times = {e.key: e.self_cpu_time_total / 1e3 / count for e in profiler.key_averages()}
    largest = sorted(times, key=lambda key: -times[key])[:8]
    return {key: round(times[key], 1) for key in largest} | {"all": round(sum(times.values()), 1)}


def make_run(folder: Path) -> Run:
    """A training run of random photos."""
    (folder / "photos").mkdir(exist_ok=True)
    for i in range(32):
        write_image(folder / "photos" / f"{i}.jpg", noise_photo((320, 400)))
    config = TrainConfig(
        (folder / "photos" / "0.jpg",),
        architecture="TransformerNet",
        photos=folder / "photos",
        output=folder / "run.onnx",
        batch_size=(8,),
        image_size=(128,),
        loss_network=loss_networks(folder),
    )
    run = Run(config)
    run.open()
    return run


def loss_networks(folder: Path) -> tuple[str, str]:
    """Files of VGG-19 to relu3_1, and of one with a quarter of the channels to relu5_1, random weights."""
    return random_vgg19(folder / "exact.safetensors", 64, "3_1"), random_vgg19(folder / "small.safetensors", 16, "5_1")


def random_vgg19(path: Path, base: int, last: str) -> str:
    """Write a VGG-19 of random weights to its convolution `last`, `base` channels in its first; returns the path."""
    state, inputs = {"normalize.weight": torch.eye(3)[:, :, None, None], "normalize.bias": torch.zeros(3)}, 3
    names = conv_names("vgg19")
    for layer in names[: names.index(last) + 1]:
        outputs = base * min(8, 2 ** (int(layer[0]) - 1))
        state[f"conv{layer}.weight"] = torch.randn(outputs, inputs, 3, 3) * math.sqrt(2 / (9 * inputs))
        state[f"conv{layer}.bias"] = torch.zeros(outputs)
        inputs = outputs
    save_file(state, path)
    return str(path)


class PlainStep:
    """The step that one would write first: contiguous float32, PyTorch's own instance normalisation."""

    def __init__(self, folder: Path) -> None:
        exact, small = loss_networks(folder)
        self.exact, self.small = load_loss_network(exact), load_loss_network(small)
        self.net = TransformerNet(TransformerArgs())
        for module in self.net.modules():
            if isinstance(norm := getattr(module, "norm", None), InstanceNorm):
                module.norm = nn.InstanceNorm2d(len(norm.weight), affine=True)
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3)
        painting = torch.rand(1, 3, 400, 512)
        with torch.no_grad():
            self.grams = {k: self.gram(f) for k, f in self.features(painting).items()}

    def __call__(self, image: Tensor) -> None:
        """One step on images (N, 3, H, W)."""
        painted = self.net(image)
        features = self.features(painted)
        with torch.no_grad():
            targets = self.exact(image, ["relu3_1"]) | self.small(image, ["relu4_1"])
        loss: Tensor = 0.02 * (painted.diff(dim=2).square().mean() + painted.diff(dim=3).square().mean())
        loss = loss + torch.stack([F.mse_loss(features[k], t) / t.square().mean() for k, t in targets.items()]).mean()
        style = [(self.gram(features[k]) - g).square().sum((1, 2)) / g.square().sum() for k, g in self.grams.items()]
        loss = loss + 4 * torch.stack(style).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Features of the five style layers."""
        exact: dict[str, Tensor] = self.exact(image, ("relu1_1", "relu2_1", "relu3_1"))
        return {**exact, **self.small(image, ("relu4_1", "relu5_1"))}

    @staticmethod
    def gram(features: Tensor) -> Tensor:
        """Gram matrix the usual way."""
        f = features.flatten(2)
        return f @ f.transpose(1, 2) / f.shape[2]


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "network": network,
    "palette": palette,
    "command": command,
    "start": start,
    "memory": memory,
    "training_step": training_step,
    "training_profile": training_profile,
}

if __name__ == "__main__":
    main()
