"""Training of an upscaler (Johnson et al. 2016, section 4.2), as a generator of steps that survives being killed.

Patches are blurred and made small by bicubic interpolation, and the network has to make them large again: the features
of a loss network are to be the photo's (feature reconstruction), and to some part the pixels.

Departures from the paper: the feature loss is relative (see losses.py); beside it stand pixel losses, of absolute
differences, of the large picture and of what it is when it is made small again; what the loss network sees is moved at
random, see `UpscalerRun.features`; weights are averaged.
"""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Generator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.config import to_json
from impasto.devices import pick_device, pick_precision
from impasto.downloads import Progress
from impasto.errors import ImageError, TrainingError
from impasto.export import export_upscaler, load_upscaler_network
from impasto.files import remove_temporary
from impasto.images import fit, read_image
from impasto.journal import Journal, UpscalerStep
from impasto.losses import content_loss
from impasto.muon import optimizers, set_rate
from impasto.networks.upscaler import UpscalerNet
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.photos import Crops, Prefetch
from impasto.runs import (
    channels_last,
    check_same_run,
    continuing,
    make_folders,
    middle,
    move_average,
    rate_at,
    split_photos,
    translated,
    turn_of,
    write_checkpoint,
    write_sheet,
)
from impasto.targets import to_tensor
from impasto.texts import parse_weighted
from impasto.upscaler_config import UpscalerConfig
from impasto.upscalers import UpscalerSpec, load_upscaler

