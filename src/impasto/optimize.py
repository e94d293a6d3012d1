"""Painting by optimisation (Gatys et al. 2015), coarse to fine, as a generator of steps that survives being killed.

The pixels themselves are what is learnt. Departures from the paper: losses are relative (see losses.py), sizes grow by
the square root of two, and a large picture goes by tiles (see objective.py).
"""

import contextlib
import logging
import math
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.colors import keep_colors
from impasto.config import OptimizeConfig, PaintingText, parse_weighted, to_json
from impasto.devices import pick_device, pick_precision, torch_failures
from impasto.downloads import Progress
from impasto.errors import ImageError, OptimizationError
from impasto.files import atomic_write
from impasto.images import Picture, Pixels, check_writable, read_image, read_mask, read_picture, resize, write_image
from impasto.lbfgs import LBFGS
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import NAMES, load_loss_network, locate
from impasto.objective import Losses, Objective, Target, margin, moments_of
from impasto.recipes import hash_of, make_recipe, with_recipe
from impasto.statistics import Moments
from impasto.stylize import resize_mask
from impasto.targets import NARROWEST, scale_to, to_tensor
from impasto.tiles import GRID, tiles

GROWTH = math.sqrt(2)
"""Of the size, from one to the next."""
HISTORY = 10
"""Steps that L-BFGS remembers, where memory allows."""
SAVE_SECONDS, SAVE_SHARE = 30.0, 0.1
"""Between states that are saved, at least, and share of the time that saving may take."""
ASTRAY, SLACK = 4.0, 0.0011
"""Loss over the lowest at a size, and beyond that, of the weights' sum, at which L-BFGS returns to it and forgets."""
ENLARGED = 2
"""Times that a small painting is enlarged at most; beyond that its strokes would be broader but blurred."""
PROBE = 192
"""Side in pixels of the picture on which time and memory are measured."""
STATE = 2
"""Version of the state file."""
WORKING = 3
"""Copies of the largest map that are at work beside what is held for the gradient."""
AGAIN = 4 / 3
"""Cost of a tile, which is looked at twice, over that of a whole picture; backwards takes two of four parts."""
SMALLEST_TILE = 512
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where Linux tells a container's limit and use of memory."""
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


def optimize(
    config: OptimizeConfig, *, progress: Progress | None = None, told: Callable[[Plan], None] | None = None
) -> Generator[OptimizeStep, None, Picture]:
    """Paint a picture and write its file: yields every iteration, returns the picture; closing it saves the state.

    `progress` is told of a loss network's download: bytes that are there, bytes in all. `told` is told the plan before
    the first iteration.

    Raises:
        ImpastoError: A picture, mask, loss network or state cannot be used, memory does not suffice, or the output
            cannot be written.
        ValueError: A layer is not in the loss network, a painting's text is wrong, or a file that is read would be
            written over.

    """
    with translated():
        run = Run(config, progress)
        event = run.begin()
    if told:
        told(run.plan)
    try:
        while run.place < len(run.plan.sizes):
            with translated():
                step = replace(run.step(), picture=run.show())
            yield replace(step, event=event or step.event)
            event = ""
    finally:
        run.close()
    with translated():
        picture = run.picture()
        picture = replace(picture, exif=with_recipe(picture.exif, run.recipe | {"losses": run.losses}))
        write_image(config.output, picture)
    with contextlib.suppress(OSError):
        config.state.unlink()
    return picture


def translated() -> contextlib.AbstractContextManager[None]:
    """What turns PyTorch's failures into one OptimizationError."""
    return torch_failures(OptimizationError, "a smaller --size or --memory")


def files_of(config: OptimizeConfig) -> list[Path]:
    """Files that a run reads."""
    texts = [PaintingText.parse(text) for text in config.paintings]
    init = [config.init] if config.init not in STARTS and Path(config.init).is_file() else []
    networks = [source for source in config.loss_network if source not in NAMES and Path(source).is_file()]
    return [config.photo, *map(Path, (*(path for text in texts for path in text.files), *init, *networks))]


