"""The losses of Gatys et al. 2015 and Johnson et al. 2016, as pure functions that return one number an image, (N,).

Content and style are **relative** by default: the squared distance to the target divided by the target's own square (of
the content, the batch's mean). They are 1 for an empty map whatever the painting, the layers and the loss network, so
that one set of weights fits all. ``relative=False`` gives Johnson's absolute forms: squared distance divided by C H W,
Gram matrices divided by C.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from impasto.statistics import GramDistance, Moments, SquaredDistance, positions, squares

TINY = 1e-12
"""Keeps the relative losses of an all-black target finite."""
OWN = 0.75
"""Part that an image's own size has in what its content loss is relative to; the rest is the batch's mean."""

Features = Mapping[str, Tensor]
Weights = Mapping[str, float]


def content_loss(
    features: Features,
    targets: Features,
    weights: Weights,
    *,
    relative: bool = True,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Tensor:
    """Distance of `features` to the photo's, (N, C, H, W) each; layers averaged by `weights`, if absolute summed.

    `mean` is of (N,) over the batch, or over several processes' batches.
    """
    values = {k: distance(features[k], targets[k], relative=relative, mean=mean) for k in weights}
    return weighted_sum(values, weights) / (sum(weights.values()) if relative else 1)


def style_loss(features: Features, grams: Features, weights: Weights, *, relative: bool = True) -> Tensor:
    """Distance of the Gram matrices of `features` (N, C, H, W) to the painting's, `grams` (1 or N, C, C).

    Layers are averaged by `weights`, if absolute summed.
    """
    values = {k: gram_distance(features[k], grams[k], relative=relative) for k in weights}
    return weighted_sum(values, weights) / (sum(weights.values()) if relative else 1)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down and across: images (N, C, H, W)."""
    down = (image[:, :, 1:] - image[:, :, :-1]).float().square().mean((1, 2, 3))
    across = (image[:, :, :, 1:] - image[:, :, :, :-1]).float().square().mean((1, 2, 3))
    return down + across


def distance(
    features: Tensor, target: Tensor, *, relative: bool, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """Squared distance of two feature maps, an image at a time, relative or over C H W.

    Relative to a geometric mean of the target's own square and the batch's mean: over its own a crop of empty sky,
    whose features are next to nothing, would outweigh all others and stay unpainted; over the batch's it would be
    painted at will.
    """
    excess: Tensor = SquaredDistance.apply(features, target)  # type: ignore[no-untyped-call]
    if not relative:
        return excess / target[0].numel()
    own = squares(target)
    return excess / (own**OWN * mean(own) ** (1 - OWN) + TINY)


def gram_distance(features: Tensor, target: Tensor, *, relative: bool) -> Tensor:
    """Squared Frobenius distance of the Gram matrices of features (N, C, H, W) to a target, (1 or N, C, C).

    Over the target's own square, or over C^2 (Johnson's scaling).
    """
    excess: Tensor = GramDistance.apply(positions(features), target)  # type: ignore[no-untyped-call]
    return excess / (squares(target) + TINY if relative else target.shape[1] ** 2)


def style_distance(found: Moments, target: Moments, kind: str) -> Tensor:
    """Relative distance of statistics, 0 where they are the same and 1 from nothing to the target; one number, ().

    `kind`: ``gram``, of second moments (Gatys et al. 2015); ``moments``, of means and deviations (Huang & Belongie
    2017), for which `Moments.second` holds squares alone; ``wasserstein``, the 2-Wasserstein distance of the normal
    distributions that have the means and covariances.
    """
    if kind == "gram":
        return (found.second - target.second).square().sum() / (target.second.square().sum() + TINY)
    shift = (found.mean - target.mean).square().sum()
    if kind == "moments":
        spread = (deviation(found) - deviation(target)).square().sum()
        return (shift + spread) / (target.mean.square().sum() + deviation(target).square().sum() + TINY)
    ours, theirs = covariance(found).double(), covariance(target).double()  # the difference of sums that are nearly one
    root = square_root(theirs)
    common: Tensor = torch.linalg.eigvalsh(root @ ours @ root).clamp_min(TINY).sqrt().sum()
    wasserstein = (shift + ours.trace() + theirs.trace() - 2 * common).clamp_min(0)
    return (wasserstein / (target.mean.square().sum() + theirs.trace() + TINY)).float()


def deviation(moments: Moments) -> Tensor:
    """Standard deviations (C,), from the mean squares."""
    return (moments.second - moments.mean.square()).clamp_min(TINY).sqrt()


def covariance(moments: Moments) -> Tensor:
    """Covariance (C, C), a little of its trace added to its diagonal, so that flat pictures have one too."""
    value = moments.second - torch.outer(moments.mean, moments.mean)
    return value + (1e-5 * value.trace().clamp_min(0) / len(value) + TINY) * torch.eye(len(value), device=value.device)


def square_root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a positive matrix (C, C)."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root


def weighted_sum(values: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """Sum of the layers' values by their weights."""
    return torch.stack([weights[k] * v for k, v in values.items()]).sum(0)
