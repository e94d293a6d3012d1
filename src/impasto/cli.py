"""The command line: a command parses, calls one function of the library, and prints."""

import contextlib
import io
import json
import logging
import os
import re
import signal
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml

import impasto
from impasto.config import TrainConfig, to_json
from impasto.errors import ImpastoError, MissingExtraError

if TYPE_CHECKING:
    from impasto.downloads import Progress
    from impasto.images import Picture, Pixels

app = App(
    name="impasto",
    help="Turn photographs into paintings.",
    version=impasto.__version__,
    help_format="plaintext",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    print_error=False,
    exit_on_error=False,
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

Colors = Literal["style", "luma", "match", "histogram"]
Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16"]
Convention = Literal["auto", "rgb255", "bgr255", "imagenet", "rgb1"]
Flag = Annotated[bool, Parameter(negative="")]
STREAM = Path("-")
LONGEST = 80
"""Letters of a style's name in the name of an output."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 a failure of the world, 2 a mistake in the call, 130 and 143 interrupted."""
    tokens = ["./-" if t == "-" else t for t in (sys.argv[1:] if argv is None else argv)]  # the same path, no option
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show is no failure
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: tell(f"warning: {message}")  # not where in the code
        sys.exit(call(tokens))


def call(tokens: Sequence[str]) -> int:
    """Run a command and return its exit code; what fails is told in one line on standard error."""
    try:
        app.config = config_file(tokens)
        code = app(tokens) or 0
        sys.stdout.flush()
    except ImpastoError as error:
        return fail(str(error), 1)
    except (CycloptsError, ValueError) as error:
        return fail(f"{error} (see impasto --help)", 2)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except MemoryError:
        return fail("out of memory; try --max-side", 1)
    except OSError as error:
        forget_stdout()
        told = f"{error.filename or 'standard output'}: {error.strerror}"
        return 1 if isinstance(error, BrokenPipeError) else fail(told, 1)
    return int(code)


def fail(message: str, code: int) -> int:
    """Tell of a failure; returns its exit code."""
    tell(message)
    return code


def tell(message: str) -> None:
    """Print one line on standard error, whatever is in the message."""
    print("impasto:", printable(" ".join(message.split())), file=sys.stderr)


def printable(text: str) -> str:
    """Text with what would move the cursor, or cannot be printed at all, written as an escape."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def forget_stdout() -> None:
    """Send what standard output still holds nowhere, since flushing it at exit would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def config_file(tokens: Sequence[str]) -> list[Toml]:
    """Settings of the --config file in the tokens of ``impasto train``, for cyclopts to put below the flags."""
    if tokens[:1] != ["train"]:
        return []
    for i, token in enumerate(tokens):
        name, equals, value = token.partition("=")
        if name == "--config":
            path = value if equals else tokens[i + 1] if i + 1 < len(tokens) else ""
            if not Path(path).is_file():
                raise ValueError(f"--config is {path!r}; there is no such file")
            return [Toml(path, must_exist=True, search_parents=False, use_commands_as_keys=False)]
    return []


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture to stylise: where it comes from and where it goes."""

    source: Path
    target: Path


@app.command(usage="Usage: impasto stylize INPUT... --style STYLE [OPTIONS]")
def stylize(
    *inputs: Path,
    style: str,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    strength: float | None = None,
    stroke: float | None = None,
    colors: Colors = "style",
    mask: Path | None = None,
    max_side: int | None = None,
    quality: int | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    json: Flag = False,
) -> int:
    """Paint photographs in a style.

    Parameters
    ----------
    inputs
        Photographs; - is standard input.
    style
        Name of a built-in style (impasto styles lists them), a blend of several (candy:0.7,udnie:0.3) or a style file.
    output
        File, or existing folder; <stem>-<style>.<ext> beside the input unless given; - is standard output, a PNG.
    strength
        0 is the photo, 1 the painting; what the style recommends unless given.
    stroke
        Size of the strokes relative to the picture: 1 is as in the painting, less is finer, 0.05 to 4; unless given
        the strokes are those that come sharpest, finer the larger the picture.
    colors
        Whose colours: the style's, or the photo's kept by luma, match (mean and covariance) or histogram.
    mask
        Picture that is white where the photo is painted and black where it is kept.
    max_side
        Reduce a larger photo to this many pixels on its long side.
    quality
        Of JPEG, WebP or AVIF, 1 to 100.
    device
        Where to run; auto is the CPU, gpu needs a GPU that PyTorch or OpenVINO can use.
    precision
        Of the arithmetic; auto is what is fastest on the device.
    json
        Print one JSON object an output.

    """
    from impasto.styles import is_file, load_style
    from impasto.stylize import check, check_stroke

    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be from 1 to 100")
    check(strength, stroke, colors, None, max_side)
    loaded = load_style(style)
    check_stroke(stroke, loaded)
    jobs = plan(inputs, output, Path(style).stem if is_file(style) else loaded.name, json=json)
    protect(jobs, *inputs, mask, loaded.source)
    soft_mask = read_mask(mask) if mask is not None else None
    runtime = loaded.runtime(device, precision)
    options = {"strength": strength, "stroke": stroke, "colors": colors, "mask": soft_mask, "max_side": max_side}
    failures = 0
    for job in jobs:
        start = time.perf_counter()
        try:
            picture = read_source(job.source)
            painted = impasto.stylize(picture, loaded, device=device, precision=precision, **options)  # type: ignore[arg-type]
            write_target(job.target, painted, quality)
        except ImpastoError as error:
            if len(jobs) == 1:
                raise
            failures += 1
            tell(str(error))
            continue
        height, width = painted.pixels.shape[:2]
        report(
            {
                "input": str(job.source),
                "output": str(job.target),
                "width": width,
                "height": height,
                "seconds": round(time.perf_counter() - start, 3),
                "style": loaded.name,
                "device": runtime.device,
                "precision": runtime.precision,
            },
            as_json=json,
        )
    if failures:
        raise ImpastoError(f"{failures} of {len(jobs)} pictures failed")
    return 0


def plan(inputs: Sequence[Path], output: Path | None, style: str, *, json: bool) -> list[Job]:
    """Where each input goes; raises ValueError where that cannot be written, or two would go to one place."""
    from impasto.images import WRITE_SUFFIXES

    if not inputs:
        raise ValueError("no photograph given")
    if len(inputs) > 1 and output is not None and output != STREAM and not output.is_dir():
        raise ValueError(f"--output is {output}; for several photographs it must be an existing folder")
    jobs = [Job(source=source, target=target_of(source, output, style)) for source in inputs]
    targets: dict[Path, Path] = {}
    for job in jobs:
        if job.target == STREAM and (json or len(jobs) > 1):
            raise ValueError("standard output takes one picture and no --json beside it; choose another --output")
        if job.target != STREAM and job.target.suffix.lower() not in WRITE_SUFFIXES:
            raise ValueError(f"--output is {job.target}; it must end in one of {', '.join(WRITE_SUFFIXES)}")
        place = job.target.resolve()
        if place in targets:
            raise ValueError(f"{targets[place]} and {job.source} would both become {job.target}")
        targets[place] = job.source
    return jobs


def protect(jobs: Sequence[Job], *read: Path | str | None) -> None:
    """Raise a ValueError where a job would write over a file that the command reads."""
    for job in jobs:
        if job.target != STREAM and any(path is not None and same_file(job.target, Path(path)) for path in read):
            raise ValueError(f"{job.target} is one of the files that are read; choose another --output")


def target_of(source: Path, output: Path | None, style: str) -> Path:
    """Output of one input: as given, or named after it in the given folder or beside it."""
    from impasto.images import WRITE_SUFFIXES

    if output is not None and not output.is_dir():
        return output
    if source == STREAM:
        if output is None:
            return STREAM
        source = Path("stdin.png")
    suffix = source.suffix if source.suffix.lower() in WRITE_SUFFIXES else ".png"
    name = re.sub(r"[^\w .+-]", "_", style)[:LONGEST]  # names come from style files, which may be a stranger's
    return (output or source.parent) / f"{source.stem}-{name}{suffix}"


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one existing file."""
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def read_source(source: Path) -> "Picture":
    """Picture from a file or from standard input."""
    from impasto.images import read_picture

    return read_picture(sys.stdin.buffer.read() if source == STREAM else source)


def read_mask(path: Path) -> "Pixels":
    """Mask, uint8 (H, W), from the lightness of a picture."""
    import numpy as np
    from PIL import Image

    from impasto.images import read_image

    return np.asarray(Image.fromarray(read_image(path)).convert("L"))


def write_target(target: Path, picture: "Picture", quality: int | None) -> None:
    """Write a picture to a file or, as PNG, to standard output."""
    from impasto.images import write_image

    if target != STREAM:
        write_image(target, picture, quality=quality)
        return
    stream = io.BytesIO()
    write_image(stream, picture, format="PNG")
    rest = stream.getbuffer()
    while rest:  # Python's unbuffered streams may take a part only
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def report(result: dict[str, Any], *, as_json: bool) -> None:
    """Say what was written; nothing when the picture itself went to standard output."""
    if as_json:
        print(json.dumps(result), flush=True)
    elif result["output"] != str(STREAM):
        size = f"{result['width']} x {result['height']}"
        print(printable(f"{result['output']}  {size}  {result['style']}  {result['seconds']:.2f} s"), flush=True)


@app.command
def styles(
    file: Path | None = None,
    *,
    sheet: Path | None = None,
    matrix: str | None = None,
    photo: Path | None = None,
    side: int = 320,
    json: Flag = False,
) -> int:
    """List the built-in styles, or those of a file; or draw them.

    Parameters
    ----------
    file
        Style file whose styles to list, in place of the built-in ones.
    sheet
        Picture to write: a photo in every style, with their names.
    matrix
        Name of a style that the sheet shows in place of all, strength against stroke.
    photo
        Photo of the sheet; one of ours unless given.
    side
        Long side of each picture in the sheet, in pixels.
    json
        Print the list as one JSON array.

    """
    if matrix is not None and sheet is None:
        raise ValueError("--matrix needs --sheet, the picture to write")
    entries = impasto.builtin_styles() if file is None else styles_of(file)
    if sheet is not None:
        draw_sheet(sheet, file, [matrix] if matrix else list(entries), photo, side, as_matrix=matrix is not None)
        print(sheet)
    elif json:
        print_json([{"name": name, **entry} for name, entry in entries.items()])
    else:
        for name, entry in entries.items():
            about = ", ".join(filter(None, (entry["title"], entry["artist"], entry["year"])))
            print(printable(f"{name:16}  {about}"))
    return 0


def styles_of(file: Path) -> dict[str, dict[str, Any]]:
    """What a style file says of each of its styles, by name."""
    from dataclasses import asdict

    from impasto.styles import load_file

    return {entry.name: asdict(entry) for entry in load_file(file).spec.entries}


def draw_sheet(
    target: Path, file: Path | None, names: Sequence[str], photo: Path | None, side: int, *, as_matrix: bool
) -> None:
    """Write a photo in every style, or as a matrix of one."""
    from impasto import sheets
    from impasto.images import fit, read_image, write_image
    from impasto.styles import load_file, load_style, zoo

    check_picture_target("--sheet", target, file, photo)
    if side < sheets.SMALLEST:
        raise ValueError(f"side is {side}; it must be at least {sheets.SMALLEST} pixels")
    shown = fit(read_image(photo or zoo() / "sample.jpg"), side)
    loaded = [load_style(name) if file is None else load_file(file).choose({name: 1.0}) for name in names]
    if as_matrix and not loaded[0].spec.rows:
        raise ValueError(
            f"--matrix is {names[0]}; a network of one style has one size of strokes, so it needs a palette's"
        )
    drawn = sheets.matrix(shown, loaded[0]) if as_matrix else sheets.sheet(shown, loaded)
    write_image(target, drawn)


def check_picture_target(option: str, target: Path, *read: Path | None) -> None:
    """Raise a ValueError, before any work, where the picture that an option names could not be written."""
    from impasto.images import WRITE_SUFFIXES

    if target.suffix.lower() not in WRITE_SUFFIXES:
        raise ValueError(f"{option} is {target}; it must end in one of {', '.join(WRITE_SUFFIXES)}")
    if not target.parent.is_dir():
        raise ValueError(f"{option} is {target}; its folder does not exist, create it first")
    if any(path is not None and same_file(target, path) for path in read):
        raise ValueError(f"{target} is one of the files that are read; choose another {option}")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


@app.command
def doctor() -> int:
    """Tell what this machine and installation can do: device, precision, formats, cache."""
    from impasto.doctor import examine

    for name, text in examine().items():
        print(f"{name:10}  {text}")
    return 0


@app.command
def convert(
    checkpoint: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    name: str | None = None,
    convention: Convention = "auto",
) -> int:
    """Make a style file from a checkpoint of another project.

    Parameters
    ----------
    checkpoint
        State dictionary of a feed-forward style network (.pth, .model, .safetensors).
    output
        Style file to write, .onnx.
    name
        Name of the style; the output's stem unless given.
    convention
        Pixels that the network was made for; auto is what the checkpoint's project uses, which forks may have changed.

    """
    with needs_extra("train"):
        from impasto.convert import load_checkpoint
        from impasto.export import export_style, make_spec
    from impasto.styles import StyleEntry

    check_style_suffix(output)
    if same_file(checkpoint, output):
        raise ValueError(f"--output is {output}, the checkpoint itself; choose another one")
    converted = load_checkpoint(checkpoint, convention=convention)
    spec = make_spec(
        converted.net,
        entries=(StyleEntry(name=name or output.stem),),
        recipe={"source": converted.source, "convention": converted.convention, "file": checkpoint.name},
    )
    export_style(converted.net, output, spec, tolerance=0.1 / 255)
    print(f"{output}  from {converted.source}, {converted.convention} pixels")
    if converted.note:
        tell(converted.note)
    return 0


def check_style_suffix(output: Path) -> None:
    """Raise a ValueError for an output that would not be found as a style file."""
    if output.suffix.lower() != ".onnx":
        raise ValueError(f"--output is {output}; a style file ends in .onnx")


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"this needs {error.name}: pip install 'impasto[{extra}]'") from error


