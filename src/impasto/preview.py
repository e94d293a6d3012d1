"""What a painting will give, before any long training: a contact sheet of strengths against stroke sizes."""

import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from impasto.config import TrainConfig
from impasto.downloads import Progress
from impasto.images import Pixels, fit, read_image
from impasto.journal import Step
from impasto.sheets import SMALLEST, matrix
from impasto.styles import load_style
from impasto.train import train


def preview(
    painting: str | Path,
    photo: str | Path,
    *,
    base: str = "palette",
    seconds: float = 75.0,
    side: int = 320,
    loss_network: tuple[str, ...] = ("vgg19-compact",),
    progress: Progress | None = None,
) -> Generator[Step, None, Pixels]:
    """Learn rows for `painting` on crops of `photo` for some seconds: yields the steps, returns the sheet.

    The rows are those that training would begin to find; longer training refines them. `base`: a palette whose network
    is kept, a file or the built-in one. `side`: of the photo in the sheet, in pixels.

    Raises:
        ValueError: `seconds` or `side` is out of range.
        ImpastoError: A file or the loss network cannot be used.

    """
    if not 0 < seconds < float("inf"):
        raise ValueError(f"seconds is {seconds}; it must be more than 0")
    if side < SMALLEST:
        raise ValueError(f"side is {side}; it must be at least {SMALLEST} pixels")
    shown = fit(read_image(photo), side)
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
        config = TrainConfig(
            (Path(painting),),
            photos=Path(photo),
            output=Path(folder) / "preview.onnx",
            base=base,
            minutes=seconds / 60,
            image_size=(128,),
            batch_size=(4,),
            style_weight=(10.0,),
            loss_network=loss_network,
            warmup_steps=10,
            average_decay=0.95,
            learning_rate=3e-3,
        )
        with closing(train(config, progress=progress)) as steps:
            yield from steps
        return matrix(shown, load_style(config.output))
