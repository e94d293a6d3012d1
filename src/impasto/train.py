"""Training of a feed-forward style (Johnson et al. 2016), as a generator of steps that survives being killed.

Departures from the paper: relative losses (see losses.py), a warm-up and cosine decay of the learning rate, a moving
average of the weights, bfloat16 arithmetic, and loss networks that may share the layers between them.
"""

import contextlib
import copy
import dataclasses
import io
import json
import logging
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.config import TrainConfig, parse_weighted, to_json
from impasto.downloads import Progress
from impasto.errors import DeviceError, ImageError, TrainingError
from impasto.export import export_style, make_spec
from impasto.files import atomic_write
from impasto.images import Pixels, read_image, resize
from impasto.losses import content_loss, style_loss, total_variation
from impasto.networks.transformer import TransformerNet
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.photos import Crops, Photo, Prefetch, find_photos
from impasto.statistics import gram
from impasto.styles import StyleEntry, StyleSpec

DEFAULT_STEPS = 8000
HELD_OUT = 4
"""Photos kept for the samples when no validation folder is given."""
SAMPLE_SIDE = 384
NARROWEST = 32
"""Pixels below which the deepest layers of a loss network have no room for a painting."""
FLAT = 1e-4
"""Total variation of a painting of hardly one colour; that of a flatter one is taken for this."""
MAX_ROLLBACKS = 8
"""In a row; then training gives up."""
ABOUT = ("name", "title", "artist", "year", "rights")
"""Settings that only describe the style."""
FREE_TO_CHANGE = frozenset(
    {"output", "checkpoint_dir", "resume", "validation", "log_interval", "sample_interval", "checkpoint_interval"}
    | {"tensorboard", "device", "precision", "steps", "epochs", "minutes", "photos", *ABOUT}
)
"""Settings that may differ between the run that left a checkpoint and the one that continues it."""
MOVABLE = frozenset({"painting", "loss_network"})
"""Settings that are files, which may have moved since but not changed their names."""

