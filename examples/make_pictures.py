"""Makes the pictures of the documents: ``python examples/make_pictures.py [FOLDER]``."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import impasto
from impasto.images import fit
from impasto.sheets import draw, matrix, sheet

HERE = Path(__file__).parent
STYLE = "starry_night"
FIRST = ("candy", "starry_night", "rain_princess", "sketch", "mosaic", "great_wave", "udnie")
CROPS = ("candy", "rain_princess", "wheat_field", "sketch")
MATRICES = {"the_scream": "astronaut", "mosaic": "coffee"}
Pixels = npt.NDArray[np.uint8]


def main() -> None:
    """Paint the bundled photos in the ways that the documents show."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    photos = {name: impasto.read_image(HERE / f"{name}.jpg") for name in ("astronaut", "coffee", "raccoon")}
    raccoon = photos["raccoon"]
    small = fit(raccoon, 512)
    pictures = {
        "first": montage([raccoon, *(impasto.stylize(raccoon, name) for name in FIRST)], side=480),
        "crops": draw(
            [CROPS[:2], CROPS[2:]], [[crop(raccoon, name) for name in row] for row in (CROPS[:2], CROPS[2:])]
        ),
        "strength": row([impasto.stylize(small, STYLE, strength=s) for s in (0.0, 0.33, 0.67, 1.0)]),
        "colors": row([impasto.stylize(small, STYLE, colors=c) for c in ("style", "luma", "match", "histogram")]),
        "mask": row([small, impasto.stylize(small, STYLE, mask=vignette(small))]),
    }
    styles = [impasto.load_style(name) for name in impasto.builtin_styles()]
    for name, photo in photos.items():
        pictures[f"sheet-{name}"] = sheet(fit(photo, 300), styles, columns=6)
    for name, shown in MATRICES.items():
        pictures[f"matrix-{name}"] = matrix(fit(photos[shown], 240), impasto.load_style(name))
    for name, picture in pictures.items():
        impasto.write_image(folder / f"{name}.jpg", picture, quality=88)


def montage(pictures: list[Pixels], side: int) -> Pixels:
    """Pictures of one size in two rows."""
    reduced = [fit(picture, side) for picture in pictures]
    half = len(reduced) // 2
    rows = [row(reduced[:half]), row(reduced[half:])]
    return np.concatenate([rows[0], np.full((6, *rows[0].shape[1:]), 255, np.uint8), rows[1]])


def crop(photo: Pixels, style: str) -> Pixels:
    """Middle of a painted photo, in its own pixels."""
    return impasto.stylize(photo, style)[150:510, 270:750]


def row(pictures: list[Pixels], gap: int = 6) -> Pixels:
    """Pictures of one height side by side, white between them."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)]
    return np.concatenate(parts[:-1], axis=1)


def vignette(photo: Pixels) -> Pixels:
    """Soft mask, uint8 (H, W), that paints all but the middle of a photo."""
    height, width = photo.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask: Pixels = (255 * np.clip(2.2 * np.hypot(x, y) - 0.6, 0, 1)).astype(np.uint8)
    return mask


if __name__ == "__main__":
    main()
