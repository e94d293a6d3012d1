"""Makes the pictures of the documents: ``python examples/make_pictures.py [NAME...] [--folder FOLDER]``.

Those that the benchmarks and the tests make are in README.md beside this file, with their commands.
"""

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import impasto
from impasto.images import fit
from impasto.sheets import draw, matrix, sheet

HERE = Path(__file__).parent
STYLE = "starry_night"
FIRST = ("candy", "starry_night", "rain_princess", "sketch", "mosaic", "great_wave", "udnie")
CROPS = (("candy", "rain_princess"), ("wheat_field", "sketch"))
STROKES = (0.5, 1.0, 2.0)
BLENDS = ("candy", "candy:0.65,great_wave:0.35", "candy:0.35,great_wave:0.65", "great_wave")
MATRICES = (("the_scream", "astronaut"), ("mosaic", "coffee"))
Pixels = npt.NDArray[np.uint8]


def main() -> None:
    """Paint the bundled photos in the ways that the documents show."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documents.")
    parser.add_argument("names", nargs="*", help=f"{', '.join(PICTURES)}; unless given all")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "docs" / "pictures", help="for the pictures")
    args = parser.parse_args()
    if unknown := set(args.names) - set(PICTURES):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.names or PICTURES:
        impasto.write_image(args.folder / f"{name}.jpg", PICTURES[name](), quality=88)


def first() -> Pixels:
    """A photo, and seven styles of it, in two rows."""
    pictures = [photo("raccoon"), *(impasto.stylize(photo("raccoon"), name) for name in FIRST)]
    reduced = [fit(picture, 480) for picture in pictures]
    half = len(reduced) // 2
    rows = [row(reduced[:half]), row(reduced[half:])]
    return np.concatenate([rows[0], np.full((6, *rows[0].shape[1:]), 255, np.uint8), rows[1]])


def crops() -> Pixels:
    """Details of four paintings, in their own pixels."""
    return draw(
        CROPS, [[impasto.stylize(photo("raccoon"), name)[150:510, 270:750] for name in names] for names in CROPS]
    )


def strengths() -> Pixels:
    """From the photo to the painting."""
    return row([impasto.stylize(photo("raccoon", 512), STYLE, strength=s) for s in (0.0, 0.33, 0.67, 1.0)])


def strokes() -> Pixels:
    """Fine to broad."""
    return row([impasto.stylize(photo("raccoon", 512), "rain_princess", stroke=size) for size in STROKES])


def blends() -> Pixels:
    """From one style to another."""
    return row([impasto.stylize(photo("raccoon", 512), style) for style in BLENDS])


def colors() -> Pixels:
    """The painting's colours, and the photo's in three ways."""
    ways = ("style", "luma", "match", "histogram")
    return row([impasto.stylize(photo("raccoon", 512), STYLE, colors=way) for way in ways])


def mask() -> Pixels:
    """A photo, and its painting, which spares the middle."""
    small = photo("raccoon", 512)
    return row([small, impasto.stylize(small, STYLE, mask=vignette(small))])


def regions() -> Pixels:
    """A photo, and two styles of it, one in the middle."""
    small = photo("coffee", 512)
    around = vignette(small)
    styles = [(impasto.load_style("mosaic"), around), (impasto.load_style(STYLE), 255 - around)]
    return row([small, impasto.stylize(small, styles)])


def sheet_of(name: str) -> Pixels:
    """A photo in all built-in styles."""
    styles = [impasto.load_style(style) for style in impasto.builtin_styles()]
    return sheet(photo(name, 300), styles, columns=6)


def matrix_of(style: str, name: str) -> Pixels:
    """A photo in a style, strength against stroke."""
    return matrix(photo(name, 240), impasto.load_style(style))


@cache
def photo(name: str, side: int | None = None) -> Pixels:
    """A bundled photo, reduced to a long side where one is given."""
    pixels = impasto.read_image(HERE / f"{name}.jpg")
    return pixels if side is None else fit(pixels, side)


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


PICTURES: dict[str, Callable[[], Pixels]] = {
    "first": first,
    "crops": crops,
    "strength": strengths,
    "strokes": strokes,
    "blend": blends,
    "colors": colors,
    "mask": mask,
    "regions": regions,
    **{f"sheet-{name}": partial(sheet_of, name) for name in ("astronaut", "coffee", "raccoon")},
    **{f"matrix-{style}": partial(matrix_of, style, name) for style, name in MATRICES},
}

if __name__ == "__main__":
    main()
