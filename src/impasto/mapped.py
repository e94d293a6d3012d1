"""Pictures that are larger than memory: their pixels stay in files, of which the system holds what is looked at.

A TIFF that is not compressed has its pixels as an array has them, and is mapped as it lies. What is painted of it is an
array in a temporary file, until `images.write_image` has written it.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from impasto.decoding import is_other_rgb, read_exif
from impasto.errors import ImageError
from impasto.images import DEFAULT_MAX_PIXELS, Picture, to_dpi

if TYPE_CHECKING:
    from typing import Any, BinaryIO

    import numpy.typing as npt
    from PIL.TiffImagePlugin import TiffImageFile

BITS, COMPRESSION, COLORS, OFFSETS, SAMPLES, COUNTS, PLANES = 258, 259, 262, 273, 277, 279, 284
"""Tags of a TIFF's directory."""


def read_mapped(path: str | Path, *, icc: str = "srgb") -> Picture:
    """Map a TIFF's pixels, uint8 or uint16 (H, W, 3), of any number, without reading them.

    It must be RGB of 8 or 16 bits, not compressed, upright and without alpha; of other colours than sRGB with `icc`
    keep, see `images.read_picture`. Whoever shortens the file meanwhile ends the process.

    Raises:
        ImageError: The file is missing, broken, cut off, or another kind of picture.

    """
    try:
        from PIL.TiffImagePlugin import TiffImageFile

        with Path(path).open("rb") as stream, TiffImageFile(stream, "") as image:
            return map_pixels(stream, image, icc)
    except NotMappedError as error:
        raise ImageError(f"cannot read {path}: it {error}; {wanted()}") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or 'it is no TIFF'}; {wanted()}") from error
    except Exception as error:  # decoders of hostile bytes raise anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read {path}: it is no TIFF, or broken ({told}); {wanted()}") from error


def map_pixels(stream: BinaryIO, image: TiffImageFile, icc: str) -> Picture:
    """See `read_mapped`; raises NotMappedError."""
    profile = image.info.get("icc_profile")
    other = profile if is_other_rgb(profile) else None
    orientation, exif = read_exif(image, srgb=other is None)
    dtype, start = layout(image)
    if orientation != 1:
        raise NotMappedError("is turned")
    if other and icc != "keep":
        raise NotMappedError("has a colour profile other than sRGB, which only --icc keep leaves as it is")
    shape = image.height, image.width, 3
    if start + math.prod(shape) * dtype.itemsize > os.fstat(stream.fileno()).st_size:
        raise NotMappedError("is cut off")
    pixels: npt.NDArray[Any] = np.memmap(stream, dtype, "r", start, shape)
    return Picture(pixels, None, exif, to_dpi(image.info.get("dpi")), other)


class NotMappedError(Exception):
    """What a picture is, or has, that cannot be mapped."""


def wanted() -> str:
    """What a picture must be."""
    return (
        f"a picture of more than {DEFAULT_MAX_PIXELS // 10**6} megapixels must be an uncompressed TIFF, RGB of 8 or 16 "
        "bits, upright and without alpha; export it as that, or smaller"
    )


def layout(image: TiffImageFile) -> tuple[np.dtype[Any], int]:
    """Type of a TIFF's values and where in the file they begin; raises NotMappedError where they are not an array."""
    tags = image.tag_v2
    bits, offsets, counts = (np.atleast_1d(tags.get(tag, ())) for tag in (BITS, OFFSETS, COUNTS))
    order = "little" if tags.prefix == b"II" else "big"
    if tags.get(COMPRESSION, 1) != 1:
        raise NotMappedError("is compressed")
    if tags.get(COLORS) != 2 or tags.get(SAMPLES) != 3 or {*bits.tolist()} not in ({8}, {16}):
        raise NotMappedError("is not of three colours of 8 or 16 bits")
    if tags.get(PLANES, 1) != 1 or not len(offsets) or not np.array_equal(offsets[1:], offsets[:-1] + counts[:-1]):
        raise NotMappedError("does not have its rows one after another")
    if bits[0] == 16 and order != sys.byteorder:
        raise NotMappedError("has another order of bytes than this machine")
    return np.dtype(np.uint8 if bits[0] == 8 else np.uint16), int(offsets[0])


def is_mapped(pixels: npt.NDArray[Any]) -> bool:
    """Whether an array is in a file, with its changes: a copy of one is not, nor is one that is copied on writing."""
    held = isinstance(pixels, np.memmap) and pixels._mmap is not None  # type: ignore[attr-defined]  # noqa: SLF001
    return held and pixels.mode != "c"  # type: ignore[attr-defined]


def memory_bytes(pixels: npt.NDArray[Any]) -> int:
    """Bytes of memory that each value of an array takes: none where it is in a file."""
    return 0 if is_mapped(pixels) else pixels.dtype.itemsize


def empty_like(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of the same shape and type; in a temporary file where the other is in one.

    That is in /var/tmp, since /tmp may be memory, unless TMPDIR names a folder; it has no name, and goes with the
    array.

    Raises:
        ImageError: The disk has no room for it.

    """
    if not is_mapped(pixels):
        return np.empty_like(pixels)
    place = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else tempfile.gettempdir())  # noqa: S108
    size = math.prod(pixels.shape) * pixels.dtype.itemsize
    try:
        if shutil.disk_usage(place).free < size:
            raise ImageError(f"{place} has no room for {size / 1e9:.1f} GB of painting; let TMPDIR name another folder")
        with tempfile.TemporaryFile(dir=place) as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)  # or a disk that is full later would end the process
            return np.memmap(stream, pixels.dtype, "r+", 0, pixels.shape)
    except OSError as error:
        raise ImageError(f"{place}: no temporary file of {size / 1e9:.1f} GB ({error.strerror})") from error


def release(*arrays: npt.NDArray[Any]) -> None:
    """Give the memory back in which the system keeps parts of arrays that are in files."""
    for array in arrays:
        if is_mapped(array) and hasattr(mmap, "MADV_DONTNEED"):
            array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # noqa: SLF001
