"""``impasto optimize``."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Parameter

from impasto.cli.app import Flag, app, needs_extra
from impasto.cli.clips import check_still, check_target
from impasto.cli.console import EVERY_S, WIDTH, download_bar, follow, left, printable, status_line
from impasto.cli.outputs import Job, check_picture_target, protect
from impasto.config import FilmConfig, OptimizeConfig
from impasto.texts import PaintingText

if TYPE_CHECKING:
    from impasto.film import FilmPlan, FilmStep
    from impasto.optimize import OptimizeStep
    from impasto.plan import Plan

AS_USUAL = FilmConfig()
EVERY = 25
"""Iterations between lines, unless they take long."""


@app.command(usage="Usage: impasto optimize PHOTO PAINTING... -o OUT [OPTIONS]")
def optimize(
    settings: Annotated[OptimizeConfig, Parameter(name="*")],
    film: Annotated[FilmConfig, Parameter(name="*")] = AS_USUAL,
    *,
    plan: Flag = False,
) -> int:
    """Paint one picture, or a video, by optimising its pixels: slow, and the finest.

    Killed at any moment and started again with the same command, it continues where it was; a video with the frame
    that was not finished.

    Parameters
    ----------
    settings
        Everything that decides the picture.
    film
        What a video asks for beyond a photo.
    plan
        Say what would be done, and what it would take, and do nothing.

    """
    from impasto.sources import is_clip

    files = [file for text in settings.paintings for file in PaintingText.parse(text).files]
    read = (settings.photo, *map(Path, (*files, settings.init, *settings.loss_network)))
    moves = is_clip(str(settings.photo))
    if moves:
        check_target(settings.output, film, film.quality)
        protect([Job(source=settings.photo, target=settings.output)], *read)
    else:
        check_still(settings.photo, film)
        check_picture_target("--output", settings.output, *read)
    with needs_extra("train"):
        from impasto.memory import keep_memory
        from impasto.optimize import optimize as run
        from impasto.optimize import plan_of
    keep_memory()
    if moves:
        return optimize_clip(settings, film, plan=plan)
    if plan:
        tell_plan(plan_of(settings, progress=download_bar()), sys.stdout)
        return 0
    steps = run(settings, progress=download_bar(), told=tell_plan)
    return follow(steps, lines(), settings.output, settings.state)


def optimize_clip(settings: OptimizeConfig, film: FilmConfig, *, plan: bool) -> int:
    """Paint a video, telling how it goes on standard error; returns the exit code."""
    with needs_extra("video"):
        from impasto.film import optimize_video, plan_of
        from impasto.parts import folder_of

    if plan:
        tell_film(plan_of(settings, film, progress=download_bar()), sys.stdout)
        return 0
    steps = optimize_video(settings, film, progress=download_bar(), told=tell_film)
    return follow(steps, film_lines(), settings.output, folder_of(settings.output))


def tell_film(made: "FilmPlan", file: TextIO | None = None) -> None:
    """Say what painting a video will do and take, on standard error unless to a file."""
    file = file or sys.stderr
    fresh, after = made.fresh, made.after
    height, width = fresh.sizes[-1]
    frames = f"{made.frames} frames" if made.frames else "frames"
    turns = f", {made.passes} passes" if made.passes > 1 else ""
    print(
        f"{width} x {height}, {frames}{turns}; {sum(fresh.iterations)} iterations where it begins afresh, "
        f"{sum(after.iterations)} for each other frame",
        file=file,
    )
    time = f"{told_time(made.seconds)} and " if made.seconds else ""
    print(f"some {time}{fresh.gigabytes:.1f} GB", file=file, flush=True)


def film_lines() -> "Callable[[FilmStep], None]":
    """What shows a video's steps, and what is out of the ordinary."""
    status = status_line()

    def show(step: "FilmStep") -> None:
        if step.event:
            over = "\r" if sys.stderr.isatty() else ""  # the status that is there
            print(over + f"frame {step.frame}: {step.event}".ljust(WIDTH if over else 0), file=sys.stderr)
        total = f" of {step.frames}" if step.frames else ""
        turn = f"pass {step.turn}  " if step.turn > 1 else ""
        text = f"{turn}frame {step.frame}{total}  iteration {step.iteration} of {step.iterations}  "
        status(f"{text}loss {step.loss:.4f}{left(step.seconds_left)}", step.seconds_left == 0)

    return show


def tell_plan(made: "Plan", file: TextIO | None = None) -> None:
    """Say what the run will do and take, on standard error unless to a file."""
    file = file or sys.stderr
    sizes = ", ".join(f"{width} x {height}" for height, width in made.sizes)
    tiles = f", by tiles of {made.side}" if made.side < max(made.sizes[-1]) else ""
    print(f"{sizes}; {sum(made.iterations)} iterations{tiles}", file=file)
    print(f"some {told_time(made.seconds)} and {made.gigabytes:.1f} GB", file=file, flush=True)


def told_time(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"


def lines() -> Callable[["OptimizeStep"], None]:
    """What prints a step that is due, or out of the ordinary."""
    last = time.monotonic()

    def show(step: "OptimizeStep") -> None:
        nonlocal last
        if step.event:
            print(step.event, file=sys.stderr)
        if step.picture:
            print(printable(f"picture {step.picture}"), file=sys.stderr)
        if step.step % EVERY and step.step < step.steps and time.monotonic() - last < EVERY_S:
            return
        last = time.monotonic()
        height, width = step.size
        print(
            f"{step.progress:6.1%}  {width} x {height}  iteration {step.step} of {step.steps}  loss {step.loss:.4f}  "
            f"content {step.content:.4f}  style {step.style:.5f}{left(step.seconds_left)}",
            file=sys.stderr,
            flush=True,
        )

    return show
