"""A picture that is being optimised: its sizes, what judges it, and its optimiser.

The pixels themselves are what is learnt (Gatys et al. 2015). Departures from the paper: losses are relative (see
losses.py), sizes grow by the square root of two, and a large picture goes by tiles (see objective.py).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.colors import keep_colors
from impasto.config import OptimizeConfig
from impasto.devices import pick_device, pick_precision
from impasto.downloads import Progress
from impasto.errors import ImageError, OptimizationError
from impasto.hidden import read_shown
from impasto.images import Picture, Pixels, read_mask, resize
from impasto.lbfgs import LBFGS
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.objective import Losses, Objective, Target, moments_of
from impasto.plan import Cost, Plan, canvas, resident
from impasto.statistics import Moments
from impasto.stylize import resize_mask
from impasto.targets import NARROWEST, scale_to, to_tensor
from impasto.texts import PaintingText, parse_weighted

GROWTH = math.sqrt(2)
"""Of the size, from one to the next."""
ASTRAY, SLACK = 4.0, 0.0011
"""Loss over the lowest at a size, and beyond that, of the weights' sum, at which L-BFGS returns to it and forgets."""
ENLARGED = 2
"""Times that a small painting is enlarged at most; beyond that its strokes would be broader but blurred."""
PROBE = 192
"""Side in pixels of the picture on which time and memory are measured."""
WORKING = 3
"""Copies of the largest map that are at work beside what is held for the gradient."""


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
        pixels = read_shown(text.source)
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


class Easel:
    """A picture that is being optimised, and what all pictures of a run share: loss network and paintings."""

    plan: Plan
    objective: Callable[[Tensor], tuple[Losses, Tensor]]

    def __init__(self, config: OptimizeConfig, photo: Picture, progress: Progress | None = None) -> None:
        self.config, self.photo = config, photo
        self.device = torch.device(pick_device(config.device))
        self.dtype = pick_precision(config.precision, self.device)
        self.paintings = read_paintings(config.paintings, photo.pixels)
        thin = config.style_loss != "moments"  # which a rotation of the channels changes
        networks = [
            load_loss_network(name, pooling=config.pooling, thin=thin, progress=progress)
            for name in config.loss_network
        ]
        self.network: LossNetwork = LossNetwork(networks).to(  # type: ignore[call-overload]
            self.device, self.dtype, memory_format=torch.channels_last
        )
        self.layers = content_layers(config, self.network), parse_weighted(config.style_layers, "style_layers")
        self.sizes = sizes_of(config, photo.pixels.shape[:2])
        for painting in self.paintings:
            check_painting(painting, config, max(self.sizes[0]))
        self.targets: tuple[tuple[int, int], list[Target]] = (0, 0), []
        """What the paintings ask for, of a picture of which size."""
        self.place = self.iteration = self.count = 0
        self.optimizer: LBFGS | torch.optim.Adam = LBFGS()
        self.averaged = 0
        """Pictures in Adam's average."""
        self.losses: dict[str, float] = {}
        """Lowest at the size that was last."""
        self.whole = True
        """False while an iteration is half taken."""

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
        return to_tensor(resize(read_shown(init), (height, width))).to(self.device)

    def start(self, values: Tensor) -> None:
        """Begin the plan with a picture (1, 3, H, W) of its first size."""
        self.place = self.iteration = self.count = 0
        self.values = extended(values)
        self.enter()

    @property
    def done(self) -> bool:
        """Whether the plan has come to its end."""
        return self.place == len(self.plan.sizes)

    def enter(self) -> None:
        """Make ready for a size: its objective and optimiser."""
        size = self.plan.sizes[self.place]
        photo = extended(to_tensor(resize(self.photo.pixels, size)).to(self.device))
        self.objective = Objective(
            self.network, self.config, photo, self.asked(size), self.layers, side=self.plan.side, dtype=self.dtype
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

    def asked(self, size: tuple[int, int]) -> list[Target]:
        """What the paintings ask of a picture of a size."""
        if self.targets[0] != size:  # the next picture may begin with the size that the last one ended with
            masks = {id(p.mask): as_mask(p.mask, size, self.device) for p in self.paintings}
            self.targets = size, [self.target(p, masks[id(p.mask)], size) for p in self.paintings]
        return self.targets[1]

    def target(self, painting: Painting, mask: Tensor | None, size: tuple[int, int]) -> Target:
        """What a painting asks of a picture of a size, where its mask (H, W) shows."""
        side = min(round(self.config.style_scale * max(size)), ENLARGED * max(painting.pixels.shape[:2]))
        pixels = scale_to(painting.pixels, side)
        own = as_mask(painting.own_mask, pixels.shape[:2], self.device)
        moments = self.moments(extended(to_tensor(pixels).to(self.device)), own, self.plan.side)
        return Target(moments, painting.weight, mask)

    def iterate(self) -> tuple[Losses, str]:
        """One iteration; at the end of a size, on to the next. Gives the losses before it, and what befell."""
        losses, gradient = self.objective(self.values)
        self.whole = False
        event = self.move(losses, gradient)
        self.iteration += 1
        self.count += 1
        if self.iteration == self.plan.iterations[self.place]:
            self.grow()
        self.whole = True
        return losses, event

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
        if self.done:
            self.values = self.best = result
            self.averaged = 0
            return
        size, small = self.plan.sizes[self.place], result[:, :, :height, :width]
        self.values = extended(F.interpolate(small, size, mode="bicubic", antialias=False))
        self.enter()

    def painted(self) -> Pixels:
        """Picture so far as uint8 (H, W, 3), in the paintings' colours."""
        height, width = self.plan.sizes[min(self.place, len(self.plan.sizes) - 1)]
        image = self.result()[0, :, :height, :width].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        painted: Pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
        return painted

    def pixels(self) -> Pixels:
        """Picture so far as uint8 (H, W, 3), with its colours."""
        painted = self.painted()
        return keep_colors(painted, resize(self.photo.pixels, painted.shape[:2]), self.config.colors)


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


def as_mask(mask: Pixels | None, size: Sequence[int], device: torch.device) -> Tensor | None:
    """Mask (H, W) in [0, 1] for a picture of a size, `extended` as that is."""
    if mask is None:
        return None
    values = torch.from_numpy(mask.astype(np.float32) / 255)[None, None]
    return extended(F.interpolate(values, size=tuple(size), mode="bilinear", antialias=True))[0, 0].to(device)
