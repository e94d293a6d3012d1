"""Pictures: files of many formats in, sRGB arrays out, and back again.

Owns the decoding and encoding of files, the limits that keep a hostile file from taking the machine's memory, and the
step between arrays and networks. Everything after `read_picture` sees uint8 (height, width, 3) RGB in sRGB; what a file
says beyond that (alpha, density, who took it and where) is carried in `Picture` and put back by `write_image`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import math
import re
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.decoding import is_other_rgb, read_exif, split_alpha, srgb_profile, to_srgb
from impasto.errors import ImageError, ImpastoError, MissingExtraError
from impasto.files import atomic_write, check_write
from impasto.profiles import light_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from PIL import ImageFile

Pixels = npt.NDArray[np.uint8]
DeepPixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]

DEFAULT_MAX_PIXELS = 160_000_000
"""Just above the largest camera sensors; such a picture takes 0.6 GB while it is decoded."""

DEFAULT_MAX_SIDE = 65_535
"""The longest side that a JPEG header can state."""

ICC = ("srgb", "keep")
"""What is done with a colour profile: converted to sRGB, or kept."""
DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Of files that keep the 16 bits of a photo."""
READ_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif")
)
"""Suffixes, in lower case, worth looking at in a folder; reading itself goes by content."""

WRITE_SUFFIXES = dict.fromkeys((".jpg", ".jpeg"), "jpeg") | dict.fromkeys((".tif", ".tiff"), "tiff")
WRITE_SUFFIXES |= {".png": "png", ".webp": "webp", ".avif": "avif"}
"""The format that `write_image` gives to each suffix."""

