"""`StyleNet`: many styles in one small network, whose full-resolution work is only its input and output.

A residual transformer (Johnson et al. 2016) with conditional instance normalisation (Dumoulin et al. 2017): each
normalisation has a table of scales and shifts, a row for every entry, and the `style` input weighs the rows. Row 0 is
the photograph: a gate lets it through and what the network adds to it is nothing, so that mixtures with row 0 are
paintings of less strength. Departures: the first convolution has a stride, the last gives 2 x 2 blocks of pixels (as a
resize convolution would, exactly), since maps of full resolution are where the time goes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.config import StyleNetArgs
from impasto.networks.norm import normalize
from impasto.networks.resize import ResizeConv


class StyleNet(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] and weights (N, `rows`) of its rows -> painted, not clamped.

    H and W are multiples of two to the power of the number of `widths`.
    """

    def __init__(self, args: StyleNetArgs | None = None, *, rows: int, **kwargs: Any) -> None:
        super().__init__()
        self.args = args or StyleNetArgs(**kwargs)
        self.rows = rows
        a, widths = self.args, self.args.widths
        self.encoder = nn.ModuleList(
            [
                Stage(conv(inputs, outputs, 3 if i else a.stem, stride=2), outputs, rows)
                for i, (inputs, outputs) in enumerate(zip((3, *widths), widths, strict=False))
            ]
        )
        self.residual = nn.ModuleList([Block(widths[-1], rows, separate=a.separable) for _ in range(a.blocks)])
        self.decoder = nn.ModuleList(
            [
                Stage(ResizeConv(inputs, outputs, 3, a.upsample), outputs, rows)
                for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True)
            ]
        )
        self.output = ResizeConv(widths[0], 3, a.kernel, a.upsample)
        self.mixture = Mixture(rows)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Paint `image`; see the class for shapes and ranges."""
        x, maps = image, []
        for stage in self.encoder:
            x = F.relu(stage(x, style))
            maps.append(x)
        for block in self.residual:
            x = block(x, style)
        for stage, skipped in zip(self.decoder, maps[-2::-1], strict=True):
            x = F.relu(stage(x, style))
            if self.args.skips:
                x = x + skipped
        return self.mixture(self.output(x), image, style)  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Convolution and conditional normalisation."""

    def __init__(self, layer: nn.Module, channels: int, rows: int) -> None:
        super().__init__()
        self.conv = layer
        self.norm = ConditionalNorm(channels, rows)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps (N, C, H, W) and weights of the rows (N, K)."""
        return self.norm(self.conv(x), style)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity; separable ones are a 3x3 of each channel and a 1x1."""

    def __init__(self, channels: int, rows: int, *, separate: bool) -> None:
        super().__init__()
        layer = separable if separate else conv
        self.first = Stage(layer(channels, channels, 3), channels, rows)
        self.second = Stage(layer(channels, channels, 3), channels, rows)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return x + self.second(F.relu(self.first(x, style)), style)  # type: ignore[no-any-return]


class ConditionalNorm(nn.Module):
    """Instance normalisation whose scales and shifts are mixed by the weights of the rows (N, K)."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.photo_scale = nn.Parameter(torch.ones(1, channels))
        self.photo_shift = nn.Parameter(torch.zeros(1, channels))
        self.scale = nn.Parameter(torch.ones(rows - 1, channels))
        self.shift = nn.Parameter(torch.zeros(rows - 1, channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        scale, shift = torch.cat([self.photo_scale, self.scale]), torch.cat([self.photo_shift, self.shift])
        return normalize(x, style @ scale, style @ shift)


class Mixture(nn.Module):
    """What is painted, what is let through of the photo, and a colour: shares by the weights of the rows (N, K).

    Row 0 is nothing painted and all of the photo, so that strength 0 is the photo to the bit.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.painted = nn.Parameter(torch.full((rows - 1, 3), 0.25))
        self.photo = nn.Parameter(torch.zeros(rows - 1, 3))
        self.color = nn.Parameter(torch.full((rows - 1, 3), 0.5))

    def forward(self, painted: Tensor, photo: Tensor, style: Tensor) -> Tensor:
        """Maps (N, 3, H, W), twice -> their mixture."""
        a, b, c = (style[:, 1:] @ table for table in (self.painted, self.photo, self.color))
        b = b + style[:, :1]
        return a[:, :, None, None] * painted + b[:, :, None, None] * photo + c[:, :, None, None]


TABLES = ("scale", "shift", "painted", "photo", "color")
"""Names of the parameters that have a row for each style and stroke size; all others are shared by them."""


def tables(net: StyleNet) -> dict[str, nn.Parameter]:
    """The tables of a network by name, (K - 1, C) each."""
    return {name: p for name, p in net.named_parameters() if name.rpartition(".")[2] in TABLES}


def with_rows(net: StyleNet, rows: Mapping[str, Tensor]) -> StyleNet:
    """Copy of a network with other tables, (K - 1, C) by name."""
    count = len(next(iter(rows.values())))
    made = StyleNet(net.args, rows=1 + count)
    made.load_state_dict(net.state_dict() | dict(rows))
    return made


def conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Convolution that keeps the size, divided by `stride`."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", groups=groups)


def separable(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution of each channel, and a 1x1 that mixes them."""
    return nn.Sequential(conv(inputs, inputs, kernel, groups=inputs), conv(inputs, outputs, 1))
