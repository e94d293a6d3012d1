"""What a command says on its terminal."""

import contextlib
import json
import os
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from impasto.config import to_json

if TYPE_CHECKING:
    from impasto.downloads import Progress
    from impasto.journal import TrainingStep

StepT = TypeVar("StepT")
EVERY_S = 10.0
"""Between lines of how far work is, where standard error is no terminal."""
WIDTH = 72
"""Letters that a status on a terminal covers at least."""


def tell(message: str) -> None:
    """Print one line on standard error, whatever is in the message."""
    print("impasto:", printable(" ".join(message.split())), file=sys.stderr)


def printable(text: str) -> str:
    """Text with what would move the cursor, or cannot be printed at all, written as an escape."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def forget_stdout() -> None:
    """Send what standard output still holds nowhere, since flushing it at exit would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def follow(
    steps: Generator[StepT, None, object],
    show: Callable[[StepT], None],
    output: Path,
    state: Path | str,
    *,
    quiet: bool = False,
) -> int:
    """Show each step of long work and name its `output` at the end, unless `quiet`; returns the exit code.

    Asked to stop by SIGINT or SIGTERM, it ends the step, and closing the work saves its `state`, a file, a folder or
    an address.
    """
    stopped: list[int] = []
    shown = 0

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopped or not shown:  # asked twice, or nothing to save yet: now, not after the step
            raise SystemExit(143) if number == signal.SIGTERM else KeyboardInterrupt
        stopped.append(number)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.closing(steps):
            for step in steps:
                show(step)
                shown += 1
                if stopped:
                    break
        if stopped:
            saved = isinstance(state, str) or state.exists()
            remedy = f"run the same command to continue ({state})" if saved else "nothing could be saved"
            tell(f"stopped; {remedy}")
            return 128 + stopped[0]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if not quiet:
        print(printable(str(output)))
    return 0


def show_settings(settings: Any) -> None:
    """Print what decides a training run, a line a setting."""
    for name, value in to_json(settings).items():
        print(f"{name} = {json.dumps(value)}", flush=True)


def show_step(step: "TrainingStep", losses: str, log_interval: int, *, names: int) -> None:
    """Print what is out of the ordinary in a training step and, where one is due, the line of its `losses`.

    `names` is how many letters the names of its figures have room for.
    """
    if step.event:
        print(step.event, flush=True)
    if step.sample:
        print(printable(f"sample {step.sample}"), flush=True)
    for name, figures in (step.figures or {}).items():
        told = "  ".join(f"{what} {value:.4f}" for what, value in figures.items())
        print(printable(f"  {name:{names}}  {told}"), flush=True)
    if step.step % log_interval == 0 or step.progress >= 1:
        print(
            f"{step.progress:6.1%}  step {step.step}  loss {step.loss:.4f}  {losses}  "
            f"{step.images_per_second:.1f} images/s{left(step.seconds_left)}",
            flush=True,
        )


def status_line() -> Callable[[str, bool], None]:
    """What shows how far work is, and whether that is the end: on one line of a terminal, elsewhere now and then."""
    terminal, shown = sys.stderr.isatty(), time.monotonic()

    def show(text: str, finished: bool) -> None:
        nonlocal shown
        if not finished and time.monotonic() - shown < (0.2 if terminal else EVERY_S):
            return
        shown = time.monotonic()
        if terminal:
            print(f"\r{text:{WIDTH}}", end="\n" if finished else "", file=sys.stderr, flush=True)
        elif not finished:
            print(text, file=sys.stderr, flush=True)

    return show


def clock(seconds: float) -> str:
    """``1:05``, or ``2:01:05`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def left(seconds: float | None) -> str:
    """``  1:05 left``, or nothing."""
    return "" if seconds is None else f"  {clock(seconds)} left"


def download_bar(what: str = "the loss network") -> "Progress":
    """What shows the download of `what` on standard error, from the bytes that are there and those in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (f"fetching {what}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("")

    def update(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return update
