"""Painting by optimisation (Gatys et al. 2015), coarse to fine, as a generator of steps that survives being killed.

The pixels themselves are what is learnt. Departures from the paper: losses are relative (see losses.py), sizes grow by
the square root of two, and a large picture goes by tiles (see objective.py).
"""

import contextlib
import logging
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.colors import keep_colors
from impasto.config import OptimizeConfig, PaintingText, parse_weighted, to_json
from impasto.devices import pick_device, pick_precision, torch_failures
from impasto.downloads import Progress
from impasto.errors import ImageError, OptimizationError
from impasto.files import atomic_write
from impasto.images import Picture, Pixels, read_image, read_mask, read_picture, resize, write_image
from impasto.lbfgs import LBFGS
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import ASSETS, load_loss_network, locate
from impasto.objective import Losses, Objective, Target, moments_of
from impasto.recipes import hash_of, make_recipe, with_recipe
from impasto.targets import NARROWEST, scale_to, to_tensor

GROWTH = math.sqrt(2)
"""Of the size, from one to the next."""
HISTORY = 10
"""Steps that L-BFGS remembers, where memory allows."""
SAVE_SECONDS = 30.0
"""Between states that are saved."""
ASTRAY = 4.0
"""Loss over the lowest at a size at which L-BFGS returns there and forgets what led it away."""
PROBE = 128
"""Side in pixels of the picture on which time and memory are measured."""
LEFT_OUT = ("resume", "save_every", "memory")
"""Settings that a recipe does without: they do not change the picture."""
STARTS = ("photo", "noise", "grey", "style")
"""Of the first size, beside a picture of one's own."""
FREE_TO_CHANGE = frozenset({"output", "resume", "save_every", "memory", "device", "precision"})
"""Settings that may differ between the run that left a state and the one that continues it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizeStep:
    """What one iteration came to."""

    step: int
    """Iterations so far, over all sizes."""
    steps: int
    """Of the whole run."""
    size: tuple[int, int]
    """Height and width that was painted."""
    loss: float
    content: float
    style: float
    tv: float
    progress: float
    """Share of the work that is done, 0 to 1."""
    seconds: float
    """Computed since the run began, over all its resumptions."""
    seconds_left: float
    picture: Path | None = None
    """Picture of how far it is that was written at this step."""
    event: str = ""
    """Something out of the ordinary, in words: resumed, gone astray."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do and take."""

    sizes: tuple[tuple[int, int], ...]
    """Height and width of each size."""
    iterations: tuple[int, ...]
    """At each size."""
    side: int
    """Of a tile in pixels; a picture no larger goes whole."""
    history: int
    """Steps that L-BFGS remembers."""
    gigabytes: float
    """Memory at the last size, about."""
    seconds: float
    """In all, about."""

    @property
    def work(self) -> float:
        """Pixels of all iterations."""
        return self.work_at(len(self.sizes), 0)

    def work_at(self, place: int, iteration: int) -> float:
        """Pixels of all iterations before one of a size."""
        done = [*self.iterations[:place], iteration]
        return float(sum(n * h * w for n, (h, w) in zip(done, self.sizes, strict=False)))


def optimize(config: OptimizeConfig, *, progress: Progress | None = None) -> Generator[OptimizeStep, None, Picture]:
    """Paint a picture and write its file: yields every iteration, returns the picture; closing it saves the state.

    `progress` is told of a loss network's download: bytes that are there, bytes in all.

    Raises:
        ImpastoError: A picture, mask, loss network or state cannot be used, memory does not suffice, or the output
            cannot be written.
        ValueError: A layer is not in the loss network, or a painting's text is wrong.

    """
    with translated():
        run = Run(config, progress)
        event = run.begin()
    try:
        while run.place < len(run.plan.sizes):
            with translated():
                step = run.step()
            yield replace(step, event=event or step.event, picture=run.show())
            event = ""
    finally:
        run.close()
    picture = run.picture()
    picture = replace(picture, exif=with_recipe(picture.exif, run.recipe | {"losses": run.losses}))
    write_image(config.output, picture)
    with contextlib.suppress(OSError):
        config.state.unlink()
    return picture


