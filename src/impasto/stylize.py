"""The verb: a photograph and a style in, a painting out."""

from __future__ import annotations

import dataclasses
import math
import warnings
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from impasto.choices import COLORS, PRECISIONS
from impasto.colors import blend, keep_colors
from impasto.errors import StyleError
from impasto.hidden import seen
from impasto.images import ImageT, Picture, fit, resize
from impasto.large import ALWAYS_WHOLE, Limit, Plan, Tiler, foretold, make_plan, painted_by
from impasto.mapped import memory_bytes
from impasto.memory import resident_memory
from impasto.runtimes import GpuMemoryError, OpenVINORuntime, TorchRuntime
from impasto.styles import Style, chosen, load_style, paintings_in
from impasto.views import strips

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from impasto.images import Floats, Pixels
    from impasto.runtimes import Runtime
    from impasto.specs import StyleSpec

    Region = tuple[str | Path | Style, Pixels]

FINEST, BROADEST = 0.05, 4.0
"""Sizes of strokes relative to the picture."""
LARGEST = 2.0
"""Scale of the picture that is painted; strokes that would need a larger one come out broader than asked."""
REFERENCE = 2048
"""Long side in pixels at which a smaller picture is thought, so that a preview is painted as its large picture is."""


def stylize(
    image: ImageT,
    style: str | Path | Style | Sequence[Region],
    *,
    strength: float | None = None,
    stroke: float | None = None,
    colors: str = "style",
    mask: Pixels | None = None,
    max_side: int | None = None,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    memory: float | None = None,
    tile: int | None = None,
) -> ImageT:
    """Paint `image`, uint8 (H, W, 3) RGB or a `Picture`, in a style: the same type and size.

    `style`: a built-in name, a blend (``candy:0.7,udnie:0.3``), a style file, a painting, or what `load_style` gave;
    or several of them, each with a mask, as pairs: where masks overlap they share, where none is the photo stays.
    `strength`: 0 is the photo, 1 the painting, None what the style recommends; a palette paints what is between, a
    network of one style has its pixels mixed with the photo's. `stroke`: size of the strokes relative to the
    picture, 1 as in the painting itself, 0.05 to 4; None is the size in pixels that comes sharpest; only of a
    palette. `colors`: see `colors.keep_colors`. `mask`: uint8 (h, w), white where it is painted, resized to the
    image. `max_side`: a larger image is first reduced to it, and stays so. `engine`: of paintings, see `load_style`.
    `memory`: gigabytes that this process may take at most, a quarter of what is free beside what it has unless given; a
    larger image is painted by tiles that agree. `tile`: side of the tiles in pixels, as large as fits the memory unless
    given; an image no larger is painted whole. What is stored under wholly transparent pixels of a `Picture` changes
    nothing of what shows.

    Raises:
        ValueError: An argument is out of range, or the image or mask is not such an array.
        ImpastoError: The style or the device cannot be used.

    """
    check_image(image)
    check(strength, stroke, colors, mask, max_side)
    limit = limit_of(memory, tile)
    if max_side is not None:
        image = fit(image, max_side)
    photo = image.pixels if isinstance(image, Picture) else image
    if isinstance(image, Picture) and strength != 0:
        photo = seen(photo, image.alpha)
    regions = regions_of(style, engine)
    if regions[0][1] is not None:
        painted = paint_regions(photo, regions, strength, stroke, colors, mask, device, precision, limit)
    else:
        style = regions[0][0]
        strength = style.strength if strength is None else strength
        check_stroke(stroke, style)
        painted = paint(photo, style, style.runtime(device, precision), strength, stroke, colors, mask, limit)
    return dataclasses.replace(image, pixels=painted) if isinstance(image, Picture) else painted


def paint_regions(
    photo: Pixels,
    regions: Sequence[tuple[Style, Pixels | None]],
    strength: float | None,
    stroke: float | None,
    colors: str,
    mask: Pixels | None,
    device: str,
    precision: str,
    limit: Limit,
) -> Pixels:
    """Painted version of uint8 (H, W, 3) in several styles, each where its mask is, and all only where `mask` is."""
    how: dict[str, Any] = {"strength": strength, "stroke": stroke, "colors": colors, "device": device}
    how |= {"precision": precision, "tile": limit.tile, "memory": limit.memory and limit.memory / 1e9}
    painted = (stylize(photo, style, **how) for style, _ in regions)
    masks = [resize_mask(own, photo.shape[:2]) for _, own in regions if own is not None]
    pixels = compose(photo, painted, masks)
    return pixels if mask is None else blend(pixels, photo, resize_mask(mask, photo.shape[:2]))


