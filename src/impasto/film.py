"""Videos by optimisation (Ruder, Dosovitskiy and Brox 2016): each frame begins with the last painting, moved along.

Where the flow is trusted a temporal loss holds a frame to that painting; what comes out from behind something, and all
after a cut, is painted from its beginning. Further passes go through the frames backwards and forwards, so that what is
seen only later is heeded before. Departures from the paper: the temporal loss is relative, as all losses are; trust is
soft, and wants brightness to agree (see flow.py); the first pass is the paper's way for one pass, not of free frames.
"""

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.choices import STARTS
from impasto.clips import Cut, carried_out, make_order, moving
from impasto.colors import keep_colors
from impasto.config import FilmConfig, OptimizeConfig, to_json
from impasto.downloads import Progress
from impasto.easel import Easel, extended
from impasto.errors import OptimizationError, VideoError
from impasto.flow import Change, Motion, enlarged, moved
from impasto.images import Floats, Picture, Pixels, read_image, write_image
from impasto.networks.weights import locate
from impasto.objective import Losses, Target
from impasto.optimize import FREE_TO_CHANGE, check_files, differences, files_of, translated
from impasto.parts import Coder, write_bytes
from impasto.plan import Plan, make_plan
from impasto.recipes import hash_of
from impasto.targets import NARROWEST, to_tensor

HOLD = 100.0
"""Weight of the temporal loss at `steady` 1; it goes with the eighth power of `steady`, 10 at 0.75."""
FLAT = 1e-4
"""Variance of a painting of hardly one colour; that of a flatter one is taken for this."""
BLEND = 0.5
"""Part that the neighbour's painting has, where it is trusted, in what a frame begins with from the second pass on."""
EDGE = 0.1
"""Squared change of the flow from pixel to pixel, beyond a hundredth of its own square, that is an edge of motion."""
HIDDEN = 0.3
"""Weight of the style of what is hidden, by itself, over that which it has as a part of the picture."""
LEAST = 1e-3
"""Share of the picture below which what is hidden is not judged by itself."""
PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """What painting a video will do and take."""

    fresh: Plan
    """Of the first frame, and of the first after each cut."""
    after: Plan
    """Of each other frame in the first pass."""
    again: Plan
    """Of each frame in each further pass."""
    frames: int | None
    """About how many there are, where the file lets one tell."""
    passes: int

    @property
    def seconds(self) -> float | None:
        """In all, about, where there is no cut."""
        first = self.fresh.seconds + ((self.frames or 1) - 1) * self.after.seconds
        return self.frames and first + self.frames * (self.passes - 1) * self.again.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmStep:
    """What one iteration came to."""

    frame: int
    """Number of the frame that is painted, from 1."""
    frames: int | None
    """About how many there are, where the file lets one tell."""
    turn: int
    """Number of the pass, from 1."""
    iteration: int
    """Of this frame, from 1."""
    iterations: int
    """That this frame takes."""
    loss: float
    content: float
    style: float
    tv: float
    temporal: float
    """Distance to the painting before, moved along; 0 where there is none."""
    seconds: float
    """Since the work began."""
    seconds_left: float | None
    event: str = ""
    """Something out of the ordinary, in words: a cut, gone astray."""


def optimize_video(
    config: OptimizeConfig,
    film: FilmConfig | None = None,
    *,
    progress: Progress | None = None,
    told: Callable[[FilmPlan], None] | None = None,
) -> Generator[FilmStep, None, None]:
    """Paint a video by optimisation, with its times, colours and sound; yields every iteration.

    `config.photo` is the video. Closing it keeps every frame that is finished, in a folder beside the output, from
    which the same call goes on. `progress` is told of a loss network's download: bytes that are there, bytes in all.
    `told` is told the plan before the first iteration.

    Raises:
        ImpastoError: A video, painting, mask or loss network cannot be used, memory does not suffice, the output cannot
            be written, or what was left is of a run with other settings.
        ValueError: A setting is not for videos, a layer is not in the loss network, or a painting's text is wrong.

    """
    with translated():
        work = Film(config, film or FilmConfig(), progress)
    if told:
        told(work.plan)
    yield from carried_out(work.order, work.steps(), resume=config.resume)


def plan_of(config: OptimizeConfig, film: FilmConfig, *, progress: Progress | None = None) -> FilmPlan:
    """Plan of what `optimize_video` would do; writes nothing, raises the same."""
    with translated():
        return Film(config, film, progress).plan