SAMPLE_SIDE, LEAST_SIDE = 288, 64
"""Pixels of a sample, down and across, at most and at least."""
REDUCED = 640
"""Long side to which validation photos are first reduced: large ones are rarely sharp to the pixel."""
MOST_SKIPPED = 8
"""Steps in a row whose gradient is not a number; then training gives up."""
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Of RGB, Y of BT.601 in the range 16 to 235, on which super-resolution is measured."""

log = logging.getLogger(__name__)


def train_upscaler(config: UpscalerConfig, *, progress: Progress | None = None) -> Generator[UpscalerStep]:
    """Train an upscaler and write its file: yields every step; closing the generator saves a checkpoint first.

    `progress` is told of a loss network's download: bytes that are there, bytes in all.

    Raises:
        ImpastoError: The photos, base, loss network or checkpoint cannot be used, or the output not be written.
        ValueError: A layer is not in the loss network, or the base has another shape.

    """
    run = UpscalerRun(config)
    with translated():
        run.open(progress)
    event = run.resume()
    run.journal.open(run.step_count)
    try:
        with translated(), Prefetch(Crops(run.photos, config.seed)) as photos:
            while run.progress < 1:
                step = run.step(photos)
                if run.due(config.sample_interval) and not step.event:
                    step = dataclasses.replace(step, sample=run.sample(), figures=run.examine())
                saves = run.due(config.checkpoint_interval)
                step = dataclasses.replace(
                    step, checkpoint=run.checkpoint if saves else None, event=event or step.event
                )
                event = ""
                if step.event or step.sample or run.due(config.log_interval):
                    run.journal.write(step)  # first: killed between the two, the run takes the step, and logs it, again
                if saves:
                    run.save()
                yield step
    finally:
        run.close()
    with translated():
        figures = run.examine()
    export_upscaler(run.average, config.output, run.spec(figures["upscaled"]))


class UpscalerRun:
    """State of a training run: network, optimisers, and how far it has come."""

    def __init__(self, config: UpscalerConfig) -> None:
        self.config = config
        self.journal = Journal(config.folder, tensorboard=config.tensorboard)
        self.device = torch.device(pick_device(config.device))
        self.dtype = pick_precision(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.net = channels_last(begin(config).to(self.device))
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.optimizers = optimizers(self.net, config.learning_rate, config.optimizer)
        own = {path.absolute() for path in config.folder.glob("*")}
        self.photos, self.validation = split_photos(config.photos, config.validation, own)
        self.layers = parse_weighted(config.feature_layers, "feature_layers")
        self.step_count = self.images = self.skipped = 0
        self.seconds = 0.0
        self.saved = 0
        self.whole = True  # False while a step is half taken, when the state must not be saved

    def open(self, progress: Progress | None = None) -> None:
        """Load what the losses and the samples need and make the folders."""
        c = self.config
        loaded = [load_loss_network(name, progress=progress) for name in (c.loss_network if c.feature_weight else ())]
        networks: LossNetwork = LossNetwork(loaded).to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss_network = networks
        self.samples = self.read_samples()
        make_folders(c.folder, c.output.parent)
        remove_temporary(c.folder)  # half a checkpoint of a run that was killed
        if c.feature_weight:  # to find out what is missing
            networks(self.samples[0].to(self.device, self.dtype), self.layers)

    def read_samples(self) -> list[Tensor]:
        """Middles of the validation photos (1, 3, H, W); what cannot be read, or is a mere strip, is skipped."""
        samples, scale = [], self.config.network.scale
        for photo in self.validation:
            try:
                image = middle(fit(read_image(photo.read()), REDUCED), SAMPLE_SIDE, scale)
            except (OSError, ImageError) as error:
                log.warning("skipped %s: %s", photo, error)
                continue
            if min(image.shape[:2]) >= LEAST_SIDE:
                samples.append(to_tensor(image))
        if not samples:
            raise TrainingError(f"none of the photos for samples can be used, {self.validation[0]} for one")
        return samples

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return min(1.0, self.step_count / self.config.steps)

    def due(self, interval: int) -> bool:
        """Whether something that happens every `interval` steps, and at the end, happens now."""
        return self.step_count % interval == 0 or self.progress >= 1

    def step(self, photos: Prefetch) -> UpscalerStep:
        """One step of the optimisers on the next photos; one whose gradient is not a number moves no weights."""
        start, c = time.perf_counter(), self.config
        batch, size = turn_of(c.batch_size, self.progress), turn_of(c.image_size, self.progress)
        rate = rate_at(c, self.step_count, self.progress)
        image = to_tensor(photos.batch(self.step_count, self.images, batch, size)).to(self.device)
        losses = self.losses(image)
        loss = c.feature_weight * losses["features"] + c.pixel_weight * losses["pixels"]
        loss = loss + c.small_weight * losses["small"]
        self.net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), c.gradient_clip, foreach=True))
        self.whole, finite = False, math.isfinite(norm)
        for optimizer in self.optimizers if finite else ():
            set_rate(optimizer, rate)
            optimizer.step()
        self.net.output.settle()
        move_average(self.average, self.net, c.average_decay, self.step_count)
        self.step_count += 1
        self.images += batch
        self.skipped = 0 if finite else self.skipped + 1
        self.whole = True
        if self.skipped > MOST_SKIPPED:
            raise TrainingError(f"the loss is not a number, {MOST_SKIPPED} times in a row; lower the learning rate")
        seconds = time.perf_counter() - start
        self.seconds += seconds
        return UpscalerStep(
            step=self.step_count,
            progress=self.progress,
            loss=loss.item(),
            features=losses["features"].item(),
            pixels=losses["pixels"].item(),
            small=losses["small"].item(),
            learning_rate=rate,
            images=self.images,
            seconds=self.seconds,
            images_per_second=batch / seconds,
            seconds_left=self.seconds / self.progress * (1 - self.progress),
            event="" if finite else "the loss is not a number: no weight was moved",
        )

    def losses(self, photo: Tensor) -> dict[str, Tensor]:
        """Losses of what the network makes of photos (N, 3, H, W) that were made small."""
        c = self.config
        exact = reduced(photo, c.network.scale, c.blur)
        small = (exact * 255).round() / 255
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            large = self.net(small)
        large = large.float()
        features = self.features(large, photo) if c.feature_weight else torch.zeros((), device=self.device)
        again = reduced(large, c.network.scale, c.blur)
        return {
            "features": features,
            "pixels": (large - photo).abs().mean(),
            "small": (again - exact).abs().mean(),
        }

    def features(self, large: Tensor, photo: Tensor) -> Tensor:
        """Relative distance of the features of large pictures (N, 3, H, W) to the photos'.

        Both are moved by some pixels at random: else the cells of max pooling would always lie on the same pixels of
        the block that a small pixel becomes, and what a cell does not see would grow into a grid.
        """
        period = max(2 ** (int(layer[4]) - 1) for layer in self.layers)
        top, left = np.random.default_rng((self.config.seed, 1, self.step_count)).integers(0, period, 2)
        with torch.no_grad():
            wanted = self.loss_network(photo[:, :, top:, left:].to(self.dtype), self.layers)
        found = self.loss_network(large[:, :, top:, left:].to(self.dtype), self.layers)
        return content_loss(found, wanted, self.layers).mean()

    def state(self) -> dict[str, Any]:
        """All that the run is: what a checkpoint holds. Patches depend on seed and step, so no random state is kept."""
        return {
            "config": to_json(self.config),
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step_count,
            "images": self.images,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its)
        self.step_count, self.images, self.skipped = state["step"], state["images"], state["skipped"]
        self.seconds = state["seconds"]

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.config.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        self.saved = self.step_count
        write_checkpoint(self.checkpoint, self.state())

    def resume(self) -> str:
        """Continue from the checkpoint, if there is one and it is wanted; says what it did."""
        if not (self.config.resume and self.checkpoint.exists()):
            return ""
        with continuing(self.checkpoint):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            check_same_run(state["config"], to_json(self.config), self.checkpoint)
            self.load(state)
        self.saved = self.step_count
        return f"resumed at step {self.step_count}"

    def close(self) -> None:
        """Save what is not saved yet, unless an interrupt tore a step."""
        if self.whole and self.step_count != self.saved:
            self.save()
        self.journal.close()

    @torch.no_grad()
    def views(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """A photo (1, 3, H, W) made small, and enlarged by bicubic interpolation and by the averaged network."""
        scale = self.config.network.scale
        small = (reduced(photo.to(self.device), scale, self.config.blur) * 255).round() / 255
        return bicubic(small, scale), self.average(small).clamp(0, 1)

    def sample(self) -> Path:
        """Write a sheet of validation photos: enlarged by bicubic interpolation, by the network, and as they were."""
        columns = [torch.cat([*self.views(photo), photo.to(self.device)], 2)[0] for photo in self.samples]
        return write_sheet(self.config.folder / f"sample-{self.step_count:06d}.jpg", columns)

    @torch.no_grad()
    def examine(self) -> dict[str, dict[str, float]]:
        """PSNR of lightness in dB, and the features' distance, of bicubic interpolation and of the network."""
        found: dict[str, dict[str, float]] = {"bicubic": {}, "upscaled": {}}
        for photo in (sample.to(self.device) for sample in self.samples):
            for about, large in zip(found.values(), self.views(photo), strict=True):
                about["psnr"] = about.get("psnr", 0.0) + psnr(large, photo) / len(self.samples)
                if self.config.feature_weight:
                    features = [self.loss_network(picture.to(self.dtype), self.layers) for picture in (large, photo)]
                    distance = content_loss(features[0], features[1], self.layers).item()
                    about["features"] = about.get("features", 0.0) + distance / len(self.samples)
        return {name: {key: round(value, 4) for key, value in about.items()} for name, about in found.items()}

    def spec(self, figures: Mapping[str, float]) -> UpscalerSpec:
        """What the file says of itself: the recipe that made it, without this machine's folders."""
        c = self.config
        recipe = to_json(c)
        for key in ("output", "checkpoint_dir", "validation", "resume", "network"):
            del recipe[key]
        recipe |= {"photos": f"{len(self.photos)} photos", "base": Path(c.base).name}
        recipe["loss_network"] = [Path(source).name for source in c.loss_network]
        recipe |= {"steps": self.step_count, "images": self.images, "seconds": round(self.seconds)}
        return UpscalerSpec(arguments=c.network, figures=figures, recipe=recipe)


