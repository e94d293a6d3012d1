"""The colours of a painted picture: the style's own, or the photo's, and blends of painting and photo.

Follows "Preserving Color in Neural Artistic Style Transfer" (Gatys, Bethge, Hertzmann and Shechtman 2016). The paper
recolours before painting or takes colour from the photo afterwards; here everything happens afterwards, so that one
painted picture serves all modes. Pictures are uint8 or uint16 (H, W, 3), RGB, both the same; a result has the same form
and is a new array, except in the mode ``style``, and where it is asked to take the painting's place. All is done by
bands of rows, so that next to nothing is taken beside the pictures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from impasto.choices import COLORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy.typing as npt

    from impasto.images import Pixels

    Matrix = npt.NDArray[np.float64]

_STRIP_PIXELS = 1 << 16  # the floats of a strip stay in the cache, and a picture of any size takes 2 MB of them
_SAMPLE_PIXELS = 1 << 18  # at 1080p within 0.05 levels of the exact mean and 0.1 % of the exact covariance
_LEAST_DEVIATION = 2.0  # levels: what varies less along some axis of colour is noise, and is not stretched as colour


def keep_colors(painted: Pixels, photo: Pixels, mode: str, *, in_place: bool = False) -> Pixels:
    """Give ``painted`` the colours of ``photo``, in one of the ways named in `COLORS`.

    - ``style``: ``painted`` itself, not a copy;
    - ``luma``: the lightness of every pixel from the painting, its hue and saturation from the same pixel of the photo;
    - ``match``: the painting's colours, shifted and stretched as a whole to the photo's mean and covariance;
    - ``histogram``: the painting's red, green and blue, each remapped so that its histogram becomes the photo's.

    `in_place` writes the result over ``painted``.

    Raises:
        ValueError: The mode is unknown, or a picture is not uint8 or uint16 (H, W, 3) or not of the size and type of
            the other.

    """
    if mode not in COLORS:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(COLORS)}")
    _check_pictures(painted, photo)
    if mode == "style":
        return painted
    result = painted if in_place else np.empty_like(painted)
    {"luma": _luma, "match": _match, "histogram": _histogram}[mode](painted, photo, result)
    return result


def blend(painted: Pixels, photo: Pixels, amount: float | Pixels, *, in_place: bool = False) -> Pixels:
    """Mix ``amount`` of the painting with the rest of the photo, each value rounded to the nearest level.

    ``amount`` is one number from 0 (the photo, to the bit) to 1 (the painting, to the bit), or a mask of the pictures'
    height and width, uint8 (H, W), from 0 (photo) to 255 (painting). `in_place` writes the result over ``painted``.

    Raises:
        ValueError: The amount is not in [0, 1], the mask is not uint8 or not of the pictures' size, or the pictures
            are not uint8 or uint16 (H, W, 3) of one size.

    """
    _check_pictures(painted, photo)
    result = painted if in_place else np.empty_like(photo)
    if isinstance(amount, np.ndarray):
        _blend_mask(painted, photo, amount, result)
        return result
    if not 0 <= amount <= 1:
        raise ValueError(f"amount is {amount!r}; it must be a number from 0 (photo) to 1 (painting)")
    for rows in _strips(photo):
        values = np.subtract(painted[rows], photo[rows], dtype=np.float32)
        values *= np.float32(amount)
        values += photo[rows]
        values += 0.5  # the cast truncates
        result[rows] = values
    return result


def _blend_mask(painted: Pixels, photo: Pixels, mask: Pixels, result: Pixels) -> None:
    if mask.dtype != np.uint8 or mask.shape != photo.shape[:2]:
        raise ValueError(
            f"amount is a mask of {mask.dtype} {mask.shape}; for these pictures it must be uint8 {photo.shape[:2]}"
        )
    for rows in _strips(photo):
        if photo.dtype == np.uint8:
            # Pillow divides by 255 with the right rounding here; its `Image.blend` by a number would truncate.
            parts = (Image.fromarray(np.ascontiguousarray(image[rows])) for image in (painted, photo, mask))
            result[rows] = np.asarray(Image.composite(*parts))
            continue
        values = np.subtract(painted[rows], photo[rows], dtype=np.float32)
        values *= (mask[rows] / np.float32(255))[..., None]
        result[rows] = values + photo[rows] + np.float32(0.5)


def _lightness(image: Pixels) -> npt.NDArray[Any]:
    """BT.601 luma of a band of rows, in whole levels."""
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))
    luma: npt.NDArray[Any] = np.rint(image @ np.array([0.299, 0.587, 0.114], np.float32))
    return luma


def _luma(painted: Pixels, photo: Pixels, result: Pixels) -> None:
    """BT.601 luma of the painting, chroma of the photo.

    With Cb and Cr fixed, YCbCr to RGB adds one number to red, green and blue; so the photo's distance from its own luma
    is added to the painting's, without the losses of converting there and back. Where that leaves the range, clipping
    would turn blue skies cyan; instead the chroma is scaled down until it fits, which keeps luma and hue.
    """
    top = np.iinfo(photo.dtype).max
    for rows in _strips(photo):
        luma = _lightness(painted[rows]).astype(np.float32)
        chroma = photo[rows].transpose(2, 0, 1).astype(np.float32, order="C")  # planes: reductions over colour are fast
        chroma -= _lightness(photo[rows])
        # Chroma is whole numbers, so a divisor under 1 is a 0, which fits whatever the factor; black and white, which
        # have no room, stay so even where a rounded luma leaves the photo's pixel all on one side of it.
        upward = (top - luma) / np.maximum(chroma.max(axis=0), 1)
        downward = luma / np.maximum(-chroma.min(axis=0), 1)
        chroma *= np.minimum(np.minimum(upward, downward), 1)
        chroma += luma + np.float32(0.5)  # the cast truncates
        result[rows] = np.minimum(chroma, top).transpose(1, 2, 0)  # what is rounded up at 16 bits may be beyond


def _match(painted: Pixels, photo: Pixels, result: Pixels) -> None:
    """Mean and covariance of the photo's colours, by an affine map of the painting's."""
    mean, covariance = _mean_covariance(painted)
    photo_mean, photo_covariance = _mean_covariance(photo)
    matrix = _transport(covariance, photo_covariance, _LEAST_DEVIATION * np.iinfo(photo.dtype).max / 255)
    offset = photo_mean - matrix @ mean
    for rows in _strips(photo):
        if photo.dtype == np.uint8:
            band = Image.fromarray(np.ascontiguousarray(painted[rows]))
            result[rows] = np.asarray(band.convert("RGB", np.column_stack((matrix, offset)).ravel().tolist()))
            continue
        values = painted[rows] @ matrix.T.astype(np.float32) + offset.astype(np.float32)
        result[rows] = np.rint(values.clip(0, np.iinfo(photo.dtype).max))


def _mean_covariance(image: Pixels) -> tuple[Matrix, Matrix]:
    """Mean (3,) and covariance (3, 3) of the colours of a regular sample of the pixels, or of all in a small image."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // _SAMPLE_PIXELS))
    colors = image[::step, ::step].reshape(-1, 3).T.astype(np.float32, order="C")
    mean = colors.mean(axis=1, keepdims=True)
    colors -= mean
    covariance = colors @ colors.T / colors.shape[1]
    return mean.ravel().astype(np.float64), covariance.astype(np.float64)