def check_files(config: OptimizeConfig) -> None:
    """Raise a ValueError for a file that would be written over, or whose bare name means something else."""
    previews = re.compile(rf"{re.escape(config.output.stem)}-\d{{6,}}\.png")
    for path in files_of(config):
        if path.name in (*STARTS, *NAMES):
            raise ValueError(f"{path} has the name of a setting's value; rename it, so that the recipe can tell them")
        beside = path.resolve().parent == config.output.resolve().parent
        preview = config.save_every and beside and previews.fullmatch(path.name)
        if preview or path.resolve() == config.output.resolve():
            raise ValueError(f"{path} is read and would be written over; choose another --output")


def recipe_of(config: OptimizeConfig, plan: Plan) -> dict[str, Any]:
    """How the picture is made, by the names of its files."""
    parsed = [PaintingText.parse(text) for text in config.paintings]
    settings = to_json(config) | {"history": plan.history, "tile": plan.side}
    for key in ("output", *LEFT_OUT):
        del settings[key]
    settings["photo"] = config.photo.name
    settings["paintings"] = [str(text.named(lambda path: Path(path).name)) for text in parsed]
    settings["init"] = Path(config.init).name
    settings["loss_network"] = [Path(source).name for source in config.loss_network]
    recipe = make_recipe("optimize", settings, files_of(config))
    networks = {Path(k).name: recipe["files"].get(Path(k).name) or hash_of(locate(k)) for k in config.loss_network}
    return recipe | {"networks": networks}


def changed_networks(recipe: Mapping[str, Any], config: OptimizeConfig) -> list[str]:
    """Loss networks that a recipe calls by name and that are not the same here."""
    named = [name for name in config.loss_network if name in NAMES]
    return [name for name in named if hash_of(locate(name)) != recipe.get("networks", {}).get(name)]


def config_of(recipe: Mapping[str, Any], files: Mapping[str, Path], output: Path, *, resume: bool) -> OptimizeConfig:
    """Settings of a recipe, whose files are found; raises ValueError where they are none."""

    def path(name: str) -> str:
        return str(files[name])  # no other file: a recipe may be a stranger's

    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["settings"].items()}
    try:
        paintings = (PaintingText.parse(text, files.__contains__) for text in given.pop("paintings"))
        settings: dict[str, Any] = {"paintings": tuple(str(text.named(path)) for text in paintings)}
        settings["loss_network"] = tuple(k if k in NAMES else path(k) for k in given.pop("loss_network"))
        settings["init"] = init if (init := given.pop("init")) in STARTS else path(init)
        settings["photo"] = Path(path(given.pop("photo")))
        kinds = {f.name: type(f.default) for f in fields(OptimizeConfig) if f.name not in {"output", *LEFT_OUT}}
        kinds |= dict.fromkeys(("history", "tile"), int)
        given = {k: float(v) if type(v) is int and kinds.get(k) is float else v for k, v in given.items()}
        if wrong := [k for k, value in given.items() if type(value) is not kinds.get(k)]:
            raise ValueError(f"the recipe is not one of this program's ({', '.join(wrong)})")
        return OptimizeConfig(output=output, resume=resume, **settings, **given)
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


