"""Contact sheets: every style on one photo, or one style's strengths against its strokes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from impasto.images import Pixels
from impasto.styles import Style
from impasto.stylize import stylize

SMALLEST = 16
"""Side of a picture in pixels."""
GAP = 8
"""Pixels around pictures."""
LABEL = 22
"""Height of a line of text in pixels."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
STROKES = (0.5, 1.0, 2.0)
"""Sizes of strokes relative to the picture, in a matrix."""


def sheet(photo: Pixels, styles: Sequence[Style], *, columns: int = 4) -> Pixels:
    """The photo, uint8 (H, W, 3), and its painted versions with the names of the styles beneath."""
    cells = [("photo", photo), *((style.name, stylize(photo, style)) for style in styles)]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return draw([[name for name, _ in row] for row in rows], [[pixels for _, pixels in row] for row in rows])


def matrix(
    photo: Pixels, style: Style, *, strengths: Sequence[float] = STRENGTHS, strokes: Sequence[float] = STROKES
) -> Pixels:
    """Painted versions of the photo, uint8 (H, W, 3): strength to the right, stroke downwards."""
    labels = [[f"strength {s:g}  stroke {t:g}" for s in strengths] for t in strokes]
    return draw(labels, [[stylize(photo, style, strength=s, stroke=t) for s in strengths] for t in strokes])


def draw(labels: Sequence[Sequence[str]], pictures: Sequence[Sequence[Pixels]]) -> Pixels:
    """Pictures of one size in rows, each above its label, on white."""
    height, width = pictures[0][0].shape[:2]
    across, down = width + GAP, height + GAP + LABEL
    canvas = Image.new("RGB", (GAP + across * max(map(len, pictures)), GAP + down * len(pictures)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LABEL * 0.65)
    for i, (texts, row) in enumerate(zip(labels, pictures, strict=True)):
        for j, (text, picture) in enumerate(zip(texts, row, strict=True)):
            left, top = GAP + j * across, GAP + i * down
            canvas.paste(Image.fromarray(picture), (left, top))
            pen.text((left, top + height + 3), text, fill="black", font=font)
    return np.asarray(canvas)
