"""Limited-memory BFGS (Liu & Nocedal 1989) on one tensor, at one evaluation an iteration."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

CURVATURE = 1e-6
"""Cosine of a step and its change of gradient below which they tell nothing of the curvature."""
TINY = 1e-30


class LBFGS:
    """Quasi-Newton steps of full length, without a line search, as style transfer has always used.

    PyTorch's own evaluates again within a step, and keeps as much as it likes; this one is told a gradient and moves,
    within `bounds`: what is at one and would go beyond is held there, and the rest moves as if it were a constant.
    While nothing is known of the curvature it moves by `first` on average. So neither the objective's scale nor the
    number of values changes its way.
    """

    def __init__(self, history: int = 10, bounds: tuple[float, float] = (0.0, 1.0), first: float = 1 / 255) -> None:
        self.history, self.bounds, self.first = history, bounds, first
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def step(self, x: Tensor, gradient: Tensor) -> None:
        """Move `x` in place, given the gradient there, which is kept; beside it few pictures are held at a time."""
        if self.last is not None:
            step, before = self.last
            self.last = None
            self.remember(step, before.neg_().add_(gradient))
            del step, before
        low, high = self.bounds
        free = ((x > low) | (gradient < 0)) & ((x < high) | (gradient > 0))
        inside = gradient * free
        direction = self.direction(inside).mul_(free)
        if (direction * inside).sum() >= 0:  # no way down: forget what misled
            self.steps, self.changes = [], []
            direction = -inside
        if not self.steps:
            direction.mul_(self.first / max(inside.abs().mean().item(), TINY))
        del inside, free
        moved = direction.add_(x).clamp_(low, high)
        self.last = moved - x, gradient
        x.copy_(moved)

    def remember(self, step: Tensor, change: Tensor) -> None:
        """Keep a step and the change of the gradient over it, if they tell of a curvature."""
        square = change.square().sum()  # 0 where the gradient is too small for the type of its numbers
        if square > TINY and (step * change).sum() > CURVATURE * step.norm() * square.sqrt():
            self.steps, self.changes = [*self.steps, step][-self.history :], [*self.changes, change][-self.history :]

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian, as far as it is known, times the gradient: the two-loop recursion."""
        q = -gradient
        pairs = [(step, change, (step * change).sum()) for step, change in zip(self.steps, self.changes, strict=True)]
        shares = []
        for step, change, product in reversed(pairs):
            share = (step * q).sum() / product
            q.sub_(share * change)
            shares.append(share)
        if pairs:
            _, change, product = pairs[-1]
            q.mul_(product / change.square().sum())
        for (step, change, product), share in zip(pairs, reversed(shares), strict=True):
            q.add_((share - (change * q).sum() / product) * step)
        return q

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers."""
        return {"steps": self.steps, "changes": self.changes, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what another did."""
        self.steps, self.changes = list(state["steps"]), list(state["changes"])
        last = state["last"]
        self.last = (last[0].clone(), last[1].clone()) if last is not None else None  # which the next step writes over
