"""Statistics of feature maps, as pure functions."""

from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Gram matrix F F^T / (H W) of features (N, C, H, W): (N, C, C) in their type (Gatys et al. 2015).

    Divided by the number of positions, so that maps of any size compare.
    """
    f = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, C): no copy of a channels-last map
    return f.transpose(1, 2) @ f / f.shape[1]