log = logging.getLogger(__name__)
T = TypeVar("T")
NetT = TypeVar("NetT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one training step came to."""

    step: int
    progress: float
    """Share of the run that is done, 0 to 1."""
    loss: float
    content: float
    style: float
    tv: float
    learning_rate: float
    images: int
    """Photos seen since the run began."""
    seconds: float
    """Time trained since the run began, over all its resumptions."""
    images_per_second: float
    seconds_left: float
    sample: Path | None = None
    """Sheet of validation photos that was written at this step."""
    checkpoint: Path | None = None
    """Checkpoint that was written at this step."""
    event: str = ""
    """Something out of the ordinary, in words: resumed, rolled back."""


def train(config: TrainConfig, *, progress: Progress | None = None) -> Generator[Step]:
    """Train a style and write its file: yields every step; closing the generator saves a checkpoint first.

    `progress` is told of a loss network's download: bytes that are there, bytes in all.

    Raises:
        ImpastoError: The painting, photos, loss network or checkpoint cannot be used, or the output not be written.
        ValueError: A layer is not in the loss network.

    """
    run = Run(config)
    with translated():
        run.open(progress)
    event = run.resume()
    run.trim_log()
    try:
        with translated(), Prefetch(Crops(run.photos, config.seed)) as photos:
            while run.progress < 1:
                step = run.step(photos)
                sample = run.sample() if run.due(config.sample_interval) and not step.event else None
                checkpoint = run.save() if run.due(config.checkpoint_interval) else None
                step = dataclasses.replace(step, sample=sample, checkpoint=checkpoint, event=event or step.event)
                event = ""
                run.record(step)
                yield step
    finally:
        run.close()
    export_style(run.average, config.output, run.spec())


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what PyTorch raises where memory or a device fails into one TrainingError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TrainingError(f"PyTorch failed ({reason}); try a smaller --batch-size or --image-size") from error


class Run:
    """State of a training run: networks, optimiser, targets, and how far it has come."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = torch.device(pick_device(config.device))
        self.dtype = pick_precision(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.net = channels_last(TransformerNet(config.network).to(self.device))
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()  # a sample must not move batch statistics
        self.optimizer = torch.optim.Adam(self.net.parameters(), config.learning_rate)
        self.content_weights = parse_weighted(config.content_layers, "content_layers")
        self.style_weights = parse_weighted(config.style_layers, "style_layers")
        self.photos, self.validation = split_photos(config)
        self.total_steps = count_steps(config, len(self.photos))
        self.step_count = self.images = 0
        self.rollbacks = self.reached = 0  # in a row, without going beyond the step that the first of them reached
        self.seconds = 0.0
        self.rate_scale = 1.0
        self.whole = True  # False while a step is half taken, when the state must not be saved

    def open(self, progress: Progress | None = None) -> None:
        """Load what the losses and the samples need and make the folders."""
        c = self.config
        networks = [load_loss_network(source, pooling=c.pooling, progress=progress) for source in c.loss_network]
        self.loss_network = channels_last(LossNetwork(networks).to(self.device))
        self.grams, self.painting_tv = self.painting_targets()
        self.loss_network.to(dtype=self.dtype)
        self.samples = self.read_samples()
        for folder in (c.folder, c.output.parent):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrainingError(f"{folder}: cannot make the folder ({error.strerror})") from error
        self.good = self.state()

    @torch.no_grad()
    def painting_targets(self) -> tuple[dict[str, Tensor], float]:
        """Gram matrices of the painting by layer (1, C, C), averaged over the style sizes, and its total variation."""
        painting, sizes = read_image(self.config.painting), self.config.style_size
        images = [to_tensor(scale_to(painting, side)).to(self.device) for side in sizes]
        if (narrow := min(min(image.shape[2:]) for image in images)) < NARROWEST:
            raise TrainingError(
                f"{self.config.painting}: {narrow} pixels narrow at a style size of {min(sizes)}, "
                f"which leaves less than {NARROWEST}; crop the painting or enlarge the style size"
            )
        layers = self.content_weights | self.style_weights  # those of the content only to find out what is missing
        features = [self.loss_network(image, layers) for image in images]
        grams = {k: torch.stack([gram(f[k]) for f in features]).mean(0) for k in self.style_weights}
        return grams, max(FLAT, float(torch.stack([total_variation(image) for image in images]).mean()))

    def read_samples(self) -> list[Pixels]:
        """Validation photos, reduced; those that cannot be read, or are a mere strip, are skipped."""
        images, least = [], self.spec().min_size
        for photo in self.validation:
            try:
                images.append(scale_to(read_image(photo.read()), SAMPLE_SIDE, multiple=4))
            except (OSError, ImageError) as error:
                log.warning("skipped %s: %s", photo, error)
        images = [image for image in images if min(image.shape[:2]) >= least]
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
        warm = min(1.0, (self.step_count + 1) / max(1, self.config.warmup_steps))
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.config.learning_rate * self.rate_scale * warm * cosine

    def now(self, values: Sequence[T]) -> T:
        """The one of several values, each with an equal share of the run, whose turn it is."""
        return values[min(int(self.progress * len(values)), len(values) - 1)]

    def step(self, photos: Prefetch) -> Step:
        """One step of the optimiser on the next photos.

        A loss or gradient that is not a number undoes the steps since the last good state instead.
        """
        start = time.perf_counter()
        batch, size = self.now(self.config.batch_size), self.now(self.config.image_size)
        rate = self.learning_rate()
        image = to_tensor(photos.batch(self.step_count, self.images, batch, size)).to(self.device)
        losses = self.losses(image)
        loss = self.total(losses)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), self.config.gradient_clip, foreach=True))
        event = ""
        if math.isfinite(norm) and math.isfinite(loss.item()):
            self.whole = False
            self.optimizer.step()
            self.update_average()
            self.step_count += 1
            self.images += batch
            self.whole = True
        else:
            event = self.roll_back(batch)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        return Step(
            step=self.step_count,
            progress=self.progress,
            loss=loss.item(),
            content=losses["content"].item(),
            style=losses["style"].item(),
            tv=losses["tv"].item(),
            learning_rate=rate,
            images=self.images,
            seconds=self.seconds,
            images_per_second=batch / seconds,
            seconds_left=self.seconds / max(self.progress, 1e-9) * (1 - self.progress),
            event=event,
        )

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """Mean content, style and relative total-variation losses of the painted version of `image`."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            painted = self.net(image)
        return self.losses_of(painted, image)

    def losses_of(self, painted: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Losses of a painted version of `image`, both (N, 3, H, W)."""
        relative = not self.config.absolute
        layers = self.content_weights | self.style_weights
        with torch.no_grad():
            targets = self.loss_network(image.to(self.dtype), self.content_weights)
        features = self.loss_network(painted.to(self.dtype), layers)
        content = content_loss(features, targets, self.content_weights, relative=relative)
        style = style_loss(features, self.grams, self.style_weights, relative=relative)
        tv = total_variation(painted) / (self.painting_tv if relative else 1.0)
        return {"content": content.mean(), "style": style.mean(), "tv": tv.mean()}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of the losses."""
        c = self.config
        style = self.now(c.style_weight) * losses["style"]
        return c.content_weight * losses["content"] + style + c.tv_weight * losses["tv"]

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the current ones; early steps count for more, so that it starts warm."""
        decay = min(self.config.average_decay, (1 + self.step_count) / (10 + self.step_count))
        old, new = list(self.average.state_dict().values()), list(self.net.state_dict().values())
        floats = [(a, b) for a, b in zip(old, new, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)

    def state(self) -> dict[str, Any]:
        """All that the run is: what a checkpoint holds. Crops depend on seed and step, so no random state is kept."""
        return {
            "config": to_json(self.config),
            "net": copy.deepcopy(self.net.state_dict()),
            "average": copy.deepcopy(self.average.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "step": self.step_count,
            "images": self.images,
            "seconds": self.seconds,
            "rate_scale": self.rate_scale,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.step_count, self.images = state["step"], state["images"]
        self.seconds, self.rate_scale = state["seconds"], state["rate_scale"]

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.config.folder / "checkpoint.pt"

    def save(self) -> Path:
        """Write a checkpoint, whole or not at all."""
        self.good = self.state()
        data = io.BytesIO()  # PyTorch's writer hides the OSError of a full disk
        torch.save(self.good, data)
        try:
            with atomic_write(self.checkpoint) as stream:
                stream.write(data.getbuffer())
        except OSError as error:
            raise TrainingError(f"{self.checkpoint}: cannot write the checkpoint ({error.strerror})") from error
        return self.checkpoint

    def resume(self) -> str:
        """Continue from the checkpoint, if there is one and it is wanted; says what it did."""
        if not (self.config.resume and self.checkpoint.exists()):
            return ""
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            check_same_run(state["config"], to_json(self.config), self.checkpoint)
            self.load(state)
        except TrainingError:
            raise
        except Exception as error:
            raise TrainingError(
                f"{self.checkpoint}: not a checkpoint of this program ({type(error).__name__}); "
                "remove it or pass --no-resume to start afresh"
            ) from error
        self.good = self.state()
        return f"resumed at step {self.step_count}"

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
            painted = self.average(image)
            columns.append(torch.cat([image, painted.clamp(0, 1)], 2)[0])
        height = max(c.shape[1] for c in columns)
        sheet = torch.cat([nn.functional.pad(c, (0, 8, 0, height - c.shape[1]), value=1.0) for c in columns], 2)
        path = self.config.folder / f"sample-{self.step_count:06d}.jpg"
        picture = Image.fromarray((sheet.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy())
        try:
            with atomic_write(path) as stream:
                picture.save(stream, "JPEG", quality=92)
        except OSError as error:
            raise TrainingError(f"{path}: cannot write the sample ({error.strerror})") from error
        return path

    @property
    def log_file(self) -> Path:
        """The JSON-lines log."""
        return self.config.folder / "log.jsonl"

    def trim_log(self) -> None:
        """Leave in the log what led up to here: the last steps of a killed run are trained, and logged, again."""
        try:
            lines = self.log_file.read_bytes().splitlines(keepends=True) if self.log_file.exists() else []
            kept = [line for line in lines if 0 < logged_step(line) <= self.step_count]
            if kept != lines:
                with atomic_write(self.log_file) as stream:
                    stream.writelines(kept)
        except OSError as error:
            raise TrainingError(f"{self.log_file}: cannot write the log ({error.strerror})") from error

    def record(self, step: Step) -> None:
        """Append to the JSON-lines log, and to TensorBoard, what is due."""
        if not (step.event or step.sample or self.due(self.config.log_interval)):
            return
        line = {k: to_plain(v) for k, v in dataclasses.asdict(step).items() if v not in (None, "")}
        try:
            with self.log_file.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.log_file}: cannot write the log ({error.strerror})") from error
        if self.config.tensorboard:
            self.write_events(step)

    def write_events(self, step: Step) -> None:
        """Write a step's figures for TensorBoard."""
        for name in ("loss", "content", "style", "tv", "learning_rate", "images_per_second"):
            self.events.add_scalar(name, getattr(step, name), step.step)

    @cached_property
    def events(self) -> Any:
        """TensorBoard's writer, opened when it is first wanted."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.config.folder), purge_step=self.step_count)

    def close(self) -> None:
        """Save what is not saved yet, unless an interrupt tore a step."""
        if self.whole and self.step_count != self.good["step"]:
            self.save()
        if "events" in self.__dict__:
            self.events.close()

    def spec(self) -> StyleSpec:
        """What the style file says of itself: its name, and the recipe that made it, without this machine's folders."""
        c = self.config
        recipe = to_json(c)
        for key in ("output", "checkpoint_dir", "validation", "resume", *ABOUT):
            del recipe[key]
        recipe |= {"painting": c.painting.name, "photos": f"{len(self.photos)} photos"}
        recipe["loss_network"] = [Path(source).name for source in c.loss_network]
        recipe |= {"steps": self.step_count, "images": self.images, "seconds": round(self.seconds)}
        about = {key: getattr(c, key) for key in ABOUT}
        entry = StyleEntry(**about | {"name": c.name or c.output.stem})
        return make_spec(self.average, entries=(entry,), recipe=recipe)


def split_photos(config: TrainConfig) -> tuple[list[Photo], list[Photo]]:
    """Photos to train on, and those of the samples."""
    own = {config.painting.absolute(), *(p.absolute() for p in config.folder.glob("*"))}
    photos = [photo for photo in find_photos(config.photos) if photo.path.absolute() not in own]
    if config.validation is not None:
        return photos, find_photos(config.validation)[:HELD_OUT]
    held_out = photos[-HELD_OUT:]
    return (photos[:-HELD_OUT] if len(photos) > 5 * HELD_OUT else photos), held_out


def count_steps(config: TrainConfig, photos: int) -> int:
    """Steps of the whole run, unless the clock decides its length."""
    if config.epochs is None:
        return config.steps or DEFAULT_STEPS
    return max(1, math.ceil(config.epochs * photos * len(config.batch_size) / sum(config.batch_size)))


def check_same_run(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> None:
    """Raise a TrainingError when a checkpoint was left by a run with other settings."""
    keys = sorted((old.keys() | new.keys()) - FREE_TO_CHANGE)
    pairs = {k: (names(old[k]), names(new[k])) if k in MOVABLE else (old.get(k), new.get(k)) for k in keys}
    changed = [f"{k} was {before}, is {now}" for k, (before, now) in pairs.items() if before != now]
    if changed:
        raise TrainingError(
            f"{path}: of a run with other settings ({'; '.join(changed)}); pass --no-resume to start afresh"
        )


def names(files: str | Sequence[str]) -> list[str]:
    """Names of files, without folders and suffixes."""
    return [Path(file).stem for file in ([files] if isinstance(files, str) else files)]


def pick_device(device: str) -> str:
    """Device for ``auto``: the best there is; raises DeviceError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, usable in there.items() if usable)
    if not there[device]:
        raise DeviceError(f"PyTorch finds no {device} device here; choose another --device, or auto")
    return device


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of the arithmetic for ``auto``: bfloat16 where the hardware multiplies it faster than float32."""
    if precision == "auto":
        cpu = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
        fast = {"cpu": cpu, "cuda": torch.cuda.is_available() and torch.cuda.is_bf16_supported()}
        precision = "bfloat16" if fast.get(device.type, False) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def logged_step(line: bytes) -> int:
    """Step of a line of the log; 0 where it is broken off."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else 0
    except (ValueError, KeyError, TypeError):
        return 0


def to_plain(value: Any) -> Any:
    """A value as JSON knows it: a path as text, what is not a number as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def scale_to(image: Pixels, side: int, *, multiple: int = 1) -> Pixels:
    """Resize so that the long side is `side`, and both sides multiples of `multiple`."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(s * scale / multiple)) * multiple for s in image.shape[:2])
    return resize(image, (height, width))


def channels_last(net: NetT) -> NetT:
    """Keep a network's convolution weights channels last, the layout that convolutions are fastest in."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def to_tensor(images: Pixels) -> Tensor:
    """uint8 (H, W, 3) or (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1], channels last in memory."""
    batch = torch.from_numpy(images[None] if images.ndim == 3 else images)
    return batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 255
