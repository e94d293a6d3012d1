"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014) as loss networks: features by layer name, cut below the deepest asked.

Images are RGB in [0, 1]; the first 1x1 convolution, `normalize`, takes them to what the weights were trained on.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVS: Final[dict[str, tuple[int, ...]]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each of the five blocks."""
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation, RGB in [0, 1]: what torchvision's weights were trained on."""


def conv_names(architecture: str) -> list[str]:
    """Names of an architecture's convolutions in order: ``1_1, 1_2, 2_1 ...``."""
    return [f"{b}_{c}" for b, count in enumerate(CONVS[architecture], 1) for c in range(1, count + 1)]


class VGG(nn.Module):
    """Features of a VGG by layer name (`relu1_1` ... `relu5_4`); widths and depth are read from the weights.

    `state`: ``conv<b>_<c>.weight``, ``.bias`` from conv1_1 down to any depth; optionally ``normalize.*`` (1x1, default
    ImageNet's mean and deviation) and a compressed network's map to VGG-19's widths: ``project<b>_1.*`` (1x1 and ReLU)
    or ``linear<b>_1.*`` (1x1), which with `thin` is replaced by one to the fewest channels that leave all distances,
    of features and of their Gram matrices, as they are. `pooling`: ``max``, or ``avg`` as Gatys et al. 2015 preferred.
    `padding`: ``reflect`` leaves features no dark border; ``zeros`` is what the published weights were trained with.
    """

    def __init__(
        self,
        architecture: str,
        state: Mapping[str, Tensor],
        *,
        pooling: str = "max",
        padding: str = "zeros",
        thin: bool = True,
    ) -> None:
        super().__init__()
        if pooling not in ("max", "avg"):
            raise ValueError(f"pooling is {pooling!r}; it must be 'max' or 'avg'")
        if padding not in ("reflect", "zeros"):
            raise ValueError(f"padding is {padding!r}; it must be 'reflect' or 'zeros'")
        self.pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        self.names = [n for n in conv_names(architecture) if f"conv{n}.weight" in state]
        self.before_max = {a for a, b in pairwise(self.names) if b.endswith("_1") and pooling == "max"}
        self.normalize = conv(state, "normalize") if "normalize.weight" in state else imagenet_normalize()
        for name in self.names:
            self.add_module(f"conv{name}", conv(state, f"conv{name}", padding))
            if f"project{name}.weight" in state:
                self.add_module(f"project{name}", conv(state, f"project{name}"))
            elif f"linear{name}.weight" in state:
                head = conv(state, f"linear{name}")
                self.add_module(f"linear{name}", thinned(head) if thin else head)
        self.requires_grad_(False).eval()

    @property
    def layers(self) -> list[str]:
        """Layers that can be asked for, shallow to deep."""
        return [f"relu{name}" for name in self.names]

    @property
    def compressed(self) -> bool:
        """Whether it is narrower than the published network, to whose widths it has projections."""
        return any(name.startswith(("project", "linear")) for name, _ in self.named_children())

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """RGB (N, 3, H, W) in [0, 1] -> features by layer; nothing below the deepest layer asked for is computed.

        A layer of block b is (N, C, H / 2^(b-1), W / 2^(b-1)). Features go through the projections where there are any:
        without them a compressed network finds a painting's Gram matrices reached where the full one does not.
        """
        wanted = set(layers)
        if unknown := wanted - set(self.layers):
            raise ValueError(f"layers {sorted(unknown)} are not in this network; it has {', '.join(self.layers)}")
        features: dict[str, Tensor] = {}
        x, late = self.normalize(image), False
        for name in self.names:
            if len(features) == len(wanted):
                break
            if name.endswith("_1") and name != "1_1":
                x = self.pool(x, 2)
            x = self.get_submodule(f"conv{name}")(F.relu_(x) if late else x)
            # Max pooling gives the same before ReLU as behind it, and leaves a quarter of the map.
            late = name in self.before_max and f"relu{name}" not in wanted
            x = x if late else F.relu_(x)
            if f"relu{name}" in wanted:
                features[f"relu{name}"] = self.widened(name, x)
        return features

    def widened(self, name: str, x: Tensor) -> Tensor:
        """Features of a convolution through its projection, if it has one."""
        if f"project{name}" in self._modules:
            return F.relu(self.get_submodule(f"project{name}")(x))
        return self.get_submodule(f"linear{name}")(x) if f"linear{name}" in self._modules else x


def conv(state: Mapping[str, Tensor], name: str, padding: str = "zeros") -> nn.Conv2d:
    """Convolution holding `name`'s weight and bias, padded to keep the size."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    # Without memory at first: initialising takes time and draws from the random state that training is seeded with.
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2, device="meta")
    if weight.shape[2] > 1:
        layer.padding_mode = padding  # type: ignore[assignment]
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer


@torch.no_grad()
def thinned(head: nn.Conv2d) -> nn.Conv2d:
    """1x1 convolution from C to at most C + 1 channels whose outputs have the products of those of `head`, C to many.

    `head` is [W b] of [x; 1]. Of its QR decomposition Q only rotates, which no distance sees, so R is enough.
    """
    affine = torch.cat([head.weight.flatten(1), head.bias[:, None]], 1).double()  # type: ignore[index]
    r = torch.linalg.qr(affine, mode="r").R.float()
    state = {"thin.weight": r[:, :-1, None, None].contiguous(), "thin.bias": r[:, -1].contiguous()}
    return conv(state, "thin")


def imagenet_normalize() -> nn.Conv2d:
    """1x1 convolution from RGB in [0, 1] to ImageNet-normalised RGB."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return conv({"normalize.weight": torch.diag(1 / std)[:, :, None, None], "normalize.bias": -mean / std}, "normalize")


class LossNetwork(nn.Module):
    """Several VGGs as one: a layer is taken from the first of them that has it."""

    def __init__(self, networks: Sequence[VGG]) -> None:
        super().__init__()
        self.networks: Sequence[VGG] = nn.ModuleList(networks)  # type: ignore[assignment]

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """RGB (N, 3, H, W) in [0, 1] -> features by layer, each (N, C, H', W').

        Raises:
            ValueError: No network has one of the layers.

        """
        features: dict[str, Tensor] = {}
        for network in self.networks:
            here = [k for k in layers if k not in features and k in network.layers]
            features |= network(image, here)
        if missing := set(layers) - set(features):
            known = sorted({k for network in self.networks for k in network.layers})
            raise ValueError(
                f"layers {', '.join(sorted(missing))} are in no loss network; there are {', '.join(known)}"
            )
        return features
