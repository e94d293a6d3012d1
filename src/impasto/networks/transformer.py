"""`TransformerNet`, the feed-forward image transformation network of Johnson et al. 2016 and its published variants.

Images are RGB in [0, 1]. Checkpoints that see other ranges are converted by folding theirs into the outer convolutions.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.config import TransformerArgs
from impasto.networks.norm import InstanceNorm

TANH_GAIN = 150 / 127.5
"""The published scaled tanh spans 150 of 255 either side of the middle, so that black and white are reached."""


class TransformerNet(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> the same shape, painted, not clamped; H and W multiples of 4.

    9x9 convolution to `width`, strided 3x3 to twice and four times that, residual blocks, two upsamplings, 9x9 to 3.
    """

    def __init__(self, args: TransformerArgs | None = None, **kwargs: Any) -> None:
        super().__init__()
        self.args = args or TransformerArgs(**kwargs)
        a, w = self.args, self.args.width
        outer = "zeros" if a.padding == "start" else a.padding
        self.encoder = nn.ModuleList(
            [
                ConvNorm(3, w, 9, padding=outer, norm=a.norm),
                ConvNorm(w, 2 * w, 3, stride=2, padding=outer, norm=a.norm),
                ConvNorm(2 * w, 4 * w, 3, stride=2, padding=outer, norm=a.norm),
            ]
        )
        inner = "valid" if a.padding == "start" else a.padding
        self.residual = nn.ModuleList([ResidualBlock(4 * w, padding=inner, norm=a.norm) for _ in range(a.blocks)])
        self.decoder = nn.ModuleList(
            [
                UpsampleNorm(4 * w, 2 * w, upsample=a.upsample, padding=outer, norm=a.norm),
                UpsampleNorm(2 * w, w, upsample=a.upsample, padding=outer, norm=a.norm),
            ]
        )
        self.output = conv(w, 3, 9, padding=outer)

    def forward(self, image: Tensor) -> Tensor:
        """Paint `image`; see the class for shapes and ranges."""
        x = image
        if self.args.padding == "start":
            pad = 8 * self.args.blocks  # a block takes two pixels off each side of a map of a quarter of the size
            x = F.pad(x, (pad, pad, pad, pad), mode="reflect")
        for layer in self.encoder:
            x = F.relu(layer(x))
        for block in self.residual:
            x = block(x)
        for layer in self.decoder:
            x = F.relu(layer(x))
        x = self.output(x)
        return x if self.args.output == "linear" else 0.5 + 0.5 * TANH_GAIN * torch.tanh(x)


def conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: str = "reflect") -> nn.Conv2d:
    """Convolution that keeps the size (divided by `stride`), or with ``valid`` padding none."""
    size = 0 if padding == "valid" else kernel // 2
    mode: Literal["reflect", "zeros"] = "reflect" if padding == "reflect" else "zeros"
    return nn.Conv2d(inputs, outputs, kernel, stride, size, padding_mode=mode)


def normalization(channels: int, norm: str) -> nn.Module:
    """Instance or batch normalisation with a learned scale and shift."""
    return InstanceNorm(channels) if norm == "instance" else nn.BatchNorm2d(channels)


class ConvNorm(nn.Module):
    """Convolution and normalisation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: str = "reflect", norm: str
    ) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, stride=stride, padding=padding)
        self.norm = normalization(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, no ReLU after the sum (Gross & Wilber 2016)."""

    def __init__(self, channels: int, *, padding: str, norm: str) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, padding=padding, norm=norm)
        self.second = ConvNorm(channels, channels, 3, padding=padding, norm=norm)
        self.crop = 2 if padding == "valid" else 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, four pixels smaller each way when its convolutions are not padded."""
        y = self.second(F.relu(self.first(x)))
        c = self.crop
        return y + (x[:, :, c:-c, c:-c] if c else x)  # type: ignore[no-any-return]


class UpsampleNorm(nn.Module):
    """Twice the size: nearest-neighbour resize and 3x3 convolution (Odena et al. 2016), or transposed convolution."""

    def __init__(self, inputs: int, outputs: int, *, upsample: str, padding: str, norm: str) -> None:
        super().__init__()
        self.resize = upsample == "nearest"
        self.conv: nn.Module
        if self.resize:
            self.conv = conv(inputs, outputs, 3, padding=padding)
        else:
            self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.norm = normalization(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, 2 H, 2 W)."""
        if self.resize:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.norm(self.conv(x))  # type: ignore[no-any-return]
