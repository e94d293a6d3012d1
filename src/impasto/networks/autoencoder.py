"""Networks that paint after any painting: an encoder, decoders that undo it, and what they do with statistics between.

The encoder is the first convolutions of `vgg19-compact`, with its own narrow features. A decoder mirrors it with resize
convolutions, so that it weaves no checkerboard, and pads by reflection.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.resize import ResizeConv
from impasto.networks.stylenet import conv
from impasto.networks.vgg import VGG
from impasto.networks.weights import COMPACT, load_loss_network

WIDTHS: Final = (16, 40, 80, 128, 128)
"""Channels of the encoder's relu1_1 to relu5_1."""
DECODERS: Final[dict[int, tuple[tuple[int, ...], ...]]] = {
    1: ((16, 16),),
    2: ((32, 32), (16,)),
    3: ((64, 64), (32, 32), (16,)),
    4: ((128,), (64, 64, 64), (32, 32), (16,)),
    5: ((128,), (128, 128), (64, 64, 64), (32, 32), (16,)),
}
"""Widths of the decoder from relu<level>_1: of the convolutions at each size of map, small to large."""


def encoder(level: int = 5) -> VGG:
    """`vgg19-compact` to relu<level>_1, without its maps to VGG-19's widths."""
    net = load_loss_network(COMPACT)
    last = net.names.index(f"{level}_1")
    unused = [f"conv{name}" for name in net.names[last + 1 :]]
    for name in [name for name, _ in net.named_children() if name.startswith("linear") or name in unused]:
        delattr(net, name)
    net.names = net.names[: last + 1]
    return net


class Decoder(nn.Module):
    """Features of relu<level>_1 (N, C, H, W) -> RGB (N, 3, H 2^(level-1), W 2^(level-1)), not clamped.

    Of the convolutions of a size of map, but for the smallest, the first doubles the map of the size before. With
    `skips`, features of the levels below, deep to shallow, are added to what that gives, each through a matrix that
    begins with zeros.
    """

    def __init__(self, level: int, *, skips: bool = False) -> None:
        super().__init__()
        self.level = level
        inputs, layers = WIDTHS[level - 1], list[nn.Module]()
        self.skips = nn.ModuleDict()
        for scale, widths in enumerate(DECODERS[level]):
            for place, outputs in enumerate(widths):
                doubles = scale > 0 and place == 0
                if doubles and skips:
                    self.skips[str(len(layers))] = nn.Conv2d(WIDTHS[level - 1 - scale], outputs, 1, bias=False)
                layers.append(ResizeConv(inputs, outputs, 3, "nearest") if doubles else conv(inputs, outputs, 3))
                inputs = outputs
        self.layers = nn.ModuleList(layers)
        self.output = conv(inputs, 3, 3)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for skip in self.skips.values():
            nn.init.zeros_(skip.weight)  # type: ignore[arg-type]
        nn.init.constant_(self.output.bias, 0.5)  # type: ignore[arg-type]

    def forward(self, features: Tensor, *finer: Tensor) -> Tensor:
        """See the class."""
        x, rest = features, iter(finer)
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if str(place) in self.skips:
                x = x + self.skips[str(place)](next(rest))
            x = F.relu(x)
        return self.output(x)  # type: ignore[no-any-return]
