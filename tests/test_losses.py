"""Losses against their closed forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from impasto.losses import OWN, content_loss, style_loss, total_variation
from impasto.statistics import gram

ONE = {"a": 1.0}


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_gram_of_known_features() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # F = [[1, 2], [3, 4]], two positions
    assert gram(features).tolist() == [[[2.5, 5.5], [5.5, 12.5]]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_is_the_definition_in_any_layout(layout: torch.memory_format) -> None:
    features = maps(2, 5, 7, 3).to(memory_format=layout)
    f = features.reshape(2, 5, 21).double()
    torch.testing.assert_close(gram(features).double(), f @ f.transpose(1, 2) / 21)


def test_gram_does_not_depend_on_the_size_of_the_map() -> None:
    features = maps(1, 4, 6, 5)
    torch.testing.assert_close(gram(features.repeat(1, 1, 3, 2)), gram(features))


def test_gram_is_of_each_image_alone() -> None:
    features = maps(3, 4, 6, 5)
    torch.testing.assert_close(gram(features)[1:2], gram(features[1:2]))


def test_content_loss_is_zero_at_the_photo_and_one_for_nothing() -> None:
    target = maps(1, 4, 5, 6)
    assert content_loss({"a": target}, {"a": target}, ONE).item() == 0
    assert content_loss({"a": torch.zeros_like(target)}, {"a": target}, ONE).item() == pytest.approx(1)


def test_content_loss_is_relative_to_a_photo_and_its_batch() -> None:
    """So that an almost empty photo neither outweighs the others nor counts for nothing."""
    target = torch.cat([maps(1, 4, 5, 6), 1e-2 * maps(1, 4, 5, 6)])
    squares = target.square().sum((1, 2, 3))
    same = content_loss({"a": torch.zeros_like(target)}, {"a": target}, ONE)  # of what is painted black
    torch.testing.assert_close(same, (squares / squares.mean()) ** (1 - OWN))
    grey = target + 0.1 * target[:1].std()  # the same fault on both
    lively, empty = content_loss({"a": grey}, {"a": target}, ONE)
    torch.testing.assert_close(empty / lively, (squares[0] / squares[1]) ** OWN, rtol=1e-3, atol=0)
    assert 2 < empty / lively < squares[0] / squares[1] / 2  # relative to neither alone


def test_style_loss_is_zero_at_the_painting_and_one_for_nothing() -> None:
    features = maps(2, 4, 5, 6)
    assert style_loss({"a": features}, {"a": gram(features)}, ONE).tolist() == [0, 0]
    zeros = torch.zeros_like(features)
    assert style_loss({"a": zeros}, {"a": gram(features)}, ONE).tolist() == pytest.approx([1, 1])


def test_style_target_of_one_painting_serves_a_batch() -> None:
    features, target = maps(3, 4, 5, 6), gram(maps(1, 4, 9, 9, seed=1))
    losses = style_loss({"a": features}, {"a": target}, ONE)
    assert losses.shape == (3,)
    for i in range(3):
        torch.testing.assert_close(losses[i : i + 1], style_loss({"a": features[i : i + 1]}, {"a": target}, ONE))


@settings(deadline=None)  # the first call takes PyTorch's time
@given(st.floats(1e-2, 1e2))
def test_relative_losses_do_not_know_the_scale_of_a_layer(scale: float) -> None:
    x, y = maps(2, 4, 5, 6), maps(2, 4, 5, 6, seed=1)
    torch.testing.assert_close(
        content_loss({"a": scale * x}, {"a": scale * y}, ONE), content_loss({"a": x}, {"a": y}, ONE), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        style_loss({"a": scale * x}, {"a": gram(scale * y)}, ONE),
        style_loss({"a": x}, {"a": gram(y)}, ONE),
        rtol=1e-4,
        atol=0,
    )


def test_absolute_content_is_johnsons() -> None:
    x, y = maps(2, 4, 5, 6), maps(2, 4, 5, 6, seed=1)
    pairs = [zip(x[i].flatten().tolist(), y[i].flatten().tolist(), strict=True) for i in (0, 1)]
    expected = [sum((a - b) ** 2 for a, b in pair) / (4 * 5 * 6) for pair in pairs]
    assert content_loss({"a": x}, {"a": y}, ONE, relative=False).tolist() == pytest.approx(expected, rel=1e-5)


def test_absolute_style_is_johnsons() -> None:
    """Squared Frobenius norm of the difference of G = F F^T / (C H W)."""
    x, y = maps(1, 4, 5, 6), maps(1, 4, 7, 3, seed=1)
    f, g = x.reshape(4, 30), y.reshape(4, 21)
    expected = (f @ f.T / (4 * 30) - g @ g.T / (4 * 21)).square().sum()
    assert style_loss({"a": x}, {"a": gram(y)}, ONE, relative=False).item() == pytest.approx(expected.item(), rel=1e-5)


def test_layers_are_averaged_by_their_weights() -> None:
    x, y = (
        {"a": maps(2, 4, 5, 6), "b": maps(2, 3, 2, 2)},
        {"a": maps(2, 4, 5, 6, seed=1), "b": maps(2, 3, 2, 2, seed=1)},
    )
    a = content_loss(x, y, {"a": 2.0})
    b = content_loss(x, y, {"b": 0.1})
    both = content_loss(x, y, {"a": 3.0, "b": 1.0})
    torch.testing.assert_close(both, 0.75 * a + 0.25 * b)
    grams = {k: gram(v) for k, v in y.items()}
    a = style_loss(x, grams, {"a": 1.0})
    b = style_loss(x, grams, {"b": 1.0})
    torch.testing.assert_close(style_loss(x, grams, {"a": 1.0, "b": 3.0}), 0.25 * a + 0.75 * b)


def test_layer_without_a_weight_is_not_looked_at() -> None:
    x = maps(1, 2, 3, 3)
    assert content_loss({"a": x, "b": x}, {"a": x}, ONE).item() == 0


def test_total_variation_of_flat_images_and_ramps() -> None:
    assert total_variation(torch.full((2, 3, 5, 4), 0.3)).tolist() == [0, 0]
    down = torch.arange(5.0)[None, None, :, None].expand(1, 3, 5, 4)
    assert total_variation(0.1 * down).item() == pytest.approx(0.01)
    assert total_variation(0.2 * down.transpose(2, 3)).item() == pytest.approx(0.04)
    assert total_variation(0.1 * down + 0.2 * torch.arange(4.0)).item() == pytest.approx(0.05)


def test_total_variation_of_a_chessboard_is_the_largest_there_is() -> None:
    board = ((torch.arange(6)[:, None] + torch.arange(8)) % 2).float()
    assert total_variation(board.expand(1, 3, 6, 8)).item() == 2


def test_black_targets_leave_losses_and_gradients_finite() -> None:
    x = maps(1, 4, 5, 6).requires_grad_()
    black = torch.zeros(1, 4, 5, 6)
    loss = content_loss({"a": x}, {"a": black}, ONE) + style_loss({"a": x}, {"a": gram(black)}, ONE)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert content_loss({"a": black}, {"a": black}, ONE).item() == 0


@pytest.mark.parametrize("relative", [True, False])
def test_half_precision_features_are_summed_in_full(relative: bool) -> None:
    """Sums of thousands of squares would stop growing in bfloat16."""
    x, y = maps(1, 8, 64, 64), maps(1, 8, 64, 64, seed=1)
    half = content_loss({"a": x.bfloat16()}, {"a": y.bfloat16()}, ONE, relative=relative)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, content_loss({"a": x}, {"a": y}, ONE, relative=relative), rtol=0.01, atol=0)
    variation = total_variation(x.bfloat16())
    assert variation.dtype == torch.float32
    torch.testing.assert_close(variation, total_variation(x), rtol=0.01, atol=0)


@pytest.mark.parametrize("kind", ["content", "style", "tv"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    x, y = maps(1, 2, 3, 3).requires_grad_(), maps(1, 2, 3, 3, seed=1)
    losses = {
        "content": lambda z: content_loss({"a": z}, {"a": y}, ONE),
        "style": lambda z: style_loss({"a": z}, {"a": gram(y)}, ONE),
        "tv": total_variation,
    }
    (grad,) = torch.autograd.grad(losses[kind](x).sum(), x)
    step = 0.01 * grad / grad.norm()
    with torch.no_grad():
        slope = float(losses[kind](x + step) - losses[kind](x - step)) / 0.02
    assert slope == pytest.approx(float(grad.norm()), rel=1e-3)


def test_absolute_layers_are_summed_and_relative_ones_averaged() -> None:
    features = {k: torch.rand(2, 3, 4, 5) for k in "ab"}
    targets = {k: torch.rand(2, 3, 4, 5) for k in "ab"}
    weights = {"a": 2.0, "b": 6.0}
    for relative, divisor in ((False, 1.0), (True, 8.0)):
        a, b = (content_loss(features, targets, {k: 1.0}, relative=relative) for k in "ab")
        both = content_loss(features, targets, weights, relative=relative)
        torch.testing.assert_close(both, (2 * a + 6 * b) / divisor)
