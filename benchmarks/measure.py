"""Quality of a painted photo in figures: distances in VGG-19's features, and energy at the periods of grids."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from impasto.images import read_image
from impasto.networks.weights import load_loss_network
from impasto.statistics import gram
from impasto.targets import scale_to, to_tensor

Pixels = npt.NDArray[np.uint8]
CONTENT = ("relu3_1", "relu4_1")
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
PAINTING_SIDE = 512
"""Long side in pixels of the painting that is measured against."""
PERIODS = (2, 3, 4)
"""Pixels."""


class Judge:
    """Content and style distances, each relative to its target: 0 is the photo, and the painting's own statistics.

    They are means over the layers that the network has.
    """

    def __init__(self, loss_network: str) -> None:
        self.network = load_loss_network(loss_network)
        self.content, self.style = ([k for k in layers if k in self.network.layers] for layers in (CONTENT, STYLE))
        self.grams = cache(self.grams_of)

    @torch.inference_mode()
    def seen(self, photo: Pixels) -> dict[str, Tensor]:
        """Features of a photo that are its content."""
        return self.network(to_tensor(photo), self.content)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def distances(self, painted: Pixels, photo: Mapping[str, Tensor], painting: Path) -> tuple[float, float]:
        """Mean over layers of |F(y) - F(x)|^2 / |F(x)|^2 and |G(y) - G(s)|^2 / |G(s)|^2; `photo` as it is `seen`."""
        ours = self.features(to_tensor(painted))
        content = [relative(ours[k], photo[k]) for k in self.content]
        style = [relative(gram(ours[k]), target) for k, target in self.grams(painting).items()]
        return float(np.mean(content)), float(np.mean(style))

    @torch.inference_mode()
    def grams_of(self, painting: Path) -> dict[str, Tensor]:
        """Gram matrices of a painting."""
        features = self.features(to_tensor(scale_to(read_image(painting), PAINTING_SIDE)))
        return {k: gram(features[k]) for k in self.style}

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Features of all layers."""
        return self.network(image, self.style)  # type: ignore[no-any-return]


def relative(value: Tensor, target: Tensor) -> float:
    """Squared distance over the target's square."""
    return ((value - target).square().sum() / target.square().sum()).item()


def energies(painted: Pixels, photo: Pixels) -> dict[str, float]:
    """Energy of the lightness at periods of a few pixels, over the photo's: 1 is no more of a grid than it has."""
    ours, theirs = (spectrum(pixels) for pixels in (painted, photo))
    return {f"period_{period}": at(ours, period) / at(theirs, period) for period in PERIODS}


def spectrum(pixels: Pixels) -> list[npt.NDArray[np.float64]]:
    """Power of the lightness by frequency, along rows and columns, averaged over the other direction.

    Over the window's, so that pictures of two sizes compare.
    """
    light = pixels @ np.array([0.299, 0.587, 0.114])
    powers = []
    for lines in (light, light.T):
        window = np.hanning(lines.shape[1])
        powers.append((np.abs(np.fft.rfft((lines - lines.mean()) * window)) ** 2).mean(0) / (window**2).sum())
    return powers


def at(powers: list[npt.NDArray[np.float64]], period: float) -> float:
    """Power in a narrow band around a period in pixels, both directions."""
    total = 0.0
    for power in powers:
        frequencies = np.arange(len(power)) / (2 * (len(power) - 1))
        total += float(power[np.abs(frequencies - 1 / period) < 0.01].mean())
    return total
