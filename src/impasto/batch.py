"""Folders in, folders out: any number of photos and videos, painted side by side, going on where a run was stopped.

What is done stands in a manifest in the output folder. Run again, only what is left or has changed is painted.
"""

import time
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from impasto import storage
from impasto.config import BatchConfig, ClipConfig
from impasto.errors import ImageError, ImpastoError, MissingExtraError
from impasto.files import remove_temporary
from impasto.images import WRITE_SUFFIXES, check_icc, check_quality
from impasto.manifest import EVERY_S, FileResult, Manifest
from impasto.memory import free_memory, total_memory
from impasto.painters import Here, Processes
from impasto.runtimes import ABREAST, processors
from impasto.sources import find, is_clip, painted_name, split
from impasto.storage import Entry
from impasto.stylize import check, check_stroke, limit_of, regions_of, together
from impasto.work import Job, Outcome, Work

if TYPE_CHECKING:
    from impasto.cluster import Cluster
    from impasto.images import Pixels
    from impasto.styles import Style
    from impasto.stylize import Region

TICK_S: Final = 0.2
"""After which a step is yielded although nothing has been finished: whoever asks for the steps may want to stop."""
PROCESS_BYTES: Final = 1e9
"""Memory for which a process is worth having: itself, and a photo of some megapixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStep:
    """A file has been painted or has failed, or some time has passed."""

    result: FileResult | None
    """What came of the file; None where only time has passed, or it was found to be as it was."""
    painted: int
    """Files painted by this run."""
    unchanged: int
    """Files that were painted before, and have not changed."""
    failed: int
    """Files that failed in this run."""
    failed_before: int
    """Files that failed in an earlier one, and are left as they are."""
    total: int
    """All files."""
    seconds: float
    """Since the work began."""
    files_per_second: float
    """Of this run."""
    seconds_left: float | None

    @property
    def left(self) -> int:
        """Files that are still to be painted."""
        return self.total - self.painted - self.unchanged - self.failed - self.failed_before


class Painters(Protocol):
    """Those who paint, as many files beside each other as their size."""

    @property
    def size(self) -> int:
        """How many files to give them at a time."""

    def submit(self, job: Job) -> "Future[Outcome]":
        """Have a file painted."""

    def stop(self) -> None:
        """Have videos end at their next frame."""

    def close(self, *, now: bool = False) -> None:
        """End; nothing is being painted, unless it is to end now."""


PaintersT = TypeVar("PaintersT", bound=Painters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A file, and what its painting is called."""

    entry: Entry
    output: str
    """Name below the output folder."""
    clip: bool