palette = App(name="palette", help="Work on palettes, files of several styles.")
app.command(palette)


@palette.command(name="merge")
def palette_merge(*palettes: Path, output: Annotated[Path, Parameter(alias="-o")]) -> int:
    """Join palettes that share a base into one.

    Parameters
    ----------
    palettes
        Style files, two or more, trained with the same --base.
    output
        Style file to write, .onnx.

    """
    check_style_suffix(output)
    if any(same_file(output, path) for path in palettes):
        raise ValueError(f"{output} is one of the files that are read; choose another --output")
    with needs_extra("train"):
        from impasto.palette import merge
    print(printable(f"{output} holds {', '.join(merge(palettes, output).names)}"))
    return 0


@app.command
def preview(
    painting: Path,
    photo: Path,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    base: str,
    seconds: float = 75.0,
    side: int = 320,
    loss_network: tuple[str, ...] = ("vgg19-small16x",),
) -> int:
    """Show on one photo what a painting will give, before any long training.

    Parameters
    ----------
    painting
        Picture whose style would be learnt.
    photo
        Photograph to paint.
    output
        Sheet to write, strength against stroke; <stem>-<painting>-preview.png beside the photo unless given.
    base
        Palette whose network is used.
    seconds
        How long to learn.
    side
        Long side of each picture in the sheet, in pixels.
    loss_network
        As of impasto train.

    """
    from impasto.images import write_image

    target = output or photo.with_name(f"{photo.stem}-{painting.stem}-preview.png")
    check_picture_target("--output", target, painting, photo)
    with needs_extra("train"):
        from impasto.preview import preview as run
    steps = run(
        painting, photo, base=base, seconds=seconds, side=side, loss_network=loss_network, progress=download_bar()
    )
    with contextlib.closing(steps):  # closing removes the temporary folder
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                write_image(target, finished.value)
                print(target)
                return 0
            if sys.stderr.isatty():
                print(f"\r{step.progress:4.0%}", end="\n" if step.progress >= 1 else "", file=sys.stderr, flush=True)


