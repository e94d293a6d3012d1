"""16-bit colours brought from what their profile says to sRGB.

Littlecms, as Pillow has it, converts 8 bits. Profiles of cameras' and screens' RGB are three curves to light and a
matrix (ICC.1:2022, 8.3), which is little to compute.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from impasto.images import Floats

LEVELS: Final = 65_536
BAND: Final = 1 << 20
"""Pixels that are converted at once."""
HEADER: Final = 128
"""Bytes before the table of tags."""
COUNTS: Final = (1, 3, 4, 5, 7)
"""Parameters of a parametric curve, by its type."""


@dataclass(frozen=True, slots=True)
class Light:
    """What a profile of curves and a matrix says."""

    curves: Floats
    """Light (3, 65536) by channel and its 16-bit value."""
    matrix: Floats
    """From that to linear sRGB, (3, 3)."""

    def to_srgb(self, pixels: npt.NDArray[np.uint16]) -> None:
        """Convert uint16 (H, W, 3) in place; what sRGB does not have becomes the nearest value of each channel."""
        rows = max(1, BAND // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            band = pixels[top : top + rows]
            light = np.stack([curve[band[..., place]] for place, curve in enumerate(self.curves)])
            mixed = np.tensordot(self.matrix, light, 1).clip(0, 1)
            shown = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** np.float32(1 / 2.4) - 0.055)
            band[:] = np.rint(shown * (LEVELS - 1)).transpose(1, 2, 0)


def light_of(profile: bytes) -> Light | None:
    """Curves and matrix of a profile that has nothing else; None of one with tables."""
    from PIL import ImageCms

    srgb = tags_of(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    try:
        tags = tags_of(profile)
        if profile[20:24] != b"XYZ " or any(name.startswith((b"A2B", b"D2B")) for name in tags):
            return None
        curves = np.stack([curve_of(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        matrix = np.linalg.solve(colorants_of(srgb), colorants_of(tags))
    except (KeyError, ValueError, struct.error):
        return None
    return Light(curves, matrix.astype(np.float32))


def tags_of(profile: bytes) -> dict[bytes, memoryview]:
    """Data of a profile's tags by name; raises struct.error where it is cut off."""
    (count,) = struct.unpack_from(">I", profile, HEADER)
    table = [struct.unpack_from(">4s2I", profile, HEADER + 4 + 12 * place) for place in range(min(count, 1000))]
    return {name: memoryview(profile)[start : start + size] for name, start, size in table}


def colorants_of(tags: Mapping[bytes, memoryview]) -> npt.NDArray[np.float64]:
    """Matrix from light to XYZ (3, 3); raises KeyError or struct.error where there is none."""
    return np.array([struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T / 65_536


def curve_of(data: memoryview) -> Floats:
    """Light (65536,) by a tag's curve; raises ValueError or struct.error for what is none."""
    values = np.linspace(0, 1, LEVELS)
    name = bytes(data[:4])
    if name == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        if count > 1:
            table = np.frombuffer(data, ">u2", count, 12) / (LEVELS - 1)
            return np.interp(values, np.linspace(0, 1, count), table).astype(np.float32)
        return finite(values ** (struct.unpack_from(">H", data, 12)[0] / 256 if count else 1.0))
    if name != b"para":
        raise ValueError("this is no curve")
    kind = struct.unpack_from(">H", data, 8)[0]
    if kind >= len(COUNTS):
        raise ValueError(f"parametric curves have no type {kind}")
    told = [number / 65_536 for number in struct.unpack_from(f">{COUNTS[kind]}i", data, 12)]
    return finite(parametric(values, *told))


def parametric(values: npt.NDArray[np.float64], gamma: float, *told: float) -> npt.NDArray[np.float64]:
    """Parametric curve by as many numbers as its type has (ICC.1:2022, 10.18): a power, and a line below that."""
    a, b, c, d, e, f = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if len(told) in (2, 3):
        a, b = told[:2]
        d = -b / a if a else 0.0
        e = f = told[2] if len(told) == 3 else 0.0
    elif told:
        a, b, c, d = told[:4]
        e, f = told[4:] or (0.0, 0.0)
    with np.errstate(all="ignore"):  # of what a hostile file makes, which is not finite
        return np.where(values >= d, np.maximum(a * values + b, 0) ** gamma + e, c * values + f)


def finite(light: npt.NDArray[np.float64]) -> Floats:
    """Light within what there is, 0 to 1."""
    return np.nan_to_num(light, posinf=1.0).clip(0, 1).astype(np.float32)
