"""The part of ``impasto stylize`` that paints folders."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.cli.choice import Choice
from impasto.cli.console import EVERY_S, clock, follow, left, printable, tell
from impasto.config import BatchConfig, ClipConfig

if TYPE_CHECKING:
    from impasto.batch import BatchStep
    from impasto.manifest import FileResult

TOLD = ("input", "output", "width", "height", "seconds", "device", "precision")
"""Of what came of a file, in --json."""


def is_batch(inputs: Sequence[str], output: str | None, batch: BatchConfig) -> bool:
    """Whether what is asked for is a folder's worth: a folder, a pattern, an address, or what only those have."""
    from impasto.sources import is_many
    from impasto.storage import is_address

    return batch != BatchConfig() or any(map(is_many, inputs)) or (output is not None and is_address(output))


def paint_batch(
    inputs: Sequence[str],
    output: str | None,
    choice: Choice,
    mask: Path | None,
    settings: Mapping[str, Any],
    quality: int | None,
    limits: Mapping[str, Any],
    batch: BatchConfig,
    clip: ClipConfig,
    *,
    resume: bool,
    as_json: bool,
) -> int:
    """Paint folders, telling how it goes on standard error; returns the exit code.

    `limits` are memory and tile, of which a recipe has what they become for each photo.
    """
    from impasto.batch import stylize_folder
    from impasto.images import read_mask
    from impasto.manifest import NAME
    from impasto.storage import join, local

    if not inputs:
        raise ValueError("no photograph given")
    check_named(inputs, output, batch)
    if output is None or output in ("-", "./-"):
        raise ValueError("folders, patterns and addresses need --output, a folder for the paintings")
    check_apart(local(output), mask, *choice.files)
    steps = stylize_folder(
        inputs,
        output,
        choice.paint,
        **settings,
        mask=read_mask(mask) if mask else None,
        quality=quality,
        **limits,
        batch=batch,
        clip=clip,
        resume=resume,
        name=choice.name,
        recipe=choice.recipe(None, mask, settings),
    )
    manifest = join(local(output), NAME)
    last: list[BatchStep] = []
    with shown(last, choice.told, as_json=as_json) as show:
        code = follow(steps, show, Path(output), manifest, quiet=True)
    if code:
        return code
    text = summary(last[-1], manifest)
    if as_json:
        tell(text)
    else:
        print(printable(text), flush=True)
    return 1 if last[-1].failed or last[-1].failed_before else 0


def check_named(inputs: Sequence[str], output: str | None, batch: BatchConfig) -> None:
    """Raise a ValueError where files that are named are given what only folders have; tells of what changes nothing."""
    from impasto.images import WRITE_SUFFIXES
    from impasto.sources import is_many

    if batch == BatchConfig() or any(map(is_many, inputs)):
        return
    given = [field.name for field in fields(batch) if getattr(batch, field.name) != field.default]
    option = f"--{given[0].replace('_', '-')}"
    if given[0] in ("include", "exclude"):
        raise ValueError(f"{option} is for folders, patterns and addresses, and {inputs[0]} is none")
    place = Path(output or "-")
    if place.name == "-" or (place.suffix.lower() in WRITE_SUFFIXES and not place.is_dir()):
        raise ValueError(f"{option} is for many photos; leave it out, or let --output be a folder for them")
    if batch.workers and batch.workers > 1 and len(inputs) == 1:
        tell(f"--workers is {batch.workers}, of photos that are painted beside each other, and {inputs[0]} is one")


def check_apart(output: str, *read: Path | None) -> None:
    """Raise a ValueError where a picture that is read is in the output folder, where it could be written over."""
    from impasto.images import READ_SUFFIXES

    for path in read:
        if path and path.suffix.lower() in READ_SUFFIXES and Path(output).resolve() in path.resolve().parents:
            raise ValueError(f"{path} is read, and in the output folder; choose another --output")


@contextmanager
def shown(last: "list[BatchStep]", style: str, *, as_json: bool) -> "Iterator[Callable[[BatchStep], None]]":
    """What keeps the latest step in `last` and shows it: as a bar on a terminal, elsewhere as a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    terminal, told = sys.stderr.isatty(), time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not terminal)
    task = bar.add_task("", total=None, rate="", left="")

    def show(step: "BatchStep") -> None:
        nonlocal told
        last[:] = [step]
        if step.result:
            report(step.result, style, as_json=as_json)
        done, rest = step.total - step.left, left(step.seconds_left).strip()
        rate = f"{step.files_per_second:.2f} a second"
        bar.update(task, completed=done, total=step.total, rate=rate, left=rest)
        if not terminal and time.monotonic() - told >= EVERY_S:
            told = time.monotonic()
            failed = f"  {step.failed} failed" if step.failed else ""
            print(f"{done} of {step.total}{failed}  {rate}  {rest}".rstrip(), file=sys.stderr, flush=True)

    with bar:
        yield show


def report(result: "FileResult", style: str, *, as_json: bool) -> None:
    """Say what came of a file: as JSON, or only what failed."""
    if result.error:
        tell(result.error)
    elif as_json:
        told = {name: value for name, value in asdict(result).items() if name in TOLD and value}
        print(json.dumps(told | {"style": style}), flush=True)


def summary(step: "BatchStep", manifest: str) -> str:
    """What came of all files."""
    counts = {
        "unchanged": step.unchanged,
        "failed": step.failed,
        "failed before (--retry-failed paints them once more)": step.failed_before,
    }
    told = [f"{step.painted} painted", *(f"{count} {what}" for what, count in counts.items() if count)]
    rate = f", {step.files_per_second:.2f} a second" if step.painted else ""
    return f"{', '.join(told)} in {clock(step.seconds)}{rate}  {manifest}"