@app.command
def train(settings: Annotated[TrainConfig, Parameter(name="*")], *, config: Path | None = None) -> int:  # noqa: ARG001 - main reads it
    """Learn a style from a painting and a folder of photos.

    Killed at any moment and started again with the same command, it continues where it was.

    Parameters
    ----------
    settings
        Everything that decides the run.
    config
        TOML file with any of these settings; flags go before it.

    """
    check_style_suffix(settings.output)
    with needs_extra("train"):
        from impasto.train import train as run
    for name, value in to_json(settings).items():
        print(f"{name} = {json.dumps(value)}", flush=True)
    stopped: list[int] = []
    shown = 0

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopped or not shown:  # asked twice, or nothing to save yet: now, not after the step
            raise SystemExit(143) if number == signal.SIGTERM else KeyboardInterrupt
        stopped.append(number)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    steps = run(settings, progress=download_bar())
    try:
        with contextlib.closing(steps):  # closing saves a checkpoint
            for step in steps:
                show(step, settings)
                shown += 1
                if stopped:
                    tell(f"stopped and saved; run the same command to continue ({settings.folder})")
                    return 128 + stopped[0]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    print(settings.output)
    return 0


def download_bar() -> "Progress":
    """What shows a download on standard error while it lasts, from the bytes that are there and those in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("fetching the loss network", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("")

    def update(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return update


def show(step: "impasto.Step", settings: TrainConfig) -> None:
    """Print a training step that is due for the log, or out of the ordinary."""
    if step.event:
        print(step.event, flush=True)
    if step.sample:
        print(f"sample {step.sample}", flush=True)
    for name, figures in (step.figures or {}).items():
        told = "  ".join(f"{what} {value:.4f}" for what, value in figures.items())
        print(printable(f"  {name:16}  {told}"), flush=True)
    if step.step % settings.log_interval == 0 or step.progress >= 1:
        minutes, seconds = divmod(round(step.seconds_left), 60)
        print(
            f"{step.progress:6.1%}  step {step.step}  loss {step.loss:.4f}  content {step.content:.4f}  "
            f"style {step.style:.5f}  {step.images_per_second:.1f} images/s  {minutes}:{seconds:02d} left",
            flush=True,
        )
