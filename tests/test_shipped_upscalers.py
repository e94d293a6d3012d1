"""The upscalers of the package, where it has them: small, sharper than interpolation, and without a grid."""

import numpy as np
import pytest
import torch

from impasto.images import Pixels, fit, read_image
from impasto.losses import distance
from impasto.networks.weights import load_loss_network
from impasto.styles import zoo
from impasto.targets import to_tensor
from impasto.train_upscaler import psnr, reduced
from impasto.upscale import bicubic, upscale
from impasto.upscalers import builtin_upscalers, load_upscaler

pytestmark = [
    pytest.mark.skipif(not builtin_upscalers(), reason="no upscaler is shipped"),
    pytest.mark.usefixtures("one_thread"),
]
NAMES = [*builtin_upscalers()]


def photo() -> Pixels:
    image = fit(read_image(zoo() / "sample.jpg"), 512)
    return image[: image.shape[0] // 8 * 8, : image.shape[1] // 8 * 8]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_says_how_it_was_made(name: str) -> None:
    upscaler = load_upscaler(name)
    assert len(upscaler.data) < (640_000 if name == "x8" else 600_000)
    assert f"x{upscaler.scale}" == name
    assert upscaler.spec.recipe["feature_weight"] > 0
    assert "/" not in upscaler.spec.to_json().replace("images/s", "")


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_features_are_nearer_to_the_photo_and_pixels_not_far(name: str) -> None:
    upscaler = load_upscaler(name)
    image = to_tensor(np.ascontiguousarray(photo()))
    blur = float(upscaler.spec.recipe["blur"])
    small = (
        (reduced(image, upscaler.scale, blur)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    )
    large = [to_tensor(np.array(p)) for p in (bicubic(small, upscaler.scale), upscale(small, upscaler=upscaler))]
    judge = load_loss_network("vgg19-compact")
    far = [
        distance(judge(p, ["relu2_1"])["relu2_1"], judge(image, ["relu2_1"])["relu2_1"], relative=False) for p in large
    ]
    assert far[1] < 0.8 * far[0]
    assert psnr(large[1], image) > psnr(large[0], image) - 1.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slope", [0.0, 0.7, 2.0])
def test_a_clear_sky_stays_clear(name: str, slope: float) -> None:
    rows = np.clip(60 + slope * np.arange(64), 0, 255).astype(np.uint8)
    sky = np.broadcast_to(rows[:, None, None], (64, 64, 3)) + np.array([0, 20, 60], np.uint8)
    scale = load_upscaler(name).scale
    large, plain = upscale(np.ascontiguousarray(sky), upscaler=name), bicubic(np.ascontiguousarray(sky), scale)
    inner = slice(14 * scale, -14 * scale)
    moved = large[inner, inner].astype(int) - plain[inner, inner]
    assert np.abs(moved).max() <= 3
    assert moved.reshape(-1, 3).std(0).max() < 1.0