def check_settings(config: OptimizeConfig) -> None:
    """Raise a ValueError for a setting that is not for videos."""
    if config.save_every:
        raise ValueError("save_every is for pictures; the finished frames of a video are kept as they are")
    if config.init not in STARTS:
        raise ValueError(f"init is {config.init!r}; of a video it must be one of {', '.join(STARTS)}")


class Leading(Easel):
    """An easel on which a frame is led by another painting: by what it begins with at each size, and by its loss."""

    other: tuple[Tensor, Tensor] | None = None
    """Painting (1, 3, H, W), and trust in it (1, 1, H, W)."""
    share: float = 1.0
    """Part that it has, where it is trusted, in what a size begins with."""
    weight: float = 0.0
    """Of the temporal loss."""

    def asked(self, size: tuple[int, int]) -> list[Target]:
        """What the paintings ask, and of what is hidden by itself too.

        The whole picture's statistics are nearly the painting's as soon as it begins with the last one: for the sake of
        them nothing that is hidden would be painted.
        """
        targets = super().asked(size)
        if self.other is None:
            return targets
        hidden = 1 - extended(F.interpolate(self.other[1], size, mode="area"))[0, 0]
        masks = {id(t.mask): hidden if t.mask is None else hidden * t.mask for t in targets}
        shares = [masks[id(t.mask)].mean().item() / (1.0 if t.mask is None else t.mask.mean().item()) for t in targets]
        return targets + [
            replace(target, weight=HIDDEN * target.weight * share, mask=masks[id(target.mask)])
            for target, share in zip(targets, shares, strict=True)
            if share > LEAST
        ]

    def enter(self) -> None:
        """Make ready for a size: what is trusted begins with the other painting, what is hidden with what there is."""
        super().enter()
        if self.other is None:
            return
        size = self.plan.sizes[self.place]
        there, trust = (extended(F.interpolate(part, size, mode="area")) for part in self.other)
        self.values.lerp_(there, self.share * trust)
        self.best.copy_(self.values)
        self.objective = Held(self.objective, there, trust, self.weight)


class Held:
    """An objective with a temporal loss: how far a picture is from another one, (1, 3, H, W), where that is trusted.

    `trust`: (1, 1, H, W) in [0, 1]. The loss is relative to the variance of the other picture.
    """

    def __init__(
        self, objective: Callable[[Tensor], tuple[Losses, Tensor]], other: Tensor, trust: Tensor, weight: float
    ) -> None:
        self.objective, self.other, self.trust, self.weight = objective, other, trust, weight
        spread = (other - other.mean((2, 3), keepdim=True)).square().mean()
        self.scale = 1 / (other.numel() * max(spread.item(), FLAT))
        self.temporal = 0.0
        """Of the picture that was judged last."""

    def __call__(self, picture: Tensor) -> tuple[Losses, Tensor]:
        """Objective of a picture and its gradient, (1, 3, H, W)."""
        losses, gradient = self.objective(picture)
        off = picture - self.other
        pull = off * self.trust
        self.temporal = self.scale * (off * pull).sum().item()
        gradient.add_(pull, alpha=2 * self.weight * self.scale)
        return replace(losses, total=losses.total + self.weight * self.temporal), gradient


def away_from_edges(flow: Floats) -> Floats:
    """0 at the edges of motion, where a flow (h, w, 2) is not to be trusted, 1 elsewhere; (h, w)."""
    along, across = np.gradient(flow, axis=(0, 1))
    change, size = ((along**2 + across**2).sum(2), (flow**2).sum(2))
    return np.asarray(change < 0.01 * size + EDGE, np.float32)


def moved_along(last: Pixels, change: Change) -> tuple[Floats, Floats] | None:
    """A painting (H, W, 3) as it is along the flow to the next frame, in [0, 1], and trust in it (H, W, 1).

    None after a cut.
    """
    if change.flow is None:
        return None
    height, width = last.shape[:2]
    light = last.astype(np.float32) / np.float32(255)
    there: Floats = moved(light, enlarged(change.flow, height, width), cv2.INTER_CUBIC).clip(0, 1)
    trust = cv2.resize(change.trust * away_from_edges(change.flow), (width, height), interpolation=cv2.INTER_LINEAR)
    return there, np.asarray(trust, np.float32)[..., None]


