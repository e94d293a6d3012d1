"""Muon: updates that move all directions alike, for the weights that it is meant for."""

import pytest
import torch
from torch import Tensor, nn

from impasto.config import TransformerArgs
from impasto.muon import ROWS, SHARE, Muon, optimizers, orthogonal, set_rate
from impasto.networks.stylenet import StyleNet, tables
from impasto.networks.transformer import TransformerNet


def low_rank(rows: int, columns: int) -> Tensor:
    """Matrix whose singular values fall from 1 to a hundredth."""
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(rows, min(rows, columns), generator=generator))
    v, _ = torch.linalg.qr(torch.randn(columns, min(rows, columns), generator=generator))
    matrix: Tensor = (u * torch.logspace(0, -2, min(rows, columns))) @ v.T
    return matrix


@pytest.mark.parametrize(("rows", "columns"), [(8, 40), (40, 8), (16, 16), (1, 9)])
def test_singular_values_come_close_to_one_in_the_same_directions(rows: int, columns: int) -> None:
    matrix = low_rank(rows, columns)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix[None])[0]
    assert made.shape == matrix.shape
    values = torch.einsum("or,oi,ri->r", u, made, v)
    assert values.min() > 0.3
    assert values.max() < 1.3
    torch.testing.assert_close(torch.linalg.svdvals(made), values.sort(descending=True).values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 3, 9, 9), (64, 16, 3, 3), (64, 2, 3, 3)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_update_is_as_large_as_the_learning_rate_says_whatever_the_gradient(
    shape: tuple[int, ...], scale: float
) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], 0.01).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.01 * SHARE, rel=0.25)
    assert (weight * weight.grad).sum() < 0


def test_weights_of_one_shape_do_not_move_each_other() -> None:
    gradients = (
        torch.randn(3, 8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1, 1e-3, 1e3])[:, None, None, None, None]
    )
    together, alone = ([nn.Parameter(torch.zeros(8, 2, 3, 3)) for _ in range(3)] for _ in range(2))
    optimizer, single = Muon(together, 0.01), [Muon([weight], 0.01) for weight in alone]
    for _ in range(2):
        for weights in (together, alone):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
        for each in (optimizer, *single):
            each.step()
    torch.testing.assert_close([*together], [*alone], rtol=1e-4, atol=1e-7)


def test_it_remembers_where_it_went() -> None:
    weight = nn.Parameter(torch.zeros(4, 1, 2, 2))
    optimizer = Muon([weight], 0.1)
    weight.grad = torch.eye(4).view_as(weight)
    for _ in range(5):
        optimizer.step()
    before = weight.detach().clone()
    weight.grad = 1e-3 * -torch.eye(4).view_as(weight)
    optimizer.step()
    assert (weight - before).flatten(1).diagonal().max() < 0  # on, against the little gradient


def test_weights_without_a_gradient_stay() -> None:
    weight = nn.Parameter(torch.ones(2, 2, 3, 3))
    Muon([weight], 1.0).step()
    assert torch.equal(weight, torch.ones(2, 2, 3, 3))


def test_convolutions_of_single_channels_are_adams() -> None:
    net = StyleNet(widths=(4, 6), blocks=1, separable=True, rows=3)
    muon = optimizers(net, 0.1, "muon")[0]
    assert all(p.shape[1] > 1 for group in muon.param_groups for p in group["params"])


def test_rows_have_a_learning_rate_of_their_own() -> None:
    net = StyleNet(widths=(4, 6), blocks=1, rows=3)
    made = optimizers(net, 0.1, "muon")
    assert [type(optimizer) for optimizer in made] == [Muon, torch.optim.Adam, torch.optim.Adam]
    assert [optimizer.param_groups[0]["lr"] for optimizer in made] == [0.1, 0.1, 0.1 * ROWS]
    for optimizer in made:
        set_rate(optimizer, 0.02)
    rates = {p: group["lr"] for optimizer in made for group in optimizer.param_groups for p in group["params"]}
    assert {rates[p] for p in tables(net).values()} == {0.02 * ROWS}
    assert {rates[p] for p in set(net.parameters()) - set(tables(net).values())} == {0.02}
    for p in net.parameters():
        p.requires_grad_(p.shape[0] == 2)  # rows of new styles on a base
    assert [type(optimizer) for optimizer in optimizers(net, 0.1, "muon")] == [torch.optim.Adam]


def test_convolutions_before_a_normalisation_are_its_own_and_the_rest_are_adams() -> None:
    net = TransformerNet(TransformerArgs(width=2, blocks=1))
    muon, adam = optimizers(net, 0.1, "muon")
    inner = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adam.param_groups for p in group["params"]}
    assert inner == {id(p) for name, p in net.named_parameters() if p.ndim == 4 and name != "output.weight"}
    assert inner | rest == {id(p) for p in net.parameters()}
    assert not inner & rest
    (alone,) = optimizers(net, 0.1, "adam")
    assert isinstance(alone, torch.optim.Adam)
    assert len(alone.param_groups[0]["params"]) == len(list(net.parameters()))
