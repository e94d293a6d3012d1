"""Pictures: files of many formats in, sRGB arrays out, and back again.

Owns the reading and writing of files, the limits that keep a hostile file from taking the machine's memory, and the
step between arrays and networks. Everything after `read_picture` sees uint8 (height, width, 3) RGB in sRGB; what a file
says beyond that (alpha, density, who took it and where) is carried in `Picture` and put back by `write_image`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.choices import ICC
from impasto.decoding import is_other_rgb, open_image, open_low, read_exif, sniff, split_alpha, to_srgb
from impasto.encoding import ENCODERS, check_side, encode, to_pillow
from impasto.errors import ImageError, ImpastoError
from impasto.files import atomic_write, check_write
from impasto.profiles import light_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Pixels = npt.NDArray[np.uint8]
DeepPixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]

DEFAULT_MAX_PIXELS = 160_000_000
"""Just above the largest camera sensors; such a picture takes 0.6 GB while it is decoded."""

DEFAULT_MAX_SIDE = 65_535
"""The longest side that a JPEG header can state."""

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Of files that keep the 16 bits of a photo."""
READ_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif")
)
"""Suffixes, in lower case, worth looking at in a folder; reading itself goes by content."""

WRITE_SUFFIXES = dict.fromkeys((".jpg", ".jpeg"), "jpeg") | dict.fromkeys((".tif", ".tiff"), "tiff")
WRITE_SUFFIXES |= {".png": "png", ".webp": "webp", ".avif": "avif"}
"""The format that `write_image` gives to each suffix."""

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
_CACHED = 1 << 18
"""Pixels of which a colour's values stay in a processor's cache."""

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
        ValueError: `source` or `icc` is something else.
        ImageError: The file is missing, unreadable, empty, broken, cut off, too large or not a picture.
        MissingExtraError: It is a HEIC file and the extra is not installed.

    """
    check_icc(icc)
    with _reading(source) as name, _opened(source) as stream:
        kind = sniff(stream)
        image = open_image(stream, kind)
        _check_size(image.size, max_pixels, max_side)
        if shrink_to and kind == "JPEG":
            image.draft(None, (shrink_to, shrink_to))
            image.info.pop("dpi", None)  # says nothing about a reduced picture
        low = open_low(stream, kind, image) if deep else None
        if low is not None:
            low.load()
            stream.seek(0)
            image = open_image(stream, kind)
        image.load()
        return _to_picture(image, low, name, keep=icc == "keep")


def check_icc(icc: str) -> None:
    """Raise a ValueError for what cannot be done with a colour profile."""
    if icc not in ICC:
        raise ValueError(f"icc is {icc!r}; it must be one of {', '.join(ICC)}")


def image_size(source: str | Path | bytes | BinaryIO) -> tuple[int, int]:
    """Read (height, width) from a picture's header, before its orientation; raises what `read_picture` raises."""
    with _reading(source), _opened(source) as stream:
        width, height = open_image(stream, sniff(stream)).size
        return height, width


@contextlib.contextmanager
def _reading(source: object) -> Iterator[str]:
    """Turn whatever goes wrong inside into one ImpastoError that names ``source``; yields that name."""
    _check_source(source)
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


def _check_source(source: object) -> None:
    """Raise a ValueError for what is no path, bytes or stream."""
    if not isinstance(source, (str, Path, bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise ValueError(f"source is a {type(source).__name__}; it must be a path, bytes or a binary stream")


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
    check_quality(quality)
    parts = encode(picture, kind, quality, name)
    try:
        if isinstance(target, (str, Path)):
            with atomic_write(target) as stream:
                for part in parts:
                    stream.write(part)
        else:
            target.write(b"".join(parts))
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write {name}: {_remedy(error, _WRITE_REMEDIES) or error}") from error


def check_quality(quality: int | None) -> None:
    """Raise a ValueError for a quality out of range."""
    if quality is not None and quality not in range(1, 101):
        raise ValueError(f"quality is {quality!r}; it must be a whole number from 1 to 100")


def _written_format(target: str | Path | BinaryIO, asked: str | None) -> str:
    """Return a key of `ENCODERS`, from ``asked`` or else from the target's suffix."""
    if asked is not None:
        kind = WRITE_SUFFIXES.get(f".{asked.lower().removeprefix('.')}")
        if kind is None:
            raise ValueError(f"format must be one of {', '.join(ENCODERS)}, got {asked!r}")
        return kind
    if not isinstance(target, (str, Path)):
        raise ValueError(f"format must be given for a stream: {', '.join(ENCODERS)}")  # noqa: TRY004 (of format)
    suffix = Path(target).suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise ImageError(f"cannot write {target}: its name must end in one of {', '.join(WRITE_SUFFIXES)}")
    return WRITE_SUFFIXES[suffix]


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
    resized = to_pillow(picture).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
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
    size = (image.pixels if isinstance(image, Picture) else image).shape[:2]
    fitted = fitted_size(size, max_side)
    return image if fitted == size else resize(image, fitted)


def fitted_size(size: tuple[int, ...], max_side: int | None) -> tuple[int, int]:
    """What `fit` makes of a size (height, width); None changes nothing."""
    height, width = size
    scale = 1 if max_side is None else min(1, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


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
    check_side(kind, height, width, str(path))
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
    rows = max(1, _CACHED // max(1, planes.shape[3]))
    for top in range(0, planes.shape[2], rows):
        for channel, plane in enumerate(planes[0, :, top : top + rows]):
            values = np.fmax(plane, 0)  # fmax and fmin take the number where the other is NaN
            np.fmin(values, 1, out=values)
            values *= 2**bits - 1
            pixels[top : top + rows, :, channel] = np.rint(values, out=values)
    return pixels
