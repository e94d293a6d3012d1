"""Kinds of long work: what each takes and gives, how it is ordered in the server, and done in a process of its own.

A kind is a function from the fields of a request to an order, which is JSON, and a generator that does what an order
says. What is ordered in a folder finds the pictures of the request there, decoded and written anew, or its video.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from impasto.choices import COLORS, STARTS
from impasto.config import OptimizeConfig, TrainConfig, key_of
from impasto.errors import ImpastoError
from impasto.images import WRITE_SUFFIXES
from impasto.styles import builtin_styles, is_name
from impasto.web import videos
from impasto.web.options import Own, choice, number, whole
from impasto.web.refusal import Refusal, check_known, check_sent, wrong
from impasto.web.settings import ServeConfig
from impasto.web.shown import Order, Shown, Told

ORDER = "order.json"
INTERRUPTED = 75
"""Exit code of work that was stopped and can go on."""
LONGEST_NAME = 40
PICTURES = 24
"""Pictures of how far it is that an optimisation shows."""
MOST_PHOTOS = 100
PICTURE_TYPES = {suffix: f"image/{kind}" for suffix, kind in WRITE_SUFFIXES.items()}
"""Of pictures of how far it is, by suffix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of long work."""

    extra: str
    """Part of Impasto that it needs."""
    package: str
    """Of that extra, which tells whether it is there."""
    files: Mapping[str, tuple[int, int]]
    """How often each file may come, at least and at most."""
    fields: tuple[str, ...]
    result: str
    """File that it makes, and its type."""
    media_type: str
    order: Callable[[Mapping[str, str], Mapping[str, list[str]], ServeConfig, Own], Order]
    run: Callable[[Path, Order, int], Generator[Told]]
    """Takes the folder of the order, the order, and the bytes that may yet be written there."""

    @property
    def is_installed(self) -> bool:
        """Whether its extra is there."""
        return find_spec(self.package) is not None


# ----------------------------------------------------------------------------------------------------- optimisation


def order_optimisation(
    fields: Mapping[str, str], files: Mapping[str, list[str]], settings: ServeConfig, _own: Own
) -> Order:
    """Settings of an optimisation; raises Refusal for values that are not allowed."""
    weights = fields.get("weights", "1").split(",")
    shares = [number({"weights": weight}, "weights", 0.001, 1000) for weight in weights]
    if len(shares) not in (1, len(files["painting"])):
        raise wrong("weights", f"has {len(shares)} numbers for {len(files['painting'])} paintings")
    shares *= len(files["painting"]) // len(shares)
    size = whole(fields, "size", 64, settings.largest_optimisation) or min(512, settings.largest_optimisation)
    chosen = {
        "size": size,
        "min_size": min(128, size),
        "first_iterations": whole(fields, "iterations", 1, 1000),
        "iterations": whole(fields, "iterations", 1, 1000),
        "style_weight": number(fields, "style_weight", 0, 1e6),
        "content_weight": number(fields, "content_weight", 0, 1e6),
        "style_scale": number(fields, "style_scale", 0.1, 10),
        "colors": choice(fields, "colors", COLORS),
        "init": choice(fields, "init", STARTS),
    }
    return {
        "photo": files["photo"][0],
        "paintings": [f"{name}:{share!r}" for name, share in zip(files["painting"], shares, strict=True)],
        "settings": {name: value for name, value in chosen.items() if value is not None},
    }


def run_optimisation(folder: Path, order: Order, _room: int) -> Generator[Told]:
    """Paint by optimisation, with pictures of how far it is."""
    from impasto.memory import keep_memory
    from impasto.optimize import optimize

    keep_memory()
    os.chdir(folder)  # a recipe calls files by their names
    given = order["settings"]
    iterations = given.get("first_iterations", 300)
    config = OptimizeConfig(
        Path(order["photo"]),
        tuple(order["paintings"]),
        output=Path("painting.png"),
        save_every=max(1, iterations // PICTURES),
        **given,
    )
    steps = optimize(config)
    shown = Shown()
    with contextlib.closing(steps):
        for step in steps:
            shown.take(step.picture)
            yield {
                "step": step.step,
                "steps": step.steps,
                "progress": step.progress,
                "loss": step.loss,
                "content": step.content,
                "style": step.style,
                "seconds_left": step.seconds_left,
                "picture": shown.name(Path()),
            }


# --------------------------------------------------------------------------------------------------------- training


def order_training(
    fields: Mapping[str, str], files: Mapping[str, list[str]], settings: ServeConfig, _own: Own
) -> Order:
    """Settings of a training; raises Refusal for values that are not allowed."""
    name = fields.get("name", "painting").strip()
    if len(name) > LONGEST_NAME or not is_name(name) or name in builtin_styles():
        raise wrong("name", f"is {name[:40]!r}; it must be of letters, digits, hyphens and spaces, and new")
    photos = settings.photos
    if photos is None and not files.get("photo"):
        raise wrong("photo", "is missing; send one or more photos to learn on")
    return {
        "painting": files["painting"][0],
        "photos": "photos" if photos is None else str(photos.resolve()),
        "minutes": number(fields, "minutes", 0.01, settings.longest_training) or min(10.0, settings.longest_training),
        "name": name,
    }


def run_training(folder: Path, order: Order, _room: int) -> Generator[Told]:
    """Learn rows of the built-in palette for a painting."""
    from impasto.train import train

    few = order["photos"] == "photos"  # of a single visitor: smaller batches of crops that are all alike
    config = TrainConfig(
        (folder / order["painting"],),
        photos=folder / order["photos"],  # which is the second alone where that is absolute
        output=folder / "style.onnx",
        about={key_of(Path(order["painting"])): {"name": order["name"]}},
        base="palette",
        minutes=order["minutes"],
        image_size=(128,),
        batch_size=(4 if few else 8,),
        style_weight=(10.0,),
        learning_rate=3e-3,
        warmup_steps=10,
        average_decay=0.99,
        sample_interval=50,
        log_interval=1_000,
        checkpoint_interval=50,
    )
    shown = Shown()
    steps = train(config)
    with contextlib.closing(steps):
        for step in steps:
            shown.take(step.sample)
            yield {
                "step": step.step,
                "progress": step.progress,
                "loss": step.loss,
                "content": step.content,
                "style": step.style,
                "seconds_left": step.seconds_left,
                "picture": shown.name(folder),
            }


KINDS = {
    "optimisation": Kind(
        extra="train",
        package="torch",
        files={"photo": (1, 1), "painting": (1, 4)},
        fields=("size", "iterations", "style_weight", "content_weight", "style_scale", "colors", "init", "weights"),
        result="painting.png",
        media_type="image/png",
        order=order_optimisation,
        run=run_optimisation,
    ),
    "training": Kind(
        extra="train",
        package="torch",
        files={"painting": (1, 1), "photo": (0, MOST_PHOTOS)},
        fields=("name", "minutes"),
        result="style.onnx",
        media_type="application/octet-stream",
        order=order_training,
        run=run_training,
    ),
    "video": Kind(
        extra="video",
        package="av",
        files={"video": (1, 1), "painting": (0, 1), "mask": (0, 1)},
        fields=("style", "engine", "strength", "stroke", "colors", "size", "steady", "quality"),
        result=videos.RESULT,
        media_type="video/mp4",
        order=videos.order_video,
        run=videos.run_video,
    ),
}


def kind_of(name: str) -> Kind:
    """Kind of work by its name; raises Refusal where there is none, or its extra is missing."""
    if name not in KINDS:
        raise wrong("kind", f"is {name[:40]!r}; it must be one of {', '.join(KINDS)}")
    kind = KINDS[name]
    if not kind.is_installed:
        raise Refusal(
            422, "missing_extra", f"{name} needs a part that is not there: pip install 'impasto[{kind.extra}]'"
        )
    return kind


def check_request(kind: Kind, fields: Mapping[str, str], files: Mapping[str, int]) -> None:
    """Raise a Refusal for fields and files, of which the numbers are given, that a kind does not take."""
    check_sent(fields, files, kind.fields, kind.files)
    check_known(fields, kind.fields, "field")
    check_known(files, kind.files, "file")
    for name, (least, most) in kind.files.items():
        if not least <= files.get(name, 0) <= most:
            raise wrong(name, f"came {files.get(name, 0)} times; it must be from {least} to {most}")


# ----------------------------------------------------------------------------------------------- in its own process


def work(name: str, folder: Path, room: int) -> int:
    """Do what is ordered in a folder, where `room` bytes may be written, and tell each step as a line of JSON.

    Returns the exit code.
    """
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    if hasattr(os, "nice"):
        os.nice(5)  # pictures go before
    order = json.loads((folder / ORDER).read_text("utf-8"))
    told = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no step
    try:
        with contextlib.closing(KINDS[name].run(folder, order, room)) as steps:
            for step in steps:
                told.write(json.dumps(step) + "\n")
                told.flush()
                if stopped:
                    return INTERRUPTED
    except (ImpastoError, ValueError) as error:
        told.write(json.dumps({"error": str(error).replace(str(folder), "")}) + "\n")
        return 1
    except MemoryError:
        told.write(json.dumps({"error": "out of memory; try a smaller size"}) + "\n")
        return 1
    return 0
