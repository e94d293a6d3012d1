"""What training aims at: statistics of paintings in rows, mixtures of them, and whose turn it is."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from impasto.config import TrainConfig
from impasto.images import read_image
from impasto.photos import permutation
from impasto.statistics import gram
from impasto.targets import Targets, draw, scale_to, to_tensor

LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1:3")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two paintings and a loss network of two blocks."""
    folder = tmp_path_factory.mktemp("targets")
    for seed, name in enumerate(("a", "b")):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    generator, state, inputs = torch.Generator().manual_seed(0), {}, 3
    for name, outputs in (("1_1", 4), ("1_2", 4), ("2_1", 6)):
        state[f"conv{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * math.sqrt(
            2 / (9 * inputs)
        )
        state[f"conv{name}.bias"] = torch.zeros(outputs)
        inputs = outputs
    save_file(state, folder / "vgg.safetensors")
    return folder


def make(world: Path, **settings: Any) -> Targets:
    config = TrainConfig(
        tuple(world / f"{name}.png" for name in settings.pop("names", "ab")),
        photos=world,
        output=world / "x.onnx",
        loss_network=(str(world / "vgg.safetensors"),),
        **{"style_size": (48, 64)} | LAYERS | settings,
    )
    return Targets(config, torch.device("cpu"), torch.float32)


def picture(count: int = 1) -> Tensor:
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(2))


def test_a_row_for_each_painting_at_each_size(world: Path) -> None:
    targets = make(world)
    assert {k: v.shape for k, v in targets.grams.items()} == {"relu1_1": (4, 4, 4), "relu2_1": (4, 6, 6)}
    image = to_tensor(scale_to(read_image(world / "b.png"), 48))
    features = targets.loss_network(image, ["relu2_1"])["relu2_1"]
    torch.testing.assert_close(targets.grams["relu2_1"][2:3], gram(features))
    assert targets.tv[0] > targets.tv[1] > 0  # a smaller picture changes faster


def test_a_network_of_one_style_aims_at_the_mean_of_the_sizes(world: Path) -> None:
    many = make(world, names="a")
    one = make(world, names="a", architecture="TransformerNet")
    for layer, value in one.grams.items():
        torch.testing.assert_close(value, many.grams[layer].mean(0, keepdim=True))
    torch.testing.assert_close(one.tv, many.tv.mean(0, keepdim=True))


def test_the_painting_itself_has_no_style_loss_in_its_own_row(world: Path) -> None:
    targets = make(world)
    painting = to_tensor(scale_to(read_image(world / "b.png"), 64))
    for row in range(1, 5):
        rows = torch.eye(5)[row : row + 1]
        style = targets.losses(painting, painting, rows)["style"].item()
        assert style == pytest.approx(0, abs=1e-9) if row == 4 else style > 1e-3


def test_the_photo_itself_has_no_loss_in_row_0(world: Path) -> None:
    losses = make(world).losses(picture(2), picture(2), torch.eye(5)[[0, 0]])
    assert losses["content"].abs().max() == 0
    assert losses["style"].abs().max() < 1e-9
    torch.testing.assert_close(losses["tv"], torch.ones(2))


def test_statistics_to_reach_are_mixed_as_the_rows_are(world: Path) -> None:
    targets, photo, painted = make(world), picture(), picture(2)[1:]
    rows = torch.tensor([[0.5, 0.2, 0, 0, 0.3]])
    features, own = (targets.loss_network(x, ["relu1_1", "relu2_1"]) for x in (painted, photo))
    expected = 0.0
    for layer, weight in {"relu1_1": 0.25, "relu2_1": 0.75}.items():
        grams = targets.grams[layer]
        aim = 0.5 * gram(own[layer])[0] + 0.2 * grams[0] + 0.3 * grams[3]
        expected += weight * ((gram(features[layer])[0] - aim).square().sum() / aim.square().sum()).item()
    assert targets.losses(painted, photo, rows)["style"].item() == pytest.approx(expected, rel=1e-4)


def test_losses_are_one_number_a_photo(world: Path) -> None:
    targets, rows = make(world), torch.tensor([[0, 1.0, 0, 0, 0], [0.5, 0, 0, 0.5, 0]])
    painted = picture(3)[1:]
    both = targets.losses(painted, picture(2), rows)
    for i in range(2):
        one = targets.losses(painted[i : i + 1], picture(2)[i : i + 1], rows[i : i + 1])
        torch.testing.assert_close(both["style"][i : i + 1], one["style"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(both["tv"][i : i + 1], one["tv"], rtol=1e-4, atol=1e-6)
    assert both["content"].shape == (2,)


# ------------------------------------------------------------------------------------------------- whose turn it is


@settings(deadline=None)
@given(step=st.integers(0, 10**6), first=st.integers(0, 10**6), styles=st.integers(1, 20), sizes=st.integers(1, 4))
def test_weights_are_of_one_style_and_sum_to_one(step: int, first: int, styles: int, sizes: int) -> None:
    weights, chosen = draw(0, step, first, 8, styles, sizes)
    assert weights.shape == (8, 1 + styles * sizes)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    assert weights.min() >= 0
    per_style = weights[:, 1:].reshape(8, styles, sizes).sum(2)
    for shares, style in zip(per_style, chosen, strict=True):
        assert np.delete(shares, style).sum() == 0
    again, _ = draw(0, step, first, 8, styles, sizes)
    np.testing.assert_array_equal(weights, again)


def test_every_style_has_its_turn_before_one_comes_again() -> None:
    chosen = np.concatenate([draw(3, step, 5 * step, 5, 7, 3)[1] for step in range(70)])
    for turn in chosen[:350].reshape(50, 7):
        assert sorted(turn) == list(range(7))
    assert len({tuple(turn) for turn in chosen.reshape(50, 7)}) > 40


def test_as_many_photos_as_styles_meet_all_of_them() -> None:
    """The order of the photos is that of `Crops`."""
    styles = np.concatenate([draw(3, step, 8 * step, 8, 8, 3)[1] for step in range(100)])
    photos = np.concatenate([permutation(8, 3, epoch) for epoch in range(100)])
    assert len(set(zip(photos.tolist(), styles.tolist(), strict=True))) == 64


def test_most_photos_are_painted_whole_with_one_stroke_size_and_some_are_between() -> None:
    weights = np.concatenate([draw(0, step, 8 * step, 8, 1, 3)[0] for step in range(500)])
    whole = weights[:, 0] == 0
    assert 0.7 < whole.mean() < 0.8
    single = (weights[:, 1:] > 0).sum(1) == 1
    assert 0.7 < single.mean() < 0.8
    assert np.allclose(weights[whole & single, 1:].mean(0), 1 / 3, atol=0.05)
    assert np.quantile(weights[~whole, 0], [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)
    assert (weights[:, 1] * weights[:, 3] == 0).all()  # only neighbours are mixed


def test_seed_decides() -> None:
    assert not np.array_equal(draw(0, 5, 40, 8, 4, 3)[0], draw(1, 5, 40, 8, 4, 3)[0])