def regions_of(
    style: str | Path | Style | Sequence[Region], engine: str | None = None
) -> list[tuple[Style, Pixels | None]]:
    """What `stylize` takes as a style, loaded: styles, each with its mask, or one without.

    Raises:
        ValueError: There are none, or a mask is none.
        ImpastoError: A style cannot be used.

    """
    if isinstance(style, (str, Path, Style)):
        return [(chosen(style if isinstance(style, Style) else load_style(style, engine=engine), {}), None)]
    if not isinstance(style, (list, tuple)):
        wanted = "a style, as 'candy:0.7,udnie:0.3', or pairs of a style and a mask"
        raise ValueError(f"style is a {type(style).__name__}; it must be {wanted}")  # noqa: TRY004 - as every mistake
    if not style:
        raise ValueError("style is empty; it needs a style, or pairs of a style and a mask")
    if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in style):
        raise ValueError("style is a list; it must be of pairs of a style and a mask: [('candy', mask), ...]")
    loaded: list[tuple[Style, Pixels | None]] = []
    for one, mask in style:
        if mask is None:
            raise ValueError("mask is None; each of several styles needs one, uint8 (height, width)")
        check(None, None, "style", mask, None)
        whole = one if isinstance(one, Style) else load_style(one, engine=engine if paintings_in(one) else None)
        loaded.append((chosen(whole, {}), mask))
    return loaded


def together(regions: Sequence[tuple[Style, Pixels | None]]) -> Style | list[Region]:
    """What `regions_of` gave as `stylize` takes it."""
    masked: list[Region] = [(style, mask) for style, mask in regions if mask is not None]
    return masked or regions[0][0]


def compose(photo: Pixels, painted: Iterable[Pixels], masks: Sequence[Pixels]) -> Pixels:
    """Painted versions of a photo, each by its mask (H, W): overlapping ones share, what is left is photo.

    The first one's memory is the result's.
    """
    pictures = [*painted]
    for rows in strips(photo):
        total = np.maximum(np.sum([mask[rows] for mask in masks], 0, dtype=np.float32), 255)
        mixed = photo[rows].astype(np.float32)
        for one, mask in zip(pictures, masks, strict=True):
            mixed += (mask[rows] / total)[..., None] * np.subtract(one[rows], photo[rows], dtype=np.float32)
        pictures[0][rows] = np.clip(mixed + 0.5, 0, np.iinfo(photo.dtype).max)
    return pictures[0]


def check_image(image: object) -> None:
    """Raise a ValueError for what is neither uint8 or uint16 (H, W, 3) nor a `Picture` of that."""
    pixels = image.pixels if isinstance(image, Picture) else image
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"image is a {type(image).__name__}; it must be a Picture or uint8 (height, width, 3)")  # noqa: TRY004
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        told = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"image is {told}; it must be uint8 (or uint16) (height, width, 3), RGB, not empty")


def check(strength: float | None, stroke: float | None, colors: str, mask: Pixels | None, max_side: int | None) -> None:
    """Raise a ValueError for an argument that is out of range, before any work is done."""
    if strength is not None and not (isinstance(strength, Real) and 0 <= strength <= 1):
        raise ValueError(f"strength is {strength!r}; it must be from 0 (the photo) to 1 (the painting)")
    if stroke is not None and not (isinstance(stroke, Real) and FINEST <= stroke <= BROADEST):
        raise ValueError(f"stroke is {stroke!r}; it must be from {FINEST} (fine) to {BROADEST} (broad)")
    if colors not in COLORS:
        raise ValueError(f"colors is {colors!r}; it must be one of {', '.join(COLORS)}")
    if mask is not None and not isinstance(mask, np.ndarray):
        raise ValueError(f"mask is a {type(mask).__name__}; it must be uint8 (height, width)")
    if mask is not None and (mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size):
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; it must be uint8 (height, width), not empty")
    if max_side is not None and not (isinstance(max_side, Integral) and max_side >= 1):
        raise ValueError(f"max_side is {max_side!r}; it must be at least 1 pixel, and a whole number")


