"""Painting by optimisation, coarse to fine, as a generator of steps that survives being killed.

The picture itself is on an easel (easel.py); here are its files: what is read, the state of a run that was interrupted,
the recipe, and the painting at the end.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from impasto.choices import STARTS
from impasto.config import OptimizeConfig, to_json
from impasto.devices import torch_failures
from impasto.downloads import Progress
from impasto.easel import Easel
from impasto.errors import ImageError, OptimizationError
from impasto.files import atomic_write
from impasto.hidden import seen
from impasto.images import Picture, check_writable, read_picture, resize, write_image
from impasto.networks.weights import NAMES, locate
from impasto.plan import Plan, make_plan
from impasto.recipes import hash_of, make_recipe, with_recipe
from impasto.styles import builtin_styles, is_file
from impasto.texts import PaintingText

SAVE_SECONDS, SAVE_SHARE = 30.0, 0.1
"""Between states that are saved, at least, and share of the time that saving may take."""
STATE = 2
"""Version of the state file."""
LEFT_OUT = ("resume", "save_every", "memory")
"""Settings that a recipe does without: they do not change the picture."""
FREE_TO_CHANGE = frozenset({"output", "resume", "save_every", "memory", "device", "precision"})
"""Settings that may differ between the run that left a state and the one that continues it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizeStep:
    """What one iteration came to."""

    step: int
    """Iterations so far, over all sizes."""
    steps: int
    """Of the whole run."""
    size: tuple[int, int]
    """Height and width that was painted."""
    loss: float
    content: float
    style: float
    tv: float
    progress: float
    """Share of the work that is done, 0 to 1."""
    seconds: float
    """Computed since the run began, over all its resumptions."""
    seconds_left: float
    picture: Path | None = None
    """Picture of how far it is that was written at this step."""
    event: str = ""
    """Something out of the ordinary, in words: resumed, gone astray."""


def optimize(
    config: OptimizeConfig, *, progress: Progress | None = None, told: Callable[[Plan], None] | None = None
) -> Generator[OptimizeStep, None, Picture]:
    """Paint a picture and write its file: yields every iteration, returns the picture; closing it saves the state.

    `progress` is told of a loss network's download: bytes that are there, bytes in all. `told` is told the plan before
    the first iteration.

    Raises:
        ImpastoError: A picture, mask, loss network or state cannot be used, memory does not suffice, or the output
            cannot be written.
        ValueError: A layer is not in the loss network, a painting's text is wrong, or a file that is read would be
            written over.

    """
    with translated():
        run = Run(config, progress)
        event = run.begin()
    if told:
        told(run.plan)
    try:
        while not run.done:
            with translated():
                step = replace(run.step(), picture=run.show())
            yield replace(step, event=event or step.event)
            event = ""
    finally:
        run.close()
    with translated():
        picture = run.picture()
        picture = replace(picture, exif=with_recipe(picture.exif, run.recipe | {"losses": run.losses}))
        write_image(config.output, picture)
    with contextlib.suppress(OSError):
        config.state.unlink()
    return picture


def plan_of(config: OptimizeConfig, *, progress: Progress | None = None) -> Plan:
    """Plan of what `optimize` would do, with all of a run that it would go on with; writes nothing, raises the same."""
    with translated():
        return Run(config, progress).plan


def translated() -> contextlib.AbstractContextManager[None]:
    """What turns PyTorch's failures into one OptimizationError."""
    return torch_failures(OptimizationError, "a smaller --size or --memory")


def files_of(config: OptimizeConfig) -> list[Path]:
    """Files that a run reads."""
    texts = [PaintingText.parse(text) for text in config.paintings]
    init = [config.init] if config.init not in STARTS and Path(config.init).is_file() else []
    networks = [source for source in config.loss_network if source not in NAMES and Path(source).is_file()]
    return [config.photo, *map(Path, (*(path for text in texts for path in text.files), *init, *networks))]


def check_files(config: OptimizeConfig) -> None:
    """Raise a ValueError for a file that would be written over, or whose bare name means something else, or a style."""
    for text in config.paintings:
        check_painting(PaintingText.parse(text).source)
    previews = re.compile(rf"{re.escape(config.output.stem)}-\d{{6,}}\.png")
    for path in files_of(config):
        if path.name in (*STARTS, *NAMES):
            raise ValueError(f"{path} has the name of a setting's value; rename it, so that the recipe can tell them")
        beside = path.resolve().parent == config.output.resolve().parent
        preview = config.save_every and beside and previews.fullmatch(path.name)
        if preview or path.resolve() == config.output.resolve():
            raise ValueError(f"{path} is read and would be written over; choose another --output")


