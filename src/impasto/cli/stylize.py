"""``impasto stylize``."""

import io
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import impasto
from impasto.choices import Colors, Device, Engine, Icc, Precision
from impasto.cli.app import Flag, app
from impasto.cli.batch import is_batch, paint_batch
from impasto.cli.choice import Choice
from impasto.cli.clips import check_still, check_target, paint_clip
from impasto.cli.console import printable, tell
from impasto.cli.outputs import STREAM, protect
from impasto.cli.outputs import plan as plan_jobs
from impasto.config import BatchConfig, ClipConfig
from impasto.errors import ImageError, ImpastoError
from impasto.memory import Gigabytes
from impasto.upscaler_config import Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from impasto.cli.outputs import Job
    from impasto.images import Picture
    from impasto.large import Plan
    from impasto.runtimes import Runtime
    from impasto.styles import Style

AS_USUAL, AS_THEY_ARE = ClipConfig(), BatchConfig()


@app.command(usage="Usage: impasto stylize INPUT... --style STYLE [OPTIONS]")
def stylize(
    *inputs: str,
    style: str,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    strength: float | None = None,
    stroke: float | None = None,
    colors: Colors = "style",
    mask: Path | None = None,
    max_side: int | None = None,
    upscale: Scale | None = None,
    quality: int | None = None,
    icc: Icc = "srgb",
    engine: Engine | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    memory: Gigabytes | None = None,
    tile: int | None = None,
    plan: Flag = False,
    json: Flag = False,
    clip: Annotated[ClipConfig, Parameter(name="*")] = AS_USUAL,
    resume: bool = True,
    batch: Annotated[BatchConfig, Parameter(name="*")] = AS_THEY_ARE,
) -> int:
    """Paint photographs and videos in a style, one or folders of them.

    Parameters
    ----------
    inputs
        Photographs and videos; - is a photograph on standard input. Folders, which are painted with all that is in
        them, quoted patterns ('photos/**/*.jpg') and addresses (s3://bucket/photos).
    style
        Name of a built-in style (impasto styles lists them), a style file, or any painting (painting.jpg); a blend of
        several (candy:0.7,udnie:0.3, or a.jpg:0.6,b.jpg:0.4); or several with masks, a.jpg@left.png,b.jpg@right.png.
    output
        File, or existing folder; <stem>-<style>.<ext> beside the input unless given; - is standard output, a PNG. Of
        folders a folder or address, where the same folders are made; run again, only what is left or has changed is
        painted.
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
    upscale
        Enlarge the painting of a photo, 2, 4 or 8 times as wide and high: strokes stay sharp, and become as large.
    quality
        Of JPEG, WebP, AVIF or a video, 1 to 100.
    icc
        Of photos with a colour profile: srgb converts them; keep paints them in their own colours, as Display P3, and
        the painting has the profile.
    engine
        What paints after a painting: hourglass, adain or wct; the best that there is unless given.
    device
        Where to run; auto is the CPU, gpu needs a GPU that PyTorch or OpenVINO can use.
    precision
        Of the arithmetic; auto is what is fastest on the device.
    memory
        Memory to use at most, as 4GB or 600MB, a quarter of what is free unless given: larger photos go by tiles. Of
        folders what all processes may take together.
    tile
        Side of the tiles in pixels; as large as fits the memory unless given.
    plan
        Say what would be done, and what it would take, and do nothing.
    json
        Print one JSON object an output.
    clip
        What a video asks for beyond a photo.
    resume
        Continue what an interrupted run of the same command has finished of a video or of folders; otherwise start
        afresh.
    batch
        What folders ask for beyond a photo.

    """
    from impasto.images import DEEP_SUFFIXES, check_quality, fitted_size, read_mask
    from impasto.recipes import with_recipe
    from impasto.sources import is_clip
    from impasto.stylize import check, check_stroke, limit_of, plans_of, side_of
    from impasto.upscale import check_size, foretold, large_size
    from impasto.upscalers import upscalers_for

    check_quality(quality)
    check(strength, stroke, colors, None, max_side)
    limit = limit_of(memory, tile)
    choice = Choice.parse(style, engine)
    for loaded in choice.styles:
        check_stroke(stroke, loaded)
    settings: dict[str, Any] = {"strength": strength, "stroke": stroke, "colors": colors, "max_side": max_side}
    profile = {"icc": icc} if icc != "srgb" else {}
    if is_batch(inputs, output, batch):
        if plan:
            raise ValueError("--plan is for photos that are named, not for folders")
        if upscale:
            raise ValueError(
                "upscale is for photographs that are named; enlarge a folder's paintings by impasto upscale"
            )
        told = settings | profile | {"device": device, "precision": precision}
        limits = {"memory": memory, "tile": tile}
        return paint_batch(
            inputs, output, choice, mask, told, quality, limits, batch, clip, resume=resume, as_json=json
        )
    jobs = plan_jobs([Path(text) for text in inputs], Path(output) if output else None, choice.name, json=json)
    protect(jobs, *inputs, mask, *choice.files)
    clips = {job.source for job in jobs if is_clip(str(job.source))}
    if not clips:
        check_still(jobs[0].source, clip)
    for job in jobs:
        if job.source in clips:
            check_target(job.target, clip, quality)
            if upscale or plan:
                option = "upscale" if upscale else "--plan"
                raise ValueError(f"{option} is for photographs; {job.source} is a video")
    enlargers = upscalers_for(upscale) if upscale else []
    soft_mask = read_mask(mask) if mask is not None else None
    runtimes = [loaded.runtime(device, precision) for loaded in choice.styles]
    options, paint = settings | {"mask": soft_mask}, choice.paint
    where: dict[str, Any] = {"device": device, "precision": precision}
    settings |= where | profile | ({"upscale": upscale} if upscale else {})
    failures = 0
    for job in jobs:
        start = time.perf_counter()
        try:
            if job.source in clips:
                given = options | where | {"quality": quality, "resume": resume}
                if code := paint_clip(job.source, job.target, paint, choice.told, clip, given, as_json=json):
                    return code
                continue
            deep = job.target.suffix.lower() in DEEP_SUFFIXES
            large = None if upscale else job.target
            picture = read_source(job.source, deep=deep, icc=icc, target=large)
            painted_size = fitted_size(picture.pixels.shape[:2], max_side)
            check_size(painted_size, enlargers)
            asked = {key: settings[key] for key in ("strength", "stroke", "max_side", "device", "precision")}
            plans = plans_of(picture, choice.styles, **asked, limit=limit, timed=plan)
            if plan:
                tell_plan(job.source, choice.styles, plans, as_json=json)
                if upscale:
                    seconds = foretold(picture.pixels, painted_size, enlargers, **where)
                    tell_enlarging(job.source, large_size(painted_size, enlargers), upscale, seconds, as_json=json)
                continue
            settings["tile"] = side_of(plans)
            painted = impasto.stylize(picture, paint, **where, **options, tile=settings["tile"])
            del picture  # whose memory the encoder can have
            painted = impasto.upscale(painted, upscale, **where) if upscale else painted
            if job.source.is_file() and not (mask and mask.name == job.source.name):  # what has a name to be found by
                recipe = choice.recipe(job.source, mask, settings, [Path(one.source) for one in enlargers])
                painted = replace(painted, exif=with_recipe(painted.exif, recipe))
            write_target(job.target, painted, quality)
        except ImpastoError as error:
            if len(jobs) == 1:
                raise
            failures += 1
            tell(str(error))
            continue
        report(job, painted, {"style": choice.told}, runtimes[0], time.perf_counter() - start, as_json=json)
    if failures:
        raise ImpastoError(f"{failures} of {len(jobs)} pictures failed")
    return 0


