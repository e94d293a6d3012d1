"""Training of a feed-forward style (Johnson et al. 2016), as a generator of steps that survives being killed.

Departures from the paper: relative losses (see losses.py), a warm-up and cosine decay of the learning rate, a moving
average of the weights, bfloat16 arithmetic, and loss networks that may share the layers between them.
"""

import copy
import dataclasses
import io
import logging
import math
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from impasto.config import TrainConfig, key_of, to_json
from impasto.devices import pick_device, pick_precision
from impasto.downloads import Progress
from impasto.errors import ImageError, StyleError, TrainingError
from impasto.export import Network, export_style, load_trainable, make_spec
from impasto.files import remove_temporary
from impasto.images import Pixels, read_image
from impasto.journal import Journal, Step
from impasto.muon import optimizers, set_rate
from impasto.networks.stylenet import StyleNet
from impasto.networks.transformer import TransformerNet
from impasto.palette import extended
from impasto.photos import Crops, Prefetch
from impasto.processes import Processes, joined
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
from impasto.specs import StyleEntry, StyleSpec
from impasto.styles import find_style, is_name, is_number, load_file
from impasto.targets import NARROWEST, Targets, draw, scale_to, to_tensor

DEFAULT_STEPS = 8000
SAMPLE_SIDE = 384
EXAMINED_SIDE = 256
"""Pixels of a sample, down and across, on which figures are taken."""
MAX_ROLLBACKS = 8
"""In a row; then training gives up."""
MEMORY = 50
"""Photos of a style over which its loss is averaged."""
MOVED, BRIGHTER, NOISE = 8, 0.04, 0.015
"""Pixels by which photos move, and deviations of their brightness and noise, to see whether the painting stays."""
HASTE = 0.5
"""Power of a style's loss over the mean of all styles' that its weight is: a style that lags gets more."""

log = logging.getLogger(__name__)
T = TypeVar("T")


def train(config: TrainConfig, *, progress: Progress | None = None) -> Generator[Step]:
    """Train a style and write its file: yields every step; closing the generator saves a checkpoint first.

    `progress` is told of a loss network's download: bytes that are there, bytes in all. In processes that `torchrun`
    started, each step's photos are divided among them; the first writes.

    Raises:
        ImpastoError: The painting, photos, loss network or checkpoint cannot be used, or the output not be written.
        ValueError: A layer is not in the loss network, or a step's photos cannot be divided equally.

    """
    with joined(pick_device(config.device)) as processes:
        run = Run(config, processes)
        with translated():
            run.open(progress)
        event = run.resume()
        run.begin()
        try:
            share = (processes.rank, processes.count)
            with translated(), Prefetch(Crops(run.photos, config.seed, share=share)) as photos:
                while run.progress < 1:
                    yield run.record(run.step(photos), event)
                    event = ""
        finally:
            run.close()
    if not processes.first:
        return
    if run.examined != run.step_count:  # all was done before, perhaps with other names and strengths
        with translated():
            run.examine()
    export_style(run.average, config.output, run.spec())


