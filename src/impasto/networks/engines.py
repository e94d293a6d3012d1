"""Engines: networks that paint after any painting, given its statistics; and the network that takes those.

An engine is a palette without rows of its own. Its `style` (1 + P,) weighs the photograph, row 0, and P rows, each a
painting at a size; the statistics of those, (P, ...) each, are its other inputs, by the names in `inputs`. So strength,
stroke size and blends are weights, as of a palette.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from impasto.networks.autoencoder import Decoder, encoder
from impasto.statistics import adain, mean_covariance, wct

LEVELS: Final = (1, 2, 3, 4, 5)
GAIN: Final = 6.0
"""Most by which a photo's features are stretched on the levels where that is seen pixel by pixel."""
CALM: Final = 0.05
"""Added to the diagonal of correlations that are whitened there: of a grey photo the directions of colour are noise."""
DEEPEST: Final = 5
"""Level whose features hardly have colours: a decoder that was trained to undo them comes to 14 dB."""


def layer(level: int) -> str:
    """Name of the encoder's layer of a level."""
    return f"relu{level}_1"


class PaintingStatistics(nn.Module):
    """RGB (1, 3, H, W) in [0, 1] -> mean (C,) and covariance (C, C) of the encoder's layers, shallow to deep."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class; H and W are multiples of 16, at least 32."""
        features = self.encoder(image, [layer(level) for level in LEVELS])
        found: list[Tensor] = []
        for level in LEVELS:
            mean, covariance = mean_covariance(features[layer(level)])
            found += [mean[0], covariance[0]]
        return tuple(found)


class Between(nn.Module):
    """Photographs painted at part of the strength, for engines whose decoders lose some of the photo.

    With a share w of the photo, w / (1 + w) of the features are the photo's and w^2 of the picture is the photo itself:
    together w, nothing of it at strength 1, and at strength 0 the photo to the bit.
    """

    def forward(self, photo: Tensor, painted: Tensor, style: Tensor) -> Tensor:
        """Photo and painting (N, 3, H, W) and weights of the rows (1 + P,)."""
        return torch.lerp(painted.to(photo.dtype), photo, style[0].square())

    @staticmethod
    def shares(style: Tensor) -> tuple[Tensor, Tensor]:
        """Of the photo's features, (), and of each row's (P,)."""
        own = style[0] / (1 + style[0])
        rest = style[1:].sum()
        return own, style[1:] * (1 - own) / rest.clamp_min(1e-6)


class AdaINNet(nn.Module):
    """Adaptive instance normalisation of relu4_1 (Huang & Belongie 2017)."""

    inputs = ("mean4", "deviation4")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder(4)
        self.decoder = Decoder(4)
        self.between = Between()

    def forward(self, image: Tensor, style: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """RGB (1, 3, H, W), H and W multiples of 8, and rows -> painted, not clamped."""
        own, shares = Between.shares(style)
        features = self.encoder(image, [layer(4)])[layer(4)]
        painted = adain(features, (shares @ mean)[None], (shares @ deviation)[None]) + own * features
        return self.between(image, self.decoder(painted), style)  # type: ignore[no-any-return]


class HourglassNet(nn.Module):
    """Normalisation on four levels, from encoder to decoder (after Sheng et al. 2018).

    The lower levels keep the photo's lines, and have the painting's colours, which of relu4_1's are hardly seen. There
    the few channels are whitened and coloured (Li et al. 2017): colours are in how channels go together.
    """

    levels = (4, 3, 2, 1)
    whitened = (2, 1)
    inputs = ("mean4", "deviation4", "mean3", "deviation3", "mean2", "coloring2", "mean1", "coloring1")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder(4)
        self.decoder = Decoder(4, skips=True)

    def forward(self, image: Tensor, style: Tensor, *statistics: Tensor) -> Tensor:
        """RGB (1, 3, H, W), H and W multiples of 8, and rows -> painted, not clamped."""
        features = self.encoder(image, [layer(level) for level in self.levels])
        mixed = [torch.tensordot(style[1:], values, 1)[None] for values in statistics]
        painted = self.decoder(*self.styled(features, style[:1], mixed)).to(image.dtype)
        return torch.lerp(painted, image, style[0] ** 4)  # what is lost of a photo that is hardly painted

    def styled(self, features: Mapping[str, Tensor], own: Tensor, statistics: Sequence[Tensor]) -> list[Tensor]:
        """What the decoder makes a painting of, deep to shallow, of features by layer, of which shares `own` (N,) stay.

        The statistics, (N, ...) as in `inputs`, are those of the paintings by their shares.
        """
        made = []
        for level, mean, spread in zip(self.levels, statistics[::2], statistics[1::2], strict=True):
            kept = features[layer(level)]
            if level in self.whitened:
                painted = wct(kept, mean, spread, iterate=True, eps=CALM)
            else:
                painted = adain(kept, mean, spread, gain=GAIN)
            made.append(painted + own[:, None, None, None] * kept)
        return made


class WCTNet(nn.Module):
    """Whitening and colouring, coarse to fine (Li et al. 2017).

    What the decoder of the deepest level loses of a picture is added to what it paints.
    """

    def __init__(self, levels: Sequence[int] = (5, 4, 3, 2, 1)) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.encoders = nn.ModuleDict({str(level): encoder(level) for level in self.levels})
        share_weights([self.encoders[str(level)] for level in sorted(self.levels, reverse=True)])
        self.decoders = nn.ModuleDict({str(level): Decoder(level) for level in self.levels})
        self.between = Between()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the statistics, a mean and a coloring for each level."""
        return tuple(f"{kind}{level}" for level in self.levels for kind in ("mean", "coloring"))

    def forward(self, image: Tensor, style: Tensor, *statistics: Tensor) -> Tensor:
        """RGB (1, 3, H, W), H and W multiples of 16, and rows -> painted, not clamped."""
        own, shares = Between.shares(style)
        x = image
        for place, level in enumerate(self.levels):
            mean, coloring = statistics[2 * place : 2 * place + 2]
            features = self.encoders[str(level)](x, [layer(level)])[layer(level)]
            colors = torch.tensordot(shares, coloring, 1)[None]
            painted = wct(features, (shares @ mean)[None], colors, iterate=True) + own * features
            decoder = self.decoders[str(level)]
            lost = x - decoder(features) if level == DEEPEST else 0.0
            x = (decoder(painted) + lost).clamp(0, 1)
        return self.between(image, x, style)  # type: ignore[no-any-return]


def share_weights(networks: Sequence[nn.Module]) -> None:
    """Let networks that are the beginning of the first have its weights, which are then in a file once.

    Their biases stay their own: OpenVINO adds one that several convolutions have in a pass of its own, and a fifth of
    the time went there.
    """
    first = dict(networks[0].named_modules())
    for network in networks[1:]:
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight = first[name].weight


ENGINES: Final[dict[str, Any]] = {"adain": AdaINNet, "hourglass": HourglassNet, "wct": WCTNet}
"""Networks by the names of their engines."""
