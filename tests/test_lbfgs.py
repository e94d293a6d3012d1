"""L-BFGS: that it finds minima, fast, and can be interrupted."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from impasto.lbfgs import LBFGS

FREE = (-math.inf, math.inf)
PICTURES = """
import resource
import torch
from impasto.lbfgs import LBFGS

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.manual_seed(0)
warm = torch.rand(9).mul_(2).clamp_(0, 1).sum()
LBFGS(2).step(torch.rand(9), torch.rand(9))
before = peak()
x, aim, optimizer = torch.rand(12_000_000), torch.rand(12_000_000), LBFGS(history=3)
for _ in range(6):
    optimizer.step(x, x - aim)
print((peak() - before) / (4 * 12_000_000) - 1)  # less the aim
"""
"""Tells how many times its variables an optimiser of history 3 takes at most, with them and their gradient."""


def quadratic(size: int = 30) -> tuple[Tensor, Tensor]:
    """Positive matrix of condition 100, and a vector."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    matrix: Tensor = (basis * torch.logspace(0, 2, size, dtype=torch.float64)) @ basis.T
    return matrix, torch.randn(size, generator=generator, dtype=torch.float64)


def descend(optimizer: LBFGS, x: Tensor, steps: int) -> None:
    matrix, vector = quadratic(len(x))
    for _ in range(steps):
        optimizer.step(x, matrix @ x - vector)


def test_it_finds_the_minimum_of_an_ill_conditioned_quadratic() -> None:
    matrix, vector = quadratic()
    x = torch.zeros(30, dtype=torch.float64)
    descend(LBFGS(10, FREE), x, 120)
    expected = torch.linalg.solve(matrix, vector)
    assert (x - expected).norm() < 1e-3 * expected.norm()
    plain = torch.zeros(30, dtype=torch.float64)
    for _ in range(120):
        plain -= (matrix @ plain - vector) / 100
    assert (plain - expected).norm() > 0.05 * expected.norm()


def test_with_a_whole_history_its_direction_is_newtons() -> None:
    matrix, vector = quadratic(6)
    optimizer = LBFGS(10, FREE)
    generator = torch.Generator().manual_seed(1)
    for i in range(6):  # conjugate steps, of which a quadratic has as many as dimensions
        step = torch.randn(6, generator=generator, dtype=torch.float64)
        for other in optimizer.steps:
            step -= (other @ matrix @ step) / (other @ matrix @ other) * other
        optimizer.remember(step, matrix @ step)
        assert len(optimizer.steps) == i + 1
    torch.testing.assert_close(optimizer.direction(vector), -torch.linalg.solve(matrix, vector))


def test_its_history_is_no_longer_than_told() -> None:
    optimizer, x = LBFGS(3, FREE), torch.zeros(30, dtype=torch.float64)
    descend(optimizer, x, 10)
    assert len(optimizer.steps) == len(optimizer.changes) == 3


def test_a_way_up_is_not_taken() -> None:
    optimizer = LBFGS(10, FREE)
    optimizer.steps, optimizer.changes = [torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 0.0])]  # negative curvature
    x = torch.tensor([1.0, 0.0])
    optimizer.step(x, torch.tensor([2.0, 0.0]))
    assert x[0] < 1
    assert optimizer.steps == []


def test_state_is_all_that_it_is() -> None:
    one, x = LBFGS(5, FREE), torch.zeros(30, dtype=torch.float64)
    descend(one, x, 7)
    other, y = LBFGS(5, FREE), x.clone()
    other.load_state_dict(one.state_dict())
    descend(one, x, 5)
    descend(other, y, 5)
    assert torch.equal(x, y)


def test_bounds_are_kept_and_what_is_within_finds_its_minimum() -> None:
    matrix, vector = quadratic(12)
    optimizer, x = LBFGS(), torch.full((12,), 0.5, dtype=torch.float64)
    for _ in range(400):
        optimizer.step(x, matrix @ x - vector)
        assert 0 <= x.min() <= x.max() <= 1
    slope = matrix @ x - vector
    within = (x > 0) & (x < 1)
    assert 0 < within.sum() < 12
    assert slope[within].abs().max() < 1e-3
    assert (slope[x == 0] >= 0).all()
    assert (slope[x == 1] <= 0).all()


@pytest.mark.parametrize("count", [10, 1_000_000])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_neither_size_nor_scale_of_the_objective_changes_its_way(count: int, scale: float) -> None:
    x, target = torch.full((count,), 0.5), torch.linspace(0, 1, count)
    optimizer, losses = LBFGS(), list[float]()
    for _ in range(12):
        losses.append((x - target).square().mean().item())
        optimizer.step(x, scale * 2 * (x - target) / count)
    assert losses[1] < losses[0]
    assert losses[-1] < 1e-4 * losses[0]


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library, which gives large blocks back at once")
def test_it_holds_few_pictures_beside_its_history() -> None:
    """What `optimize.make_plan` counts on."""
    told = subprocess.run([sys.executable, "-c", PICTURES], capture_output=True, text=True, check=True).stdout
    assert float(told) < 2 * 3 + 7
