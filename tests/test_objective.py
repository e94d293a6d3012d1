"""The objective of optimisation: that tiles change nothing, and what its parts are."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import loss_network
from impasto.config import OptimizeConfig
from impasto.losses import style_distance, total_variation
from impasto.networks.vgg import LossNetwork
from impasto.networks.weights import load_loss_network
from impasto.objective import MARGIN, Objective, Target, area, crop, margin, moments_of, own, weights_of
from impasto.statistics import Moments, sums
from impasto.tiles import GRID, tiles

CONTENT = {"relu3_1": 1.0, "relu2_2": 0.5}
STYLE = {"relu1_1": 1.0, "relu2_1": 2.0, "relu4_1": 1.0}
WHOLE = 10_000


def image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LossNetwork:
    path = loss_network(tmp_path_factory.mktemp("weights") / "vgg.safetensors", "4_1", widths=(4, 6, 8, 8))
    return LossNetwork([load_loss_network(path)])


# ------------------------------------------------------------------------------------------------- tiles


@given(st.integers(1, 700), st.integers(1, 700), st.integers(32, 300), st.integers(0, 100))
def test_tiles_cover_a_picture_once_and_see_around_themselves(height: int, width: int, side: int, around: int) -> None:
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width, side, around):
        (top, bottom, left, right), (above, below, before, behind) = tile.core, tile.window
        covered[top:bottom, left:right] += 1
        assert above % GRID == before % GRID == top % GRID == left % GRID == 0
        assert top - above >= around or above == 0
        assert below - bottom >= around or below == height
        assert left - before >= around or before == 0
        assert behind - right >= around or behind == width
    assert (covered == 1).all()


@pytest.mark.parametrize("layer", ["relu5_1", "relu5_4"])
def test_deep_layers_see_no_end_of_their_tile(tmp_path: Path, layer: str) -> None:
    path = loss_network(tmp_path / "vgg.safetensors", "5_4", widths=(3, 3, 3, 3, 3))
    network = LossNetwork([load_loss_network(path)])
    whole = image(288, 288).requires_grad_()
    features = network(whole, [layer])[layer]
    (gradient,) = torch.autograd.grad(features[:, :, 8:10, 8:10].sum(), whole)  # pixels 128 to 160
    seen = gradient.abs().sum((0, 1)).nonzero()
    assert 128 - margin([layer]) <= seen.min()
    assert seen.max() < 160 + margin([layer])


def test_a_picture_that_fits_is_one_tile() -> None:
    (tile,) = tiles(300, 200, 300, 96)
    assert tile.core == tile.window == (0, 300, 0, 200)
    assert len(tiles(301, 200, 300, 96)) > 1


def test_windows_are_about_as_large_as_told() -> None:
    for tile in tiles(4096, 3072, 768, 96):
        above, below, before, behind = tile.window
        assert max(below - above, behind - before) <= 768 + GRID


@settings(max_examples=15, deadline=None)
@given(st.integers(250, 420), st.integers(250, 420))
def test_features_of_tiles_are_those_of_the_whole(height: int, width: int) -> None:
    path = Path("vgg.safetensors").absolute()
    network = LossNetwork([load_loss_network(loss_network(path, "4_1", widths=(2, 2, 2, 2)))])
    picture = image(height, width)
    whole = network(picture, STYLE)
    for tile in tiles(height, width, 256, MARGIN):
        features = network(crop(picture, tile), STYLE)
        for k in STYLE:
            rows, columns = tile.of(2 ** (int(k[4]) - 1))
            torch.testing.assert_close(own(features[k], tile, k), whole[k][:, :, rows, columns], atol=1e-5, rtol=1e-4)
    path.unlink()


# ------------------------------------------------------------------------------------------------- objective


def objective(network: LossNetwork, side: int, *, masks: bool = False, **settings: Any) -> Objective:
    config = OptimizeConfig(Path("photo"), ("painting",), output=Path("out.png"), tv_weight=0.3, **settings)
    dtype = torch.float32
    about: dict[str, Any] = {"side": WHOLE, "dtype": dtype}
    paintings = [image(150, 170, seed) ** (seed + 1) for seed in (1, 2)]
    where = [torch.linspace(0, 1, 330).expand(290, 330), None] if masks else [None, None]
    shown = torch.zeros(150, 170)
    shown[:, 60:] = 1
    about["mask"] = shown if masks else None
    targets = [
        Target(moments_of(network, painting, STYLE, config.style_loss, **about), weight, mask)
        for painting, weight, mask in zip(paintings, (0.7, 0.3), where, strict=True)
    ]
    return Objective(network, config, image(290, 330), targets, (CONTENT, STYLE), side=side, dtype=dtype)


@pytest.mark.parametrize("style_loss", ["gram", "moments", "wasserstein"])
@pytest.mark.parametrize("masks", [False, True])
def test_tiles_change_nothing(network: LossNetwork, style_loss: str, *, masks: bool) -> None:
    picture = image(290, 330, 5)
    whole, tiled = (objective(network, side, masks=masks, style_loss=style_loss) for side in (WHOLE, 256))
    assert (len(whole.tiles), len(tiled.tiles)) == (1, 30)
    (losses, gradient), (others, other) = whole(picture), tiled(picture)
    for name in ("total", "content", "style", "tv"):
        assert getattr(others, name) == pytest.approx(getattr(losses, name), rel=1e-4)
    assert (other - gradient).norm() < 1e-3 * gradient.norm()


@pytest.mark.parametrize("style_loss", ["gram", "moments", "wasserstein"])
def test_the_gradient_is_the_objectives(network: LossNetwork, style_loss: str) -> None:
    judge = objective(network, WHOLE, masks=True, style_loss=style_loss)
    picture = image(290, 330, 5)
    _, gradient = judge(picture)
    step = 0.2 * gradient / gradient.norm()
    rise = judge(picture + step)[0].total - judge(picture - step)[0].total
    assert 2 * (gradient * step).sum().item() == pytest.approx(rise, rel=0.03)


def test_a_last_tile_narrower_than_a_map_pixel_changes_nothing(network: LossNetwork) -> None:
    picture = image(290, 321, 2)
    whole, tiled = (
        moments_of(network, picture, STYLE, "gram", mask=None, side=side, dtype=torch.float32) for side in (WHOLE, 256)
    )
    for k in STYLE:
        torch.testing.assert_close(tiled[k].second, whole[k].second, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(tiled[k].mean, whole[k].mean, rtol=1e-3, atol=1e-5)


def test_parts_are_zero_where_they_should_be(network: LossNetwork) -> None:
    losses, _ = objective(network, WHOLE)(image(290, 330))
    assert losses.content == 0
    assert losses.tv == pytest.approx(1)
    assert losses.style > 0.01
    assert losses.total == pytest.approx(60 * losses.style + 0.3)
    painting = image(64, 64, 3)
    moments = moments_of(network, painting, STYLE, "gram", mask=None, side=WHOLE, dtype=torch.float32)
    config = OptimizeConfig(Path("photo"), ("painting",), output=Path("out.png"))
    layers = (CONTENT, STYLE)
    judge = Objective(network, config, image(64, 64), [Target(moments)], layers, side=WHOLE, dtype=torch.float32)
    assert judge(painting)[0].style < 1e-9


def test_a_painting_is_asked_for_where_its_mask_is_white(network: LossNetwork) -> None:
    mask = torch.zeros(128, 128)
    mask[:, 96:] = 1
    config = OptimizeConfig(Path("photo"), ("painting",), output=Path("out.png"), content_weight=0, tv_weight=0)
    moments = moments_of(network, image(64, 64, 3) ** 3, STYLE, "gram", mask=None, side=WHOLE, dtype=torch.float32)
    target = Target(moments, 1.0, mask)
    layers = (CONTENT, {"relu1_1": 1.0})
    judge = Objective(network, config, image(128, 128), [target], layers, side=WHOLE, dtype=torch.float32)
    _, gradient = judge(image(128, 128, 4))
    assert gradient[..., :94].abs().max() == 0
    assert gradient[..., 97:].abs().min() > 0


# ------------------------------------------------------------------------------------------------- statistics


def test_sums_are_the_definition() -> None:
    features, weights = image(4, 5).double(), torch.linspace(0, 1, 20, dtype=torch.float64).reshape(4, 5)
    flat = features[0].flatten(1)
    for given_, w in ((None, torch.ones(20)), (weights, weights.flatten())):
        first, second = sums(features, given_)
        torch.testing.assert_close(first, (flat * w).sum(1).float())
        torch.testing.assert_close(second, ((flat * w) @ flat.T).float())
        torch.testing.assert_close(sums(features, given_, cross=False)[1], second.diagonal())


def test_masks_of_layers_keep_their_area() -> None:
    mask = torch.zeros(64, 48)
    mask[:32] = 1
    weights = weights_of(mask, "relu3_1")
    assert weights is not None
    assert weights.shape == (16, 12)
    assert weights.sum() == area(image(64, 48), "relu3_1") / 2


def normal(mean: list[float], covariance: list[list[float]]) -> Moments:
    m, c = torch.tensor(mean), torch.tensor(covariance)
    return Moments(m, c + torch.outer(m, m))


def test_wasserstein_is_that_of_normal_distributions() -> None:
    one, other = normal([1.0, 0.0], [[4.0, 0.0], [0.0, 1.0]]), normal([0.0, 2.0], [[1.0, 0.0], [0.0, 9.0]])
    expected = 5 + (2 - 1) ** 2 + (1 - 3) ** 2  # of means, and of deviations where the axes are the same
    size = 4 + 10  # the target's own
    assert style_distance(one, other, "wasserstein").item() == pytest.approx(expected / size, rel=1e-3)
    turned = normal([0.0, 0.0], [[2.5, 1.5], [1.5, 2.5]])  # 4 and 1, turned by 45 degrees
    plain = normal([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
    root = torch.linalg.cholesky(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    common = torch.linalg.eigvals(root @ torch.tensor([[2.5, 1.5], [1.5, 2.5]]) @ root).real.sqrt().sum().item()
    assert style_distance(turned, plain, "wasserstein").item() == pytest.approx((10 - 2 * common) / 5, rel=1e-3)


@pytest.mark.parametrize("kind", ["gram", "moments", "wasserstein"])
def test_style_distances_are_relative_and_have_gradients_everywhere(kind: str) -> None:
    def of(features: Tensor) -> Moments:
        first, second = sums(features, cross=kind != "moments")
        return Moments(first / 63, second / 63)

    painting = image(7, 9)
    assert style_distance(of(painting), of(painting), kind).item() == pytest.approx(0, abs=1e-4)
    assert style_distance(of(0 * painting), of(painting), kind).item() == pytest.approx(1, abs=0.02)
    large, small = (style_distance(of(s * image(7, 9, 1)), of(s * painting), kind).item() for s in (30.0, 1.0))
    assert large == pytest.approx(small, rel=1e-2)
    for flat in (torch.zeros(1, 3, 7, 9), torch.full((1, 3, 7, 9), 0.3)):
        x = flat.requires_grad_()
        style_distance(of(x), of(painting), kind).backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert math.isfinite(x.grad.abs().max().item())


def test_total_variation_pulls_as_it_does_by_autograd(network: LossNetwork) -> None:
    made, picture = objective(network, WHOLE), image(290, 330, 2)
    pull = torch.zeros_like(picture)
    told = made.smooth(picture, pull)
    moved = picture.clone().requires_grad_()
    expected = (total_variation(moved) / made.tv).sum()
    torch.testing.assert_close(torch.tensor(told), expected.detach(), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(made.config.tv_weight * expected, moved)
    torch.testing.assert_close(pull, gradient)