def plan(config: OptimizeConfig, *, progress: Progress | None = None) -> Plan:
    """What a run will do and take, without doing it; raises as `optimize` does."""
    with translated():
        return Run(config, progress).plan


def translated() -> contextlib.AbstractContextManager[None]:
    """What turns PyTorch's failures into one OptimizationError."""
    return torch_failures(OptimizationError, "a smaller --size or --memory")


def recipe_of(config: OptimizeConfig) -> dict[str, Any]:
    """How the picture is made, by the names of its files."""
    parsed = [PaintingText.parse(text) for text in config.paintings]
    files = [config.photo, *(Path(path) for text in parsed for path in text.files)]
    settings = to_json(config)
    for key in ("output", *LEFT_OUT):
        del settings[key]
    settings["photo"] = config.photo.name
    settings["paintings"] = [str(text.named(lambda path: Path(path).name)) for text in parsed]
    if Path(config.init).is_file() and config.init not in STARTS:
        files.append(Path(config.init))
        settings["init"] = Path(config.init).name
    settings["loss_network"] = [Path(source).name for source in config.loss_network]
    files += [Path(source) for source in config.loss_network if Path(source).is_file()]
    networks = {Path(source).name: hash_of(locate(source)) for source in config.loss_network}
    return make_recipe("optimize", settings, files, networks=networks)


