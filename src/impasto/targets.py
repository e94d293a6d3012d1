"""What training aims at: the paintings' statistics, a row for each painting at each size, and the losses.

Row 0 is the photo. A `StyleNet` mixes its rows by weights, and the Gram matrices to reach are mixed by the same: so a
painting of half the strength has to reach statistics half way from the photo's to the painting's.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from impasto.config import TrainConfig
from impasto.downloads import Progress
from impasto.errors import TrainingError
from impasto.hidden import read_shown
from impasto.images import Pixels, resize
from impasto.losses import content_loss, style_loss, total_variation
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.photos import permutation
from impasto.specs import between
from impasto.statistics import gram
from impasto.texts import parse_weighted

NARROWEST = 32
"""Pixels below which the deepest layers of a loss network have no room for a painting."""
FLAT = 1e-4
"""Total variation of a painting of hardly one colour; that of a flatter one is taken for this."""
WHOLE = 0.75
"""Share of the photos that are painted at full strength, and that are painted with one of the stroke sizes."""


class Targets:
    """Statistics of the paintings, and the losses against them."""

    def __init__(
        self, config: TrainConfig, device: torch.device, dtype: torch.dtype, progress: Progress | None = None
    ) -> None:
        self.relative, self.dtype = not config.absolute, dtype
        self.content_weights = parse_weighted(config.content_layers, "content_layers")
        self.style_weights = parse_weighted(config.style_layers, "style_layers")
        networks = [load_loss_network(name, pooling=config.pooling, progress=progress) for name in config.loss_network]
        self.loss_network: LossNetwork = LossNetwork(networks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        statistics = [self.statistics_of(path, side, device) for path in config.paintings for side in config.style_size]
        self.grams = {layer: torch.cat([grams[layer] for grams, _ in statistics]) for layer in self.style_weights}
        """By layer, (R, C, C)."""
        self.tv = torch.stack([tv for _, tv in statistics])
        """Total variation of the paintings, (R,)."""
        if config.architecture == "TransformerNet":
            self.grams = {layer: values.mean(0, keepdim=True) for layer, values in self.grams.items()}
            self.tv = self.tv.mean(0, keepdim=True)
        self.loss_network.to(dtype=dtype)

    @torch.no_grad()
    def statistics_of(self, path: Path, side: int, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
        """Gram matrices by layer (1, C, C) of a painting whose long side is `side`, and its total variation."""
        image = to_tensor(scale_to(read_shown(path), side)).to(device)
        if (narrow := min(image.shape[2:])) < NARROWEST:
            raise TrainingError(
                f"{path}: {narrow} pixels narrow at a style size of {side}, "
                f"which leaves less than {NARROWEST}; crop the painting or enlarge the style size"
            )
        layers = self.content_weights | self.style_weights  # those of the content only to find out what is missing
        features = self.loss_network(image, layers)
        tv = total_variation(image)[0].clamp_min(FLAT)
        return {layer: gram(features[layer]) for layer in self.style_weights}, tv

    def losses(
        self, painted: Tensor, photo: Tensor, rows: Tensor, *, mean: Callable[[Tensor], Tensor] = torch.mean
    ) -> dict[str, Tensor]:
        """Content, style and total-variation losses (N,) of painted photos (N, 3, H, W); weights of rows (N, R + 1).

        `mean` is as of `content_loss`.
        """
        some_photo = bool((rows[:, 0] > 0).any())
        layers = self.content_weights | (self.style_weights if some_photo else {})
        with torch.no_grad():
            targets = self.loss_network(photo.to(self.dtype), layers)
            grams = {layer: mixed(rows[:, 1:], values) for layer, values in self.grams.items()}
            tv = rows[:, 1:] @ self.tv
            if some_photo:
                mixtures = rows[:, 0].nonzero().flatten()
                for layer, values in grams.items():
                    values[mixtures] += rows[mixtures, :1, None] * gram(targets[layer][mixtures]).float()
                tv = tv + rows[:, 0] * total_variation(photo).clamp_min(FLAT)
        features = self.loss_network(painted.to(self.dtype), self.content_weights | self.style_weights)
        return {
            "content": content_loss(features, targets, self.content_weights, relative=self.relative, mean=mean),
            "style": style_loss(features, grams, self.style_weights, relative=self.relative),
            "tv": total_variation(painted) / (tv if self.relative else 1.0),
        }


def mixed(weights: Tensor, values: Tensor) -> Tensor:
    """Sums (N, C, C) of values (R, C, C) by weights (N, R)."""
    return (weights @ values.float().flatten(1)).view(-1, *values.shape[1:])


def draw(
    seed: int, step: int, first: int, count: int, styles: int, sizes: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Weights of the rows (count, 1 + styles * sizes) for a step's photos, and which style each has (count,).

    `first` of the run's photos is the step's first: every style has its turn before one comes again. Most photos are
    painted at full strength with one of the stroke sizes, the others between, so that mixtures are trained too.
    """
    rng = np.random.default_rng((seed, 1, step))
    # Not the key of the photos' order: with as many photos as styles each would meet one style alone.
    chosen = np.array([permutation(styles, seed, i // styles, 1)[i % styles] for i in range(first, first + count)])
    weights = np.zeros((count, 1 + styles * sizes), np.float32)
    for row, style in zip(weights, chosen, strict=True):
        place = float(rng.integers(sizes)) if rng.random() < WHOLE else rng.random() * (sizes - 1)
        strength = 1.0 if rng.random() < WHOLE else rng.random()
        row[0] = 1 - strength
        row[1 + style * sizes : 1 + (style + 1) * sizes] = strength * between(place, sizes)
    return weights, chosen


def to_tensor(images: Pixels) -> Tensor:
    """uint8 (H, W, 3) or (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1], channels last in memory."""
    batch = torch.from_numpy(images[None] if images.ndim == 3 else images)
    return batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 255


def scale_to(image: Pixels, side: int, *, multiple: int = 1) -> Pixels:
    """Resize so that the long side is `side`, and both sides multiples of `multiple`."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(s * scale / multiple)) * multiple for s in image.shape[:2])
    return resize(image, (height, width))
