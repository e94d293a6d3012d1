"""Commands that make styles: ``impasto train``, ``preview``, ``convert``."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.choices import Convention
from impasto.cli.app import app, needs_extra
from impasto.cli.console import download_bar, follow, show_settings, show_step, tell
from impasto.cli.outputs import check_picture_target, check_style_suffix, same_file
from impasto.config import TrainConfig

if TYPE_CHECKING:
    from impasto.journal import Step


@app.command(usage="Usage: impasto train PAINTING... --photos FOLDER -o OUT [OPTIONS]")
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
        from impasto.memory import keep_memory
        from impasto.processes import launched
        from impasto.train import train as run
    keep_memory()
    first = launched().first  # of several processes one speaks
    if first:
        show_settings(settings)
    return follow(
        run(settings, progress=download_bar() if first else None),
        lambda step: show(step, settings) if first else None,
        settings.output,
        settings.folder,
        quiet=not first,
    )


def show(step: "Step", settings: TrainConfig) -> None:
    """Print a training step that is due for the log, or out of the ordinary."""
    show_step(step, f"content {step.content:.4f}  style {step.style:.5f}", settings.log_interval, names=16)


@app.command(usage="Usage: impasto preview PAINTING PHOTO [OPTIONS]")
def preview(
    painting: Path,
    photo: Path,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    base: str = "palette",
    seconds: float = 75.0,
    side: int = 320,
    loss_network: tuple[str, ...] = ("vgg19-compact",),
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
        Palette whose network is used, a file or the built-in one.
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
        from impasto.memory import keep_memory
        from impasto.preview import preview as run
    keep_memory()
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


@app.command(usage="Usage: impasto convert CHECKPOINT -o OUT [OPTIONS]")
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
        from impasto.convert import convert as run

    check_style_suffix(output)
    if same_file(checkpoint, output):
        raise ValueError(f"--output is {output}, the checkpoint itself; choose another one")
    converted = run(checkpoint, output, name=name, convention=convention)
    print(f"{output}  from {converted.source}, {converted.convention} pixels")
    if converted.note:
        tell(converted.note)
    return 0