def limit_of(memory: float | None, tile: int | None) -> Limit:
    """What painting may take; raises a ValueError for what is no memory, or no tile."""
    if memory is not None and not (isinstance(memory, Real) and 0 < memory < math.inf):
        raise ValueError(f"memory is {memory!r}; it must be more than 0, in gigabytes")
    if tile is not None and not (isinstance(tile, Integral) and tile >= 1):
        raise ValueError(f"tile is {tile!r}; it must be at least 1 pixel, and a whole number")
    return Limit(memory=None if memory is None else memory * 1e9, tile=tile)


def check_stroke(stroke: float | None, style: Style) -> None:
    """Raise a StyleError where a size of strokes is asked of a style that has only one."""
    if stroke is not None and not style.spec.rows:
        raise StyleError(
            f"{style.source}: a network of one style, whose strokes have one size; leave --stroke out, or use a palette"
        )


def paint(
    photo: Pixels,
    style: Style,
    runtime: Runtime,
    strength: float,
    stroke: float | None,
    colors: str,
    mask: Pixels | None,
    limit: Limit,
) -> Pixels:
    """Painted version of uint8 (H, W, 3), with its colours, strength and mask."""
    if strength == 0:
        return photo.copy()
    canvas, *rows = asked(style, strength, stroke, photo.shape[:2])
    painted = keep_colors(run(photo, canvas, style, runtime, rows, strength, limit), photo, colors, in_place=True)
    if style.spec.rows:
        strength = 1.0  # it is in the painting
    if mask is None:
        return painted if strength == 1 else blend(painted, photo, strength, in_place=True)
    mask = resize_mask(mask, photo.shape[:2])
    if strength < 1:
        mask = np.rint(np.arange(256) * np.float32(strength)).astype(np.uint8)[mask]
    return blend(painted, photo, mask, in_place=True)


def plans_of(
    image: Pixels | Picture,
    styles: Sequence[Style],
    *,
    strength: float | None = None,
    stroke: float | None = None,
    max_side: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    limit: Limit,
    timed: bool = True,
) -> list[Plan]:
    """Plans of what `stylize` would do for each of several styles; `timed` ones tell the seconds, by a short trial.

    Raises:
        ImpastoError: The memory, a style or the device cannot be used.

    """
    photo = image.pixels if isinstance(image, Picture) else image
    size: tuple[int, int] = photo.shape[:2]
    if max_side is not None and max(size) > max_side:
        photo = fit(photo, max_side)
        size = photo.shape[:2]
    if isinstance(image, Picture) and image.alpha is not None and not image.alpha.all():  # `seen` makes a copy
        taken = resident_memory() if limit.taken is None else limit.taken
        limit = dataclasses.replace(limit, taken=taken + photo.nbytes)
    made = []
    for style in styles:
        runtime = style.runtime(device, precision)
        canvas, *rows = asked(style, style.strength if strength is None else strength, stroke, size)
        plan = make_plan(size, canvas, style, runtime, limit, memory_bytes(photo))
        seconds = foretold(photo, style, runtime, rows, plan) if timed else 0.0
        made.append(dataclasses.replace(plan, seconds=seconds))
    return made


def side_of(plans: Sequence[Plan]) -> int | None:
    """Side of the tiles by which every machine paints as these plans do; None where they paint whole what all do."""
    if all(not plan.tiled and math.prod(plan.size) <= ALWAYS_WHOLE for plan in plans):
        return None
    return min(plan.side for plan in plans)


def asked(style: Style, strength: float, stroke: float | None, size: tuple[int, int]) -> tuple[Any, ...]:
    """Height and width of what the network paints for a photo of a size, and of a palette the weights of its rows.

    Where a palette has no strokes as broad (or as fine) in pixels, a smaller (or larger) picture is painted and the
    painting is resized. A small picture is painted larger too, with the strokes of a large one: its preview.
    """
    if not style.spec.rows:
        return (size,)
    strokes, scale = stroke_size(style, stroke, max(size))
    rows = style.spec.mix(style.weights, strength=strength, size=strokes)
    return (size if scale == 1 else (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))), rows


