"""What an optimised picture is judged by: content, style and smoothness, and their gradient, of a picture of any size.

A large picture goes by tiles. Its style statistics are those of the whole: a first pass sums them up, the loss of the
sums is taken, and a second pass sends its gradient back through each tile. The result is the whole picture's to the
rounding, for twice the forward passes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.config import OptimizeConfig
from impasto.losses import TINY, style_distance, total_variation
from impasto.networks.vgg import LossNetwork
from impasto.statistics import Moments, sums
from impasto.tiles import Tile, tiles

MARGIN, DEEP_MARGIN = 96, 128
"""Pixels that a tile is seen with on each side: relu5_2 of VGG-19 sees 94, relu5_4 118."""
FLAT = 1e-4
"""Total variation of a photo of hardly one colour; that of a flatter one is taken for this."""
Layers = Mapping[str, float]
"""Weights by layer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A painting: its statistics by layer, its weight, and where in the photo it belongs, (H, W) in [0, 1] or all."""

    moments: Mapping[str, Moments]
    weight: float = 1.0
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Losses:
    """An objective and its parts before their weights."""

    total: float
    content: float
    style: float
    tv: float


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of one tile: its pixels, its share of the content loss, and for each mask and layer two sums."""

    window: Tensor
    content: Tensor
    sums: list[Tensor]


class Objective:
    """Objective of pictures (1, 3, H, W) that should have a photo's content in the styles of paintings.

    `side`: of a tile in pixels. `dtype`: of the network's arithmetic.
    """

    def __init__(
        self,
        network: LossNetwork,
        config: OptimizeConfig,
        photo: Tensor,
        targets: Sequence[Target],
        layers: tuple[Layers, Layers],
        *,
        side: int,
        dtype: torch.dtype,
    ) -> None:
        self.network, self.config, self.targets, self.dtype = network, config, targets, dtype
        self.content_layers, self.style_layers = layers
        self.tiles = tiles(photo.shape[2], photo.shape[3], side, margin([*layers[0], *layers[1]]))
        self.tv = total_variation(photo).clamp_min(FLAT)
        self.masks: list[Tensor | None] = []
        self.groups = [self.group(target.mask) for target in targets]
        self.weights = [{k: weights_of(mask, k) for k in self.style_layers} for mask in self.masks]
        self.counts = [
            [area(photo, k) if weights is None else float(weights.sum()) for k, weights in by_layer.items()]
            for by_layer in self.weights
        ]
        self.content: list[dict[str, Tensor]] = []
        with torch.no_grad():
            for tile in self.tiles:
                maps = self.features(crop(photo, tile), self.content_layers)
                self.content.append({k: own(maps[k], tile, k) for k in self.content_layers})
        self.energy = {
            k: sum(float(p[k].float().square().sum()) for p in self.content) + TINY for k in self.content_layers
        }

    def group(self, mask: Tensor | None) -> int:
        """Place of a mask among those that there are; what has one mask is summed once."""
        for i, other in enumerate(self.masks):
            if other is mask:
                return i
        self.masks.append(mask)
        return len(self.masks) - 1

    def __call__(self, picture: Tensor) -> tuple[Losses, Tensor]:
        """Objective of a picture and its gradient, (1, 3, H, W)."""
        c, alone = self.config, len(self.tiles) == 1
        totals: list[Tensor] = []
        for tile, photo in zip(self.tiles, self.content, strict=True):
            with torch.set_grad_enabled(alone):
                look = self.look(picture, tile, photo)
            parts = [part.detach() for part in look.sums]
            totals = [a + b for a, b in zip(totals, parts, strict=True)] if totals else parts
        style, slopes = self.style(totals)
        gradient, content = torch.zeros_like(picture), 0.0
        for tile, photo in zip(self.tiles, self.content, strict=True):
            if not alone:
                look = self.look(picture, tile, photo)
            pull = torch.stack([(part * slope).sum() for part, slope in zip(look.sums, slopes, strict=True)]).sum()
            crop(gradient, tile).add_(
                *torch.autograd.grad(c.content_weight * look.content + c.style_weight * pull, look.window)
            )
            content += look.content.item()
        tv = self.smooth(picture, gradient)
        total = c.content_weight * content + c.style_weight * style + c.tv_weight * tv
        return Losses(total, content, style, tv), gradient

    @torch.no_grad()
    def smooth(self, picture: Tensor, gradient: Tensor) -> float:
        """Total variation over the photo's, whose gradient is added; autograd would hold five more pictures."""
        whole = 0.0
        for axis in (2, 3):
            length = picture.shape[axis] - 1
            steps = picture.narrow(axis, 1, length) - picture.narrow(axis, 0, length)
            whole += (steps.square().mean() / self.tv).item()
            steps *= 2 * self.config.tv_weight / steps.numel() / self.tv.item()
            gradient.narrow(axis, 1, length).add_(steps)
            gradient.narrow(axis, 0, length).sub_(steps)
        return whole

    def look(self, picture: Tensor, tile: Tile, photo: Mapping[str, Tensor]) -> Look:
        """What is seen of a tile of a picture, given the photo's features there."""
        window = crop(picture, tile).detach().requires_grad_()
        features = self.features(window, {**self.content_layers, **self.style_layers})
        shares = [
            weight * (own(features[k], tile, k).float() - photo[k].float()).square().sum() / self.energy[k]
            for k, weight in self.content_layers.items()
        ]
        found: list[Tensor] = []
        for by_layer in self.weights:
            for k, weights in by_layer.items():
                here = weights[tile.of(stride(k))] if weights is not None else None
                found += sums(own(features[k], tile, k), here, cross=self.config.style_loss != "moments")
        return Look(window, torch.stack(shares).sum() / sum(self.content_layers.values()), found)

    def style(self, totals: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        """Style loss of the whole picture's sums, and its gradient by them."""
        leaves = [total.requires_grad_() for total in totals]
        pairs = iter(zip(leaves[::2], leaves[1::2], strict=True))
        seen = [
            {
                k: Moments(*(value / count for value in next(pairs)))
                for k, count in zip(self.style_layers, counts, strict=True)
            }
            for counts in self.counts
        ]
        losses = [
            target.weight * weight * style_distance(seen[group][k], target.moments[k], self.config.style_loss)
            for target, group in zip(self.targets, self.groups, strict=True)
            for k, weight in self.style_layers.items()
        ]
        whole = sum(self.style_layers.values()) * sum(target.weight for target in self.targets)
        loss = torch.stack(losses).sum() / whole
        return loss.item(), list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))

    def features(self, image: Tensor, layers: Layers) -> dict[str, Tensor]:
        """Features of RGB (1, 3, h, w) by layer."""
        return self.network(image.to(self.dtype), layers)  # type: ignore[no-any-return]