class Run:
    """State of a training run: networks, optimiser, targets, and how far it has come."""

    def __init__(self, config: TrainConfig, processes: Processes = Processes()) -> None:  # noqa: B008 - it is frozen
        self.config = config
        self.processes = processes
        self.journal = Journal(config.folder, tensorboard=config.tensorboard)
        self.device = torch.device(pick_device(config.device))
        self.dtype = pick_precision(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.entries = make_entries(config)
        self.net = channels_last(begin_network(config, self.entries).to(self.device))
        self.trained: nn.Module = self.net  # in several processes, what also averages their gradients
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()  # a sample must not move batch statistics
        self.optimizers = optimizers(self.net, config.learning_rate, config.optimizer)
        own = {*(path.absolute() for path in config.paintings), *(p.absolute() for p in config.folder.glob("*"))}
        self.photos, self.validation = split_photos(config.photos, config.validation, own)
        spec = make_spec(self.net, entries=self.entries)
        check_crops(config, spec)
        check_shares(config, processes.count)
        self.multiple = spec.multiple
        self.total_steps = count_steps(config, len(self.photos))
        self.step_count = self.images = 0
        self.style_losses = torch.ones(len(config.paintings))
        self.emphasis = torch.tensor([config.emphasis.get(key_of(path), 1.0) for path in config.paintings])
        self.figures: dict[str, dict[str, float]] = {}
        self.examined = -1  # the step at which they were taken
        self.rollbacks = self.reached = 0  # in a row, without going beyond the step that the first of them reached
        self.seconds = 0.0
        self.rate_scale = 1.0
        self.whole = True  # False while a step is half taken, when the state must not be saved

    def open(self, progress: Progress | None = None) -> None:
        """Load what the losses and the samples need and make the folders."""
        self.targets = Targets(self.config, self.device, self.dtype, progress)
        self.samples = self.read_samples()
        make_folders(self.config.folder, self.config.output.parent)
        remove_temporary(self.config.folder)  # half a checkpoint of a run that was killed
        self.good = self.state()

    def begin(self) -> None:
        """Open the log, or wait for gradients of the other processes."""
        if self.processes.first:
            self.journal.open(self.step_count)
        if self.processes.count > 1:
            self.trained = DistributedDataParallel(self.net, forward_sync_buffers=False)

    def read_samples(self) -> list[Pixels]:
        """Validation photos, reduced; those that cannot be read, or are a mere strip, are skipped."""
        images, spec = [], self.spec()
        for photo in self.validation:
            try:
                images.append(scale_to(read_image(photo.read()), SAMPLE_SIDE, multiple=spec.multiple))
            except (OSError, ImageError) as error:
                log.warning("skipped %s: %s", photo, error)
        narrowest = max(spec.min_size, NARROWEST)  # of the network, and of the loss network
        images = [image for image in images if min(image.shape[:2]) >= narrowest]
        if not images:
            raise TrainingError(f"none of the photos for samples can be used, {self.validation[0]} for one")
        return images

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds / (60 * self.config.minutes))
        return min(1.0, self.step_count / self.total_steps)

    def due(self, interval: int) -> bool:
        """Whether something that happens every `interval` steps, and at the end, happens now."""
        return self.step_count % interval == 0 or self.progress >= 1

    def learning_rate(self) -> float:
        """Warm-up, then a cosine from the full rate to a hundredth of it."""
        return self.rate_scale * rate_at(self.config, self.step_count, self.progress)

    def now(self, values: Sequence[T]) -> T:
        """The one of several values, each with an equal share of the run, whose turn it is."""
        return turn_of(values, self.progress)

    def step(self, photos: Prefetch) -> Step:
        """One step of the optimiser on the next photos.

        A loss or gradient that is not a number undoes the steps since the last good state instead.
        """
        start = time.perf_counter()
        batch, size = self.now(self.config.batch_size), self.now(self.config.image_size)
        own = self.own(batch)
        rate = self.learning_rate()
        image = to_tensor(photos.batch(self.step_count, self.images, batch, size)).to(self.device)
        rows, styles = self.rows(batch)
        losses = self.losses(image, rows[own], self.net)
        loss = self.total(losses, styles[own])
        for optimizer in self.optimizers:
            set_rate(optimizer, rate)
        self.net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), self.config.gradient_clip, foreach=True))
        told = {"loss": loss, "instability": losses["instability"].mean()}
        found = self.everywhere(told | {k: losses[k] for k in ("content", "style", "tv")})
        event = ""
        if math.isfinite(norm) and bool(found["loss"].isfinite().all()):
            self.whole = False
            for optimizer in self.optimizers:
                optimizer.step()
            move_average(self.average, self.net, self.config.average_decay, self.step_count)
            self.note(found["style"], styles)
            self.step_count += 1
            self.images += batch
            self.whole = True
        else:
            event = self.roll_back(batch)
        seconds = self.processes.told(time.perf_counter() - start)  # or each would be at another learning rate
        self.seconds += seconds
        return Step(
            step=self.step_count,
            progress=self.progress,
            loss=found["loss"].mean().item(),
            content=found["content"].mean().item(),
            style=found["style"].mean().item(),
            tv=found["tv"].mean().item(),
            instability=found["instability"].mean().item(),
            styles=dict(zip((entry.name for entry in self.entries), self.style_losses.tolist(), strict=True)),
            learning_rate=rate,
            images=self.images,
            seconds=self.seconds,
            images_per_second=batch / seconds,
            seconds_left=self.seconds / max(self.progress, 1e-9) * (1 - self.progress),
            event=event,
        )

    def own(self, count: int) -> slice:
        """Places of this process's photos among the `count` of a step."""
        each = count // self.processes.count
        return slice(self.processes.rank * each, (self.processes.rank + 1) * each)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of values (N,) of this process's photos and of the others'."""
        return self.processes.gathered(values).mean()

    def everywhere(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of this process's photos, () or (N,), as those of all photos, on the CPU."""
        together = self.processes.gathered(torch.cat([v.detach().reshape(-1).float() for v in values.values()])[None])
        parts = torch.split(together.cpu(), [v.numel() for v in values.values()], 1)
        return {name: part.flatten() for name, part in zip(values, parts, strict=True)}

    def rows(self, count: int) -> tuple[Tensor, Tensor]:
        """Weights of the rows (count, K) for the photos of this step, and which style each has (count,)."""
        c = self.config
        if c.architecture == "TransformerNet":
            return torch.tensor([[0.0, 1.0]], device=self.device).expand(count, 2), torch.zeros(
                count, dtype=torch.int64
            )
        rows, styles = draw(c.seed, self.step_count, self.images, count, len(c.paintings), len(c.style_size))
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(styles)

    def losses(self, image: Tensor, rows: Tensor, net: Network) -> dict[str, Tensor]:
        """Content, style and relative total-variation losses (N,) of what `net` paints of images (N, 3, H, W).

        Of the network that is trained, its instability too.
        """
        painted = self.paint(net, image, rows)
        if net is not self.net:
            return self.targets.losses(painted, image, rows)
        losses = self.targets.losses(painted, image, rows, mean=self.mean)
        return losses | {"instability": self.instability(image, painted, rows)}

    def paint(self, net: Network, image: Tensor, rows: Tensor) -> Tensor:
        """What `net` paints of images (N, 3, H, W) with weights of rows (N, K), in the run's arithmetic."""
        forward = self.trained if net is self.net else net
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return forward(image, rows) if isinstance(net, StyleNet) else forward(image)  # type: ignore[no-any-return]

    def instability(self, image: Tensor, painted: Tensor, rows: Tensor) -> Tensor:
        """What does not move with the photo in paintings (N, 3, H, W), over their variance; of every other, (N / 2,).

        The photos are moved by up to `MOVED` pixels, made brighter or darker, and noisy, as from one frame of a video
        to the next. Without a weight it is not looked at, and 0.
        """
        if not self.config.stability_weight:
            return torch.zeros(1, device=self.device)
        rng = np.random.default_rng((self.config.seed, 2, self.step_count))
        (top, left), some = rng.integers(1, MOVED + 1, 2), slice(0, None, 2)
        side = (image.shape[2] - MOVED) // self.multiple * self.multiple
        window = (some, slice(None), slice(top, top + side), slice(left, left + side))
        moved = image[window] * float(rng.normal(1, BRIGHTER))
        first = self.processes.rank * len(moved)
        rngs = [np.random.default_rng((self.config.seed, 3, self.step_count, first + i)) for i in range(len(moved))]
        noise = np.stack([rng.normal(0, NOISE, moved.shape[1:]) for rng in rngs]).astype(np.float32)
        again = self.paint(self.net, moved + torch.from_numpy(noise).to(self.device), rows[some]).float()
        before = painted[window].float()
        variance = before.detach().var((2, 3)).mean(1) + 1e-4
        return (again - before).square().mean((1, 2, 3)) / variance

    def total(self, losses: Mapping[str, Tensor], styles: Tensor) -> Tensor:
        """Weighted sum of the losses; of the styles `styles` (N,) those that lag behind weigh more."""
        c = self.config
        weights = self.emphasis * (self.style_losses / self.style_losses.mean()) ** HASTE
        style = self.now(c.style_weight) * weights[styles].to(self.device) * losses["style"]
        painted = (c.content_weight * losses["content"] + style + c.tv_weight * losses["tv"]).mean()
        return painted + c.stability_weight * losses["instability"].mean()

    def note(self, losses: Tensor, styles: Tensor) -> None:
        """Move the averages of the styles' losses by those (N,) of a step's photos."""
        for loss, style in zip(losses, styles, strict=True):
            self.style_losses[style].lerp_(loss, 1 / min(self.step_count + 2, MEMORY))

    def state(self) -> dict[str, Any]:
        """All that the run is: what a checkpoint holds. Crops depend on seed and step, so no random state is kept."""
        return {
            "config": to_json(self.config),
            "net": copy.deepcopy(self.net.state_dict()),
            "average": copy.deepcopy(self.average.state_dict()),
            "optimizers": [copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers],
            "style_losses": self.style_losses.clone(),
            "figures": self.figures,
            "step": self.step_count,
            "images": self.images,
            "seconds": self.seconds,
            "rate_scale": self.rate_scale,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(its))
        self.style_losses = state["style_losses"].cpu().clone()  # all else is loaded to the device
        self.figures = state["figures"]
        self.step_count, self.images = state["step"], state["images"]
        self.seconds, self.rate_scale = state["seconds"], state["rate_scale"]

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.config.folder / "checkpoint.pt"

    def record(self, step: Step, event: str) -> Step:
        """Have the first process write what is due: sample, checkpoint, line of the log; `event` came before."""
        if self.processes.first and self.due(self.config.sample_interval) and not step.event:
            step = dataclasses.replace(step, sample=self.sample(), figures=self.examine())
        saves = self.due(self.config.checkpoint_interval)
        checkpoint = self.checkpoint if saves and self.processes.first else None
        step = dataclasses.replace(step, checkpoint=checkpoint, event=event or step.event)
        if self.processes.first and (step.event or step.sample or self.due(self.config.log_interval)):
            self.journal.write(step)  # first: killed between the two, the run takes the step, and logs it, again
        if saves:
            self.save()
        return step

    def save(self) -> None:
        """Keep the state to roll back to; the first process writes it as a checkpoint, whole or not at all."""
        self.good = self.state()
        if self.processes.first:
            write_checkpoint(self.checkpoint, self.good)

    def resume(self) -> str:
        """Continue from the checkpoint, if there is one and it is wanted; says what it did.

        The first process reads it, for all: another machine's need not see its disk.
        """
        data = self.processes.told(self.read_checkpoint())
        if data is None:
            return ""
        with continuing(self.checkpoint):
            state = torch.load(io.BytesIO(data), map_location=self.device, weights_only=True)
            check_same_run(state["config"], to_json(self.config), self.checkpoint)
            self.load(state)
        self.good = self.state()
        return f"resumed at step {self.step_count}"

    def read_checkpoint(self) -> bytes | None:
        """Bytes of the checkpoint to continue from, if there is one and it is wanted."""
        if not (self.processes.first and self.config.resume and self.checkpoint.exists()):
            return None
        try:
            return self.checkpoint.read_bytes()
        except OSError as error:
            raise TrainingError(f"{self.checkpoint}: cannot be read ({error.strerror})") from error

    def roll_back(self, batch: int) -> str:
        """Return to the last good state, but to photos that have not been seen, with half the learning rate."""
        self.rollbacks = self.rollbacks + 1 if self.step_count <= self.reached else 1
        self.reached = max(self.reached, self.step_count)
        scale, bad, images, seconds = self.rate_scale, self.step_count, self.images + batch, self.seconds
        self.load(self.good)  # before giving up too: the bad state must not become the checkpoint
        if self.rollbacks > MAX_ROLLBACKS:
            raise TrainingError(f"the loss is not a number even at {scale:g} of the learning rate; lower it")
        self.rate_scale, self.images, self.seconds = scale / 2, images, seconds
        return f"loss is not a number: back from step {bad} to {self.step_count}, learning rate halved"

    @torch.no_grad()
    def sample(self) -> Path:
        """Write a sheet of the validation photos above their painted versions."""
        columns = []
        for pixels in self.samples:
            image = to_tensor(pixels).to(self.device)
            painted = [paint(self.average, image, rows[None]).clamp(0, 1) for rows in self.sample_rows()]
            columns.append(torch.cat([image, *painted], 2)[0])
        return write_sheet(self.config.folder / f"sample-{self.step_count:06d}.jpg", columns)

    @torch.no_grad()
    def examine(self) -> dict[str, dict[str, float]]:
        """Content and style losses by style, as it paints unless told otherwise, on the middles of the samples."""
        rows = torch.stack(self.sample_rows())
        found = []
        for pixels in self.samples:
            image = to_tensor(middle(pixels, EXAMINED_SIDE, self.spec().multiple)).to(self.device)
            parts = [
                self.losses(image.expand(len(part), -1, -1, -1), part, self.average) for part in torch.split(rows, 4)
            ]
            found.append(torch.stack([torch.cat([part[k] for part in parts]) for k in ("content", "style")]))
        means = torch.stack(found).mean(0).T.tolist()
        self.figures = {
            entry.name: {"content": round(content, 4), "style": round(style, 5)}
            for entry, (content, style) in zip(self.entries, means, strict=True)
        }
        self.examined = self.step_count
        return self.figures

    def sample_rows(self) -> list[Tensor]:
        """Weights of the rows (K,) for each style as it paints unless told otherwise."""
        if self.config.architecture == "TransformerNet":
            return [torch.tensor([0.0, 1.0], device=self.device)]
        spec = self.spec()
        mixed = [spec.mix({entry.name: 1.0}, strength=entry.strength) for entry in self.entries]
        return [torch.from_numpy(weights).to(self.device) for weights in mixed]

    def close(self) -> None:
        """Save what is not saved yet, unless an interrupt tore a step."""
        if self.whole and self.step_count != self.good["step"]:
            self.save()
        self.journal.close()

    def spec(self) -> StyleSpec:
        """What the style file says of itself: its name, and the recipe that made it, without this machine's folders."""
        c = self.config
        recipe = to_json(c)
        for key in ("output", "checkpoint_dir", "validation", "resume", "about"):
            del recipe[key]
        shapes = {"StyleNet": "stylenet", "TransformerNet": "network"}
        for architecture, key in shapes.items():
            if architecture != c.architecture or c.base:  # a base has its own shape
                del recipe[key]
        recipe |= {"paintings": [path.name for path in c.paintings], "photos": f"{len(self.photos)} photos"}
        recipe["loss_network"] = [Path(source).name for source in c.loss_network]
        recipe["base"] = Path(c.base).name
        recipe |= {"steps": self.step_count, "images": self.images, "seconds": round(self.seconds)}
        entries = tuple(dataclasses.replace(entry, figures=self.figures.get(entry.name, {})) for entry in self.entries)
        return make_spec(self.average, entries=entries, recipe=recipe)


