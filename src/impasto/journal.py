"""What a training run says of itself: its steps, their log, and events for TensorBoard."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from impasto.errors import TrainingError
from impasto.files import atomic_write

CLOCK = frozenset({"progress", "seconds", "seconds_left"})
"""What TensorBoard need not plot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStep:
    """What one step of any training came to."""

    step: int
    progress: float
    """Share of the run that is done, 0 to 1."""
    loss: float
    learning_rate: float
    images: int
    """Photos seen since the run began."""
    seconds: float
    """Time trained since the run began, over all its resumptions."""
    images_per_second: float
    seconds_left: float
    sample: Path | None = None
    """Sheet of validation photos that was written at this step."""
    figures: Mapping[str, Mapping[str, float]] | None = None
    """By name, what was measured on the validation photos; with a sample."""
    checkpoint: Path | None = None
    """Checkpoint that was written at this step."""
    event: str = ""
    """Something out of the ordinary, in words: resumed, rolled back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step(TrainingStep):
    """What one step of a style's training came to; its figures are the content and style losses of each style."""

    content: float
    style: float
    tv: float
    instability: float
    """What in the paintings does not move with the photo, over their variance; 0 where it has no weight."""
    styles: Mapping[str, float]
    """Moving average of each style's loss, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscalerStep(TrainingStep):
    """What one step of an upscaler's training came to.

    Its figures are the PSNR of lightness in dB and the feature distance, ``bicubic`` and ``upscaled``, of the samples.
    """

    features: float
    """Relative distance of the features to the photo's; 0 where it has no weight."""
    pixels: float
    """Mean absolute difference of the pixels, of 1."""
    small: float
    """The same when both are made small again."""


class Journal:
    """The log of a run, JSON lines, and events for TensorBoard where they are wanted, in its folder."""

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        self.folder = folder
        self.file = folder / "log.jsonl"
        self.tensorboard = tensorboard
        self.begun = 0

    def open(self, step: int) -> None:
        """Leave in the log what led up to `step`: the last steps of a killed run are trained, and logged, again."""
        self.begun = step
        try:
            lines = self.file.read_bytes().splitlines(keepends=True) if self.file.exists() else []
            kept = [line for line in lines if 0 < logged_step(line) <= step]
            if kept != lines:
                with atomic_write(self.file) as stream:
                    stream.writelines(kept)
        except OSError as error:
            raise TrainingError(f"{self.file}: cannot write the log ({error.strerror})") from error

    def write(self, step: TrainingStep) -> None:
        """Append a step to the log, and to TensorBoard where that is wanted."""
        line = {k: to_plain(v) for k, v in dataclasses.asdict(step).items() if v not in (None, "")}
        try:
            with self.file.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.file}: cannot write the log ({error.strerror})") from error
        if self.tensorboard:
            self.write_events(step)

    def write_events(self, step: TrainingStep) -> None:
        """Write a step's figures for TensorBoard."""
        for name, value in dataclasses.asdict(step).items():
            if isinstance(value, float) and name not in CLOCK:
                self.events.add_scalar(name, value, step.step)
        for style, figures in (step.figures or {}).items():
            for name, value in figures.items():
                self.events.add_scalar(f"{style}/{name}", value, step.step)

    @cached_property
    def events(self) -> Any:
        """TensorBoard's writer, opened when it is first wanted."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder), purge_step=self.begun + 1)

    def close(self) -> None:
        """Close what is open."""
        if "events" in self.__dict__:
            self.events.close()


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
