"""Which decoder a file gets; what that gave, of any colours, as 8-bit sRGB; and what stays true of its metadata."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import struct
import sys
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from impasto.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from PIL import ImageCms, ImageFile

EXIF_IFD, GPS_IFD, HISTORY = 0x8769, 0x8825, 0x9213
_ORIENTATION, _COLOR_SPACE = 0x0112, 0xA001
RECIPE_MARK = "impasto "
"""Of an image history that is a recipe (see recipes.py)."""
# Description, make, model, date, artist, host computer, copyright; the rest of that directory describes the old file.
_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x013C, 0x8298)
# Maker note (its offsets break when moved); sizes, positions and densities in pixels; encoding, colour space, identity.
_DROPPED_EXIF_TAGS = frozenset(
    (0x927C, 0xA002, 0xA003, 0xA005, 0x9214, 0xA214, 0xA20E, 0xA20F, 0xA210, 0x9101, 0x9102, 0xA001, 0xA500, 0xA420)
)
MAX_EXIF_BYTES = 65_000  # a JPEG segment holds 65,533

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
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Of bytes in a raw mode of Pillow's, big, little and native endian, the opposite one."""


def sniff(stream: BinaryIO) -> str:
    """Return the key of `_READERS` whose signature the stream begins with."""
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError("the file is empty; fetch or export it again")
    for kind, (signature, _, _) in _READERS.items():
        if re.match(signature, head, re.DOTALL):
            return kind
    raise ImageError(f"its content is none of {', '.join(_READERS)}; convert it to one of them")