def make_entries(config: TrainConfig) -> tuple[StyleEntry, ...]:
    """What the style file will say of each painting's style; of one that the base has, what that says too."""
    keys = [key_of(path) for path in config.paintings]
    if unknown := sorted(config.about.keys() - set(keys)):
        raise ValueError(f"about is of {', '.join(unknown)}; the paintings are {', '.join(keys)}")
    strokes = config.style_size if config.architecture == "StyleNet" else ()
    allowed = ("name", "title", "artist", "year", "rights", "strength", *(["stroke"] if strokes else []))
    had = {entry.name: entry for entry in load_file(find_style(config.base)).spec.entries} if config.base else {}
    entries = []
    for key, path in zip(keys, config.paintings, strict=True):
        about = {"name": path.stem if len(keys) > 1 else config.output.stem} | config.about.get(key, {})
        if unknown := sorted(about.keys() - set(allowed)):
            raise ValueError(f"about of {key} has {', '.join(unknown)}; it may have {', '.join(allowed)}")
        if not is_name(about["name"]):
            raise ValueError(
                f"about of {key} has the name {about['name']!r}, which --style could not ask for; "
                f"give one of letters, digits, hyphens and spaces by --about.{key}.name"
            )
        values = about | recommended(key, about, strokes)
        known = had.get(about["name"], StyleEntry(name=about["name"]))
        stroke = known.stroke if known.stroke in strokes else None
        known = dataclasses.replace(known, strokes=strokes, stroke=stroke, figures={}, own=0)
        entries.append(dataclasses.replace(known, **values))  # type: ignore[arg-type]
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError(f"paintings have one name twice: {', '.join(entry.name for entry in entries)}")
    return tuple(entries)