def check_painting(source: str) -> None:
    """Raise a ValueError for a style that is no painting: a built-in one, or a style file."""
    if not is_file(source) and source in builtin_styles():
        told = f"is a built-in style, not a painting; paint in it by impasto stylize --style {source}"
        raise ValueError(f"paintings has {source!r}, which {told}")
    if source.lower().partition(":")[0].endswith(".onnx"):
        raise ValueError(f"paintings has {source!r}, a style file, not a painting; paint in it by impasto stylize")


def recipe_of(config: OptimizeConfig, plan: Plan) -> dict[str, Any]:
    """How the picture is made, by the names of its files."""
    parsed = [PaintingText.parse(text) for text in config.paintings]
    settings = to_json(config) | {"history": plan.history, "tile": plan.side}
    for key in ("output", *LEFT_OUT):
        del settings[key]
    settings["photo"] = config.photo.name
    settings["paintings"] = [str(text.named(lambda path: Path(path).name)) for text in parsed]
    settings["init"] = Path(config.init).name
    settings["loss_network"] = [Path(source).name for source in config.loss_network]
    recipe = make_recipe("optimize", settings, files_of(config))
    networks = {Path(k).name: recipe["files"].get(Path(k).name) or hash_of(locate(k)) for k in config.loss_network}
    return recipe | {"networks": networks}


def changed_networks(recipe: Mapping[str, Any], config: OptimizeConfig) -> list[str]:
    """Loss networks that a recipe calls by name and that are not the same here."""
    named = [name for name in config.loss_network if name in NAMES]
    return [name for name in named if hash_of(locate(name)) != recipe.get("networks", {}).get(name)]


