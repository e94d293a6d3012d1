"""ICC profiles to test with, made of their tags."""

import itertools
import struct
from collections.abc import Sequence

from PIL import ImageCms

WHITE = (0.9642, 1.0, 0.8249)
P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
"""Colorants of Display P3, adapted to D50."""
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Colorants of Adobe RGB, adapted to D50."""


def profile(space: bytes, *tags: tuple[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """Build an ICC profile (version 2) from its tags."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">2I", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"\0\0\0\0", 0x02400000, kind, space, pcs)
    head += (
        struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    )
    return head.ljust(128, b"\0") + table + body


def xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(number * 65536) for number in numbers))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def swapped_profile() -> bytes:
    """Return an RGB profile whose red is sRGB's green and the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def cmyk_profile() -> bytes:
    """Return a printer profile in which any ink at all makes Lab's middle grey and none makes white."""
    white, grey = bytes((255, 128, 128)), bytes((128, 128, 128))
    corners = b"".join(white if not any(inks) else grey for inks in itertools.product((0, 1), repeat=4))
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    tags = [(b"wtpt", xyz(0.9642, 1, 0.8249)), (b"A2B0", table), (b"A2B1", table)]
    return profile(b"CMYK", *tags, pcs=b"Lab ", kind=b"prtr")


def parametric(kind: int, *numbers: float) -> bytes:
    """A curve of a type and its parameters."""
    values = struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))
    return b"para\0\0\0\0" + struct.pack(">2H", kind, 0) + values


def sampled(levels: Sequence[float]) -> bytes:
    """A curve by its levels at equal steps."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(levels)}H", len(levels), *(round(65535 * v) for v in levels))


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(colorants: Sequence[Sequence[float]], *curves: bytes, tables: bool = False) -> bytes:
    """Profile of RGB: three curves, or one for all, and a matrix; with `tables` those too, which come first."""
    tags = [(name, xyz(*one)) for name, one in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)]
    tags += [(b"wtpt", xyz(*WHITE))]
    each = curves if len(curves) == 3 else curves * 3
    tags += list(zip((b"rTRC", b"gTRC", b"bTRC"), each, strict=True))
    if tables:
        corners = b"".join(bytes((30 + 80 * (r + g), 128 + 60 * (r - g), 128 - 40 * b)) for r, g, b in CUBE)
        identity, matrix = bytes(range(256)), struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
        table = b"mft1\0\0\0\0" + bytes((3, 3, 2, 0)) + matrix + identity * 3 + corners + identity * 3
        tags += [(b"A2B0", table), (b"A2B1", table)]
    return profile(b"RGB ", *tags, pcs=b"Lab " if tables else b"XYZ ")


CUBE = tuple(itertools.product((0, 1), repeat=3))


def display_p3() -> bytes:
    return rgb_profile(P3, SRGB_CURVE)


def adobe_rgb() -> bytes:
    return rgb_profile(ADOBE, gamma(563 / 256))
