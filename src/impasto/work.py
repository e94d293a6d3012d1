"""What is done to one file of a folder, and how: whatever it is, what came of it is an outcome."""

import contextlib
import errno
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from impasto import errors, storage
from impasto.config import ClipConfig, to_json
from impasto.errors import DeviceError, ImpastoError
from impasto.images import DEEP_SUFFIXES, image_size, read_picture, write_image
from impasto.large import Limit
from impasto.memory import resident_memory
from impasto.notes import noted
from impasto.recipes import hash_of, hash_of_mask, of_photo, with_recipe
from impasto.styles import Style
from impasto.stylize import plans_of, side_of, stylize

if TYPE_CHECKING:
    from impasto.images import Picture
    from impasto.stylize import Region

NO_FAULT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a system refuses when it writes that is not the fault of one picture."""
DECODED_BYTES, PAINTED_BYTES, PALETTE_BYTES, MOVED_BYTES = 10, 350, 100, 40
"""Memory that a pixel takes: of a photo that is read, and of one that a full network or a palette paints in float32, or
that is painted in a GPU's own memory."""
PLANNED: Final = ("strength", "stroke", "max_side", "device", "precision")
"""Of what `Work.options` holds, what `plans_of` takes."""
ITSELF: Final = 1.5e8
"""Bytes that a process takes before it paints: the interpreter, the engine, a network. Counted by this number, not by
what one happens to have, so that a photo's tiles do not depend on what was painted before it."""