def config_of(recipe: Mapping[str, Any], files: Mapping[str, Path], output: Path, *, resume: bool) -> OptimizeConfig:
    """Settings of a recipe, whose files are found; raises ValueError where they are none."""

    def path(name: str) -> str:
        return str(files[name])  # no other file: a recipe may be a stranger's

    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["settings"].items()}
    try:
        paintings = (PaintingText.parse(text, files.__contains__) for text in given.pop("paintings"))
        settings: dict[str, Any] = {"paintings": tuple(str(text.named(path)) for text in paintings)}
        settings["loss_network"] = tuple(k if k in NAMES else path(k) for k in given.pop("loss_network"))
        settings["init"] = init if (init := given.pop("init")) in STARTS else path(init)
        settings["photo"] = Path(path(given.pop("photo")))
        kinds = {f.name: type(f.default) for f in fields(OptimizeConfig) if f.name not in {"output", *LEFT_OUT}}
        kinds |= dict.fromkeys(("history", "tile"), int)
        given = {k: float(v) if type(v) is int and kinds.get(k) is float else v for k, v in given.items()}
        if wrong := [k for k, value in given.items() if type(value) is not kinds.get(k)]:
            raise ValueError(f"the recipe is not one of this program's ({', '.join(wrong)})")
        return OptimizeConfig(output=output, resume=resume, **settings, **given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the recipe is not one of this program's ({error})") from error


class Run(Easel):
    """A picture with its files: the state from which it continues, its recipe, and what it becomes."""

    def __init__(self, config: OptimizeConfig, progress: Progress | None = None) -> None:
        check_files(config)
        photo = read_picture(config.photo)
        super().__init__(config, replace(photo, pixels=seen(photo.pixels, photo.alpha)), progress)
        check_writable(config.output, self.sizes[-1])
        self.left, planned = self.read_state()
        """State of the run that this one continues, if any."""
        self.plan = make_plan(planned, self.sizes, self.measure(), self.layers)
        self.recipe = recipe_of(config, self.plan)  # now, so that what it cannot tell of is said before the work
        self.seconds, self.saved, self.saving = 0.0, time.monotonic(), 0.0

    def begin(self) -> str:
        """Continue from the state, if there is one and it is wanted, else start; says which."""
        if event := self.resume():
            return event
        self.start(self.beginning())
        return ""

    def step(self) -> OptimizeStep:
        """One iteration; at the end of a size, on to the next."""
        start = time.perf_counter()
        size = self.plan.sizes[self.place]
        losses, event = self.iterate()
        self.seconds += time.perf_counter() - start
        done = self.plan.work_at(self.place, self.iteration)
        if time.monotonic() - self.saved > max(SAVE_SECONDS, self.saving / SAVE_SHARE):
            self.save()
        return OptimizeStep(
            step=self.count,
            steps=sum(self.plan.iterations),
            size=size,
            loss=losses.total,
            content=losses.content,
            style=losses.style,
            tv=losses.tv,
            progress=done / self.plan.work,
            seconds=self.seconds,
            seconds_left=self.seconds * (self.plan.work / done - 1),
            event=event,
        )

    def picture(self) -> Picture:
        """The finished picture, with what the photo's file says that is still true."""
        pixels = self.pixels()
        return replace(resize(self.photo, pixels.shape[:2]), pixels=pixels)

    def show(self) -> Path | None:
        """Write a picture of how far it is, if one is due; a full disk is no reason to stop."""
        if not self.config.save_every or self.count % self.config.save_every:
            return None
        path = self.config.output.with_name(f"{self.config.output.stem}-{self.count:06d}.png")
        try:
            write_image(path, self.pixels())
        except ImageError as error:
            log.warning("%s", error)
            return None
        return path

    def state(self) -> dict[str, Any]:
        """All that the run is."""
        return {
            "version": STATE,
            "config": to_json(self.config),
            "plan": {"history": self.plan.history, "tile": self.plan.side},
            "place": self.place,
            "iteration": self.iteration,
            "count": self.count,
            "seconds": self.seconds,
            "values": self.values,
            "best": self.best,
            "lowest": self.lowest,
            "average": self.average,
            "averaged": self.averaged,
            "files": self.recipe["files"] | self.recipe["networks"],
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }

    def save(self) -> None:
        """Write the state, whole or not at all; a full disk is no reason to stop."""
        start = time.monotonic()
        try:
            with atomic_write(self.config.state) as stream:
                torch.save(self.state(), stream)
        except (OSError, RuntimeError) as error:  # PyTorch's writer makes the latter of the former
            log.warning("%s: cannot write the state (%s)", self.config.state, str(error).splitlines()[0])
        self.saved = time.monotonic()
        self.saving = self.saved - start

    def read_state(self) -> tuple[dict[str, Any] | None, OptimizeConfig]:
        """State that an interrupted run left, if it is wanted, and the settings with that run's plan.

        Other memory would make another plan, and so another picture. A state of another run is refused.
        """
        path = self.config.state
        if not (self.config.resume and path.exists()):
            return None, self.config
        with self.refused(Exception):
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            changed = differences(state["config"], to_json(self.config))
            planned = replace(self.config, history=state["plan"]["history"], tile=state["plan"]["tile"])
            if state["version"] != STATE:
                raise ValueError("of another version")
        if changed:
            raise OptimizationError(
                f"{path}: of a run with other settings ({'; '.join(changed)}); pass --no-resume to start afresh"
            )
        return state, planned

    @contextlib.contextmanager
    def refused(self, *kinds: type[Exception]) -> Iterator[None]:
        """Turn what a file that is no state of this program raises into one line."""
        try:
            yield
        except kinds as error:
            raise OptimizationError(
                f"{self.config.state}: not a state of this version ({type(error).__name__}); "
                "remove it or pass --no-resume"
            ) from error

    def resume(self) -> str:
        """Continue from the state that was left, if any; says so."""
        state, self.left = self.left, None
        if state is None:
            return ""
        with self.refused(KeyError, TypeError, ValueError, AttributeError):  # but for want of memory
            files = self.recipe["files"] | self.recipe["networks"]
            changed = [name for name, value in state["files"].items() if files.get(name) != value]
            if not changed:
                self.load(state)
        if changed:
            raise OptimizationError(
                f"{self.config.state}: {', '.join(changed)} was another file; pass --no-resume to start afresh"
            )
        return f"resumed at iteration {self.count}"

    def load(self, state: Mapping[str, Any]) -> None:
        """Become the run that a state was taken of."""
        self.place, self.iteration, self.count = state["place"], state["iteration"], state["count"]
        self.seconds, self.losses = state["seconds"], state["losses"]
        self.values = state["values"]
        if not self.done:
            self.enter()
            self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.lowest = state["best"], state["lowest"]
        self.average, self.averaged = state["average"], state["averaged"]

    def close(self) -> None:
        """Save what is not finished, unless an interrupt tore a step."""
        if self.whole and self.count:
            self.save()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings in which two runs differ, in words."""
    keys = sorted((old.keys() | new.keys()) - FREE_TO_CHANGE)
    return [f"{k} was {old.get(k)}, is {new.get(k)}" for k in keys if old.get(k) != new.get(k)]
