"""HDR video to what a plain screen shows: PQ and HLG (ITU-R BT.2100) in, BT.709 out.

The highlights are rolled off by the curve of ITU-R BT.2390 (section 5.4.1), on the largest of red, green and blue so
that hues stay; what is no brighter than white paper (203 cd/m2, BT.2408) is left nearly as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from impasto.images import Floats, Pixels

Deep = npt.NDArray[np.uint16]

PQ, HLG = 16, 18
"""H.273's numbers of the two transfer functions."""
PEAK: Final = 1000.0
"""cd/m2 of the brightest that is kept apart; what is brighter becomes white."""
PAPER: Final = 203.0
"""cd/m2 of white paper in HDR, which becomes the white of the result."""
TO_BT709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Of linear BT.2020 (ITU-R BT.2087)."""
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def is_hdr(transfer: int) -> bool:
    """Whether a transfer function is that of HDR."""
    return transfer in (PQ, HLG)


def to_plain(pixels: Deep, transfer: int, *, wide: bool = True) -> Pixels:
    """Map uint16 (H, W, 3) RGB, coded by PQ or HLG, to uint8; `wide`: its primaries are BT.2020's, not BT.709's."""
    light = hlg_light(pixels) if transfer == HLG else pq_table()[pixels]
    peak = light.max(axis=2, keepdims=True)
    levels, gains = curve()
    light *= np.interp(np.sqrt(peak), levels, gains).astype(np.float32)
    if wide:
        light = light @ TO_BT709.T
    np.clip(light, 0, 1, out=light)
    return np.asarray(np.rint(255 * light ** np.float32(1 / 2.4)), np.uint8)


@lru_cache(maxsize=1)
def pq_table() -> Floats:
    """Light of each of 65536 PQ codes, 1 at white paper."""
    return (pq_light(np.linspace(0, 1, 65536)) / PAPER).astype(np.float32)


def pq_light(code: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """PQ's code in [0, 1] -> cd/m2 (SMPTE ST 2084)."""
    root = code ** (1 / M2)
    light: npt.NDArray[np.float64] = 10000 * (np.maximum(root - C1, 0) / (C2 - C3 * root)) ** (1 / M1)
    return light


def pq_code(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Light in cd/m2 -> PQ's code in [0, 1]."""
    power = (light / 10000) ** M1
    code: npt.NDArray[np.float64] = ((C1 + C2 * power) / (1 + C3 * power)) ** M2
    return code


def hlg_light(pixels: Deep) -> Floats:
    """Light of HLG codes on a screen of `PEAK` cd/m2, 1 at white paper: inverse OETF, then the OOTF's gamma of 1.2."""
    scene = hlg_table()[pixels]
    luma = scene @ np.array([0.2627, 0.678, 0.0593], np.float32)
    gain = np.maximum(luma, 1e-6)[..., None] ** np.float32(0.2) * np.float32(PEAK / PAPER)
    return np.asarray(scene * gain, np.float32)


@lru_cache(maxsize=1)
def hlg_table() -> Floats:
    """Scene light in [0, 1] of each of 65536 HLG codes."""
    code = np.linspace(0, 1, 65536)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@lru_cache(maxsize=1)
def curve() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gains of BT.2390's curve at the square roots of light, 1 at white paper."""
    levels = np.linspace(1e-3, np.sqrt(10000 / PAPER), 4096)
    top = pq_code(np.array(PEAK))
    code = np.minimum(pq_code(levels**2 * PAPER) / top, 1)
    white = pq_code(np.array(PAPER)) / top
    knee = 1.5 * white - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    rolled = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    mapped = np.where(code < knee, code, rolled)
    return levels, pq_light(mapped * top) / (levels**2 * PAPER)