def read_paintings(texts: Sequence[str], photo: Pixels) -> list[Painting]:
    """Paintings and masks that texts name; see `PaintingText`. Paintings with one mask have the very same."""
    said = [PaintingText.parse(text) for text in texts]
    masks = {text.mask: fitting_mask(text.mask, photo, "photo") for text in said if text.mask}
    found = []
    for text in said:
        pixels = read_image(text.source)
        own = fitting_mask(text.own_mask, pixels, "painting") if text.own_mask else None
        found.append(Painting(Path(text.source), pixels, text.weight, masks.get(text.mask), own))
    return found


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
        check_files(config)
        self.photo = read_picture(config.photo)
        self.paintings = read_paintings(config.paintings, self.photo.pixels)
        thin = config.style_loss != "moments"  # which a rotation of the channels changes
        networks = [
            load_loss_network(name, pooling=config.pooling, thin=thin, progress=progress)
            for name in config.loss_network
        ]
        self.network: LossNetwork = LossNetwork(networks).to(  # type: ignore[call-overload]
            self.device, self.dtype, memory_format=torch.channels_last
        )
        self.layers = content_layers(config, self.network), parse_weighted(config.style_layers, "style_layers")
        sizes = sizes_of(config, self.photo.pixels.shape[:2])
        check_writable(config.output, sizes[-1])
        for painting in self.paintings:
            check_painting(painting, config, max(sizes[0]))
        self.left, planned = self.read_state()
        """State of the run that this one continues, if any."""
        self.plan = make_plan(planned, sizes, self.measure(), self.layers)
        self.recipe = recipe_of(config, self.plan)  # now, so that what it cannot tell of is said before the work
        self.place = self.iteration = self.count = 0
        self.seconds, self.saved, self.saving = 0.0, time.monotonic(), 0.0
        self.optimizer: LBFGS | torch.optim.Adam = LBFGS(self.plan.history)
        self.averaged = 0
        """Pictures in Adam's average."""
        self.losses: dict[str, float] = {}
        """Lowest at the size that was last."""
        self.whole = True  # False while a step is half taken, when the state must not be saved

    def measure(self) -> "Cost":
        """What an evaluation takes, by a small one."""
        photo = to_tensor(resize(self.photo.pixels, (PROBE, PROBE))).to(self.device)
        judge = Objective(
            self.network,
            self.config,
            photo,
            [Target(self.moments(photo, None, PROBE))],
            self.layers,
            side=PROBE,
            dtype=self.dtype,
        )
        weights = {p.untyped_storage().data_ptr() for p in self.network.parameters()}
        kept, seconds = dict[int, int](), math.inf

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        for _ in range(3):  # the first compiles and warms
            kept.clear()
            start = time.perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                judge(photo)  # which ends with numbers, so that a GPU has done all of it
            seconds = min(seconds, time.perf_counter() - start)
        content = sum(value.nbytes for value in judge.content[0].values())
        pixels = PROBE**2
        held = (sum(kept.values()) + WORKING * max(kept.values())) / pixels
        return Cost(resident(self.device), held, content / pixels, seconds / pixels)

    def moments(self, image: Tensor, mask: Tensor | None, side: int) -> dict[str, Moments]:
        """Statistics of a painting (1, 3, H, W), of what its mask (H, W) shows, by tiles of `side` pixels."""
        return moments_of(
            self.network, image, self.layers[1], self.config.style_loss, mask=mask, side=side, dtype=self.dtype
        )

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
            mean, covariance = colors_of(self.paintings)
            root = np.linalg.cholesky(covariance + 1e-6 * np.eye(3))
            noise = torch.randn(height, width, 3, generator=generator, dtype=torch.float64)
            values = noise @ torch.from_numpy(root).T + torch.from_numpy(mean)
            return values.permute(2, 0, 1)[None].float().to(self.device)
        return to_tensor(resize(read_image(init), (height, width))).to(self.device)

    def begin(self) -> str:
        """Continue from the state, if there is one and it is wanted, else start; says which."""
        if event := self.resume():
            return event
        self.values = extended(self.beginning())
        self.enter()
        return ""

    def enter(self) -> None:
        """Make ready for a size: its objective and optimiser."""
        size = self.plan.sizes[self.place]
        photo = extended(to_tensor(resize(self.photo.pixels, size)).to(self.device))
        masks = {id(p.mask): as_mask(p.mask, size, self.device) for p in self.paintings}
        targets = [self.target(painting, masks[id(painting.mask)], size) for painting in self.paintings]
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

    def target(self, painting: Painting, mask: Tensor | None, size: tuple[int, int]) -> Target:
        """What a painting asks of a picture of a size, where its mask (H, W) shows."""
        side = min(round(self.config.style_scale * max(size)), ENLARGED * max(painting.pixels.shape[:2]))
        pixels = scale_to(painting.pixels, side)
        own = as_mask(painting.own_mask, pixels.shape[:2], self.device)
        moments = self.moments(extended(to_tensor(pixels).to(self.device)), own, self.plan.side)
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
        if time.monotonic() - self.saved > max(SAVE_SECONDS, self.saving / SAVE_SHARE):
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
        slack = SLACK * (self.config.content_weight + self.config.style_weight)
        if bad or (self.config.optimizer == "lbfgs" and losses.total > ASTRAY * self.lowest + slack):
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
        height, width = self.plan.sizes[self.place]
        self.place, self.iteration = self.place + 1, 0
        if self.place == len(self.plan.sizes):
            self.values = self.best = result
            self.averaged = 0
            return
        size, small = self.plan.sizes[self.place], result[:, :, :height, :width]
        self.values = extended(F.interpolate(small, size, mode="bicubic", antialias=False))
        self.enter()

    def pixels(self) -> Pixels:
        """Picture so far as uint8 (H, W, 3), with its colours."""
        height, width = self.plan.sizes[min(self.place, len(self.plan.sizes) - 1)]
        image = self.result()[0, :, :height, :width].float().clamp(0, 1).mul(255).round().to(torch.uint8)
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
            "version": STATE,
            "config": to_json(self.config),
            "plan": {"history": self.plan.history, "tile": self.plan.side},
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
        start = time.monotonic()
        try:
            with atomic_write(self.config.state) as stream:
                torch.save(self.state(), stream)
        except (OSError, RuntimeError) as error:  # PyTorch's writer makes the latter of the former
            log.warning("%s: cannot write the state (%s)", self.config.state, str(error).splitlines()[0])
        self.saved = time.monotonic()
        self.saving = self.saved - start

    def read_state(self) -> tuple[dict[str, Any] | None, OptimizeConfig]:
        """State that an interrupted run left, if it is wanted, and the settings with that run's plan.

        Other memory would make another plan, and so another picture. A state of another run is refused.
        """
        path = self.config.state
        if not (self.config.resume and path.exists()):
            return None, self.config
        with self.refused(Exception):
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            changed = differences(state["config"], to_json(self.config))
            planned = replace(self.config, history=state["plan"]["history"], tile=state["plan"]["tile"])
            if state["version"] != STATE:
                raise ValueError("of another version")
        if changed:
            raise OptimizationError(
                f"{path}: of a run with other settings ({'; '.join(changed)}); pass --no-resume to start afresh"
            )
        return state, planned

    @contextlib.contextmanager
    def refused(self, *kinds: type[Exception]) -> Iterator[None]:
        """Turn what a file that is no state of this program raises into one line."""
        try:
            yield
        except kinds as error:
            raise OptimizationError(
                f"{self.config.state}: not a state of this version ({type(error).__name__}); "
                "remove it or pass --no-resume"
            ) from error

    def resume(self) -> str:
        """Continue from the state that was left, if any; says so."""
        state, self.left = self.left, None
        if state is None:
            return ""
        with self.refused(KeyError, TypeError, ValueError, AttributeError):  # but for want of memory
            files = self.recipe["files"] | self.recipe["networks"]
            changed = [name for name, value in state["files"].items() if files.get(name) != value]
            if not changed:
                self.load(state)
        if changed:
            raise OptimizationError(
                f"{self.config.state}: {', '.join(changed)} was another file; pass --no-resume to start afresh"
            )
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What evaluations take: bytes that are there before, and bytes and seconds a pixel."""

    base: float
    held: float
    content: float
    """Of the photo's features, which are kept."""
    seconds: float


