"""Decoders: sizes, borders, no checkerboard, and the same at inference."""

import pytest
import torch

from impasto.networks.autoencoder import DECODERS, WIDTHS, Decoder, encoder
from impasto.networks.rewrite import for_inference

LAYERS = [f"relu{level}_1" for level in DECODERS]


def decoder(level: int) -> Decoder:
    torch.manual_seed(level)
    return Decoder(level).eval().requires_grad_(False)


def test_the_encoder_has_its_own_narrow_features() -> None:
    features = encoder()(torch.rand(1, 3, 64, 48), LAYERS)
    assert [features[layer].shape[1] for layer in LAYERS] == [*WIDTHS]
    assert all((features[layer] >= 0).all() for layer in LAYERS)


def test_a_shallow_encoder_is_the_beginning_of_the_deep_one() -> None:
    image = torch.rand(1, 3, 32, 48)
    shallow = encoder(3)
    assert torch.equal(shallow(image, ["relu3_1"])["relu3_1"], encoder()(image, ["relu3_1"])["relu3_1"])
    assert not any(name.startswith(("conv3_2", "conv4")) for name, _ in shallow.named_parameters())


@pytest.mark.parametrize("level", [*DECODERS])
@pytest.mark.parametrize("size", [(2, 2), (3, 7)])
def test_a_decoder_gives_the_size_that_was_encoded(level: int, size: tuple[int, int]) -> None:
    image = decoder(level)(torch.rand(2, WIDTHS[level - 1], *size))
    assert image.shape == (2, 3, *(side * 2 ** (level - 1) for side in size))


@pytest.mark.parametrize("level", [*DECODERS])
def test_even_features_give_an_even_picture(level: int) -> None:
    """To the border and without a checkerboard, whatever the weights."""
    features = torch.rand(1, WIDTHS[level - 1], 1, 1).expand(-1, -1, 4, 5)
    image = decoder(level).double()(features.double())
    assert (image - image[:, :, :1, :1]).abs().max() < 1e-12
    assert image.std() > 0  # of the three colours


@pytest.mark.parametrize("level", [*DECODERS])
def test_inference_computes_the_same(level: int) -> None:
    net = decoder(level).double()
    features = torch.rand(1, WIDTHS[level - 1], 4, 6, dtype=torch.float64)
    torch.testing.assert_close(for_inference(net)(features), net(features), rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", [1, 2])
def test_a_decoder_learns_to_undo_the_encoder(level: int) -> None:
    eyes, layer = encoder(), f"relu{level}_1"
    net = Decoder(level)
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(4, 3, 6, 6), (32, 32), mode="bicubic").clamp(0, 1)
    features = eyes(picture, [layer])[layer]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        error = (net(features) - picture).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]


def test_all_networks_together_are_small() -> None:
    """The encoder is in the files of the statistics, of AdaIN and of WCT; two bytes a weight."""
    weights = [sum(w.numel() for w in decoder(level).parameters()) for level in (4, *DECODERS)]
    assert 2 * (sum(weights) + 3 * sum(w.numel() for w in encoder().parameters())) < 8e6
