"""What training runs have in common: schedule, averaged weights, photos that are held out, checkpoints, sheets."""

import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.devices import torch_failures
from impasto.errors import TrainingError
from impasto.files import atomic_write
from impasto.images import Pixels
from impasto.photos import Photo, find_photos

HELD_OUT = 4
"""Photos kept for the samples when no validation folder is given."""
FREE_TO_CHANGE = frozenset(
    {"output", "checkpoint_dir", "resume", "validation", "log_interval", "sample_interval", "checkpoint_interval"}
    | {"tensorboard", "device", "precision", "steps", "epochs", "minutes", "photos", "about", "emphasis"}
)
"""Settings that may differ between the run that left a checkpoint and the one that continues it."""
MOVABLE = frozenset({"paintings", "loss_network", "base"})
"""Settings that are files, which may have moved since but not changed their names."""

T = TypeVar("T")
NetT = TypeVar("NetT", bound=nn.Module)


class Schedule(Protocol):
    """Settings of the learning rate."""

    @property
    def learning_rate(self) -> float:
        """The highest."""

    @property
    def warmup_steps(self) -> int:
        """Steps over which it rises."""


def rate_at(settings: Schedule, step: int, progress: float) -> float:
    """Warm-up, then a cosine from the full rate to a hundredth of it."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def turn_of(values: Sequence[T], progress: float) -> T:
    """The one of several values, each with an equal share of the run, whose turn it is."""
    return values[min(int(progress * len(values)), len(values) - 1)]


@torch.no_grad()
def move_average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move averaged weights towards the current ones; early steps count for more, so that it starts warm."""
    decay = min(decay, (1 + step) / (10 + step))
    old, new = list(average.state_dict().values()), list(net.state_dict().values())
    floats = [(a, b) for a, b in zip(old, new, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)


def channels_last(net: NetT) -> NetT:
    """Keep a network's convolution weights channels last, the layout that convolutions are fastest in."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def split_photos(folder: Path, validation: Path | None, own: Collection[Path]) -> tuple[list[Photo], list[Photo]]:
    """Photos to train on, and those of the samples; `own`, absolute, are no photos of the run."""
    photos = [photo for photo in find_photos(folder) if photo.path.absolute() not in own]
    if not photos:
        raise TrainingError(f"{folder}: no photos found but the paintings and this run's own pictures")
    if validation is not None:
        return photos, find_photos(validation)[:HELD_OUT]
    held_out = photos[-HELD_OUT:]
    return (photos[:-HELD_OUT] if len(photos) > 5 * HELD_OUT else photos), held_out


def translated() -> AbstractContextManager[None]:
    """What turns PyTorch's failures into one TrainingError."""
    return torch_failures(TrainingError, "a smaller --batch-size or --image-size")


def middle(pixels: Pixels, side: int, multiple: int) -> Pixels:
    """The middle of uint8 (H, W, 3), at most `side` high and wide, in multiples of `multiple`."""
    height, width = (min(s, side) // multiple * multiple for s in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def make_folders(*folders: Path) -> None:
    """Make folders that are not there; raises TrainingError where that cannot be done."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{folder}: cannot make the folder ({error.strerror})") from error


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; raises TrainingError."""
    data = io.BytesIO()  # PyTorch's writer hides the OSError of a full disk
    torch.save(state, data)
    try:
        with atomic_write(path) as stream:
            stream.write(data.getbuffer())
    except OSError as error:
        raise TrainingError(f"{path}: cannot write the checkpoint ({error.strerror})") from error


@contextmanager
def continuing(path: Path) -> Iterator[None]:
    """Turn whatever a file raises that is no checkpoint into a TrainingError."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        told = f"{path}: not a checkpoint of this program ({type(error).__name__})"
        raise TrainingError(f"{told}; remove it or pass --no-resume to start afresh") from error


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


def write_sheet(path: Path, columns: Sequence[Tensor]) -> Path:
    """Write pictures (3, H, W) in [0, 1] side by side, whole or not at all; raises TrainingError."""
    height = max(column.shape[1] for column in columns)
    padded = [nn.functional.pad(c, (0, 8, 0, height - c.shape[1]), value=1.0) for c in columns]
    sheet = torch.cat(padded, 2).clamp(0, 1)
    picture = Image.fromarray((sheet.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy())
    try:
        with atomic_write(path) as stream:
            picture.save(stream, "JPEG", quality=92)
    except OSError as error:
        raise TrainingError(f"{path}: cannot write the sample ({error.strerror})") from error
    return path
