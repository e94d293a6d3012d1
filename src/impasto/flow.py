"""A painted video that holds still where the video does: the last painting, moved along, leads the next.

Follows Ruder, Dosovitskiy and Brox 2016 in what is trusted of the last painting: where forward and backward flow agree.
The flow is DIS (Kroeger et al. 2016) between reduced frames of the video. Two departures, since what is painted here is
blended with the last painting instead of optimised from it: brightness has to agree too, and the fine detail that every
mean of two paintings loses is made up for with that of the one painted afresh, so that nothing blurs however long the
same strokes are carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from impasto.config import ClipConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from impasto.images import Floats, Pixels

STEADY: Final = ClipConfig.steady
"""What `steady` is unless asked otherwise."""
MOST: Final = 0.94
"""Share of the last painting at `steady` 1: a change that its flow does not show still comes through in a second."""
SIDE: Final = 448
"""Long side in pixels of the frames between which the flow is found."""
BRIGHTNESS, CONTRAST = 8.0, 0.5
"""Levels, and share of the contrast around, by which brightness may differ along the flow before that is trusted less;
at twice as much it is not trusted at all."""
CUT_SHARE, CUT_LEVELS = 0.25, 12.0
"""A cut: less than this share of the frame is trusted, and its mean brightness differs by more than so many levels."""
LEAST_SIDE: Final = 16
"""Below it there is no flow."""
DETAIL_AIM: Final = 1.05
"""Energy of fine detail to reach, over that of the frame painted afresh."""


def check_steady(steady: float) -> None:
    """Raise a ValueError for a steadiness out of range."""
    if not 0 <= steady <= 1:
        raise ValueError(f"steady is {steady}; it must be from 0 (every frame by itself) to 1 (as still as can be)")


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How a frame of the video differs from the one before."""

    small: Pixels
    """The frame reduced to lightness, uint8 (h, w)."""
    flow: Floats | None
    """(h, w, 2): where each pixel was, x and y in pixels of `small` from where it is; None after a cut."""
    trust: Floats
    """(h, w): 1 where that is certain, 0 where nothing is known of what was there."""

    @property
    def cut(self) -> bool:
        """Whether nothing of the frame before is to be kept."""
        return self.flow is None

    def state(self) -> dict[str, Pixels]:
        """Arrays from which `Motion.restore` goes on."""
        return {"small": self.small}


class Motion:
    """Finds how each frame of a video differs from the one before."""

    def __init__(self) -> None:
        self.flow: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
        self.before: Pixels | None = None

    def restore(self, state: Mapping[str, Pixels]) -> None:
        """Go on after the frame whose `Change.state` this was."""
        self.before = state.get("small")

    def __call__(self, frame: Pixels) -> Change:
        """Change from the frame before to this one, uint8 (H, W, 3); a first one is a cut."""
        small = reduced(frame)
        before, self.before = self.before, small
        nothing = np.zeros(small.shape, np.float32)
        if before is None or before.shape != small.shape or min(small.shape) < LEAST_SIDE:
            return Change(small, None, nothing)
        back, forth = self.flow.calc(small, before, None), self.flow.calc(before, small, None)
        trust, levels = agreement(before, small, back, forth)
        if trust.mean() < CUT_SHARE and levels > CUT_LEVELS:
            return Change(small, None, nothing)
        return Change(small, back, trust)


def reduced(frame: Pixels) -> Pixels:
    """Lightness of a frame, its long side at most `SIDE`."""
    height, width = frame.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def agreement(before: Pixels, small: Pixels, back: Floats, forth: Floats) -> tuple[Floats, float]:
    """Trust in a backward flow, (h, w), and by how many levels the frames differ along it in the mean."""
    places = absolute(back)
    returned = moved(forth, places, cv2.INTER_LINEAR)
    off, length = squared(back + returned), squared(back) + squared(returned)
    trust = np.exp(-off / (0.02 * length + 0.5))
    height, width = small.shape
    x, y = places[..., 0], places[..., 1]
    trust *= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    levels = cv2.absdiff(moved(before, places, cv2.INTER_LINEAR), small)
    square = np.ones((3, 3), np.uint8)
    allowed = BRIGHTNESS + CONTRAST * cv2.morphologyEx(small, cv2.MORPH_GRADIENT, square).astype(np.float32)
    trust *= np.clip(2 - cv2.blur(levels, (3, 3)).astype(np.float32) / allowed, 0, 1)
    trust = cv2.erode(trust.astype(np.float32), square)
    return np.asarray(trust, np.float32), float(levels.mean())