def read_source(source: Path, *, deep: bool = False, icc: Icc = "srgb", target: Path | None = None) -> "Picture":
    """Picture from a file or from standard input; `deep` keeps 16 bits, `icc` may keep its colour space.

    One that is too large to be read stays in its file, where the painting, a TIFF, can be as large.
    """
    from impasto.images import DEFAULT_MAX_PIXELS, image_size, read_picture
    from impasto.mapped import read_mapped

    if source == STREAM:
        return read_picture(sys.stdin.buffer.read(), deep=deep, icc=icc)
    if target and source.is_file() and math.prod(image_size(source)) > DEFAULT_MAX_PIXELS:  # a pipe is read only once
        if target.suffix.lower() not in (".tif", ".tiff"):
            told = f"{source}: has more than {DEFAULT_MAX_PIXELS // 10**6} megapixels, of which a painting is a TIFF"
            raise ImageError(f"{told}; choose -o NAME.tif, or make the photo smaller")
        return read_mapped(source, icc=icc)
    return read_picture(source, deep=deep, icc=icc)


def tell_plan(source: Path, styles: "Sequence[Style]", plans: "Sequence[Plan]", *, as_json: bool) -> None:
    """Say what would be done for a photograph, a line for each style."""
    for style, made in zip(styles, plans, strict=True):
        height, width = made.size
        if as_json:
            told = {"input": str(source), "width": width, "height": height, "style": style.name, "tiles": made.tiles}
            told |= {"tile": made.side, "gigabytes": round(made.gigabytes, 2), "seconds": round(made.seconds, 1)}
            print(json.dumps(told), flush=True)
            continue
        way = f"{made.tiles} tiles of {made.side}" if made.tiled else "whole"
        memory = f"{made.gigabytes:.1f} GB, " if made.gigabytes else ""
        told_line = f"{source}  {width} x {height}  {style.name}  {way}; some {memory}{by_trial(made.seconds)}"
        print(printable(told_line), flush=True)


def tell_enlarging(source: Path, size: tuple[int, int], scale: int, seconds: float, *, as_json: bool) -> None:
    """Say what size, height and width, the painting of a photograph would be enlarged to."""
    height, width = size
    if as_json:
        told = {"input": str(source), "width": width, "height": height, "scale": f"x{scale}"}
        print(json.dumps(told | {"seconds": round(seconds, 1)}), flush=True)
    else:
        print(printable(f"{source}  {width} x {height}  x{scale}; some {by_trial(seconds)}"), flush=True)


def by_trial(seconds: float) -> str:
    """Seconds that were foretold, in words."""
    return f"{seconds:.{0 if seconds >= 10 else 1}f} seconds (by a short trial)"


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


def report(
    job: "Job", picture: "Picture", by: dict[str, str], runtime: "Runtime", seconds: float, *, as_json: bool
) -> None:
    """Say what was written, `by` which style or scale; nothing when the picture itself went to standard output."""
    height, width = picture.pixels.shape[:2]
    if as_json:
        told: dict[str, Any] = {"input": str(job.source), "output": str(job.target), "width": width, "height": height}
        told |= {"seconds": round(seconds, 3), **by, "device": runtime.device, "precision": runtime.precision}
        print(json.dumps(told), flush=True)
    elif job.target != STREAM:
        print(printable(f"{job.target}  {width} x {height}  {'  '.join(by.values())}  {seconds:.2f} s"), flush=True)