def stylize_folder(
    source: str | Path | Sequence[str | Path],
    target: str | Path,
    style: "str | Path | Style | Sequence[Region]",
    *,
    strength: float | None = None,
    stroke: float | None = None,
    colors: str = "style",
    mask: "Pixels | None" = None,
    max_side: int | None = None,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    memory: float | None = None,
    tile: int | None = None,
    icc: str = "srgb",
    quality: int | None = None,
    batch: BatchConfig | None = None,
    clip: ClipConfig | None = None,
    resume: bool = True,
    name: str | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Generator[BatchStep, None, None]:
    """Paint the photos and videos of a folder into another, of the same folders inside; yields a step for each file.

    `source`: a folder, a pattern (``photos/**/*.jpg``), a file, an address of fsspec's (``s3://bucket/photos``), or
    several of them. `target`: a folder, which is made, or such an address. `style` to `precision`: as of `stylize`.
    `memory`: gigabytes that all processes may take together, of a cluster those of each machine; photos that a
    process's share of it does not hold are painted by tiles, and what does not fit so alone; videos are not held to
    it. `tile`: as of `stylize`. `icc`: as of `read_picture`. `quality`: 1 to 100. `batch`, `clip`: what else is asked
    for. `resume`: leave what is painted as it is, and go on with a video; otherwise all is painted anew. `name`: what
    outputs are called after. `recipe`: what `recipes.of_photo` takes. A file that fails is a step like any other.
    Closed, it finishes the photos that are being painted; called again, it paints what is left or has changed.

    Raises:
        ValueError: An argument is out of range, or two files would become one.
        ImpastoError: A folder cannot be read or written, the style or device not be used, or too many files failed.

    """
    batch = batch or BatchConfig()
    check(strength, stroke, colors, mask, max_side)
    limit = limit_of(memory, tile)
    check_quality(quality)
    check_icc(icc)
    options = {"strength": strength, "stroke": stroke, "colors": colors, "mask": mask, "max_side": max_side}
    options |= {"device": device, "precision": precision}
    asked: dict[str, Any] = {"quality": quality, "clip": clip or ClipConfig(), "resume": resume, "recipe": recipe}
    asked |= {"memory": limit.memory, "tile": limit.tile, "icc": icc}
    work = Work(style=together(regions_of(style, engine)), options=options, **asked)
    for one, _ in work.regions:
        check_stroke(stroke, one)
    sources = [str(place) for place in ([source] if isinstance(source, (str, Path)) else source)]
    folder = storage.local(str(target))
    check_output(folder, sources)
    called = name or "-".join(one.name for one, _ in work.regions)
    entries = find(sources, batch.include, batch.exclude, folder)
    if not entries:
        raise ImageError(f"{', '.join(sources) or 'no folder'}: there is nothing to paint")
    return Run(plan(entries, called, folder), work, folder, batch).steps()


# ----------------------------------------------------------------------------------------------------------- the plan


def check_output(folder: str, sources: Sequence[str]) -> None:
    """Raise a ValueError for an output that is no folder, or is the one that is read."""
    is_file = not storage.is_address(folder) and Path(folder).is_file()
    if is_file or (PurePosixPath(folder).suffix.lower() in WRITE_SUFFIXES and not storage.is_folder(folder)):
        raise ValueError(f"--output is {folder}; of folders, patterns and addresses it is a folder")
    for text in sources:
        root = split(storage.local(text))[0]
        number = storage.identity_of(root)
        same = storage.is_folder(root) and number is not None and number == storage.identity_of(folder)
        if same or (storage.is_address(root) and root.rstrip("/") == folder.rstrip("/")):
            raise ValueError(f"--output is {folder}, the folder that is read; choose another one, which may be in it")


def plan(entries: Sequence[Entry], style: str, folder: str) -> list[Task]:
    """What the painting of each file is called; raises a ValueError where one would stand in the place of another file.

    Where two would be called the same because one has a suffix that cannot be written, that one keeps it in its name.
    """
    tasks = [task_of(entry, style) for entry in entries]
    count = Counter(task.output for task in tasks)
    moved = [task for task in tasks if count[task.output] > 1 and changes_suffix(task)]
    if moved:
        apart = {task.entry.place: kept_apart(task, style) for task in moved}
        tasks = [apart.get(task.entry.place, task) for task in tasks]
        first = apart[moved[0].entry.place]
        warnings.warn(
            f"{first.entry.place} becomes {first.output}, since another file has the same name but for its suffix"
            + (f"; so do {len(moved) - 1} more" if len(moved) > 1 else ""),
            stacklevel=2,
        )
    taken: dict[str, str] = {}
    read = {entry.identity for entry in entries} - {None}
    for task in tasks:
        place = storage.join(folder, task.output)
        if task.output in taken:
            raise ValueError(
                f"{taken[task.output]} and {task.entry.place} would both become {place}; leave one out by --exclude"
            )
        taken[task.output] = task.entry.place
        if storage.identity_of(place) in read:
            raise ValueError(f"{place} is one of the files that are read; choose another --output")
    return tasks


def task_of(entry: Entry, style: str) -> Task:
    """A file, with the name of its painting."""
    clip = is_clip(entry.place)
    return Task(entry=entry, output=output_of(entry.name, style, clip=clip), clip=clip)


def kept_apart(task: Task, style: str) -> Task:
    """The same, with all of the file's name in that of its painting."""
    name = f"{task.entry.name}{'.mp4' if task.clip else '.png'}"
    return replace(task, output=output_of(name, style, clip=task.clip))


def output_of(name: str, style: str, *, clip: bool) -> str:
    """Name of a file's painting."""
    try:
        return painted_name(name, style, clip=clip)
    except MissingExtraError:
        return painted_name(name, style, clip=False)  # painting it fails, which is to cost no photo


def changes_suffix(task: Task) -> bool:
    """Whether a painting has another suffix than its file."""
    return PurePosixPath(task.output).suffix.lower() != PurePosixPath(task.entry.name).suffix.lower()


# ------------------------------------------------------------------------------------------------------------ the run


class Run:
    """Files that are being painted."""

    def __init__(self, tasks: Sequence[Task], work: Work, folder: str, batch: BatchConfig) -> None:
        self.tasks, self.work, self.folder, self.batch = tasks, work, folder, batch
        self.configurations = {clip: work.configuration(clip=clip) for clip in (False, True)}
        self.painted = self.unchanged = self.failed = self.failed_before = 0
        self.again: list[Task] = []
        """What is to be painted alone: it needs much memory, or its process has died."""
        self.begin = 0.0

    def steps(self) -> Generator[BatchStep, None, None]:
        """Paint what is left; see `stylize_folder`."""
        self.manifest = Manifest(self.folder)
        try:
            self.begin = time.monotonic()
            if not storage.is_address(self.folder):
                remove_temporary(Path(self.folder))
            left = self.left()
            yield self.step()
            if not left:
                return
            if self.batch.cluster is not None:
                with ended(joined(self.work, self.batch.cluster, self.batch.workers)) as painters:
                    yield from self.paint(left, painters)
                    yield from self.paint(self.again, painters, alone=True)
            else:
                yield from self.paint_here(left)
        finally:
            self.manifest.close()

    def paint_here(self, left: Sequence[Task]) -> Iterator[BatchStep]:
        """Paint on this machine: photos beside each other, then large ones and videos one by one."""
        if any(storage.of_one_process(place) for place in (self.folder, *(task.entry.place for task in left))):
            with ended(Here(self.work)) as here:
                yield from self.paint(left, here, alone=True)
            return
        photos = [task for task in left if not task.clip]
        if photos:
            most = self.most_workers()
            count = min(most, max(1, int(free_memory() / 2 / PROCESS_BYTES)), len(photos))
            # Threads and the memory of each are those of a run of the whole folder: how many there are moves the last
            # bits of a painting, and what is left of a folder is to become what it would have become at once.
            threads = max(1, processors() // min(most, sum(not task.clip for task in self.tasks)))
            abreast = self.abreast(most)
            memory = self.work.share(most) or total_memory() / 2 / most / abreast
            with ended(Processes(self.work, count, threads, memory, abreast)) as painters:
                yield from self.paint(photos, painters)
        last = [*self.again, *(task for task in left if task.clip)]
        if last:
            with ended(Processes(self.work, 1, processors(), None)) as painters:
                yield from self.paint(last, painters, alone=True)

    def most_workers(self) -> int:
        """How many photos to paint at a time: each on a processor, since a photo on all of them wastes some.

        It does not depend on how many are left, and neither do the threads and the memory of each.
        """
        if self.batch.workers:
            return self.batch.workers
        gpu = self.work.options["device"] == "gpu"
        most = 2 if gpu else processors()  # two, so that one is read while another is painted
        whole = self.work.share(1)
        return most if whole is None else max(1, min(most, int(whole / PROCESS_BYTES)))

    def abreast(self, most: int) -> int:
        """How many photos each of so many processes has in hand at a time.

        A GPU paints a photo faster than one processor reads and writes it, and small ones of one size together.
        """
        if self.work.options["device"] != "gpu" or self.batch.workers or self.work.memory is not None:
            return 1
        return max(1, min(ABREAST, processors() // most))

    def paint(self, tasks: Sequence[Task], painters: Painters, *, alone: bool = False) -> Iterator[BatchStep]:
        """Have files painted, and note what comes of them."""
        waiting, running = deque(tasks), dict[Future[Outcome], Task]()
        single = alone and self.work.memory is not None  # of which each may take all
        try:
            while waiting or running:
                while waiting and len(running) < (1 if single else painters.size):
                    task = waiting.popleft()
                    running[painters.submit(self.job(task, alone=alone))] = task
                done, _ = wait(running, TICK_S, FIRST_COMPLETED)
                for future in done:
                    yield self.step(self.note(running.pop(future), future.result(), alone=alone))
                    if self.failed == self.batch.max_errors:
                        told = f"stopped after {self.failed} failed, as --max-errors says"
                        raise ImpastoError(f"{told}; run the same command to continue ({self.manifest.place})")
                if not done:
                    self.manifest.flush(EVERY_S)
                    yield self.step()
        finally:
            if running:  # nothing that is being painted is lost
                painters.stop()
                for future in as_completed(running):
                    with suppress(ImpastoError):
                        self.note(running[future], future.result(), alone=alone)

    def left(self) -> list[Task]:
        """Files that are to be painted; counts the others."""
        self.size = storage.sizes(self.folder)
        left = []
        for task in self.tasks:
            before = self.before(task)
            same = before is not None and bool(task.entry.stamp) and before.stamp == task.entry.stamp
            if before is None or not same:
                left.append(task)
            elif before.status == "failed":
                if self.batch.retry_failed:
                    left.append(task)
                else:
                    self.failed_before += 1
            elif self.size(task.output) != before.bytes:
                left.append(task)
            else:
                self.unchanged += 1
        return left

    def before(self, task: Task) -> FileResult | None:
        """What came of a file the last time, by the same configuration."""
        result = self.manifest.latest.get(task.output) if self.work.resume else None
        same = result is not None and result.configuration == self.configurations[task.clip]
        return result if same else None

    def job(self, task: Task, *, alone: bool) -> Job:
        """A file as those who paint are given it."""
        before, target = self.before(task), storage.join(self.folder, task.output)
        there = before is not None and before.status == "done" and self.size(task.output) == before.bytes
        known = before.sha256 if before is not None and there else ""
        return Job(source=task.entry.place, target=target, clip=task.clip, known=known, alone=alone)

    def note(self, task: Task, outcome: Outcome, *, alone: bool) -> FileResult | None:
        """Count what came of a file and add it to the manifest; raises ImpastoError where the run has to end."""
        for text in outcome.notes:
            warnings.warn(text, stacklevel=2)
        if outcome.status == "refused":
            raise ImageError(outcome.error)
        if outcome.status == "stopped":
            return None
        if outcome.status in ("large", "died") and not alone:
            self.again.append(task)
            return None
        before = self.before(task)
        if outcome.status == "unchanged" and before is not None:
            self.manifest.add(replace(before, stamp=task.entry.stamp))
            self.unchanged += 1
            return None
        done = outcome.status == "done"
        result = FileResult(
            input=task.entry.name,
            output=task.output,
            status="done" if done else "failed",
            error=outcome.error,
            seconds=outcome.seconds,
            sha256=outcome.sha256,
            configuration=self.configurations[task.clip],
            stamp=task.entry.stamp,
            bytes=outcome.bytes,
            width=outcome.width,
            height=outcome.height,
            device=outcome.device,
            precision=outcome.precision,
        )
        self.manifest.add(result)
        self.painted += done
        self.failed += not done
        return result

    def step(self, result: FileResult | None = None) -> BatchStep:
        """How far the work is."""
        seconds, here = time.monotonic() - self.begin, self.painted + self.failed
        rate = here / seconds if seconds > 0 else 0.0
        step = BatchStep(
            result=result,
            painted=self.painted,
            unchanged=self.unchanged,
            failed=self.failed,
            failed_before=self.failed_before,
            total=len(self.tasks),
            seconds=seconds,
            files_per_second=rate,
            seconds_left=None,
        )
        return replace(step, seconds_left=step.left / rate) if here else step


@contextmanager
def ended(painters: PaintersT) -> Iterator[PaintersT]:
    """Those who paint, ended with the block; at once where it fails."""
    try:
        yield painters
    except BaseException:
        painters.close(now=True)
        raise
    painters.close()


def joined(work: Work, address: str, workers: int | None) -> "Cluster":
    """A Ray cluster; raises MissingExtraError where Ray is not installed."""
    try:
        from impasto.cluster import Cluster
    except ModuleNotFoundError as error:
        raise MissingExtraError("a cluster needs Ray: pip install 'impasto[cluster]'") from error
    return Cluster(work, address, workers)