def run(
    photo: Pixels,
    canvas: tuple[int, int],
    style: Style,
    runtime: Runtime,
    rows: Sequence[Floats],
    strength: float,
    limit: Limit,
) -> Pixels:
    """Network's painting of uint8 (H, W, 3), made on a canvas of another size where that is asked, at its size.

    What a GPU's memory does not hold is painted by smaller tiles, at last on the CPU, each with a warning.
    """
    plan = make_plan(photo.shape[:2], canvas, style, runtime, limit, memory_bytes(photo))
    while isinstance(runtime, TorchRuntime):
        try:
            return run_plan(photo, plan, style, runtime, rows, strength)
        except GpuMemoryError:
            pass  # the error holds on to memory until here
        runtime, plan = retreat(photo, plan, style, runtime, limit)
    return run_plan(photo, plan, style, runtime, rows, strength)


def retreat(photo: Pixels, plan: Plan, style: Style, runtime: TorchRuntime, limit: Limit) -> tuple[Runtime, Plan]:
    """What to paint by after a plan that a GPU's memory did not suffice for: smaller tiles, or the CPU."""
    window = plan.seen / plan.tiles
    runtime.full = min(runtime.full, window)
    runtime.forget()
    size, depth = photo.shape[:2], memory_bytes(photo)
    smaller = make_plan(size, plan.size, style, runtime, limit, depth)
    told = f"{runtime.device}: out of memory with a picture of {size[1]} x {size[0]}"
    if smaller.seen / smaller.tiles < window:
        warnings.warn(f"{told}; it is painted by {smaller.tiles} tiles instead", stacklevel=2)
        return runtime, smaller
    warnings.warn(f"{told}; it is painted on the CPU instead", stacklevel=2)
    cpu = style.runtime("cpu", runtime.precision if runtime.precision in PRECISIONS else "auto")
    return cpu, make_plan(size, plan.size, style, cpu, limit, depth)


def run_plan(
    photo: Pixels, plan: Plan, style: Style, runtime: Runtime, rows: Sequence[Floats], strength: float
) -> Pixels:
    """See `run`."""
    if plan.tiled and isinstance(runtime, OpenVINORuntime):
        return Tiler(photo, style, runtime, rows, plan).paint(1 - strength)
    if plan.tiled and isinstance(runtime, TorchRuntime):
        from impasto.gpu_tiles import GpuTiler  # which needs PyTorch

        with runtime.lock:  # of several threads' pictures each was planned for the memory that there is for one
            return GpuTiler(photo, style, runtime, rows, plan).paint(1 - strength)
    if plan.size == photo.shape[:2]:
        return run_whole(photo, runtime, style.spec, rows)
    small = resize(photo, plan.size)
    painted = resize(run_whole(small, runtime, style.spec, rows), photo.shape[:2])
    if strength == 1:
        return painted
    lost = photo.astype(np.float32) - resize(small, photo.shape[:2])  # of the photo's share, which is not to be soft
    return np.clip(painted + (1 - strength) * lost + 0.5, 0, np.iinfo(photo.dtype).max).astype(photo.dtype)


def stroke_size(style: Style, stroke: float | None, long_side: int) -> tuple[float | None, float]:
    """Long side in pixels of the painting whose strokes to use, and the scale of the picture to paint them on."""
    if stroke is None:
        return None, 1.0
    wanted, reach = stroke * long_side, max(1.0, REFERENCE / long_side)
    strokes = {entry.name: entry.strokes for entry in style.spec.entries}
    nearest = {name: min(max(wanted * reach, min(strokes[name])), max(strokes[name])) for name in style.weights}
    size = math.exp(sum(weight * math.log(nearest[name]) for name, weight in style.weights.items()))
    return size, min(size / wanted, LARGEST * reach)


def resize_mask(mask: Pixels, size: tuple[int, int]) -> Pixels:
    """A mask, uint8 (h, w), at another size (height, width)."""
    if mask.shape == size:
        return mask
    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))  # which does not ring


def run_whole(photo: Pixels, runtime: Runtime, spec: StyleSpec, rows: Sequence[Floats]) -> Pixels:
    """Network's output for a photo (H, W, 3) of any size, reflected outwards to the size that the network needs.

    Raises what `large.painted_by` raises.
    """
    return painted_by(runtime, pad(photo, spec), *rows, spec=spec, size=(photo.shape[0], photo.shape[1]))


def pad(photo: Pixels, spec: StyleSpec) -> Pixels:
    """Reflect uint8 (H, W, 3) at its right and lower border up to the spec's least size and multiple."""
    below, right = (-(-max(s, spec.min_size) // spec.multiple) * spec.multiple - s for s in photo.shape[:2])
    return np.pad(photo, ((0, below), (0, right), (0, 0)), mode="reflect") if below or right else photo
