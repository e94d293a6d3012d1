"""Pictures as bytes: what Pillow's encoders are asked for, and PNG of 16 bits, which they cannot write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from impasto.decoding import srgb_profile
from impasto.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from impasto.images import Picture

# 4:4:4: a painting's strokes are edges of colour, which halved chroma smears. PNG level 1: 13 % larger than level 6 and
# three times as fast. TIFF is not compressed (see tiff.py).
ENCODERS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 92, "subsampling": "4:4:4"},
    "png": {"compress_level": 1},
    "webp": {"quality": 90},
    "avif": {"quality": 80, "subsampling": "4:4:4"},
    "tiff": {},
}
LONGEST = {"jpeg": 65_500, "webp": 16_383, "avif": 65_536}


def check_side(kind: str, height: int, width: int, name: str) -> None:
    """Raise an ImageError for a picture that is too large for its format."""
    if max(height, width) > (limit := LONGEST.get(kind, 2**31 - 1)):
        raise ImageError(f"cannot write {name}: {kind} ends at {limit} pixels a side, not {width} x {height}; use .png")


def encode(picture: Picture, kind: str, quality: int | None, name: str) -> Iterable[bytes]:
    """Return the bytes of a file of format ``kind``, in parts."""
    height, width, _ = picture.pixels.shape
    check_side(kind, height, width, name)
    if kind == "tiff":
        from impasto.tiff import tiff_parts

        return tiff_parts(picture)
    if picture.pixels.dtype == np.uint16:
        if kind != "png":
            raise ValueError(f"image must be uint8 for {kind}, got uint16; only png and tiff hold 16 bits")
        return [png_16(picture)]
    stream = io.BytesIO()
    try:
        to_pillow(picture, opaque=kind == "jpeg").save(stream, kind, **save_options(picture, kind, quality))
    except Exception as error:
        raise ImageError(f"cannot write {name}: the {kind} encoder failed ({error}); try another format") from error
    return [stream.getvalue()]


def to_pillow(picture: Picture, *, opaque: bool = False) -> Image.Image:
    """Return an RGB image, or RGBA where the picture has alpha; ``opaque`` composites it over white."""
    if picture.alpha is None:
        return Image.fromarray(picture.pixels)
    image = Image.fromarray(np.dstack((picture.pixels, picture.alpha)))
    if not opaque:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def save_options(picture: Picture, kind: str, quality: int | None) -> dict[str, Any]:
    """Return the arguments of Pillow's ``save``: the encoder's, the sRGB tag, the metadata."""
    options = dict(ENCODERS[kind])
    if quality is not None and "quality" in options:
        options["quality"] = int(quality)
    if picture.icc:
        options["icc_profile"] = picture.icc
    elif kind == "png":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add(b"sRGB", b"\0")
    elif kind != "avif":  # Pillow writes AVIF's own code points for sRGB
        options["icc_profile"] = srgb_profile()
    if picture.exif:
        options["exif"] = picture.exif
    if picture.dpi:
        options["dpi"] = (picture.dpi, picture.dpi)
    return options


def png_16(picture: Picture) -> bytes:
    """Encode uint16 RGB or RGBA as a PNG of 16 bits a channel, which Pillow cannot write.

    W3C PNG specification: chunks of length, type, data and CRC; every row after its filter's number, here 2 ("up":
    the difference to the row above, modulo 256 a byte).
    """
    height, width, _ = picture.pixels.shape
    alpha = () if picture.alpha is None else (picture.alpha * np.uint16(257),)  # 0..255 onto 0..65535
    rows = np.dstack((picture.pixels, *alpha)).astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packed = zlib.compress(filtered.data, 1)
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 16, 6 if alpha else 2, 0, 0, 0))]
    chunks.append((b"iCCP", b"icc\0\0" + zlib.compress(picture.icc)) if picture.icc else (b"sRGB", b"\0"))
    if picture.dpi:
        chunks.append((b"pHYs", struct.pack(">2IB", *[round(picture.dpi / 0.0254)] * 2, 1)))  # pixels a metre
    if picture.exif:
        chunks.append((b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", packed[start : start + 2**30]) for start in range(0, len(packed), 2**30)]
    framed = (
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(tag)))
        for tag, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