def make_plan(
    config: OptimizeConfig, sizes: Sequence[tuple[int, int]], cost: Cost, layers: tuple[Mapping[str, float], ...]
) -> Plan:
    """Plan for the memory there is, or as it is asked for; raises OptimizationError where memory is too little."""
    budget = (config.memory if config.memory is not None else free_memory(pick_device(config.device)) / 2) * 1e9
    height, width = sizes[-1]
    pixels = math.prod(canvas(sizes[-1]))
    picture = 12.0 * pixels  # float32 RGB
    history, side = config.history or HISTORY, config.tile or max(canvas(sizes[-1]))

    def needed() -> float:
        pictures = 7 + (2 * history if config.optimizer == "lbfgs" else 4)
        return cost.base + pictures * picture + pixels * cost.content + min(pixels, side * side) * cost.held

    while not config.tile and needed() > budget and side > SMALLEST_TILE:
        side = max(SMALLEST_TILE, side - 128)
    while not config.history and needed() > budget and config.optimizer == "lbfgs" and history > 3:
        history -= 1
    if needed() > budget and not (config.tile and config.history):
        raise OptimizationError(
            f"a picture of {width} x {height} needs some {needed() / 1e9:.1f} GB, and {budget / 1e9:.1f} may be used; "
            "choose a smaller --size, --optimizer adam, or more --memory"
        )
    iterations = (config.first_iterations, *[config.iterations] * (len(sizes) - 1))
    edge = margin([*layers[0], *layers[1]])
    work = 0.0
    for count, size in zip(iterations, sizes, strict=True):
        parts = tiles(*canvas(size), side, edge)
        seen = sum((t.window[1] - t.window[0]) * (t.window[3] - t.window[2]) for t in parts)
        work += count * seen * (AGAIN if len(parts) > 1 else 1.0)
    return Plan(tuple(sizes), iterations, side, history, needed() / 1e9, work * cost.seconds)