def open_image(stream: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Read the header with the decoder of ``kind``; pixels come with ``load``."""
    _, module, reader = _READERS[kind]
    try:
        decoder = getattr(importlib.import_module(module), reader)
    except ImportError as error:
        raise MissingExtraError("HEIC needs an extra; install it with: pip install 'impasto[heif]'") from error
    image: ImageFile.ImageFile = decoder(stream, "")
    return image


def open_low(stream: BinaryIO, kind: str, image: ImageFile.ImageFile) -> ImageFile.ImageFile | None:
    """Return the same picture so opened that its pixels are the lower bytes of 16-bit ones; None where there are none.

    Pillow has no 16-bit colour: it keeps the upper byte of each value, by the order of bytes that a raw mode states.
    The other order's raw mode keeps the lower byte.
    """
    if kind not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or "transparency" in image.info:
        return None
    stream.seek(0)
    low = open_image(stream, kind)
    for place, tile in enumerate(low.tile):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        order = _OTHER_ORDER.get(str(args[0])[-1:])
        if not str(args[0]).startswith(("RGB;16", "RGBA;16", "RGBX;16")) or order is None:
            return None
        swapped = (str(args[0])[:-1] + order, *args[1:])
        low.tile[place] = tile._replace(args=swapped if isinstance(tile.args, tuple) else swapped[0])
    return low if low.tile else None


def read_exif(image: Image.Image, *, srgb: bool = True) -> tuple[int, bytes]:
    """Return the orientation (1 is upright) and the EXIF block of what stays true, which says whether it is sRGB."""
    orientation, exif = 1, b""
    with contextlib.suppress(Exception):  # a broken block costs its metadata, never the picture
        tags = image.getexif()
        orientation = tags.get(_ORIENTATION, 1)
        exif = _true_exif(tags, srgb=srgb)
    return orientation, exif


def _true_exif(tags: Image.Exif, *, srgb: bool) -> bytes:
    """Rebuild an EXIF block from what holds for any rendering of the same photograph."""
    kept = Image.Exif()
    kept.update({tag: tags[tag] for tag in _KEPT_TAGS if tag in tags})
    shot = {tag: value for tag, value in tags.get_ifd(EXIF_IFD).items() if tag not in _DROPPED_EXIF_TAGS}
    if str(shot.get(HISTORY, "")).startswith(RECIPE_MARK):
        del shot[HISTORY]  # how the old picture was made, not what will be made of it
    if shot:
        kept[EXIF_IFD] = shot | {_COLOR_SPACE: 1 if srgb else 0xFFFF}  # sRGB, or what the profile says
    if place := tags.get_ifd(GPS_IFD):
        kept[GPS_IFD] = place
    block = kept.tobytes() if len(kept) else b""
    return block if len(block) <= MAX_EXIF_BYTES else b""


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as one of the modes L, RGB, CMYK and LAB, and alpha as L where there is any."""
    key = image.info.get("transparency")
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        seen = np.where(np.asarray(image) == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None
        return _to_8_bits(image), None if seen is None else Image.fromarray(seen)
    if isinstance(key, tuple) and max(key) > 255:  # of a 16-bit PNG, whose pixels Pillow has cut to their upper bytes
        image.info["transparency"] = tuple(number >> 8 for number in key)
    if not image.has_transparency_data:
        mode = {"1": "L"}.get(image.mode, "RGB")
        return image if image.mode in {"L", "RGB", "CMYK", "LAB"} else image.convert(mode), None
    mode = "L" if image.mode in {"1", "L", "LA", "La"} else "RGB"
    image = image.convert(mode + "A")
    return image.convert(mode), image.getchannel("A")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and floating-point grey to 8 bits.

    16-bit files use their whole range. The others do not state theirs: white is the first of 1, 255 and 65535 that
    holds the largest value, or that value. Negative values and NaN are black.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    top = float(values.max(where=np.isfinite(values), initial=0))
    white = next((level for level in (1, 255, 65_535) if top <= level), top)
    scaled = values.astype(np.float32) * np.float32(255 / white)
    return Image.fromarray(np.rint(np.fmin(np.fmax(scaled, 0), 255)).astype(np.uint8))


def to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """Convert L, RGB, CMYK or LAB to RGB in sRGB, by the embedded profile where there is one."""
    if image.mode == "LAB" or (profile and profile != srgb_profile()):
        from PIL import ImageCms

        try:
            stated = ImageCms.createProfile("LAB") if image.mode == "LAB" else io.BytesIO(profile or b"")
            return _transformed(image, ImageCms.ImageCmsProfile(stated))
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
            message = f"{name}: the embedded colour profile is broken ({error}); the colours are taken as sRGB"
            warnings.warn(message, UserWarning, stacklevel=4)
    return image if image.mode == "RGB" else image.convert("RGB")


def _transformed(image: Image.Image, space: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert ``image`` from ``space`` to sRGB; the same image where that changes nothing."""
    from PIL import ImageCms

    transform = ImageCms.buildTransform(
        space,
        ImageCms.createProfile("sRGB"),
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if image.mode == "RGB" and _keeps(transform):
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # noqa: S101 (None is for in-place conversion)
    return converted


def _keeps(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a conversion changes nothing to speak of, by 4096 colours: most profiles are sRGB under some name."""
    from PIL import ImageCms

    probe = _probe()
    changed = np.asarray(ImageCms.applyTransform(probe, transform), np.int16) - np.asarray(probe, np.int16)
    return bool(np.abs(changed).max() <= 2)


def is_other_rgb(profile: bytes | None) -> bool:
    """Whether a profile is of RGB that is not sRGB; a broken one is none."""
    return bool(profile) and profile != srgb_profile() and _is_srgb(profile) is False


def _is_srgb(profile: bytes | None) -> bool | None:
    """Whether a profile of RGB is sRGB's; None where it is broken, or of something else."""
    from PIL import ImageCms

    try:
        stated = io.BytesIO(profile or b"")
        return _keeps(ImageCms.buildTransform(stated, ImageCms.createProfile("sRGB"), "RGB", "RGB"))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def _probe() -> Image.Image:
    """Return an image of 4096 colours spread over the RGB cube."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3))


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB, the same bytes on every day."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]  # the header's time of creation