class Film:
    """A video that is being painted: the easel, the last painting, and how far it has come."""

    def __init__(self, config: OptimizeConfig, film: FilmConfig, progress: Progress | None = None) -> None:
        check_settings(config)
        check_files(config)
        self.film = film
        cut = Cut(start=film.start, end=film.until, max_side=config.size)
        order = make_order(
            config.photo, config.output, {"engine": "optimize"}, cut=cut, codec=film.codec, quality=film.quality
        )
        height, width = cut.size(order.clip)
        if min(height, width) < NARROWEST:
            raise VideoError(f"{config.photo}: {width} x {height} is painted, which is less than {NARROWEST} narrow")
        self.config = replace(config, size=max(height, width))
        self.easel = Leading(self.config, Picture(np.full((height, width, 3), 128, np.uint8)), progress)
        self.order = replace(order, job=order.job | job_of(config, film))
        self.plan = self.planned(cut.count(order.clip))
        self.easel.weight = HOLD * film.steady**8
        self.last: Pixels | None = None
        """Painting before, in the paintings' own colours."""
        self.count = 0
        """Frames that the first pass has come through."""
        self.begun, self.worked = time.monotonic(), 0.0

    def planned(self, frames: int | None) -> FilmPlan:
        """Plan for the memory there is, or as it was for what is finished: another would paint another picture."""
        easel, path = self.easel, self.order.parts.folder / PLAN
        config = self.config
        if self.goes_on() and path.is_file():
            try:
                config = replace(config, **json.loads(path.read_text("utf-8")))
            except (ValueError, TypeError) as error:
                raise OptimizationError(f"{path}: no plan of this version; pass --no-resume to start afresh") from error
        cost = easel.measure()
        fresh = make_plan(config, easel.sizes, cost, easel.layers)
        if not self.film.steady:
            return FilmPlan(fresh, fresh, fresh, frames, 1)
        few = self.film.frame_iterations
        short = replace(config, first_iterations=few, iterations=few, history=fresh.history, tile=fresh.side)
        after, again = (make_plan(short, sizes, cost, easel.layers) for sizes in (easel.sizes, easel.sizes[-1:]))
        return FilmPlan(fresh, after, again, frames, self.film.passes)

    def goes_on(self) -> bool:
        """Whether there is something of the same run to go on from; raises OptimizationError where it is another's."""
        parts = self.order.parts
        found = parts.found() if self.config.resume else None
        if found is None:
            return False
        wanted = json.loads(parts.told(self.order.job))
        if found == wanted:
            return True
        before, now = found.get("settings"), wanted["settings"]
        told = "; ".join(differences(before, now)) if isinstance(before, dict) else ""
        told = told or "another version, file or target"
        raise OptimizationError(
            f"{parts.folder}: of a run with other settings ({told}); pass --no-resume to start afresh"
        )

    def steps(self) -> Generator[FilmStep, None, None]:
        """Paint what is not finished yet, and code it."""
        parts, fresh = self.order.parts, self.plan.fresh
        write_bytes(parts.folder / PLAN, json.dumps({"history": fresh.history, "tile": fresh.side}).encode())
        if self.plan.passes > 1 and not parts.done:
            for turn in range(1, self.plan.passes + 1):
                yield from self.through(turn)
        yield from self.coded()

    def coded(self) -> Generator[FilmStep, None, None]:
        """Code the frames, one after another, and paint those that are not painted yet."""
        parts, passes = self.order.parts, self.plan.passes
        motion = Motion() if self.film.steady and passes == 1 else None
        state = parts.state()
        self.last = state.get("last")
        if motion:
            motion.restore(state)

        def kept() -> dict[str, Any]:
            small = motion.before if motion else None
            return {k: value for k, value in {"last": self.last, "small": small}.items() if value is not None}

        coder = Coder(parts)
        try:
            with contextlib.closing(moving(self.order, motion)) as frames:
                for number, (frame, change) in enumerate(frames, parts.frames + 1):
                    painted = yield from self.picture(number, frame.pixels, change, passes)
                    shown = keep_colors(painted, frame.pixels, self.config.colors)
                    if coder.write(replace(frame, pixels=shown), kept) and passes == 1:
                        for path in parts.folder.glob("*.png"):
                            path.unlink()
            coder.finish(kept)
        finally:
            coder.abandon()

    def through(self, turn: int) -> Generator[FilmStep, None, None]:
        """Go through all frames, in the direction of a pass."""
        motion, self.last = Motion(), None
        for number, pixels in self.frames(turn):
            yield from self.picture(number, pixels, motion(pixels), turn)

    def frames(self, turn: int) -> Iterator[tuple[int, Pixels]]:
        """Numbers of the frames and the frames, as a pass goes; the first keeps them as pictures for the others."""
        still = self.order.parts.still
        if turn == 1:
            with contextlib.closing(moving(self.order, None)) as frames:
                for self.count, (frame, _) in enumerate(frames, 1):
                    if not still(self.count, 0).is_file():
                        write_image(still(self.count, 0), frame.pixels)
                    yield self.count, frame.pixels
            return
        numbers = range(1, self.count + 1)
        for number in reversed(numbers) if turn % 2 == 0 else numbers:
            yield number, read_image(still(number, 0))

    def picture(
        self, number: int, pixels: Pixels, change: Change | None, turn: int
    ) -> Generator[FilmStep, None, Pixels]:
        """Painting of a frame in a pass, from what is finished or painted now."""
        stills = (self.order.parts.still(number, later) for later in range(turn, self.plan.passes + 1))
        finished = next((path for path in stills if path.is_file()), None)
        if finished:
            self.last = read_image(finished)
        else:
            self.last = yield from self.paint(number, pixels, change, turn)
        return self.last

    def paint(self, number: int, pixels: Pixels, change: Change | None, turn: int) -> Generator[FilmStep, None, Pixels]:
        """Paint a frame, and keep it; its last step is yielded when it is kept."""
        easel = self.easel
        with translated():
            event = self.begin(number, pixels, change, turn)
        iterations, painted = sum(easel.plan.iterations), pixels
        while not easel.done:
            with translated():
                height, width = easel.plan.sizes[easel.place]
                losses, told = easel.iterate()
                self.worked += height * width
                if easel.done:
                    painted = easel.painted()
            if easel.done:
                self.keep(number, painted, turn)
            held = easel.objective.temporal if isinstance(easel.objective, Held) else 0.0
            seconds, frames = time.monotonic() - self.begun, self.plan.frames
            yield FilmStep(
                frame=number,
                frames=frames and max(frames, number),
                turn=turn,
                iteration=easel.count,
                iterations=iterations,
                loss=losses.total,
                content=losses.content,
                style=losses.style,
                tv=losses.tv,
                temporal=held,
                seconds=seconds,
                seconds_left=self.left(number, turn, seconds),
                event=event or told,
            )
            event = ""
        return painted

    def begin(self, number: int, pixels: Pixels, change: Change | None, turn: int) -> str:
        """Put a frame on the easel, with what it begins with and is held to; says when it begins afresh at a cut."""
        easel = self.easel
        easel.photo = Picture(pixels)
        before = moved_along(self.last, change) if self.last is not None and change is not None else None
        easel.other = before and (as_tensor(before[0], easel.device), as_tensor(before[1], easel.device))
        if turn > 1:
            easel.plan, easel.share = self.plan.again, BLEND
            own = read_image(self.order.parts.still(number, turn - 1))
            easel.start(to_tensor(own).to(easel.device))
            return ""
        easel.plan, easel.share = self.plan.after if before else self.plan.fresh, 1.0
        easel.start(easel.beginning())
        return "a cut: begun afresh" if not before and self.last is not None and change is not None else ""

    def keep(self, number: int, painted: Pixels, turn: int) -> None:
        """Keep a finished painting, in place of that of the pass before."""
        still = self.order.parts.still
        write_image(still(number, turn), painted)
        if turn > 1:
            still(number, turn - 1).unlink(missing_ok=True)

    def left(self, number: int, turn: int, seconds: float) -> float | None:
        """Seconds that are left, by those that the work so far has taken."""
        plan, easel = self.plan, self.easel
        if plan.frames is None:
            return None
        place = number if turn % 2 else self.count - number + 1
        work = easel.plan.work - easel.plan.work_at(easel.place, easel.iteration)
        work += max(0, plan.frames - place) * (plan.after if turn == 1 else plan.again).work
        work += plan.frames * (plan.passes - turn) * plan.again.work
        return work * seconds / self.worked


def as_tensor(values: Floats, device: torch.device) -> Tensor:
    """(H, W, C) to (1, C, H, W) on a device."""
    return torch.from_numpy(values).permute(2, 0, 1)[None].to(device)


def job_of(config: OptimizeConfig, film: FilmConfig) -> dict[str, Any]:
    """All that decides the paintings beside the video and the memory there is."""
    settings = {k: value for k, value in to_json(config).items() if k not in {*FREE_TO_CHANGE, "photo"}}
    settings |= {k: value for k, value in asdict(film).items() if k in ("steady", "frame_iterations", "passes")}
    read = [path for path in files_of(config) if path != config.photo]
    files = {str(path): hash_of(path) for path in (*read, *map(locate, config.loss_network))}
    return {"settings": settings, "files": files}
