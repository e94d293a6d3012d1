"""Weights that some styles of a palette have of their own: what is added to those that all its styles share.

Twelve or sixteen styles share a small network well; one that asks more of it than the others is trained once more by
itself, and what that changes is kept (a task vector, Ilharco et al. 2023). Blends add shares of it.
"""

import torch
from torch import Tensor, nn

from impasto.networks.stylenet import StyleNet, tables

TINY = 1e-6
"""Keeps shares finite where nothing is painted."""


class OwnWeights(nn.Module):
    """Additions to the shared weights of a palette's network; `owners` (K - 1, A): which of them each row has."""

    def __init__(self, net: StyleNet, owners: Tensor) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.zeros(owners.shape[1], len(flat(net))), requires_grad=False)
        """All weights but those of the tables, one after another, (A, P)."""
        self.register_buffer("owners", owners, persistent=False)
        self.owners: Tensor

    def forward(self, net: StyleNet, rows: Tensor) -> dict[str, Tensor]:
        """Weights by name that the network has for weights (K,) of its rows."""
        painted = rows[1:]
        return self.with_shares(net, painted @ self.owners / painted.sum().clamp_min(TINY))

    def with_shares(self, net: StyleNet, shares: Tensor) -> dict[str, Tensor]:
        """Weights by name with shares (A,) of the additions."""
        added, start, made = shares @ self.added, 0, {}
        for name, value in shared(net).items():
            part = added[start : start + value.numel()].view_as(value)
            made[name] = value + part.to(value.dtype)
            start += value.numel()
        return made


def shared(net: StyleNet) -> dict[str, Tensor]:
    """Weights by name that all styles have, in order."""
    own = tables(net)
    return {name: value for name, value in net.named_parameters() if name not in own}


def flat(net: StyleNet) -> Tensor:
    """Shared weights one after another, (P,)."""
    return torch.cat([value.detach().flatten() for value in shared(net).values()])