def resident(device: torch.device) -> float:
    """Bytes that are in use on a device before any picture."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    path = Path("/proc/self/statm")
    return float(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 4e8


def free_memory(device: str) -> float:
    """Gigabytes that programs may still use on a device, where the system tells; else 4."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0]) / 1e9
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    kilobytes = next((float(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 4e6)
    return min(kilobytes / 1e6, *(left / 1e9 for left in container_memory()), math.inf)


def container_memory() -> list[float]:
    """Bytes that the container's limits leave, by both versions of Linux's control groups; none without a limit."""
    found = []
    for folder, limit, used in CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says max
            most = float((folder / limit).read_text())
            found.append(most - float((folder / used).read_text()))
    return found


def colors_of(paintings: Sequence[Painting]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) of the colours of paintings, by their weights and masks."""
    total, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for painting in paintings:
        pixels = scale_to(painting.pixels, min(256, max(painting.pixels.shape[:2])))
        own = resize_mask(painting.own_mask, pixels.shape[:2]) if painting.own_mask is not None else None
        colors = pixels.reshape(-1, 3) / 255
        counts = np.ones(len(colors)) if own is None else own.ravel() / 255
        weight = painting.weight * (1.0 if painting.mask is None else painting.mask.mean() / 255) / counts.sum()
        total += weight * counts.sum()
        first += weight * (counts @ colors)
        second += weight * (colors.T * counts) @ colors
    mean = first / total
    return mean, second / total - np.outer(mean, mean)


def extended(image: Tensor) -> Tensor:
    """An image (N, C, H, W), reflected to the right and below to whole squares of the coarsest map.

    What is beyond the last whole square deep layers do not see, and it would be painted at will.
    """
    height, width = image.shape[-2:]
    below, right = (side - length for side, length in zip(canvas((height, width)), (height, width), strict=True))
    return F.pad(image, (0, right, 0, below), mode="reflect")


def canvas(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of what is painted for a picture of a size."""
    height, width = (-(-side // GRID) * GRID for side in size)
    return height, width


def as_mask(mask: Pixels | None, size: Sequence[int], device: torch.device) -> Tensor | None:
    """Mask (H, W) in [0, 1] for a picture of a size, `extended` as that is."""
    if mask is None:
        return None
    values = torch.from_numpy(mask.astype(np.float32) / 255)[None, None]
    return extended(F.interpolate(values, size=tuple(size), mode="bilinear", antialias=True))[0, 0].to(device)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings in which two runs differ, in words."""
    keys = sorted((old.keys() | new.keys()) - FREE_TO_CHANGE)
    return [f"{k} was {old.get(k)}, is {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
