"""Makes the pictures of the documents: ``python examples/make_pictures.py [FOLDER]``."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import impasto
from impasto.images import fit

HERE = Path(__file__).parent
STYLE = "rain_princess"
Pixels = npt.NDArray[np.uint8]


def main() -> None:
    """Paint the bundled photo in the ways that the documents show."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    photo = impasto.read_image(HERE / "raccoon.jpg")
    impasto.write_image(folder / f"raccoon-{STYLE}.jpg", impasto.stylize(photo, STYLE))
    small = fit(photo, 512)
    strengths = [impasto.stylize(small, STYLE, strength=s) for s in (0.0, 0.33, 0.67, 1.0)]
    impasto.write_image(folder / "strength.jpg", row(strengths))
    colors = [impasto.stylize(small, STYLE, colors=c) for c in ("style", "luma", "match", "histogram")]
    impasto.write_image(folder / "colors.jpg", row(colors))
    impasto.write_image(folder / "mask.jpg", row([small, impasto.stylize(small, STYLE, mask=vignette(small))]))


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