def squared(vectors: Floats) -> Floats:
    """Squared lengths of vectors (h, w, 2)."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y)


def absolute(flow: Floats) -> Floats:
    """Places (x, y) to which the vectors of a flow (h, w, 2) point."""
    height, width = flow.shape[:2]
    places = flow.copy()
    places[..., 0] += np.arange(width, dtype=np.float32)
    places[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return places


def moved(image: Pixels | Floats, places: Floats, how: int) -> Any:
    """An image as it is at other places."""
    return cv2.remap(image, places, None, how, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


class Steadier:
    """Gives each painted frame what it can keep of the one before; holds that one."""

    def __init__(self, steady: float = STEADY) -> None:
        check_steady(steady)
        self.share = MOST * steady**0.25 if steady else 0.0
        self.last: Pixels | None = None

    def state(self) -> dict[str, Pixels]:
        """Arrays from which `restore` goes on."""
        return {} if self.last is None else {"last": self.last}

    def restore(self, state: Mapping[str, Pixels]) -> None:
        """Go on from a `state`."""
        self.last = state.get("last")

    def __call__(self, painted: Pixels, change: Change | None) -> Pixels:
        """A painted frame, uint8 (H, W, 3), made steady; as it is after a cut."""
        last = self.last
        if not self.share or change is None:
            return painted
        if last is None or change.flow is None or last.shape != painted.shape:
            self.last = painted
            return painted
        self.last = self.blended(painted, last, change.flow, change.trust)
        return self.last

    def blended(self, painted: Pixels, last: Pixels, flow: Floats, trust: Floats) -> Pixels:
        """The last painting where it is trusted, along the flow, with the detail of the new one."""
        height, width = painted.shape[:2]
        moved_last = moved(last, enlarged(flow, height, width), cv2.INTER_CUBIC)
        share = cv2.resize(trust * np.float32(self.share), (width, height), interpolation=cv2.INTER_LINEAR)
        mixed = cv2.blendLinear(moved_last, painted, share, 1 - share)
        return detailed(np.asarray(mixed, np.uint8), painted)


def enlarged(flow: Floats, height: int, width: int) -> Floats:
    """Places to which a reduced frame's flow points, in pixels of the whole frame."""
    rows, columns = flow.shape[:2]
    scale = np.array((width / columns, height / rows), np.float32)
    if (rows, columns) == (height, width):
        return absolute(flow)
    return absolute(np.asarray(cv2.resize(flow * scale, (width, height), interpolation=cv2.INTER_LINEAR), np.float32))


def detailed(mixed: Pixels, painted: Pixels) -> Pixels:
    """`mixed` with fine detail of the lightness of `painted` added, place by place until there is as much of it.

    Of M + c P the energy is m + 2 c x + c^2 p, x being the energy that both have in common. Raising the detail that
    `mixed` still has would need nothing of `painted`, but what is raised is carried on and raised again: within some
    hundred frames all that is left of a still scene is grain.
    """
    fine, fresh = detail(mixed), detail(painted)
    m, p, x = energy(fine, fine), energy(fresh, fresh) + 0.1, energy(fine, fresh)
    c = (np.sqrt(x * x + p * np.maximum(DETAIL_AIM * p - m, 0)) - x) / p
    amount = cv2.resize(np.clip(c, 0, 1), fine.shape[::-1], interpolation=cv2.INTER_LINEAR)
    added = cv2.multiply(fresh, amount, dtype=cv2.CV_16S)
    return np.asarray(cv2.add(mixed, cv2.merge((added, added, added)), dtype=cv2.CV_8U), np.uint8)


def detail(image: Pixels) -> Floats:
    """What an image's lightness has at each pixel beyond the mean of the four around it."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.Laplacian(light, cv2.CV_32F, scale=-0.25), np.float32)


def energy(one: Floats, other: Floats) -> Floats:
    """Mean product of two maps of detail around each place of a map of a quarter of the size."""
    height, width = one.shape
    small = cv2.resize(one * other, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.blur(small, (3, 3)), np.float32)
