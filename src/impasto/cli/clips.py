"""The part of ``impasto stylize`` that paints videos."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.cli.app import needs_extra
from impasto.cli.console import follow, left, printable, status_line
from impasto.cli.outputs import STREAM
from impasto.config import ClipConfig

if TYPE_CHECKING:
    from impasto.clips import ClipStep
    from impasto.styles import Style
    from impasto.stylize import Region


def check_target(target: Path, settings: ClipConfig, quality: int | None) -> None:
    """Raise a ValueError, before any work, where a video could not be written so."""
    with needs_extra("video"):
        from impasto.encode import check_format

    if target == STREAM:
        raise ValueError("a video does not go to standard output; give --output a file")
    check_format(target.suffix, settings.codec, quality)
    if not target.parent.is_dir():
        raise ValueError(f"--output is {target}; its folder does not exist, create it first")


def check_still(photo: Path, settings: ClipConfig) -> None:
    """Raise a ValueError where a photo is given what only a video has."""
    for field in fields(settings):
        if getattr(settings, field.name) != field.default:
            raise ValueError(f"--{field.name.replace('_', '-')} is for videos, and {photo} is none")


def paint_clip(
    source: Path,
    target: Path,
    style: "Style | list[Region]",
    name: str,
    settings: ClipConfig,
    options: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Paint a video, telling how it goes on standard error; returns the exit code."""
    with needs_extra("video"):
        from impasto.clips import paint_video
        from impasto.parts import folder_of
    from impasto.memory import keep_memory

    keep_memory()
    begin = time.perf_counter()
    steps = paint_video(
        source,
        target,
        style,
        **options,
        steady=settings.steady,
        codec=settings.codec,
        start=settings.start,
        end=settings.until,
    )
    last: list[ClipStep] = []
    code = follow(steps, lines(last), target, folder_of(target), quiet=True)
    if code == 0:
        report(source, target, name, last[-1] if last else None, time.perf_counter() - begin, as_json=as_json)
    return code


def lines(last: "list[ClipStep]") -> "Callable[[ClipStep], None]":
    """What keeps the latest step in `last` and shows it."""
    status = status_line()

    def show(step: "ClipStep") -> None:
        last[:] = [step]
        total = f" of {step.frames}" if step.frames else ""
        text = f"frame {step.frame}{total}  {step.frames_per_second:.1f} a second{left(step.seconds_left)}"
        status(text, step.frame == step.frames)

    return show


def report(source: Path, target: Path, style: str, step: "ClipStep | None", seconds: float, *, as_json: bool) -> None:
    """Say what was written."""
    from impasto.video import read_clip

    clip = read_clip(target)
    frames = step.frame if step else clip.frames or 0
    if as_json:
        told = {
            "input": str(source),
            "output": str(target),
            "width": clip.width,
            "height": clip.height,
            "frames": frames,
            "seconds": round(seconds, 3),
            "style": style,
        }
        print(json.dumps(told), flush=True)
        return
    size = f"{clip.width} x {clip.height}"
    print(printable(f"{target}  {size}  {frames} frames  {style}  {seconds:.2f} s"), flush=True)