def _transport(source: Matrix, target: Matrix, least: float = _LEAST_DEVIATION) -> Matrix:
    """Symmetric (3, 3) matrix A with A source A = target: the Monge-Kantorovich map between two Gaussians.

    Of all maps that match the covariances it moves colours least (Pitie and Kokaram 2007), so a hue is not swapped for
    another without need, as Cholesky's map, which depends on the order of the channels, or that of Image Analogies may.

    A floor under the source's variances bounds the stretching of noise and of what has no variance at all. It leaves
    one useful thing in the limit: a grey painting is tinted along the photo's regression of colour on lightness.
    """
    values, vectors = np.linalg.eigh(source)
    deviations = np.sqrt(np.maximum(values, least**2))
    root, inverse = ((vectors * scale) @ vectors.T for scale in (deviations, 1 / deviations))
    values, vectors = np.linalg.eigh(root @ target @ root)
    middle = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return np.asarray(inverse @ middle @ inverse)


def _histogram(painted: Pixels, photo: Pixels, result: Pixels) -> None:
    """Histogram matching of each channel by a rising table of all levels, from exact histograms."""
    for channel in range(3):
        counts, wanted = (_counts(image[..., channel]) for image in (painted, photo))
        table = _match_levels(counts, wanted).astype(photo.dtype)
        for rows in _strips(photo):
            result[rows][..., channel] = table[painted[rows][..., channel]]


def _counts(plane: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Histogram of one channel, of all levels of its type."""
    levels = int(np.iinfo(plane.dtype).max) + 1
    counts = np.zeros(levels, np.int64)
    for rows in _strips(plane):
        counts += np.bincount(plane[rows].ravel(), minlength=levels)
    return counts


def _match_levels(counts: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Map each level of a histogram (levels,) to a level of another with the same total; never falling.

    The pixels of one level cannot be told apart, so all take the median of what they would get if they could: equal
    histograms give the identity, and only levels that the target has are given to pixels.
    """
    middle = 2 * counts.cumsum() - counts  # twice the rank of a level's middle pixel, to stay in whole numbers
    return np.minimum(np.searchsorted(2 * target.cumsum(), middle), len(counts) - 1)


def _strips(image: Pixels) -> Iterator[slice]:
    """Bands of rows that cover the picture, of about `_STRIP_PIXELS` each."""
    height, width = image.shape[:2]
    rows = max(1, _STRIP_PIXELS // width)
    return (slice(top, top + rows) for top in range(0, height, rows))


def _check_pictures(painted: Pixels, photo: Pixels) -> None:
    for name, image in (("painted", painted), ("photo", photo)):
        if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(
                f"{name} is {image.dtype} {image.shape}; it must be uint8 or uint16 (height, width, 3), not empty"
            )
    if painted.shape != photo.shape or painted.dtype != photo.dtype:
        told = (f"{image.dtype} {image.shape}" for image in (painted, photo))
        raise ValueError("painted is {} and photo {}; they must be of one size and type".format(*told))
