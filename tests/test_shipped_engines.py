"""The engines of the package, where it has them: their size, and that they paint as the painting is."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from impasto import large, load_style, stylize
from impasto.images import fit, read_image
from impasto.large import Limit, make_plan
from impasto.paintings import available, engines_folder
from impasto.styles import zoo
from test_large import WHOLE, decibels, scene

pytestmark = pytest.mark.skipif(not available(), reason="no engine is shipped")


def painting(folder: Path, colors: tuple[tuple[int, int, int], ...]) -> Path:
    """A picture of patches of a few colours, rough as paint."""
    rng = np.random.default_rng(0)
    patches = np.kron(np.array(colors)[rng.integers(0, len(colors), (24, 32))], np.ones((12, 12, 1)))
    rough = np.clip(patches + rng.normal(0, 12, patches.shape), 0, 255).astype(np.uint8)
    path = folder / f"{len(colors)}-{colors[0][0]}.png"
    Image.fromarray(rough).save(path)
    return path


def test_encoders_and_decoders_are_small() -> None:
    files = [*engines_folder().glob("*.onnx")]
    assert {file.stem for file in files} == {"painting", *available()}
    assert sum(file.stat().st_size for file in files) < 8_000_000


def test_the_encoder_is_in_the_package_once() -> None:
    """What the network of the statistics has of an engine's kernels, the engine has not."""
    kernels = {stored.raw_data for stored in kernels_of(engines_folder() / "painting.onnx")}
    assert len(kernels) == 14  # of its convolutions, and of the normalisation before them
    for name in available():
        own = {stored.raw_data for stored in kernels_of(engines_folder() / f"{name}.onnx")}
        assert own
        assert not own & kernels


def kernels_of(file: Path) -> list[onnx.TensorProto]:
    return [tensor for tensor in onnx.load(file).graph.initializer if len(tensor.dims) == 4]


@pytest.mark.parametrize("engine", available())
def test_a_painting_gives_its_colours(engine: str, tmp_path: Path) -> None:
    photo = fit(read_image(zoo() / "sample.jpg"), 256)
    warm = painting(tmp_path, ((220, 120, 30), (180, 40, 20), (240, 200, 90)))
    cold = painting(tmp_path, ((20, 60, 160), (60, 140, 200), (10, 20, 60)))
    reds, distances = [], []
    for path in (warm, cold):
        target = read_image(path).reshape(-1, 3).mean(0)
        painted = [stylize(photo, load_style(path, engine=engine), strength=s).reshape(-1, 3) for s in (0.5, 1.0)]
        distances.append([np.abs(p.mean(0) - target).mean() for p in (photo.reshape(-1, 3), *painted)])
        reds.append(float(painted[1][:, 0].mean() - painted[1][:, 2].mean()))
    before, half, full = np.mean(distances, 0)  # AdaIN overshoots some paintings' colours
    assert full < half < before
    assert full < 0.5 * before
    assert reds[0] > reds[1] + 50


@pytest.mark.parametrize("engine", available())
def test_little_strength_keeps_the_photo(engine: str, tmp_path: Path) -> None:
    photo = fit(read_image(zoo() / "sample.jpg"), 256)
    style = load_style(painting(tmp_path, ((220, 120, 30), (20, 60, 160))), engine=engine)
    assert np.abs(stylize(photo, style, strength=0.02).astype(float) - photo).mean() < 4


@pytest.mark.parametrize("engine", available())
@pytest.mark.parametrize(("precision", "near"), [("float32", 65), ("auto", 40)])
def test_tiles_are_the_whole(engine: str, precision: str, near: float, tmp_path: Path) -> None:
    """In the arithmetic that the engine needs: WCT's whitening, of the whole picture too, asks for float32."""
    style, photo = load_style(painting(tmp_path, ((220, 120, 30), (20, 60, 160))), engine=engine), scene(293, 330)
    whole, tiled = (stylize(photo, style, tile=tile, precision=precision) for tile in (WHOLE, 1))
    assert whole.std() > 5
    assert decibels(whole, tiled) > near


@pytest.mark.parametrize("engine", available())
def test_larger_photos_are_measured_whole(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample gives 16 to 35 dB; it is only where measuring begins."""
    style = load_style(painting(tmp_path, ((220, 120, 30), (20, 60, 160))), engine=engine)
    photo = scene(400, 1000)
    monkeypatch.setattr(large, "ROUGH", 300_000)
    plan = make_plan((400, 1000), (400, 1000), style, style.runtime("cpu", "float32"), Limit(tile=1))
    assert plan.rounds == (5 if engine == "wct" else 1)
    assert plan.tiles > 1
    whole, tiled = (stylize(photo, style, tile=tile, precision="float32") for tile in (WHOLE, 1))
    assert decibels(whole, tiled) > 60
