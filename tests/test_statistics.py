"""Statistics of features given to other features: their own are then the painting's."""

import numpy as np
import pytest
import torch
from torch import Tensor

from impasto.paintings import decompose
from impasto.statistics import (
    adain,
    coloring,
    mean_covariance,
    mean_deviation,
    newton_schulz,
    power,
    wct,
    whitening,
)


def features(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Maps whose channels depend on each other, of different sizes and means, with zeros as behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5
    mixed = torch.einsum("oc,nchw->nohw", mixing, torch.randn(shape, generator=generator))
    sizes = torch.rand(shape[1], generator=generator) * 3 + 0.05
    return scale * (torch.relu(mixed + 0.3) * sizes[:, None, None] + sizes[:, None, None])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_mean_and_deviation_of_known_features() -> None:
    mean, deviation = mean_deviation(torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]]))
    assert (mean.tolist(), deviation.tolist()) == ([[2.0, 2.0]], [[1.0, 0.0]])


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_after_adain_mean_and_deviation_are_the_paintings(scale: float) -> None:
    photo, painting = features(2, 24, 33, 40, seed=1), features(1, 24, 20, 17, seed=2, scale=scale)
    wanted = mean_deviation(painting)
    found = mean_deviation(adain(photo, *wanted))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.expand_as(one), rtol=1e-4, atol=1e-4 * scale)


def test_adain_of_ones_own_statistics_changes_nothing() -> None:
    photo = features(2, 5, 9, 7)
    torch.testing.assert_close(adain(photo, *mean_deviation(photo)), photo, rtol=1e-4, atol=1e-5)


def test_adain_of_a_flat_photo_is_the_paintings_mean() -> None:
    mean, deviation = mean_deviation(features(1, 4, 9, 9))
    painted = adain(torch.full((1, 4, 6, 6), 0.7), mean, deviation)
    torch.testing.assert_close(painted, mean[:, :, None, None].expand(1, 4, 6, 6), rtol=1e-3, atol=1e-3)


def test_a_flat_painting_flattens() -> None:
    flat = torch.full((1, 4, 5, 5), 0.5)
    assert mean_deviation(adain(features(1, 4, 8, 8), *mean_deviation(flat)))[1].max() < 1e-6
    mean, covariance = mean_covariance(flat)
    painted = wct(features(1, 4, 8, 8), mean, coloring(covariance))
    torch.testing.assert_close(painted, torch.full((1, 4, 8, 8), 0.5))


def test_covariance_is_the_definition() -> None:
    photo = features(1, 6, 11, 13)
    mean, covariance = mean_covariance(photo)
    flat = photo[0].flatten(1).double().numpy()
    np.testing.assert_allclose(mean[0], flat.mean(1), rtol=1e-5)
    np.testing.assert_allclose(covariance[0], np.cov(flat, bias=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("iterate", [False, True])
@pytest.mark.parametrize("channels", [3, 40, 128])
def test_after_wct_the_covariance_is_the_paintings(channels: int, iterate: bool) -> None:
    photo, painting = features(2, channels, 40, 36, seed=3), features(1, channels, 30, 31, seed=4)
    mean, covariance = mean_covariance(painting)
    found_mean, found = mean_covariance(wct(photo, mean, coloring(covariance), iterate=iterate))
    for one, other in zip(found, found_mean, strict=True):
        assert relative(one, covariance[0]) < 1e-3
        assert relative(other, mean[0]) < 1e-4


@pytest.mark.parametrize("channels", [3, 16, 128])
def test_the_iteration_agrees_with_the_decomposition(channels: int) -> None:
    _, covariance = mean_covariance(features(2, channels, 40, 36, seed=5))
    assert relative(whitening(covariance, iterate=True), whitening(covariance)) < 1e-3


def test_the_iteration_reaches_bad_conditions() -> None:
    vectors = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)).double()).Q
    matrix = (vectors * torch.logspace(-6, 1, 32).double()) @ vectors.T
    assert relative(newton_schulz(matrix[None], 40), power(matrix[None], -0.5)) < 1e-6
    assert relative(newton_schulz(matrix[None]), power(matrix[None], -0.5)) < 1e-2


@pytest.mark.parametrize("iterate", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5)])
def test_a_photo_of_fewer_places_than_channels_stays_finite(size: tuple[int, int], iterate: bool) -> None:
    mean, covariance = mean_covariance(features(1, 32, 20, 20))
    painted = wct(features(1, 32, *size, seed=7), mean, coloring(covariance), iterate=iterate)
    assert painted.isfinite().all()
    spread = covariance[0].diagonal().sqrt()
    assert ((painted[0] - mean[0, :, None, None]).abs() < 50 * spread[:, None, None] + 1e-3).all()


@pytest.mark.parametrize("iterate", [False, True])
def test_a_flat_photo_becomes_the_paintings_mean(iterate: bool) -> None:
    mean, covariance = mean_covariance(features(1, 8, 20, 20))
    painted = wct(torch.zeros(1, 8, 6, 6), mean, coloring(covariance), iterate=iterate)
    torch.testing.assert_close(painted, mean[:, :, None, None].expand(1, 8, 6, 6))


def test_dead_channels_do_not_spoil_the_others() -> None:
    photo, painting = features(1, 12, 30, 30, seed=1), features(1, 12, 30, 30, seed=2)
    photo[:, 3] = 0
    mean, covariance = mean_covariance(painting)
    _, found = mean_covariance(wct(photo, mean, coloring(covariance)))
    _, without = mean_covariance(painting)
    assert relative(found[0], without[0]) < 0.5
    assert found.isfinite().all()


def test_a_coloring_of_any_rank_gives_the_covariance() -> None:
    thin = features(1, 10, 2, 3)  # six places, so rank five at most
    _, covariance = mean_covariance(thin)
    root = coloring(covariance)
    assert relative(root @ root.mT, covariance) < 1e-5


def test_numpy_decomposes_as_pytorch_does() -> None:
    _, covariance = mean_covariance(features(1, 12, 9, 8))
    deviation, root = decompose(covariance[0].double().numpy())
    np.testing.assert_allclose(deviation, covariance[0].diagonal().sqrt(), rtol=1e-6)
    np.testing.assert_allclose(root, coloring(covariance)[0], rtol=1e-3, atol=1e-5)
