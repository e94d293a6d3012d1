"""``impasto upscale`` and ``impasto train-upscaler``."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import impasto
from impasto.choices import Device, LargeColors, Precision
from impasto.cli.app import Flag, app, needs_extra
from impasto.cli.console import download_bar, follow, show_settings, show_step, tell
from impasto.cli.outputs import STREAM, check_style_suffix, plan, protect
from impasto.cli.stylize import read_source, report, write_target
from impasto.errors import ImpastoError
from impasto.upscaler_config import Scale, UpscalerConfig

if TYPE_CHECKING:
    from impasto.journal import UpscalerStep
    from impasto.upscalers import Upscaler


@app.command(usage="Usage: impasto upscale INPUT... [OPTIONS]")
def upscale(
    *inputs: Path,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    scale: Scale | None = None,
    upscaler: Path | None = None,
    colors: LargeColors = "rgb",
    quality: int | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    json: Flag = False,
) -> int:
    """Enlarge pictures, sharper than by interpolation.

    Parameters
    ----------
    inputs
        Pictures; - is one on standard input.
    output
        File, or existing folder; <stem>-x4.<ext> beside the input unless given; - is standard output, a PNG.
    scale
        How many times as wide and high; 4 unless given.
    upscaler
        File that impasto train-upscaler made, in place of the built-in ones; it has its own scale.
    colors
        Whose colours: the network's (rgb); luma, its lightness alone and hues by interpolation; or histogram, remapped
        so that red, green and blue are spread as in the small picture.
    quality
        Of JPEG, WebP or AVIF, 1 to 100.
    device
        Where to run; auto is the CPU, gpu needs a GPU that PyTorch or OpenVINO can use.
    precision
        Of the arithmetic; auto is what is fastest on the device.
    json
        Print one JSON object an output.

    """
    from impasto.images import DEEP_SUFFIXES, check_quality, check_writable
    from impasto.recipes import with_recipe
    from impasto.sources import is_clip
    from impasto.upscale import chosen, large_size

    check_quality(quality)
    if clip := next((path for path in inputs if is_clip(str(path))), None):
        raise ValueError(f"{clip} is a video; upscale takes pictures")
    chain = chosen(scale, upscaler)
    factor = large_size((1, 1), chain)[0]
    jobs = plan(inputs, output, f"x{factor}", json=json)
    files = [Path(one.source) for one in chain]
    protect(jobs, *inputs, *files)
    runtime = chain[0].runtime(device, precision)
    settings: dict[str, Any] = {"colors": colors, "device": device, "precision": precision}
    failures = 0
    for job in jobs:
        start = time.perf_counter()
        try:
            picture = read_source(job.source, deep=job.target.suffix.lower() in DEEP_SUFFIXES)
            if job.target != STREAM:
                check_writable(job.target, large_size(picture.pixels.shape[:2], chain))
            large = impasto.upscale(picture, factor, upscaler=chain[0] if upscaler else None, **settings)
            if job.source.is_file():
                recipe = make_recipe(job.source, factor, chain, settings)
                large = replace(large, exif=with_recipe(large.exif, recipe))
            write_target(job.target, large, quality)
        except ImpastoError as error:
            if len(jobs) == 1:
                raise
            failures += 1
            tell(str(error))
            continue
        report(job, large, {"scale": f"x{factor}"}, runtime, time.perf_counter() - start, as_json=json)
    if failures:
        raise ImpastoError(f"{failures} of {len(jobs)} pictures failed")
    return 0


def make_recipe(photo: Path, scale: int, chain: Sequence["Upscaler"], settings: dict[str, Any]) -> dict[str, Any]:
    """How a picture was enlarged, by the names of its files."""
    from impasto import recipes

    files = [Path(one.source) for one in chain]
    told = {"photo": photo.name, "scale": scale, "upscalers": [file.name for file in files]}
    return recipes.make_recipe("upscale", told | settings, [photo, *files])


@app.command(name="train-upscaler", usage="Usage: impasto train-upscaler --photos FOLDER -o OUT [OPTIONS]")
def train_upscaler(settings: Annotated[UpscalerConfig, Parameter(name="*")], *, config: Path | None = None) -> int:  # noqa: ARG001 - main reads it
    """Learn to enlarge pictures from a folder of photos.

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
        from impasto.memory import keep_memory
        from impasto.train_upscaler import train_upscaler as run
    keep_memory()
    show_settings(settings)
    steps = run(settings, progress=download_bar())
    return follow(steps, lambda step: show(step, settings), settings.output, settings.folder)


def show(step: "UpscalerStep", settings: UpscalerConfig) -> None:
    """Print a training step that is due for the log, or out of the ordinary."""
    losses = f"features {step.features:.4f}  pixels {step.pixels:.5f}  small {step.small:.5f}"
    show_step(step, losses, settings.log_interval, names=10)