def recommended(key: str, about: Mapping[str, str], strokes: Sequence[int]) -> dict[str, float]:
    """Strength and stroke that are recommended for the style of the painting `key`, where `about` has them."""
    found: dict[str, float] = {}
    if "strength" in about:
        if not is_number(about["strength"]) or not 0 <= float(about["strength"]) <= 1:
            raise ValueError(f"about of {key} has the strength {about['strength']}; it must be from 0 to 1")
        found["strength"] = float(about["strength"])
    if "stroke" in about:
        sizes = {str(size): size for size in strokes}
        if about["stroke"] not in sizes:
            raise ValueError(f"about of {key} has the stroke {about['stroke']}; it must be one of {', '.join(sizes)}")
        found["stroke"] = sizes[about["stroke"]]
    return found


def check_crops(config: TrainConfig, spec: StyleSpec) -> None:
    """Raise a ValueError where the style file could not be written, or crops do not fit the network."""
    spec.check()
    least = spec.min_size + (MOVED if config.stability_weight else 0)
    for size in config.image_size:
        if size % spec.multiple or size < least:
            raise ValueError(f"image_size is {size}; it must be a multiple of {spec.multiple}, at least {least}")


def check_shares(config: TrainConfig, processes: int) -> None:
    """Raise a ValueError where the photos of a step cannot be divided equally."""
    for batch in config.batch_size:
        if batch % processes:
            raise ValueError(f"batch_size is {batch}; each of the {processes} processes must get as many of them")