# What a file begins with, and the class that decodes it. Opening the classes directly, not through `Image.open`, keeps
# every other decoder of Pillow out of reach and leaves its process-wide pixel limit alone; ours is an argument.
_READERS: dict[str, tuple[bytes, str, str]] = {
    "JPEG": (rb"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": (rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile"),
    "WebP": (rb"RIFF.{4}WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": (rb".{4}ftyp(avi[fs]|(mif1|msf1).{4}(.{4})*?avi[fs])", "PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": (rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "pillow_heif", "HeifImageFile"),
    "TIFF": (rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", "PIL.TiffImagePlugin", "TiffImageFile"),
    "GIF": (rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile"),
    "BMP": (rb"BM", "PIL.BmpImagePlugin", "BmpImageFile"),
}

# 4:4:4: a painting's strokes are edges of colour, which halved chroma smears. PNG level 1: 13 % larger than level 6 and
# three times as fast. TIFF is not compressed (see tiff.py).
_ENCODERS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 92, "subsampling": "4:4:4"},
    "png": {"compress_level": 1},
    "webp": {"quality": 90},
    "avif": {"quality": 80, "subsampling": "4:4:4"},
    "tiff": {},
}
_MAX_WRITTEN_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 65_536}

# Of an upright picture's array, the view that has the pixels where the file has them.
_TURNS: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}

_BAND = 1 << 22
"""Pixels that are copied at once."""
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Of bytes in a raw mode of Pillow's, big, little and native endian, the opposite one."""

_READ_REMEDIES = {
    errno.ENOENT: "there is no such file; check the path",
    errno.ENOTDIR: "there is no such file; check the path",
    errno.EISDIR: "it is a folder; give a picture",
    errno.EACCES: "reading it is not permitted; change its permissions",
}
_WRITE_REMEDIES = {
    errno.ENOENT: "its folder does not exist; create it first",
    errno.ENOTDIR: "its folder does not exist; create it first",
    errno.EISDIR: "it is a folder; give a file name",
    errno.EACCES: "writing there is not permitted; choose another folder",
    errno.EPERM: "writing there is not permitted; choose another folder",
    errno.EROFS: "the folder is read-only; choose another one",
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.ENAMETOOLONG: "the name is too long; shorten it",
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture and what its file said about it that is still true once the pixels have changed.

    `dataclasses.replace(picture, pixels=painted)` carries alpha and metadata to the result. Shapes that do not fit
    together raise ValueError.
    """

    pixels: Pixels
    """uint8 (height, width, 3), RGB, sRGB unless `icc` is there, not multiplied by alpha; uint16 where asked for."""
    alpha: Pixels | None = None
    """uint8 (height, width), 255 is opaque; None where every pixel is."""
    exif: bytes = b""
    """Camera, exposure, dates, place, author and copyright: an EXIF block with its ``Exif`` prefix, or empty."""
    dpi: float | None = None
    """Pixels an inch, where the file states one for both directions."""
    icc: bytes | None = None
    """ICC profile of the RGB that the pixels are in, where a file's own was kept; None is sRGB."""

    def __post_init__(self) -> None:
        _check_array(self.pixels, "pixels", (np.uint8, np.uint16))
        if self.alpha is not None and (self.alpha.shape != self.pixels.shape[:2] or self.alpha.dtype != np.uint8):
            expected = self.pixels.shape[:2]
            raise ValueError(f"alpha must be uint8 {expected}, got {self.alpha.dtype} {self.alpha.shape}")


ImageT = TypeVar("ImageT", "npt.NDArray[np.uint8]", Picture)


def _check_array(image: DeepPixels, name: str, types: tuple[type[np.generic], ...] = (np.uint8,)) -> None:
    """Raise ValueError unless ``image`` is (height, width, 3) of one of ``types`` and not empty."""
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype not in types:
        allowed = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"{name} must be {allowed} (height, width, 3), got {image.dtype} {image.shape}")


# ---------------------------------------------------------------------------------------------------------- reading


def read_image(
    source: str | Path | bytes | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = DEFAULT_MAX_SIDE
) -> Pixels:
    """Read a picture as uint8 (height, width, 3) RGB in sRGB: `read_picture` without what it carries.

    Alpha is left off, not composited over a colour: a transparent pixel shows the colour stored under it. Raises what
    `read_picture` raises.
    """
    return read_picture(source, max_pixels=max_pixels, max_side=max_side).pixels


def read_picture(
    source: str | Path | bytes | BinaryIO,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = DEFAULT_MAX_SIDE,
    shrink_to: int | None = None,
    deep: bool = False,
    icc: str = "srgb",
) -> Picture:
    """Read JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF (first frame) or, with the extra ``heif``, HEIC.

    The content decides the format, not the suffix. The EXIF orientation is applied, an embedded colour profile is
    converted to sRGB (a broken one warns and is ignored), every pixel format becomes 8-bit RGB and alpha. A stream is
    read from where it stands to its end.

    Args:
        source: A path, the bytes of a file, or a binary stream.
        max_pixels: Refuse a picture whose header states more than this many pixels, before memory is taken for them.
        max_side: Refuse a picture that is wider or higher than this many pixels.
        shrink_to: Where the shorter side is going to be this small anyway, a JPEG may be decoded at 1/2, 1/4 or 1/8 of
            its size (not below this), several times as fast. Other formats are read in full.
        deep: Keep the 16 bits of colours in a PNG or TIFF as uint16 pixels. Alpha has 8. A profile of tables, not of
            curves and a matrix, is converted in 8 bits, with a warning.
        icc: ``srgb`` converts; ``keep`` leaves RGB with a profile of its own as it is and carries that in the result.

    Raises:
        ValueError: `icc` is something else.
        ImageError: The file is missing, unreadable, empty, broken, cut off, too large or not a picture.
        MissingExtraError: It is a HEIC file and the extra is not installed.

    """
    if icc not in ICC:
        raise ValueError(f"icc is {icc!r}; it must be one of {', '.join(ICC)}")
    with _reading(source) as name, _opened(source) as stream:
        kind = _sniff(stream)
        image = _open(stream, kind)
        _check_size(image.size, max_pixels, max_side)
        if shrink_to and kind == "JPEG":
            image.draft(None, (shrink_to, shrink_to))
            image.info.pop("dpi", None)  # says nothing about a reduced picture
        low = _open_low(stream, kind, image) if deep else None
        if low is not None:
            low.load()
            stream.seek(0)
            image = _open(stream, kind)
        image.load()
        return _to_picture(image, low, name, keep=icc == "keep")


def image_size(source: str | Path | bytes | BinaryIO) -> tuple[int, int]:
    """Read (height, width) from a picture's header, before its orientation; raises what `read_picture` raises."""
    with _reading(source), _opened(source) as stream:
        width, height = _open(stream, _sniff(stream)).size
        return height, width


@contextlib.contextmanager
def _reading(source: object) -> Iterator[str]:
    """Turn whatever goes wrong inside into one ImpastoError that names ``source``; yields that name."""
    name = str(source) if isinstance(source, (str, Path)) else "the picture"
    try:
        yield name
    except ImpastoError as error:
        raise type(error)(f"cannot read {name}: {error}") from error.__cause__
    except MemoryError as error:
        raise ImageError(f"cannot read {name}: not enough memory to decode it; make it smaller") from error
    except Exception as error:  # decoders of hostile bytes raise from struct.error to RecursionError
        reason = " ".join(str(error).split()) or type(error).__name__
        broken = f"its data is broken or cut off ({reason}); fetch or export it again"
        raise ImageError(f"cannot read {name}: {_remedy(error, _READ_REMEDIES) or broken}") from error


@contextlib.contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Yield ``source`` as a seekable stream that stands at its beginning."""
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            yield stream if stream.seekable() else io.BytesIO(stream.read())
    else:
        yield io.BytesIO(source if isinstance(source, (bytes, bytearray, memoryview)) else source.read())


def _sniff(stream: BinaryIO) -> str:
    """Return the key of `_READERS` whose signature the stream begins with."""
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError("the file is empty; fetch or export it again")
    for kind, (signature, _, _) in _READERS.items():
        if re.match(signature, head, re.DOTALL):
            return kind
    raise ImageError(f"its content is none of {', '.join(_READERS)}; convert it to one of them")


def _open(stream: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Read the header with the decoder of ``kind``; pixels come with ``load``."""
    _, module, reader = _READERS[kind]
    try:
        decoder = getattr(importlib.import_module(module), reader)
    except ImportError as error:
        raise MissingExtraError("HEIC needs an extra; install it with: pip install 'impasto[heif]'") from error
    image: ImageFile.ImageFile = decoder(stream, "")
    return image


def _check_size(size: tuple[int, int], max_pixels: int, max_side: int) -> None:
    """Raise ImageError for a size (width, height) beyond the limits."""
    width, height = size
    stated = f"it is {width} x {height} pixels"
    if max(size) > max_side:
        raise ImageError(f"{stated}, over the limit max_side={max_side}; make it smaller or raise max_side")
    if width * height > max_pixels:
        raise ImageError(
            f"{stated} ({width * height}), over the limit max_pixels={max_pixels}; make it smaller or raise max_pixels"
        )


def _to_picture(image: Image.Image, low: Image.Image | None, name: str, *, keep: bool) -> Picture:
    """Turn a loaded image of any mode into sRGB, upright: 8 bits, or 16 with what has the pixels' lower bytes.

    `keep` leaves RGB in its own colour space.
    """
    profile = image.info.get("icc_profile")
    color, alpha = split_alpha(image)
    other = (keep or low is not None) and color.mode == "RGB" and is_other_rgb(profile)
    icc = profile if keep and other else None
    orientation, exif = read_exif(image, srgb=icc is None)
    dpi = to_dpi(image.info.get("dpi"))
    light = light_of(profile or b"") if low is not None and other and not keep else None
    if low is not None and other and not keep and light is None:
        message = f"{name}: its colour profile has tables, by which 16 bits become 8; --icc keep keeps both"
        warnings.warn(message, UserWarning, stacklevel=3)
        low = None
    if icc is None and light is None:
        color = to_srgb(color, profile, name)
    if alpha and alpha.getextrema() == (255, 255):
        alpha = None
    turn = _TURNS.get(orientation, lambda upright: upright)
    pixels = _upright([color] if low is None else [color, low.convert("RGB")], turn)
    if light is not None:
        light.to_srgb(pixels)
    return Picture(pixels, None if alpha is None else _upright([alpha], turn), exif, dpi, icc)


def _upright(layers: list[Image.Image], turn: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Array of an image, or of one of upper and one of lower bytes, turned; a band of rows at a time.

    Pillow's pixels take four bytes each, and NumPy's way to them makes two copies more.
    """
    width, height = layers[0].size
    turned = turn(np.empty((height, width, 0), bool)).shape[:2]
    shape = turned if layers[0].mode == "L" else (*turned, 3)
    made: npt.NDArray[Any] = np.empty(shape, np.uint8 if len(layers) == 1 else np.uint16)
    stored = turn(made)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        bands = [np.asarray(layer.crop(box)) for layer in layers]
        stored[top : box[3]] = bands[0] if len(bands) == 1 else bands[0] * np.uint16(256) + bands[1]
    return made


def _open_low(stream: BinaryIO, kind: str, image: ImageFile.ImageFile) -> ImageFile.ImageFile | None:
    """Return the same picture so opened that its pixels are the lower bytes of 16-bit ones; None where there are none.

    Pillow has no 16-bit colour: it keeps the upper byte of each value, by the order of bytes that a raw mode states.
    The other order's raw mode keeps the lower byte.
    """
    if kind not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or "transparency" in image.info:
        return None
    stream.seek(0)
    low = _open(stream, kind)
    for place, tile in enumerate(low.tile):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        order = _OTHER_ORDER.get(str(args[0])[-1:])
        if not str(args[0]).startswith(("RGB;16", "RGBA;16", "RGBX;16")) or order is None:
            return None
        swapped = (str(args[0])[:-1] + order, *args[1:])
        low.tile[place] = tile._replace(args=swapped if isinstance(tile.args, tuple) else swapped[0])
    return low if low.tile else None


def to_dpi(value: object) -> float | None:
    """Return the density of a (horizontal, vertical) pair where both agree and make sense."""
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        horizontal, vertical = (float(number) for number in value)  # type: ignore[attr-defined]  # a file's own claim
        if 1 <= horizontal <= 65_535 and math.isclose(horizontal, vertical, rel_tol=0.01):
            return horizontal
    return None


# ---------------------------------------------------------------------------------------------------------- writing


def write_image(
    target: str | Path | BinaryIO,
    image: DeepPixels | Picture,
    *,
    format: str | None = None,  # noqa: A002 (the word that users of Pillow know)
    quality: int | None = None,
) -> None:
    """Write a picture as JPEG, PNG, WebP, AVIF or TIFF, tagged as sRGB or what it is in, with what a `Picture` carries.

    A file appears under its name when it is complete or not at all. Alpha goes where the format has it; a JPEG is
    composited over white. uint16 pixels make a 16-bit PNG or TIFF.

    Args:
        target: A path, or a binary stream, which gets all bytes in one call of ``write``.
        image: An array (height, width, 3) of uint8 or uint16, or a `Picture`.
        format: ``jpeg``, ``png``, ``webp``, ``avif`` or ``tiff``; by default what the path's suffix says.
        quality: 1 (small) to 100 (fine) for JPEG (default 92), WebP (90) and AVIF (80); PNG and TIFF lose nothing.

    Raises:
        ImageError: The suffix is unknown, the picture too large for the format, or the file cannot be written.
        ValueError: An argument is wrong: an unknown ``format``, none for a stream, uint16 for a format without.

    """
    picture = image if isinstance(image, Picture) else Picture(image)  # type: ignore[arg-type]  # uint16 is allowed here
    name = str(target) if isinstance(target, (str, Path)) else "the picture"
    kind = _written_format(target, format)
    if quality is not None and quality not in range(1, 101):
        raise ValueError(f"quality must be a whole number from 1 to 100, got {quality!r}")
    parts = _encode(picture, kind, quality, name)
    try:
        if isinstance(target, (str, Path)):
            with atomic_write(target) as stream:
                for part in parts:
                    stream.write(part)
        else:
            target.write(b"".join(parts))
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write {name}: {_remedy(error, _WRITE_REMEDIES) or error}") from error


def _written_format(target: str | Path | BinaryIO, asked: str | None) -> str:
    """Return a key of `_ENCODERS`, from ``asked`` or else from the target's suffix."""
    if asked is not None:
        kind = WRITE_SUFFIXES.get(f".{asked.lower().removeprefix('.')}")
        if kind is None:
            raise ValueError(f"format must be one of {', '.join(_ENCODERS)}, got {asked!r}")
        return kind
    if not isinstance(target, (str, Path)):
        raise ValueError(f"format must be given for a stream: {', '.join(_ENCODERS)}")  # noqa: TRY004 (of format)
    suffix = Path(target).suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise ImageError(f"cannot write {target}: its name must end in one of {', '.join(WRITE_SUFFIXES)}")
    return WRITE_SUFFIXES[suffix]


def _check_side(kind: str, height: int, width: int, name: str) -> None:
    """Raise an ImageError for a picture that is too large for its format."""
    if max(height, width) > (limit := _MAX_WRITTEN_SIDE.get(kind, 2**31 - 1)):
        raise ImageError(f"cannot write {name}: {kind} ends at {limit} pixels a side, not {width} x {height}; use .png")


def _encode(picture: Picture, kind: str, quality: int | None, name: str) -> Iterable[bytes]:
    """Return the bytes of a file of format ``kind``, in parts."""
    height, width, _ = picture.pixels.shape
    _check_side(kind, height, width, name)
    if kind == "tiff":
        from impasto.tiff import tiff_parts

        return tiff_parts(picture)
    if picture.pixels.dtype == np.uint16:
        if kind != "png":
            raise ValueError(f"image must be uint8 for {kind}, got uint16; only png and tiff hold 16 bits")
        return [_encode_png_16(picture)]
    stream = io.BytesIO()
    try:
        _to_pillow(picture, opaque=kind == "jpeg").save(stream, kind, **_save_options(picture, kind, quality))
    except Exception as error:
        raise ImageError(f"cannot write {name}: the {kind} encoder failed ({error}); try another format") from error
    return [stream.getvalue()]


def _to_pillow(picture: Picture, *, opaque: bool = False) -> Image.Image:
    """Return an RGB image, or RGBA where the picture has alpha; ``opaque`` composites it over white."""
    if picture.alpha is None:
        return Image.fromarray(picture.pixels)
    image = Image.fromarray(np.dstack((picture.pixels, picture.alpha)))
    if not opaque:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _save_options(picture: Picture, kind: str, quality: int | None) -> dict[str, Any]:
    """Return the arguments of Pillow's ``save``: the encoder's, the sRGB tag, the metadata."""
    options = dict(_ENCODERS[kind])
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


def _encode_png_16(picture: Picture) -> bytes:
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


def _remedy(error: Exception, remedies: dict[int, str]) -> str | None:
    """Return what the operating system refused and what to do; None where the error is not the system's."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return remedies.get(error.errno, error.strerror)


# --------------------------------------------------------------------------------------------- sizes and networks


def resize(image: ImageT, size: tuple[int, int]) -> ImageT:
    """Resample to ``size`` (height, width) with Lanczos' filter, in the values as stored.

    Takes uint8 (height, width, 3), or a `Picture`, whose alpha is resampled with it: the colour of what is transparent
    does not bleed into what is not. The density, which holds no more, is dropped. ValueError for a side below 1.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least (1, 1), got {size}")
    picture = image if isinstance(image, Picture) else Picture(image)
    _check_array(picture.pixels, "image", (np.uint8, np.uint16))
    if picture.pixels.dtype == np.uint16:
        made = _resize_deep(picture, size)
        return (
            replace(image, pixels=made.pixels, alpha=made.alpha, dpi=None)
            if isinstance(image, Picture)
            else made.pixels
        )
    # From a factor of 6 on, whole boxes are averaged first and Lanczos does the last 3: four times as fast, and 0.6 of
    # 255 from the full filter in the mean.
    resized = _to_pillow(picture).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = np.array(resized.convert("RGB") if resized.mode == "RGBA" else resized)
    if not isinstance(image, Picture):
        return pixels
    alpha = np.array(resized.getchannel("A")) if resized.mode == "RGBA" else None
    return replace(image, pixels=pixels, alpha=alpha, dpi=None)


def _resize_deep(picture: Picture, size: tuple[int, int]) -> Picture:
    """See `resize`; of 16 bits, a plane at a time."""
    height, width = size

    def resized(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        image = Image.fromarray(plane.astype(np.float32))
        return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))

    weights: npt.NDArray[Any] = np.ones(1, np.float32)
    shown, alpha = weights, None
    if picture.alpha is not None:
        weights = picture.alpha / np.float32(255)
        shown = np.maximum(resized(weights), np.float32(1e-3)).astype(np.float32)
        alpha = np.rint((resized(weights) * 255).clip(0, 255)).astype(np.uint8)
    made = np.empty((height, width, 3), np.uint16)
    for channel in range(3):
        plane = resized(picture.pixels[..., channel] * weights) / shown
        made[..., channel] = np.rint(plane.clip(0, 65_535))
    return Picture(made, alpha)  # type: ignore[arg-type]  # uint16 is allowed here


def fit(image: ImageT, max_side: int) -> ImageT:
    """Shrink so that the longer side is at most ``max_side`` pixels; a smaller image is returned as it is."""
    if max_side < 1:
        raise ValueError(f"max_side must be at least 1, got {max_side}")
    height, width = (image.pixels if isinstance(image, Picture) else image).shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def read_mask(path: str | Path) -> Pixels:
    """Lightness of a picture over black, uint8 (height, width); raises ImageError as `read_image` does."""
    return lightness(read_picture(path))


def lightness(picture: Picture) -> Pixels:
    """Lightness of a picture over black, uint8 (height, width)."""
    light = np.asarray(Image.fromarray(picture.pixels).convert("L"))
    return light if picture.alpha is None else np.rint(light / np.float32(255) * picture.alpha).astype(np.uint8)


def check_writable(path: Path, size: tuple[int, int]) -> None:
    """Raise an ImageError where a picture of a size (height, width) could not be written to a path."""
    kind, (height, width) = _written_format(path, None), size
    _check_side(kind, height, width, str(path))
    try:
        check_write(path)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {_remedy(error, _WRITE_REMEDIES) or error}") from error


def to_network(pixels: DeepPixels) -> Floats:
    """Turn uint8 or uint16 (height, width, 3) into contiguous float32 (1, 3, height, width) in [0, 1]."""
    _check_array(pixels, "pixels", (np.uint8, np.uint16))
    planes = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    planes[0] = pixels.transpose(2, 0, 1)
    planes /= np.iinfo(pixels.dtype).max
    return planes


def from_network(planes: Floats, *, bits: Literal[8, 16] = 8) -> npt.NDArray[Any]:
    """Turn float32 (1, 3, height, width) into (height, width, 3) of uint8, or uint16 with ``bits=16``.

    Rounds to the nearest step. Values below 0 and NaN become 0, values above 1 the largest step. It undoes `to_network`
    exactly.
    """
    if planes.ndim != 4 or planes.shape[:2] != (1, 3):
        raise ValueError(f"planes must be (1, 3, height, width), got {planes.shape}")
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}")
    pixels = np.empty((*planes.shape[2:], 3), np.uint8 if bits == 8 else np.uint16)
    for channel, plane in enumerate(planes[0]):  # a plane at a time: a third of the memory
        values = np.fmax(plane, 0)  # fmax and fmin take the number where the other is NaN
        np.fmin(values, 1, out=values)
        values *= 2**bits - 1
        pixels[..., channel] = np.rint(values, out=values)
    return pixels
