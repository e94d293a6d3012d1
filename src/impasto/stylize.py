"""The verb: a photograph and a style in, a painting out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from impasto.colors import COLORS, blend, keep_colors
from impasto.images import ImageT, Picture, fit, from_network, to_network
from impasto.styles import Style, StyleSpec, load_style

if TYPE_CHECKING:
    from pathlib import Path

    from impasto.images import Pixels
    from impasto.runtimes import Runtime


def stylize(
    image: ImageT,
    style: str | Path | Style,
    *,
    strength: float = 1.0,
    colors: str = "style",
    mask: Pixels | None = None,
    max_side: int | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> ImageT:
    """Paint `image`, uint8 (H, W, 3) RGB or a `Picture`, in a style: the same type and size.

    `style`: a built-in name, a style file, or what `load_style` gave. `strength`: 0 is the photo, 1 the painting,
    between them their pixels are mixed. `colors`: see `colors.keep_colors`. `mask`: uint8 (h, w), white where it is
    painted, resized to the image. `max_side`: a larger image is first reduced to it, and stays so.

    Raises:
        ValueError: An argument is out of range, or the image or mask is not such an array.
        ImpastoError: The style or the device cannot be used.

    """
    check_image(image)
    check(strength, colors, mask, max_side)
    if max_side is not None:
        image = fit(image, max_side)
    if isinstance(image, Picture):
        pixels = paint(image.pixels, style, strength, colors, mask, device, precision)
        return dataclasses.replace(image, pixels=pixels)
    return paint(image, style, strength, colors, mask, device, precision)


def check_image(image: object) -> None:
    """Raise a ValueError for what is neither uint8 (H, W, 3) nor a `Picture` of that."""
    pixels = image.pixels if isinstance(image, Picture) else image
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"image is a {type(image).__name__}; it must be a Picture or uint8 (height, width, 3)")  # noqa: TRY004
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"image is {pixels.dtype} {pixels.shape}; it must be uint8 (height, width, 3), RGB, not empty")


def check(strength: float, colors: str, mask: Pixels | None, max_side: int | None) -> None:
    """Raise a ValueError for an argument that is out of range, before any work is done."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be from 0 (the photo) to 1 (the painting)")
    if colors not in COLORS:
        raise ValueError(f"colors is {colors!r}; it must be one of {', '.join(COLORS)}")
    if mask is not None and not isinstance(mask, np.ndarray):
        raise ValueError(f"mask is a {type(mask).__name__}; it must be uint8 (height, width)")
    if mask is not None and (mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size):
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; it must be uint8 (height, width), not empty")
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side is {max_side}; it must be at least 1 pixel")


def paint(
    photo: Pixels,
    style: str | Path | Style,
    strength: float,
    colors: str,
    mask: Pixels | None,
    device: str,
    precision: str,
) -> Pixels:
    """Painted version of uint8 (H, W, 3), with its colours, strength and mask."""
    if not isinstance(style, Style):
        style = load_style(style)
    runtime = style.runtime(device, precision)
    if strength == 0:
        return photo.copy()
    painted = keep_colors(run(photo, runtime, style.spec), photo, colors)
    if mask is None:
        return painted if strength == 1 else blend(painted, photo, strength)
    if mask.shape != photo.shape[:2]:
        mask = resize_mask(mask, photo.shape[:2])
    return blend(painted, photo, np.rint(mask * np.float32(strength)).astype(np.uint8))


def resize_mask(mask: Pixels, size: tuple[int, int]) -> Pixels:
    """A mask, uint8 (h, w), at another size (height, width)."""
    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))  # which does not ring


def run(photo: Pixels, runtime: Runtime, spec: StyleSpec) -> Pixels:
    """Network's output for uint8 (H, W, 3) of any size, reflected outwards to the size that the network needs."""
    height, width = photo.shape[:2]
    image = to_network(pad(photo, spec))
    with runtime.lock:
        return from_network(runtime(image)[:, :, :height, :width])


def pad(photo: Pixels, spec: StyleSpec) -> Pixels:
    """Reflect uint8 (H, W, 3) at its right and lower border up to the spec's least size and multiple."""
    below, right = (-(-max(s, spec.min_size) // spec.multiple) * spec.multiple - s for s in photo.shape[:2])
    return np.pad(photo, ((0, below), (0, right), (0, 0)), mode="reflect") if below or right else photo