def moments_of(
    network: LossNetwork,
    image: Tensor,
    layers: Layers,
    style_loss: str,
    *,
    mask: Tensor | None,
    side: int,
    dtype: torch.dtype,
) -> dict[str, Moments]:
    """Statistics of a painting (1, 3, H, W) by layer, of what its mask (H, W) shows; by tiles of `side` pixels."""
    found: dict[str, list[Tensor]] = {}
    weights = {k: weights_of(mask, k) for k in layers}
    with torch.no_grad():
        for tile in tiles(image.shape[2], image.shape[3], side, margin(layers)):
            maps = network(crop(image, tile).to(dtype), layers)
            for k, weight in weights.items():
                here = weight[tile.of(stride(k))] if weight is not None else None
                parts = sums(own(maps[k], tile, k), here, cross=style_loss != "moments")
                found[k] = [a + b for a, b in zip(found[k], parts, strict=True)] if k in found else list(parts)
    counts = {k: area(image, k) if weight is None else float(weight.sum()) for k, weight in weights.items()}
    return {k: Moments(*(part / counts[k] for part in parts)) for k, parts in found.items()}


def margin(layers: Collection[str]) -> int:
    """Pixels with which a tile has to be seen on each side for its features to be the whole picture's."""
    return DEEP_MARGIN if any(layer > "relu5_2" for layer in layers) else MARGIN


def crop(image: Tensor, tile: Tile) -> Tensor:
    """A tile's window of (1, C, H, W)."""
    top, bottom, left, right = tile.window
    return image[:, :, top:bottom, left:right]


def own(features: Tensor, tile: Tile, layer: str) -> Tensor:
    """The part of a window's features that is the tile's own."""
    rows, columns = tile.features(stride(layer))
    return features[:, :, rows, columns]


def stride(layer: str) -> int:
    """Pixels of the picture, down and across, for each of a layer's map."""
    block: int = 2 ** (int(layer.removeprefix("relu").partition("_")[0]) - 1)
    return block


def area(image: Tensor, layer: str) -> float:
    """Pixels of a layer's map of (1, 3, H, W)."""
    height, width = image.shape[2:]
    return float((height // stride(layer)) * (width // stride(layer)))


def weights_of(mask: Tensor | None, layer: str) -> Tensor | None:
    """A mask (H, W) at the size of a layer's map."""
    if mask is None:
        return None
    size = [side // stride(layer) for side in mask.shape]
    return F.interpolate(mask[None, None], size=size, mode="area")[0, 0]
