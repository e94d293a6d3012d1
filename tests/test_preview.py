"""What a painting will give: learnt for seconds, on one photo."""

import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.images import image_size
from impasto.preview import preview
from impasto.sheets import GAP, LABEL, STRENGTHS, STROKES


@pytest.fixture
def world(tmp_path: Path, noise: Callable[..., npt.NDArray[np.uint8]]) -> Path:
    """A painting, a photo, and a small loss network with all the layers."""
    for name, seed in (("painting", 1), ("photo", 2)):
        Image.fromarray(noise(9, 12, seed)).resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    state, inputs, generator = {}, 3, torch.Generator().manual_seed(0)
    for name in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1", "4_2", "4_3", "4_4", "5_1"):
        deviation = math.sqrt(2 / (9 * inputs))
        state[f"conv{name}.weight"] = torch.randn(4, inputs, 3, 3, generator=generator) * deviation
        state[f"conv{name}.bias"] = torch.zeros(4)
        inputs = 4
    save_file(state, tmp_path / "vgg.safetensors")
    return tmp_path


def returned(steps: Generator[Any, None, Any]) -> tuple[int, Any]:
    """How many steps there were, and what the generator returned."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return count, finished.value
        count += 1


def test_the_sheet_shows_strengths_against_strokes(world: Path, palette: Path) -> None:
    count, sheet = returned(
        preview(
            world / "painting.png",
            world / "photo.png",
            base=str(palette),
            seconds=2,
            side=80,
            loss_network=(str(world / "vgg.safetensors"),),
        )
    )
    assert count >= 1
    assert sheet.shape == (GAP + len(STROKES) * (60 + GAP + LABEL), GAP + len(STRENGTHS) * (80 + GAP), 3)
    weak, strong = sheet[GAP : GAP + 60, GAP : GAP + 80], sheet[GAP : GAP + 60, -80 - GAP : -GAP]
    assert np.abs(weak.astype(int) - strong).mean() > 3


def test_the_command_writes_it_beside_the_photo(world: Path, palette: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--base",
        str(palette),
        "--seconds",
        "1",
        "--side",
        "48",
        "--loss-network",
        str(world / "vgg.safetensors"),
    ]
    with pytest.raises(SystemExit) as caught:
        main(["preview", str(world / "painting.png"), str(world / "photo.png"), *options])
    assert caught.value.code == 0
    target = world / "photo-painting-preview.png"
    assert capsys.readouterr().out == f"{target}\n"
    assert image_size(target)[1] == GAP + len(STRENGTHS) * (48 + GAP)


def test_what_cannot_be_read_is_told(world: Path, palette: Path) -> None:
    with pytest.raises(ImpastoError, match=r"none\.png"):
        next(preview(world / "painting.png", world / "none.png", base=str(palette)))
    with pytest.raises(ImpastoError, match=r"none\.onnx"):
        next(preview(world / "painting.png", world / "photo.png", base="none.onnx"))


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": math.nan}, {"side": 3}], ids=str)
def test_what_is_out_of_range_is_told(world: Path, palette: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        next(preview(world / "painting.png", world / "photo.png", base=str(palette), **wrong))


def test_nothing_is_written_over(world: Path, palette: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(world / "photo.png")
    with pytest.raises(SystemExit) as caught:
        main(["preview", str(world / "painting.png"), photo, "-o", photo, "--base", str(palette)])
    assert caught.value.code == 2
    assert "one of the files that are read" in capsys.readouterr().err
    assert palette.exists()
