"""The optimisers of training: Muon (Jordan et al. 2024) for the convolutions, Adam for all else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from impasto.networks.stylenet import StyleNet, tables

SHARE = 0.3
"""Root mean square of a convolution's update over the learning rate: Adam's is between this and 1."""
ROWS = 4.0
"""Learning rate of a palette's rows over the others': a row is in few photos' losses."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients that take singular values from 0.01 up close to 1 in five iterations (Jordan et al. 2024)."""


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal, so that an update moves all directions of a convolution's weights alike.

    The gradient of a convolution that a normalisation follows is close to low rank, and Adam, which scales each weight
    alone, follows its few large directions back and forth. Weights are (O, I, K, K), seen as matrices (O, I K K); the
    update's root mean square is `SHARE` of the learning rate whatever their shape.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, *, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients."""
        if closure is not None:
            raise ValueError("closure is not None; Muon evaluates a loss once a step")
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}  # which are updated together: large products take less time
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                led = [self.led(weight, group["momentum"]) for weight in weights]
                updates = orthogonal(torch.stack(led).flatten(2))
                size = SHARE * max(updates[0].shape) ** 0.5  # an orthogonal matrix' mean square is 1 / its longer side
                for weight, update in zip(weights, updates, strict=True):
                    weight.add_(update.view_as(weight), alpha=-group["lr"] * size)

    def led(self, weight: Tensor, momentum: float) -> Tensor:
        """A weight's gradient with the average of those before, as Nesterov's."""
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        gradient: Tensor = weight.grad  # type: ignore[assignment]  # of a weight that has one
        return gradient.lerp(state["momentum"].lerp_(gradient, 1 - momentum), momentum)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """U V^T, roughly, of matrices U S V^T (N, H, W), by Newton and Schulz: singular values come to 0.7 to 1.2."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def optimizers(net: nn.Module, lr: float, kind: str) -> list[torch.optim.Optimizer]:
    """For ``muon``: Muon for the convolutions of `net` that mix channels before a normalisation, and Adam for the rest.

    `output` has no normalisation behind it. Weights that are not to be trained have no optimiser. `set_rate` sets the
    learning rate.
    """
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    rows = tables(net).keys() & trained.keys() if isinstance(net, StyleNet) else set()
    inner = {name for name, p in trained.items() if kind == "muon" and mixes(p) and "output" not in name.split(".")}
    kinds = ((Muon, inner, 1.0), (torch.optim.Adam, trained.keys() - inner - rows, 1.0), (torch.optim.Adam, rows, ROWS))
    made: list[torch.optim.Optimizer] = []
    for optimizer, names, factor in kinds:
        if weights := [p for name, p in trained.items() if name in names]:
            made.append(optimizer(weights, lr))
            made[-1].param_groups[0]["factor"] = factor
            set_rate(made[-1], lr)
    return made


def mixes(weight: Tensor) -> bool:
    """Whether it is that of a convolution that mixes channels."""
    return weight.ndim == 4 and weight.shape[1] > 1


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, each group's its own share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