def begin_network(config: TrainConfig, entries: Sequence[StyleEntry]) -> Network:
    """Network at the start of training: new, or a base's, of a palette with new rows."""
    rows = 1 + len(config.paintings) * len(config.style_size)
    if not config.base:
        return (
            StyleNet(config.stylenet, rows=rows)
            if config.architecture == "StyleNet"
            else TransformerNet(config.network)
        )
    file = load_file(find_style(config.base))
    if file.spec.architecture != config.architecture:
        raise StyleError(f"{config.base}: a {file.spec.architecture}, which is no base for a {config.architecture}")
    if config.architecture == "StyleNet":
        return extended(file, entries, unfreeze=config.unfreeze)
    return load_trainable(file.stored, config.base)


def paint(net: Network, image: Tensor, rows: Tensor) -> Tensor:
    """Painted images (N, 3, H, W), by the weights of the rows (N, K) where the network has rows."""
    return net(image, rows) if isinstance(net, StyleNet) else net(image)  # type: ignore[no-any-return]


def count_steps(config: TrainConfig, photos: int) -> int:
    """Steps of the whole run, unless the clock decides its length."""
    if config.epochs is None:
        return config.steps or DEFAULT_STEPS
    return max(1, math.ceil(config.epochs * photos * len(config.batch_size) / sum(config.batch_size)))
