"""``impasto optimize``."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli.app import app, needs_extra
from impasto.cli.console import download_bar, follow, printable
from impasto.cli.outputs import check_picture_target
from impasto.config import OptimizeConfig, PaintingText

if TYPE_CHECKING:
    from impasto.optimize import OptimizeStep
    from impasto.plan import Plan

EVERY, SECONDS = 25, 10.0
"""Iterations between lines, and time after which there is one anyway."""


@app.command(usage="Usage: impasto optimize PHOTO PAINTING... -o OUT [OPTIONS]")
def optimize(settings: Annotated[OptimizeConfig, Parameter(name="*")]) -> int:
    """Paint one picture by optimising its pixels: slow, and the finest.

    Killed at any moment and started again with the same command, it continues where it was.

    Parameters
    ----------
    settings
        Everything that decides the picture.

    """
    files = [file for text in settings.paintings for file in PaintingText.parse(text).files]
    read = (settings.photo, *map(Path, (*files, settings.init, *settings.loss_network)))
    check_picture_target("--output", settings.output, *read)
    with needs_extra("train"):
        from impasto.memory import keep_memory
        from impasto.optimize import optimize as run
    keep_memory()
    steps = run(settings, progress=download_bar(), told=tell_plan)
    return follow(steps, lines(), settings.output, settings.state)


def tell_plan(made: "Plan") -> None:
    """Say what the run will do and take."""
    sizes = ", ".join(f"{width} x {height}" for height, width in made.sizes)
    tiles = f", by tiles of {made.side}" if made.side < max(made.sizes[-1]) else ""
    minutes = f"{made.seconds / 60:.0f} minutes" if made.seconds >= 90 else f"{made.seconds:.0f} seconds"
    print(f"{sizes}; {sum(made.iterations)} iterations{tiles}", file=sys.stderr)
    print(f"some {minutes} and {made.gigabytes:.1f} GB", file=sys.stderr, flush=True)


def lines() -> Callable[["OptimizeStep"], None]:
    """What prints a step that is due, or out of the ordinary."""
    last = time.monotonic()

    def show(step: "OptimizeStep") -> None:
        nonlocal last
        if step.event:
            print(step.event, file=sys.stderr)
        if step.picture:
            print(printable(f"picture {step.picture}"), file=sys.stderr)
        if step.step % EVERY and step.step < step.steps and time.monotonic() - last < SECONDS:
            return
        last = time.monotonic()
        minutes, seconds = divmod(round(step.seconds_left), 60)
        height, width = step.size
        print(
            f"{step.progress:6.1%}  {width} x {height}  iteration {step.step} of {step.steps}  loss {step.loss:.4f}  "
            f"content {step.content:.4f}  style {step.style:.5f}  {minutes}:{seconds:02d} left",
            file=sys.stderr,
            flush=True,
        )

    return show