def begin(config: UpscalerConfig) -> UpscalerNet:
    """Network at the start of training: new, or a base's, of another scale without its last layer."""
    net = UpscalerNet(config.network)
    if not config.base:
        return net
    base = load_upscaler_network(load_upscaler(config.base).data, config.base)
    if (base.args.width, base.args.blocks) != (net.args.width, net.args.blocks):
        raise ValueError(
            f"base is {config.base}, {base.args.width} channels wide with {base.args.blocks} blocks; "
            f"network has {net.args.width} and {net.args.blocks}, and must have the same"
        )
    same = base.args.scale == net.args.scale
    kept = {name: value for name, value in base.state_dict().items() if same or not name.startswith("output.")}
    net.load_state_dict(kept, strict=False)
    return net


def reduced(image: Tensor, scale: int, blur: float) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], blurred and made small: (N, 3, H / scale, W / scale)."""
    rows, columns = (reduction(side, scale, blur).to(image.device) for side in image.shape[2:])
    small = rows @ image.contiguous() @ columns.T
    return small.clamp(0, 1).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=64)
def reduction(length: int, scale: int, blur: float) -> Tensor:
    """What blurs a line of pixels by a Gaussian and takes it to a smaller number by bicubic interpolation, as a matrix.

    (length / scale, length). At the border the Gaussian is that of the pixels that there are.
    """
    places = torch.arange(length, dtype=torch.float64)
    gauss = torch.exp(-((places[:, None] - places) ** 2) / (2 * blur**2)) if blur else torch.eye(length).double()
    gauss /= gauss.sum(1, keepdim=True)
    cubic = F.interpolate(gauss[None, None], (length // scale, length), mode="bicubic", antialias=True)
    return cubic[0, 0].float()


def bicubic(image: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement of pictures (N, 3, H, W) in [0, 1], as Pillow's."""
    return F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True).clamp(0, 1)


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the lightness of pictures (N, 3, H, W) in [0, 1]."""
    weights = torch.tensor(LUMA, device=one.device)[None, :, None, None]
    return -10 * math.log10(float((weights * (one - other)).sum(1).square().mean()) + 1e-12)
