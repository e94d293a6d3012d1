"""Where outputs go, and checks, before any work, that they can."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STREAM = Path("-")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture to stylise: where it comes from and where it goes."""

    source: Path
    target: Path


def plan(inputs: Sequence[Path], output: Path | None, style: str, *, json: bool) -> list[Job]:
    """Where each input goes; raises ValueError where that cannot be written, or two would go to one place."""
    from impasto.images import WRITE_SUFFIXES
    from impasto.sources import is_clip

    if not inputs:
        raise ValueError("no photograph given")
    if len(inputs) > 1 and output is not None and output != STREAM and not output.is_dir():
        raise ValueError(f"--output is {output}; for several photographs it must be an existing folder")
    jobs = [Job(source=source, target=target_of(source, output, style)) for source in inputs]
    targets: dict[Path, Path] = {}
    for job in jobs:
        if job.target == STREAM and (json or len(jobs) > 1):
            raise ValueError("standard output takes one picture and no --json beside it; choose another --output")
        if job.target != STREAM and not is_clip(str(job.source)) and job.target.suffix.lower() not in WRITE_SUFFIXES:
            raise ValueError(f"--output is {job.target}; it must end in one of {', '.join(WRITE_SUFFIXES)}")
        place = job.target.resolve()
        if place in targets:
            raise ValueError(f"{targets[place]} and {job.source} would both become {job.target}")
        targets[place] = job.source
    return jobs


def target_of(source: Path, output: Path | None, style: str) -> Path:
    """Output of one input: as given, or named after it in the given folder or beside it."""
    from impasto.sources import is_clip, painted_name

    if output is not None and not output.is_dir():
        return output
    if source == STREAM:
        if output is None:
            return STREAM
        source = Path("stdin.png")
    if not source.name:  # . and /
        raise ValueError(f"{source} is a folder; give a picture")
    return (output or source.parent) / painted_name(source.name, style, clip=is_clip(str(source)))


def protect(jobs: Sequence[Job], *read: Path | str | None) -> None:
    """Raise a ValueError where a job would write over a file that the command reads."""
    for job in jobs:
        if job.target != STREAM and any(path is not None and same_file(job.target, Path(path)) for path in read):
            raise ValueError(f"{job.target} is one of the files that are read; choose another --output")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one existing file."""
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def check_picture_target(option: str, target: Path, *read: Path | None) -> None:
    """Raise a ValueError, before any work, where the picture that an option names could not be written."""
    from impasto.images import WRITE_SUFFIXES

    if target.suffix.lower() not in WRITE_SUFFIXES:
        raise ValueError(f"{option} is {target}; it must end in one of {', '.join(WRITE_SUFFIXES)}")
    if not target.parent.is_dir():
        raise ValueError(f"{option} is {target}; its folder does not exist, create it first")
    if any(path is not None and same_file(target, path) for path in read):
        raise ValueError(f"{target} is one of the files that are read; choose another {option}")


def check_style_suffix(output: Path) -> None:
    """Raise a ValueError for an output that would not be found as a style file."""
    if output.suffix.lower() != ".onnx":
        raise ValueError(f"--output is {output}; a style file ends in .onnx")
