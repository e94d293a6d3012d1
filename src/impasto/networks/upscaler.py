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

    To features that do not change from place to place all phases answer alike: what is flat stays flat. Left free, a
    network that is trained by features puts a grid there: to a loss network a grid is nearer to texture than nothing.
    """

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.features = nn.Parameter(torch.zeros(3 * scale**2, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(3))
        self.picture = nn.Parameter(bicubic_weight(scale))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (N, C, H, W) and the picture (N, 3, H, W) -> (N, 3, scale H, scale W)."""
        bias = self.bias.repeat_interleave(self.scale**2)
        added = F.conv2d(x, even(self.features), bias, padding=1)
        around = F.pad(image, (REACH,) * 4, mode="replicate")
        added = added + F.conv2d(around, even(self.picture))
        return F.pixel_shuffle(added, self.scale) + repeated(image, self.scale)


def even(weight: Tensor) -> Tensor:
    """Weights (3 P, C, K, K) of the phases of three colours, each less what sets its answer to a flat map apart."""
    answer = weight.mean((2, 3), keepdim=True).unflatten(0, (3, -1))
    return weight - (answer - answer.mean(1, keepdim=True)).flatten(0, 1)


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
