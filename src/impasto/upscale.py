"""Super-resolution: a small picture in, a large one out, by a network that was trained with a perceptual loss."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from impasto.choices import LARGE_COLORS
from impasto.colors import blend, keep_colors
from impasto.errors import StyleError
from impasto.hidden import seen
from impasto.images import ImageT, Picture, from_network, resize, to_network
from impasto.large import timed
from impasto.stylize import check_image
from impasto.tiles import tiles
from impasto.upscaler_config import SCALES
from impasto.upscalers import Upscaler, load_upscaler, upscalers_for

if TYPE_CHECKING:
    from pathlib import Path

    from impasto.images import Pixels

SIDE = 512
"""Pixels of a tile of the small picture, down and across, margins included; memory is that of one, under a gigabyte."""
PROBE = 256
"""Side in pixels of the part that is enlarged to foretell the seconds."""
MOST_PIXELS = 1 << 29
"""Of a result, which takes 1.6 GB, and of 16 bits twice that."""


def upscale(
    image: ImageT,
    scale: int | None = None,
    *,
    upscaler: str | Path | Upscaler | None = None,
    colors: str = "rgb",
    device: str = "auto",
    precision: str = "auto",
) -> ImageT:
    """Enlarge `image`, uint8 or uint16 (H, W, 3) RGB or a `Picture`, to `scale` times its height and width: 2, 4 or 8.

    `upscaler`: a file of ``impasto train-upscaler`` or what `load_upscaler` gave, whose scale it is; unless given the
    built-in ones, and 4 times. `colors`: ``rgb`` is what the network gives; ``luma`` takes only its lightness, hue and
    saturation from the bicubic enlargement; ``histogram`` remaps red, green and blue so that their histograms become
    the small picture's (Johnson et al. 2016). Alpha is enlarged beside the picture; a density in `dpi` is dropped.

    Raises:
        ValueError: An argument is out of range, or the image is not such an array, or the result would be too large.
        ImpastoError: The upscaler or the device cannot be used.

    """
    check_image(image)
    chain = chosen(scale, upscaler)
    check_colors(colors)
    pixels = seen(image.pixels, image.alpha) if isinstance(image, Picture) else image
    check_size(pixels.shape[:2], chain)
    large = pixels
    for one in chain:
        large = run(large, one, device, precision)
    factor = large.shape[0] // pixels.shape[0]
    if colors == "luma":
        large = keep_colors(large, bicubic(pixels, factor), "luma")
    elif colors == "histogram":
        large = keep_colors(large, pixels.repeat(factor, 0).repeat(factor, 1), "histogram")
    if isinstance(image, Picture):
        large, alpha = with_alpha(large, image)
        return dataclasses.replace(image, pixels=large, alpha=alpha, dpi=None)
    return large


def chosen(scale: int | None, upscaler: str | Path | Upscaler | None) -> list[Upscaler]:
    """Upscalers to apply one after another; raises ValueError for a scale that they do not have."""
    if scale is not None and scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; it must be one of {', '.join(map(str, SCALES))}")
    if upscaler is None:
        return upscalers_for(scale or 4)
    one = upscaler if isinstance(upscaler, Upscaler) else load_upscaler(upscaler)
    if scale not in (None, one.scale):
        raise ValueError(f"scale is {scale}; {one.source} enlarges {one.scale} times, so leave it out")
    return [one]


def check_colors(colors: str) -> None:
    """Raise a ValueError for colours that there are not."""
    if colors not in LARGE_COLORS:
        raise ValueError(f"colors is {colors!r}; it must be one of {', '.join(LARGE_COLORS)}")


def check_size(size: tuple[int, ...], chain: list[Upscaler]) -> None:
    """Raise a ValueError where the result of a picture (height, width) would be larger than any picture."""
    height, width = large_size(size, chain)
    if chain and height * width > MOST_PIXELS:
        raise ValueError(
            f"image would become {width} x {height}, over the limit of {MOST_PIXELS} pixels; choose a smaller scale"
        )


def foretold(
    pixels: Pixels, size: tuple[int, int], chain: list[Upscaler], device: str = "auto", precision: str = "auto"
) -> float:
    """Seconds that enlarging a picture of a size (height, width) will take, about: by a part of `pixels`, twice."""
    part, seconds = to_network(pixels[:PROBE, :PROBE]), 0.0
    for one in chain:
        windows = (tile.window for tile in tiles(*size, SIDE, one.spec.arguments.reach))
        seen = sum((bottom - top) * (right - left) for top, bottom, left, right in windows)
        seconds += seen * timed(one.runtime(device, precision), part, ())
        size = large_size(size, [one])
    return seconds


def large_size(size: tuple[int, ...], chain: list[Upscaler]) -> tuple[int, int]:
    """Height and width of the result, from those of the picture."""
    factor = int(np.prod([one.scale for one in chain]))
    return size[0] * factor, size[1] * factor


def run(pixels: Pixels, upscaler: Upscaler, device: str, precision: str) -> Pixels:
    """Network's output for uint8 or uint16 (H, W, 3), by tiles that see all that their pixels depend on."""
    runtime, scale = upscaler.runtime(device, precision), upscaler.scale
    is_deep = pixels.dtype == np.uint16
    large = np.empty((scale * pixels.shape[0], scale * pixels.shape[1], 3), pixels.dtype)
    height, width = pixels.shape[:2]
    for tile in tiles(height, width, SIDE, upscaler.spec.arguments.reach):
        (top, bottom, left, right), (above, below, before, behind) = tile.core, tile.window
        with runtime.lock:
            found = from_network(runtime(to_network(pixels[above:below, before:behind])), bits=16 if is_deep else 8)
        if found.shape[:2] != (scale * (below - above), scale * (behind - before)):
            raise StyleError(f"{upscaler.source}: its network does not enlarge {scale} times, as the file says")
        rows = slice(scale * (top - above), scale * (bottom - above))
        columns = slice(scale * (left - before), scale * (right - before))
        large[scale * top : scale * bottom, scale * left : scale * right] = found[rows, columns]
    return large


def bicubic(pixels: Pixels, scale: int) -> Pixels:
    """Bicubic enlargement of uint8 or uint16 (H, W, 3)."""
    height, width = pixels.shape[:2]
    size = (scale * width, scale * height)
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    large = np.empty((scale * height, scale * width, 3), np.uint16)
    for channel in range(3):  # of 16 bits Pillow resizes single planes, as floats
        plane = Image.fromarray(pixels[..., channel].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        large[..., channel] = np.rint(np.asarray(plane).clip(0, 65535))
    return large


def with_alpha(large: Pixels, small: Picture) -> tuple[Pixels, Pixels | None]:
    """Large pixels, and the small picture's alpha in their size.

    What is stored under transparent pixels is no part of the picture, and would bleed into its edge: there, colours are
    those of plain resampling, which weighs them by alpha.
    """
    if small.alpha is None:
        return large, None
    plain = resize(small, large.shape[:2])
    inside = Image.fromarray(np.where(small.alpha == 255, 255, 0).astype(np.uint8)).filter(ImageFilter.MinFilter(5))
    mask = np.asarray(inside.resize(large.shape[1::-1], Image.Resampling.BILINEAR))
    return blend(large, plain.pixels, mask), plain.alpha