def config_of(recipe: Mapping[str, Any], files: Mapping[str, Path], output: Path) -> OptimizeConfig:
    """Settings of a recipe, whose files are found; raises ValueError where they are none."""

    def path(name: str) -> str:
        return str(files[name])  # no other file: a recipe may be a stranger's

    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["settings"].items()}
    try:
        paintings = (PaintingText.parse(text, files.__contains__) for text in given.pop("paintings"))
        settings: dict[str, Any] = {"paintings": tuple(str(text.named(path)) for text in paintings)}
        settings["loss_network"] = tuple(k if k in ASSETS else path(k) for k in given.pop("loss_network"))
        settings["init"] = init if (init := given.pop("init")) in STARTS else path(init)
        settings["photo"] = Path(path(given.pop("photo")))
        kinds = {f.name: type(f.default) for f in fields(OptimizeConfig) if f.name not in {"output", *LEFT_OUT}}
        if wrong := [k for k, value in given.items() if type(value) is not kinds.get(k)]:
            raise ValueError(f"the recipe is not one of this program's ({', '.join(wrong)})")
        return OptimizeConfig(output=output, resume=False, **settings, **given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the recipe is not one of this program's ({error})") from error


@dataclass(frozen=True, slots=True)
class Painting:
    """A painting, its weight, and masks of where in the photo it belongs and of what of it counts; (H, W), 0 to 1."""

    source: Path
    pixels: Pixels
    weight: float
    mask: Pixels | None
    own_mask: Pixels | None


def read_painting(text: str, photo: Pixels) -> Painting:
    """Painting and masks that a text names; see `PaintingText`."""
    said = PaintingText.parse(text)
    pixels = read_image(said.source)
    return Painting(
        Path(said.source),
        pixels,
        said.weight,
        fitting_mask(said.mask, photo, "photo") if said.mask else None,
        fitting_mask(said.own_mask, pixels, "painting") if said.own_mask else None,
    )


def fitting_mask(path: str, picture: Pixels, what: str) -> Pixels:
    """Mask of a picture; raises ImageError where it has another shape or no white."""
    mask = read_mask(path)
    (height, width), (rows, columns) = picture.shape[:2], mask.shape
    if abs(rows * width - columns * height) > max(height, width) * max(rows, columns) / 100:
        raise ImageError(f"{path}: a mask of {columns} x {rows}; the {what}'s is {width} x {height}, another shape")
    if mask.max() < 128:
        raise ImageError(f"{path}: a mask without white, which would paint nothing; white is where it belongs")
    return mask


class Run:
    """State of a run: the picture, its optimiser, and how far it has come."""

    def __init__(self, config: OptimizeConfig, progress: Progress | None = None) -> None:
        self.config = config
        self.device = torch.device(pick_device(config.device))
        self.dtype = pick_precision(config.precision, self.device)
        self.photo = read_picture(config.photo)
        self.paintings = [read_painting(text, self.photo.pixels) for text in config.paintings]
        networks = [load_loss_network(name, pooling=config.pooling, progress=progress) for name in config.loss_network]
        self.network: LossNetwork = LossNetwork(networks).to(  # type: ignore[call-overload]
            self.device, self.dtype, memory_format=torch.channels_last
        )
        self.layers = content_layers(config, self.network), parse_weighted(config.style_layers, "style_layers")
        sizes = sizes_of(config, self.photo.pixels.shape[:2])
        for painting in self.paintings:
            check_painting(painting, config, max(sizes[0]))
        self.plan = make_plan(config, sizes, self.measure())
        self.place = self.iteration = self.count = 0
        self.seconds, self.saved = 0.0, time.monotonic()
        self.optimizer: LBFGS | torch.optim.Adam = LBFGS(self.plan.history)
        self.averaged = 0
        """Pictures in Adam's average."""
        self.losses: dict[str, float] = {}
        """Lowest at the size that was last."""
        self.recipe = recipe_of(config)  # now, so that what it cannot tell of is said before the work
        self.whole = True  # False while a step is half taken, when the state must not be saved

    def measure(self) -> tuple[float, float]:
        """Bytes and seconds that an evaluation takes a pixel, by a small one."""
        image = torch.rand(1, 3, PROBE, PROBE, device=self.device, dtype=self.dtype).requires_grad_()
        layers, kept = self.layers[0] | self.layers[1], dict[int, int]()

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        for _ in range(2):  # the first compiles and warms
            start = time.perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                features = self.network(image, layers)
            largest = max(value.nbytes for value in features.values())
            torch.stack([value.float().square().mean() for value in features.values()]).sum().backward()  # type: ignore[no-untyped-call]
            seconds = time.perf_counter() - start
        return (sum(kept.values()) / 2 + 4 * largest) / PROBE**2, seconds / PROBE**2

    def beginning(self) -> Tensor:
        """Picture (1, 3, H, W) that the first size begins with."""
        height, width = self.plan.sizes[0]
        generator = torch.Generator().manual_seed(self.config.seed)
        init = self.config.init
        if init == "photo":
            return to_tensor(resize(self.photo.pixels, (height, width))).to(self.device)
        if init == "grey":
            return torch.full((1, 3, height, width), 0.5, device=self.device)
        if init == "noise":
            return torch.rand(1, 3, height, width, generator=generator).to(self.device)
        if init == "style":
            colors = np.concatenate([painting.pixels.reshape(-1, 3) for painting in self.paintings]) / 255
            root = np.linalg.cholesky(np.cov(colors.T) + 1e-6 * np.eye(3))
            noise = torch.randn(height, width, 3, generator=generator, dtype=torch.float64)
            values = noise @ torch.from_numpy(root).T + torch.from_numpy(colors.mean(0))
            return values.permute(2, 0, 1)[None].float().to(self.device)
        return to_tensor(resize(read_image(init), (height, width))).to(self.device)

    def begin(self) -> str:
        """Continue from the state, if there is one and it is wanted, else start; says which."""
        if event := self.resume():
            return event
        self.values = self.beginning()
        self.enter()
        return ""

    def enter(self) -> None:
        """Make ready for a size: its objective and optimiser."""
        size = self.plan.sizes[self.place]
        photo = to_tensor(resize(self.photo.pixels, size)).to(self.device)
        targets = [self.target(painting, size) for painting in self.paintings]
        self.objective = Objective(
            self.network, self.config, photo, targets, self.layers, side=self.plan.side, dtype=self.dtype
        )
        self.values = self.values.contiguous()
        self.best, self.lowest = self.values.clone(), math.inf
        self.average = torch.zeros_like(self.values) if self.config.optimizer == "adam" else None
        self.restart()

    def restart(self) -> None:
        """Begin with an optimiser that remembers nothing."""
        self.optimizer = (
            LBFGS(self.plan.history)
            if self.config.optimizer == "lbfgs"
            else torch.optim.Adam([self.values], self.config.learning_rate, betas=(0.9, 0.99))
        )
        if self.average is not None:
            self.average, self.averaged = torch.zeros_like(self.values), 0

    def target(self, painting: Painting, size: tuple[int, int]) -> Target:
        """What a painting asks of a picture of a size."""
        side = min(round(self.config.style_scale * max(size)), max(painting.pixels.shape[:2]))
        pixels = scale_to(painting.pixels, side)
        mask = as_mask(painting.mask, size, self.device)
        own = as_mask(painting.own_mask, pixels.shape[:2], self.device)
        moments = moments_of(
            self.network,
            to_tensor(pixels).to(self.device),
            self.layers[1],
            self.config.style_loss,
            mask=own,
            side=self.plan.side,
            dtype=self.dtype,
        )
        return Target(moments, painting.weight, mask)

    def step(self) -> OptimizeStep:
        """One iteration; at the end of a size, on to the next."""
        start = time.perf_counter()
        size = self.plan.sizes[self.place]
        losses, gradient = self.objective(self.values)
        self.whole = False
        event = self.move(losses, gradient)
        self.iteration += 1
        self.count += 1
        if self.iteration == self.plan.iterations[self.place]:
            self.grow()
        self.whole = True
        self.seconds += time.perf_counter() - start
        done = self.plan.work_at(self.place, self.iteration)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()
        return OptimizeStep(
            step=self.count,
            steps=sum(self.plan.iterations),
            size=size,
            loss=losses.total,
            content=losses.content,
            style=losses.style,
            tv=losses.tv,
            progress=done / self.plan.work,
            seconds=self.seconds,
            seconds_left=self.seconds * (self.plan.work / done - 1),
            event=event,
        )

    def move(self, losses: Losses, gradient: Tensor) -> str:
        """Take the optimiser's step, or return from where it went astray; says so."""
        bad = not (math.isfinite(losses.total) and bool(gradient.isfinite().all()))
        if bad and not math.isfinite(self.lowest):
            raise OptimizationError("the loss is not a number from the start; try --precision float32 or other weights")
        if bad or (self.config.optimizer == "lbfgs" and losses.total > ASTRAY * self.lowest):
            self.values.copy_(self.best)
            self.restart()
            return f"went astray (loss {losses.total:.3g}): back to the best picture, {self.lowest:.3g}"
        if losses.total < self.lowest:
            self.best.copy_(self.values)
            self.lowest = losses.total
            self.losses = {name: round(value, 6) for name, value in asdict(losses).items()}
        if isinstance(self.optimizer, LBFGS):
            self.optimizer.step(self.values, gradient)
        else:
            self.values.grad = gradient
            self.optimizer.step()
            self.values.clamp_(0, 1)
        if self.average is not None:
            self.average.lerp_(self.values, 1 - self.config.average_decay)
            self.averaged += 1
        return ""

    def result(self) -> Tensor:
        """Picture (1, 3, H, W) so far: Adam's average, L-BFGS's best."""
        if self.average is None or not self.averaged:
            return self.best
        return self.average / (1 - self.config.average_decay**self.averaged)

    def grow(self) -> None:
        """Leave a size, with its picture enlarged to the next one."""
        result = self.result()
        self.place, self.iteration = self.place + 1, 0
        if self.place == len(self.plan.sizes):
            self.values = self.best = result
            self.averaged = 0
            return
        self.values = F.interpolate(result, self.plan.sizes[self.place], mode="bicubic", antialias=False)
        self.enter()

    def pixels(self) -> Pixels:
        """Picture so far as uint8 (H, W, 3), with its colours."""
        image = self.result()[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        painted = image.permute(1, 2, 0).contiguous().cpu().numpy()
        return keep_colors(painted, resize(self.photo.pixels, painted.shape[:2]), self.config.colors)

    def picture(self) -> Picture:
        """The finished picture, with what the photo's file says that is still true."""
        pixels = self.pixels()
        return replace(resize(self.photo, pixels.shape[:2]), pixels=pixels)

    def show(self) -> Path | None:
        """Write a picture of how far it is, if one is due; a full disk is no reason to stop."""
        if not self.config.save_every or self.count % self.config.save_every:
            return None
        path = self.config.output.with_name(f"{self.config.output.stem}-{self.count:06d}.png")
        try:
            write_image(path, self.pixels())
        except ImageError as error:
            log.warning("%s", error)
            return None
        return path

    def state(self) -> dict[str, Any]:
        """All that the run is."""
        return {
            "config": to_json(self.config),
            "place": self.place,
            "iteration": self.iteration,
            "count": self.count,
            "seconds": self.seconds,
            "values": self.values,
            "best": self.best,
            "lowest": self.lowest,
            "average": self.average,
            "averaged": self.averaged,
            "files": self.recipe["files"] | self.recipe["networks"],
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }

    def save(self) -> None:
        """Write the state, whole or not at all; a full disk is no reason to stop."""
        self.saved = time.monotonic()
        try:
            with atomic_write(self.config.state) as stream:
                torch.save(self.state(), stream)
        except (OSError, RuntimeError) as error:  # PyTorch's writer makes the latter of the former
            log.warning("%s: cannot write the state (%s)", self.config.state, str(error).splitlines()[0])

    def resume(self) -> str:
        """Continue from the state, if there is one and it is wanted; says so."""
        path = self.config.state
        if not (self.config.resume and path.exists()):
            return ""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            changed = differences(state["config"], to_json(self.config))
            files = self.recipe["files"] | self.recipe["networks"]
            changed += [f"{name} is another file" for name, value in state["files"].items() if files.get(name) != value]
        except Exception as error:
            raise OptimizationError(
                f"{path}: not a state of this program ({type(error).__name__}); remove it or pass --no-resume"
            ) from error
        if changed:
            raise OptimizationError(
                f"{path}: of a run with other settings ({'; '.join(changed)}); pass --no-resume to start afresh"
            )
        self.load(state)
        return f"resumed at iteration {self.count}"

    def load(self, state: Mapping[str, Any]) -> None:
        """Become the run that a state was taken of."""
        self.place, self.iteration, self.count = state["place"], state["iteration"], state["count"]
        self.seconds, self.losses = state["seconds"], state["losses"]
        self.values = state["values"]
        if self.place < len(self.plan.sizes):
            self.enter()
            self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.lowest = state["best"], state["lowest"]
        self.average, self.averaged = state["average"], state["averaged"]

    def close(self) -> None:
        """Save what is not finished, unless an interrupt tore a step."""
        if self.whole and self.count:
            self.save()


def content_layers(config: OptimizeConfig, network: LossNetwork) -> dict[str, float]:
    """Layers of the content loss: those that are asked for, or what suits the network.

    A compressed network's relu4_2 alone lets go of the picture at its border, where vivid frames grow.
    """
    if config.content_layers:
        return parse_weighted(config.content_layers, "content_layers")
    exact = any("relu4_2" in part.layers and not part.compressed for part in network.networks)
    return {"relu4_2": 1.0} if exact else {"relu3_1": 1.0, "relu4_1": 1.0}


def sizes_of(config: OptimizeConfig, photo: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width of each size, small to large; those too narrow for the loss network are left out."""
    sides = [float(config.size)]
    while round(sides[0] / GROWTH, 6) >= config.min_size:
        sides.insert(0, sides[0] / GROWTH)
    sizes = [(round(photo[0] * side / max(photo)), round(photo[1] * side / max(photo))) for side in sides]
    if min(sizes[-1]) < NARROWEST:
        raise ImageError(
            f"{config.photo}: {min(sizes[-1])} pixels narrow at a size of {config.size}, which leaves less than "
            f"{NARROWEST}; enlarge --size or crop the photo"
        )
    return [size for size in sizes if min(size) >= NARROWEST]


def check_painting(painting: Painting, config: OptimizeConfig, smallest: int) -> None:
    """Raise an ImageError for a painting that is smaller than the smallest size, or too narrow there."""
    long, short = (pick(painting.pixels.shape[:2]) for pick in (max, min))
    side = min(round(config.style_scale * smallest), long)
    if long < smallest:
        raise ImageError(
            f"{painting.source}: {long} pixels long, less than the smallest size, {smallest}; use a larger one"
        )
    if short * side / long < NARROWEST:
        raise ImageError(
            f"{painting.source}: less than {NARROWEST} pixels narrow at the smallest size; enlarge --style-scale or "
            "--min-size, or crop the painting"
        )


def make_plan(config: OptimizeConfig, sizes: Sequence[tuple[int, int]], measured: tuple[float, float]) -> Plan:
    """Plan for the memory there is; raises OptimizationError where it is too little."""
    bytes_a_pixel, seconds_a_pixel = measured
    budget = (config.memory if config.memory is not None else free_memory() / 2) * 1e9
    pixels = sizes[-1][0] * sizes[-1][1]
    picture = 12.0 * pixels  # float32 RGB
    history, side = HISTORY, max(sizes[-1])

    def needed() -> float:
        pictures = 6 + (2 * history if config.optimizer == "lbfgs" else 4)
        content = pixels * bytes_a_pixel / 20  # features of the photo, which are kept
        return pictures * picture + content + min(pixels, side * side) * bytes_a_pixel

    while needed() > budget and side > 512:
        side = max(512, side - 128)
    while needed() > budget and config.optimizer == "lbfgs" and history > 3:
        history -= 1
    if needed() > budget:
        height, width = sizes[-1]
        raise OptimizationError(
            f"a picture of {width} x {height} needs some {needed() / 1e9:.1f} GB, and {budget / 1e9:.1f} may be used; "
            "choose a smaller --size, --optimizer adam, or more --memory"
        )
    iterations = (config.first_iterations, *[config.iterations] * (len(sizes) - 1))
    made = Plan(tuple(sizes), iterations, side, history, needed() / 1e9, 0.0)
    return replace(made, seconds=made.work * seconds_a_pixel * (1.5 if side < max(sizes[-1]) else 1.0))


def free_memory() -> float:
    """Gigabytes that programs may still use, where the system tells; else 4."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    kilobytes = next((float(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 4e6)
    return kilobytes / 1e6


def as_mask(mask: Pixels | None, size: Sequence[int], device: torch.device) -> Tensor | None:
    """Mask (H, W) in [0, 1] of a size."""
    if mask is None:
        return None
    values = torch.from_numpy(mask.astype(np.float32) / 255)[None, None]
    return F.interpolate(values, size=tuple(size), mode="bilinear", antialias=True)[0, 0].to(device)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings in which two runs differ, in words."""
    keys = sorted((old.keys() | new.keys()) - FREE_TO_CHANGE)
    return [f"{k} was {old.get(k)}, is {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
