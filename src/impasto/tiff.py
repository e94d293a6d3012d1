"""TIFF files, written a band of rows at a time: of 8 or 16 bits, of any size, with all that a picture carries.

They are not compressed: libtiff, which would do it, cannot write the EXIF directories; and what is not compressed can
be mapped (see mapped.py). Above 4 GiB they are BigTIFF, whose places in the file have 64 bits.
"""

from __future__ import annotations

import struct
import sys
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from impasto.decoding import EXIF_IFD, GPS_IFD, srgb_profile
from impasto.mapped import release
from impasto.views import strips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy.typing as npt

    from impasto.images import Picture

STRIP = 1 << 21
"""Pixels of a strip, about."""
LARGEST = (1 << 32) - (1 << 24)
"""Bytes of pixels that a TIFF holds which is no BigTIFF, and room for its directory."""
LONG, LONG8 = 4, 16
"""Types of a directory's entries: of 32 and 64 bits."""


def tiff_parts(picture: Picture) -> Iterator[bytes]:
    """Yield the bytes of a TIFF file with RGB, or RGBA, of a picture's 8 or 16 bits."""
    height, width, _ = picture.pixels.shape
    bands = [*strips(picture.pixels, STRIP)]
    count = 3 if picture.alpha is None else 4
    row = width * count * picture.pixels.dtype.itemsize
    sizes = [(min(band.stop, height) - band.start) * row for band in bands]
    yield head(picture, count, bands[0].stop, sizes)
    for band in bands:
        yield values(picture, band).tobytes()
        release(picture.pixels)


def values(picture: Picture, band: slice) -> npt.NDArray[Any]:
    """A band's values, (rows, width, 3 or 4), in the order of bytes that the head states."""
    pixels = picture.pixels[band]
    if picture.alpha is not None:
        alpha = picture.alpha[band]
        pixels = np.dstack((pixels, alpha if pixels.dtype == np.uint8 else alpha * np.uint16(257)))  # 255 to 65,535
    return pixels


def head(picture: Picture, count: int, rows: int, sizes: list[int]) -> bytes:
    """A file's beginning, up to its pixels: `count` values each, in strips of so many rows and bytes."""
    from PIL.Image import Exif
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    height, width, _ = picture.pixels.shape
    big, little = sum(sizes) > LARGEST, sys.byteorder == "little"
    version = struct.pack("<H" if little else ">H", 43 if big else 42)
    directory = ImageFileDirectory_v2((b"II" if little else b"MM") + version + bytes(12 if big else 4))
    tags = Exif()
    if picture.exif:
        tags.load(picture.exif)
    own = {tag: dict(tags.get_ifd(tag)) for tag in (EXIF_IFD, GPS_IFD)}
    directory.update({tag: value for tag, value in dict(tags).items() if tag not in own})  # whose values are offsets
    directory.update({tag: entries for tag, entries in own.items() if entries})
    bits = 8 * picture.pixels.dtype.itemsize
    directory.update({256: width, 257: height, 258: (bits,) * count, 259: 1, 262: 2, 277: count, 278: rows, 284: 1})
    directory.tagtype.update(dict.fromkeys((273, 279), LONG8 if big else LONG))
    directory.update({273: tuple(np.cumsum([0, *sizes[:-1]]).tolist()), 279: tuple(sizes)})
    directory[34675] = picture.icc or srgb_profile()
    if count == 4:
        directory[338] = 2  # not multiplied into the colours
    if picture.dpi:
        directory.update({282: picture.dpi, 283: picture.dpi, 296: 2})  # pixels an inch
    stream = BytesIO()
    directory.save(stream)
    return stream.getvalue()
