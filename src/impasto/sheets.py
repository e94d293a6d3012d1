"""Contact sheets: every style on one photo, or one style's strengths against its strokes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from impasto.images import Pixels
from impasto.styles import Style
from impasto.stylize import stylize

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
SMALLEST = 16
"""Side of a picture in pixels."""
GAP = 8
"""Pixels around pictures."""
LABEL = 22
"""Height of a line of text in pixels."""
LARGE, SMALL = 14, 8
"""Sizes of letters in pixels: what is usual, and below which a label is cut rather than written smaller."""
LONGEST = 200
"""Letters of a label that are looked at."""
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
    """Pictures of one size in rows, each above its label, on white; labels are no wider than their pictures."""
    height, width = pictures[0][0].shape[:2]
    across, down = width + GAP, height + GAP + LABEL
    canvas = Image.new("RGB", (GAP + across * max(map(len, pictures)), GAP + down * len(pictures)), "white")
    lines = [[" ".join(text.splitlines())[:LONGEST] for text in texts] for texts in labels]  # a stranger's may be any
    pen, font = ImageDraw.Draw(canvas), fitting([line for texts in lines for line in texts], width)
    for i, (texts, row) in enumerate(zip(lines, pictures, strict=True)):
        for j, (text, picture) in enumerate(zip(texts, row, strict=True)):
            left, top = GAP + j * across, GAP + i * down
            canvas.paste(Image.fromarray(picture), (left, top))
            pen.text((left, top + height + 3), cut(text, font, width), fill="black", font=font)
    return np.asarray(canvas)


def fitting(texts: Sequence[str], width: int) -> Font:
    """The largest letters in which all texts are so narrow, or else the smallest."""
    fonts = (ImageFont.load_default(size) for size in range(LARGE, SMALL, -1))
    fits = (font for font in fonts if all(font.getlength(text) <= width for text in texts))
    return next(fits, ImageFont.load_default(SMALL))


def cut(text: str, font: Font, width: int) -> str:
    """As much of a text as is so narrow, with what says that there is more."""
    if font.getlength(text) <= width:
        return text
    shorter = (f"{text[:count].rstrip()}..." for count in range(len(text) - 1, 0, -1))
    return next((told for told in shorter if font.getlength(told) <= width), "")
