"""The losses of Gatys et al. 2015 and Johnson et al. 2016, as pure functions that return one number an image, (N,).

Content and style are **relative** by default: the squared distance to the target divided by the target's own square (of
the content, the batch's mean). They are 1 for an empty map whatever the painting, the layers and the loss network, so
that one set of weights fits all. ``relative=False`` gives Johnson's absolute forms: squared distance divided by C H W,
Gram matrices divided by C.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from impasto.statistics import gram

TINY = 1e-12
"""Keeps the relative losses of an all-black target finite."""

Features = Mapping[str, Tensor]
Weights = Mapping[str, float]


def content_loss(features: Features, targets: Features, weights: Weights, *, relative: bool = True) -> Tensor:
    """Distance of `features` to the photo's, (N, C, H, W) each; layers averaged by `weights`, if absolute summed."""
    values = {k: distance(features[k], targets[k], relative=relative) for k in weights}
    return weighted_sum(values, weights) / (sum(weights.values()) if relative else 1)


def style_loss(features: Features, grams: Features, weights: Weights, *, relative: bool = True) -> Tensor:
    """Distance of the Gram matrices of `features` (N, C, H, W) to the painting's, `grams` (1 or N, C, C).

    Layers are averaged by `weights`, if absolute summed.
    """
    values = {k: gram_distance(gram(features[k]), grams[k], relative=relative) for k in weights}
    return weighted_sum(values, weights) / (sum(weights.values()) if relative else 1)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down and across: images (N, C, H, W)."""
    down = (image[:, :, 1:] - image[:, :, :-1]).float().square().mean((1, 2, 3))
    across = (image[:, :, :, 1:] - image[:, :, :, :-1]).float().square().mean((1, 2, 3))
    return down + across


def distance(features: Tensor, target: Tensor, *, relative: bool) -> Tensor:
    """Squared distance of two feature maps, an image at a time, over the mean square of the targets or over C H W.

    Over the mean of the batch, not each its own: else a crop of empty sky, whose features are next to nothing, would
    outweigh all others and stay unpainted.
    """
    squares = (features.float() - target.float()).square().sum((1, 2, 3))
    return squares / (target.float().square().sum((1, 2, 3)).mean() + TINY if relative else target[0].numel())


def gram_distance(value: Tensor, target: Tensor, *, relative: bool) -> Tensor:
    """Squared Frobenius distance of Gram matrices, over the target's own square or over C^2 (Johnson's scaling)."""
    squares = (value.float() - target.float()).square().sum((1, 2))
    return squares / (target.float().square().sum((1, 2)) + TINY if relative else target.shape[1] ** 2)


def weighted_sum(values: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """Sum of the layers' values by their weights."""
    return torch.stack([weights[k] * v for k, v in values.items()]).sum(0)