stopping = Event()
"""Whether this process was asked to stop: then a video ends at its next frame, and a photo is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A file to paint."""

    source: str
    """Path or address."""
    target: str
    clip: bool = False
    """Whether it is a video."""
    known: str = ""
    """Hash of the photo that the output there is was painted from: of the same one nothing is to be done."""
    alone: bool = False
    """Whether nothing is painted beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a file."""

    status: str
    """done; unchanged; failed; large: to be painted alone; died: its process has; stopped, of a video; refused: by
    the disk, so that others would be, too."""
    error: str = ""
    sha256: str = ""
    """Of the input."""
    bytes: int = 0
    """Size of the output."""
    width: int = 0
    height: int = 0
    device: str = ""
    precision: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """Warnings."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """How files are painted."""

    style: "Style | Sequence[Region]"
    """One with its weights chosen, or several with masks."""
    options: Mapping[str, Any]
    """Of `stylize`: strength, stroke, colors, mask, max_side, device, precision."""
    quality: int | None = None
    clip: ClipConfig = field(default_factory=ClipConfig)
    resume: bool = True
    """Whether what is painted is left as it is, and a video goes on where an earlier run was stopped."""
    recipe: Mapping[str, Any] | None = None
    """What `recipes.of_photo` takes, to be put into every picture."""
    icc: str = "srgb"
    """See `read_picture`; of photos."""
    memory: float | None = None
    """Bytes that all processes may take together, where that was said."""
    tile: int | None = None
    """See `stylize`; of photos."""

    @property
    def regions(self) -> "list[tuple[Style, Any]]":
        """Styles, each with its mask or None."""
        if isinstance(self.style, Style):
            return [(self.style, None)]
        return [(style, mask) for style, mask in self.style if isinstance(style, Style)]

    def configuration(self, *, clip: bool) -> str:
        """Hash of all that decides what a photo, or a video, becomes."""
        styles = [
            [hashlib.sha256(style.data).hexdigest(), dict(style.weights), hash_of_mask(mask)]
            for style, mask in self.regions
        ]
        options = {**self.options, "mask": hash_of_mask(self.options["mask"])}
        said = {"styles": styles, "options": options, "quality": self.quality, "tile": self.tile, "icc": self.icc}
        if clip:
            said["clip"] = to_json(self.clip)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def prepare(self) -> tuple[str, str]:
        """Compile the networks; returns the device and precision. Raises ImpastoError where they cannot run."""
        runtimes = [style.runtime(self.options["device"], self.options["precision"]) for style, _ in self.regions]
        return runtimes[0].device, runtimes[0].precision

    def share(self, count: int) -> float | None:
        """Bytes that each of so many processes may take beside the one that asks, where it was said for all."""
        return None if self.memory is None else max(1.0, self.memory - ITSELF) / count

    def limit(self, share: float | None, picture: "Picture") -> Limit:
        """What painting a picture may take: a share, or all of the memory where it is painted alone."""
        if self.memory is None:
            return Limit(tile=self.tile)
        held = len(self.regions) * picture.pixels.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)
        if share is None:
            return Limit(memory=self.memory, tile=self.tile, taken=2 * ITSELF + held)
        return Limit(memory=share, tile=self.tile, taken=ITSELF + held)

    def forget(self) -> None:
        """Give back the compiled networks, which keep the memory that the largest picture took."""
        for style, _ in self.regions:
            style.forget()

    def needs(self, height: int, width: int) -> float:
        """Bytes that a photo of a size takes at least, about: painted whole, or by tiles once it is read."""
        read = height * width
        if self.memory is not None:
            return ITSELF + DECODED_BYTES * read
        side = self.options["max_side"]
        painted = read * min(1.0, side / max(height, width)) ** 2 if side else read
        if self.prepare()[0].startswith("cuda"):
            return DECODED_BYTES * read + painted * MOVED_BYTES
        palette = all(style.spec.architecture == "StyleNet" for style, _ in self.regions)
        return DECODED_BYTES * read + painted * (PALETTE_BYTES if palette else PAINTED_BYTES)


def paint_file(work: Work, job: Job, memory: float | None = None) -> Outcome:
    """Paint a file, whatever it is: what goes wrong is in the outcome.

    `memory`: bytes that this process may take, which others work beside; what needs more comes back as large.
    """
    begin = time.perf_counter()
    with noted() as notes:
        try:
            outcome = paint_clip(work, job) if job.clip else paint_photo(work, job, memory)
        except (MemoryError, DeviceError) as error:  # beside others it may have been too much
            told = f"{job.source}: {str(error) or 'out of memory; try --max-side'}"
            outcome = Outcome(status="failed" if job.alone else "large", error=told)
        except (ImpastoError, OSError) as error:
            cause = error.__cause__ if isinstance(error, ImpastoError) else error
            refused = str(error).startswith("cannot write") and getattr(cause, "errno", None) in NO_FAULT
            outcome = Outcome(status="refused" if refused else "failed", error=str(error))
        except Exception as error:  # one file's, whatever it is  # noqa: BLE001
            outcome = Outcome(status="failed", error=f"{job.source}: {error or type(error).__name__}")
    return replace(
        outcome,
        error=named(outcome.error, job.source),
        notes=tuple(named(note, job.source) for note in notes),
        seconds=round(time.perf_counter() - begin, 3),
    )


def named(text: str, source: str) -> str:
    """What is said of a picture that came as bytes, with its address."""
    return text.replace("the picture", source, 1) if storage.is_address(source) else text


def paint_photo(work: Work, job: Job, memory: float | None) -> Outcome:
    """Paint a photo and write the painting; raises ImpastoError."""
    remote = storage.is_address(job.source)
    source = storage.read_bytes(job.source) if remote else Path(job.source)
    size = image_size(source)
    value = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else hash_of(source)
    if value == job.known:
        return Outcome(status="unchanged", sha256=value)
    if memory is not None and work.needs(*size) > memory:
        return Outcome(status="large", sha256=value)
    picture = read_picture(source, deep=PurePosixPath(job.target).suffix.lower() in DEEP_SUFFIXES, icc=work.icc)
    how, limit = {key: work.options[key] for key in PLANNED}, work.limit(memory, picture)
    plans = plans_of(picture, [style for style, _ in work.regions], **how, limit=limit, timed=False)
    if memory is not None and limit.given and max(plan.gigabytes for plan in plans) * 1e9 > memory:
        return Outcome(status="large", sha256=value)
    if limit.taken is not None and resident_memory() > limit.taken and any(plan.tiled for plan in plans):
        work.forget()
    tile = side_of(plans)
    picture = stylize(picture, work.style, **work.options, tile=tile)
    recipe = work.recipe and of_photo(work.recipe, PurePosixPath(job.source).name, value, tile=tile)
    if recipe:
        picture = replace(picture, exif=with_recipe(picture.exif, recipe))
    written = write_painting(job.target, picture, work.quality)
    height, width = picture.pixels.shape[:2]
    device, precision = work.prepare()
    return Outcome(
        status="done", sha256=value, bytes=written, width=width, height=height, device=device, precision=precision
    )


def write_painting(target: str, picture: "Picture", quality: int | None) -> int:
    """Write a picture to a path, whose folder is made, or an address; returns its size in bytes."""
    if not storage.is_address(target):
        make_folder(Path(target).parent)
        write_image(Path(target), picture, quality=quality)
        return Path(target).stat().st_size
    stream = BytesIO()
    write_image(stream, picture, format=PurePosixPath(target).suffix, quality=quality)
    storage.write_bytes(target, stream.getvalue())
    return stream.tell()


def make_folder(folder: Path) -> None:
    """Make a folder, and those that lead to it; raises ImageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ImageError(f"cannot write {folder}: {error.strerror}") from error


def paint_clip(work: Work, job: Job) -> Outcome:
    """Paint a video, going on where an earlier run was stopped; raises ImpastoError."""
    try:
        from impasto.clips import paint_video
    except ModuleNotFoundError as error:
        told = f"{job.source}: videos need {error.name}: pip install 'impasto[video]'"
        raise errors.MissingExtraError(told) from error
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(job.source), Path(job.target)
        if storage.is_address(job.source):
            source = Path(folder, f"source{PurePosixPath(job.source).suffix}")
            source.write_bytes(storage.read_bytes(job.source))
        if storage.is_address(job.target):
            target = Path(folder, f"target{PurePosixPath(job.target).suffix}")
        value = hash_of(source)
        if value == job.known:
            return Outcome(status="unchanged", sha256=value)
        make_folder(target.parent)
        clip = work.clip
        steps = paint_video(
            source,
            target,
            work.style,
            **work.options,
            steady=clip.steady,
            codec=clip.codec,
            quality=work.quality,
            start=clip.start,
            end=clip.until,
            resume=work.resume,
        )
        with contextlib.closing(steps):  # which keeps what is finished
            for _ in steps:
                if stopping.is_set():
                    return Outcome(status="stopped")
        if storage.is_address(job.target):
            storage.write_bytes(job.target, target.read_bytes())
        return Outcome(status="done", sha256=value, bytes=target.stat().st_size)
