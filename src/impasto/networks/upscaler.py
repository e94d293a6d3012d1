"""`UpscalerNet`: enlarges a picture, and does all of its work at the small size.

Super-resolution as in Johnson et al. 2016, section 4.2. Departures: residual blocks without normalisation (Lim et al.
2017), so that a pixel depends on its neighbourhood alone and tiles have no seams; the large pixels of a small one are
channels of the last convolution (Shi et al. 2016); and what is learnt is added to the bicubic enlargement, with which
an untrained network begins: all phases begin alike, and no grid has to be unlearnt.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.rewrite import bias_of
from impasto.upscaler_config import UpscalerArgs

REACH = 2
"""Small pixels on either side that bicubic interpolation looks at."""


class UpscalerNet(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> RGB (N, 3, scale H, scale W), not clamped."""

    def __init__(self, args: UpscalerArgs | None = None, **kwargs: Any) -> None:
        super().__init__()
        self.args = args or UpscalerArgs(**kwargs)
        width = self.args.width
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.residual = nn.ModuleList([Block(width) for _ in range(self.args.blocks)])
        self.output = Output(width, self.args.scale)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge `image`; see the class for shapes and ranges."""
        x = first = self.first(image - 0.5)  # beyond the border is grey, not black
        for block in self.residual:
            x = block(x)
        return self.output(x + first, image)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return x + self.second(F.relu(self.first(x)))  # type: ignore[no-any-return]


class Output(nn.Module):
    """The picture, its pixels repeated, and what is to be added to them: of features, and of the small picture.

    Only what is added comes from convolutions. It is small, so bfloat16 does not band a clear sky.
    """

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.features = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self.picture = nn.Conv2d(3, 3 * scale**2, 2 * REACH + 1, padding=REACH, padding_mode="replicate", bias=False)
        with torch.no_grad():
            self.features.weight.zero_()
            bias_of(self.features).zero_()
            self.picture.weight.copy_(bicubic_weight(scale))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (N, C, H, W) and the picture (N, 3, H, W) -> (N, 3, scale H, scale W)."""
        added = F.pixel_shuffle(self.features(x) + self.picture(image), self.scale)
        return added + repeated(image, self.scale)

    @torch.no_grad()
    def settle(self) -> None:
        """Change the weights by as little as makes flat what is flat, and rise evenly what does; after each step.

        The phases are free to answer to texture. Left free elsewhere too, they put a grid there when features are the
        loss: to a loss network a grid is nearer to texture than nothing is.
        """
        weight = self.features.weight
        weight.copy_(settled(weight, self.scale, torch.zeros_like(weight[:, :, 0, 0])))
        weight = self.picture.weight
        own = torch.eye(3, device=weight.device).repeat_interleave(self.scale**2, 0)  # of the repeated pixels
        weight.copy_(settled(weight, self.scale, own))
        bias = bias_of(self.features)
        bias.copy_(bias.reshape(3, -1).mean(1, keepdim=True).expand(-1, self.scale**2).flatten())


def settled(weight: Tensor, scale: int, own: Tensor) -> Tensor:
    """Weights (3 P, C, K, K) of phases, of which each answers alike to what is flat, and by its place to what rises.

    `own` (3 P, C) is the weight of the pixel itself that is added to theirs.
    """
    taps = torch.arange(weight.shape[2], device=weight.device) - weight.shape[2] // 2.0
    flat = weight.mean((2, 3))
    level = mean_of_phases(flat, scale)
    weight = weight - (flat - level)[:, :, None, None]
    sums = level * weight[0, 0].numel() + own
    places = ((torch.arange(scale, device=weight.device) + 0.5) / scale - 0.5).expand(scale, -1)
    for slope, place in ((taps[:, None], places.T), (taps[None], places)):
        rise = (weight * slope).sum((2, 3)) - place.flatten().repeat(3)[:, None] * sums
        excess = rise - mean_of_phases(rise, scale)
        slope = slope.expand(weight.shape[2:])
        weight = weight - excess[:, :, None, None] * slope / slope.square().sum()
    return weight


def mean_of_phases(values: Tensor, scale: int) -> Tensor:
    """Values (3 P, C), each replaced by the mean of its colour's P."""
    mean = values.reshape(3, scale**2, -1).mean(1, keepdim=True)
    return mean.expand(-1, scale**2, -1).reshape(values.shape)


def repeated(image: Tensor, scale: int) -> Tensor:
    """Every pixel of (N, C, H, W) as scale x scale of its colour."""
    return F.pixel_shuffle(image.repeat_interleave(scale**2, 1), scale)


def bicubic_weight(scale: int) -> Tensor:
    """Weight (3 scale^2, 3, 5, 5) of what bicubic interpolation gives beyond the repeated pixel, by phase."""
    taps = torch.zeros(scale, 2 * REACH + 1)
    for phase in range(scale):
        place = (phase + 0.5) / scale - 0.5
        for tap in range(-REACH, REACH + 1):
            taps[phase, tap + REACH] = keys(abs(place - tap))
    weight = torch.einsum("ap,bq->abpq", taps, taps).flatten(0, 1)
    weight[:, REACH, REACH] -= 1
    made = torch.zeros(3, scale**2, 3, 2 * REACH + 1, 2 * REACH + 1)
    for channel in range(3):
        made[channel, :, channel] = weight
    return made.flatten(0, 1)


def keys(distance: float) -> float:
    """Cubic convolution kernel with a = -0.5 (Keys 1981), which Pillow has too."""
    if distance < 1:
        return (1.5 * distance - 2.5) * distance**2 + 1
    return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2 if distance < 2 else 0.0
