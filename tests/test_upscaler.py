"""The network that enlarges, and its training: that it learns, and survives whatever happens to it."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from conftest import loss_network, picture
from impasto import upscale
from impasto.errors import StyleError, TrainingError
from impasto.export import export_upscaler, load_network, load_upscaler_network
from impasto.files import TEMPORARY
from impasto.images import Pixels, from_network, to_network
from impasto.journal import UpscalerStep
from impasto.networks.upscaler import UpscalerNet, bicubic_weight, repeated
from impasto.runtimes import OpenVINORuntime
from impasto.targets import to_tensor
from impasto.train_upscaler import UpscalerRun, bicubic, psnr, reduced, reduction, train_upscaler
from impasto.upscaler_config import SCALES, UpscalerArgs, UpscalerConfig
from impasto.upscalers import UPSCALER_KEY, UpscalerSpec, load_upscaler

pytestmark = pytest.mark.usefixtures("one_thread")
module = sys.modules["impasto.train_upscaler"]
State = dict[str, Tensor]
SHAPE: dict[str, Any] = {"width": 6, "blocks": 1}


def random_net(scale: int = 4, seed: int = 0) -> UpscalerNet:
    """A small network all of whose weights are random, its output layer's too."""
    torch.manual_seed(seed)
    net = UpscalerNet(scale=scale, **SHAPE).eval().requires_grad_(False)
    net.output.features.weight.normal_(0, 0.05)
    return net


def photo(height: int, width: int, seed: int = 0) -> Pixels:
    """Blobs and noise, without black and white, at which Pillow clips between rows and columns."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(64, 192, (5, 6, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("scale", SCALES)
def test_untrained_it_is_bicubic_interpolation(scale: int) -> None:
    pixels = photo(19, 23)
    net = UpscalerNet(scale=scale, **SHAPE)
    with torch.inference_mode():
        large = (net(to_tensor(pixels))[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    size = (scale * 23, scale * 19)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)).astype(float)
    inner = slice(2 * scale, -2 * scale)  # at the border Pillow weighs the pixels that there are, this repeats them
    assert np.abs(large - expected)[inner, inner].max() <= 2  # Pillow rounds between rows and columns
    assert np.abs(large - expected)[inner, inner].mean() < 0.3


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_in_pytorch_is_pillows(scale: int) -> None:
    pixels = photo(12, 17)
    large = (bicubic(to_tensor(pixels), scale)[0] * 255).round().permute(1, 2, 0).numpy()
    expected = Image.fromarray(pixels).resize((17 * scale, 12 * scale), Image.Resampling.BICUBIC)
    assert np.abs(large - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize("scale", SCALES)
def test_what_bicubic_adds_to_a_flat_picture_is_nothing(scale: int) -> None:
    assert bicubic_weight(scale).sum((1, 2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
def test_settled_no_grid_grows_on_what_is_flat_or_rises_evenly(scale: int) -> None:
    net = random_net(scale)
    for weight in net.output.parameters():
        weight.normal_()
    down, across = torch.arange(20.0)[:, None], torch.arange(20.0)[None]
    x = torch.stack([0.3 + a * down + b * across for a, b in ((0, 0), (1, 0), (0, 1), (0.3, -0.2), (1, 1), (-2, 0))])[
        None
    ]
    image = torch.stack([0.5 + a * down + b * across for a, b in ((0, 0), (0.1, 0), (-0.05, 0.1))])[None]

    def bends() -> float:
        inner = net.output(x, image)[:, :, 3 * scale : -3 * scale, 3 * scale : -3 * scale]
        assert inner.std() > 0.1
        return max(float(inner.diff(n=2, dim=axis).abs().max()) for axis in (2, 3))

    assert bends() > 0.1
    net.output.settle()
    assert bends() < 2e-4
    before = [weight.clone() for weight in net.output.parameters()]
    net.output.settle()
    for weight, old in zip(net.output.parameters(), before, strict=True):
        torch.testing.assert_close(weight, old)


@pytest.mark.parametrize("scale", SCALES)
def test_what_begins_is_settled(scale: int) -> None:
    net = UpscalerNet(scale=scale, **SHAPE)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.output.settle()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_repeated_pixel_is_a_square_of_its_colour() -> None:
    image = torch.rand(2, 3, 3, 5)
    expected = image.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(repeated(image, 4), expected)


@given(scale=st.sampled_from(SCALES), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=12, deadline=None)
def test_any_size_down_to_a_pixel_is_enlarged(scale: int, height: int, width: int) -> None:
    with torch.inference_mode():
        large = random_net(scale)(torch.rand(1, 3, height, width))
    assert large.shape == (1, 3, scale * height, scale * width)
    assert large.isfinite().all()


def test_a_pixel_depends_on_what_is_within_reach_and_on_no_more() -> None:
    net, middle = random_net(), 20
    reach = net.args.reach
    image = torch.full((1, 3, 2 * middle + 1, 2 * middle + 1), 0.5, requires_grad=True)
    net(image)[0, :, 4 * middle : 4 * middle + 4, 4 * middle : 4 * middle + 4].square().sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert seen.min() == middle - reach
    assert seen.max() == middle + reach


@pytest.mark.parametrize(("values", "message"), [({"scale": 3}, "scale is 3"), ({"width": 0}, "width is 0")])
def test_shapes_that_there_are_not(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UpscalerArgs(**values)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- making small


@pytest.mark.parametrize("scale", SCALES)
def test_without_blur_it_is_pillows_bicubic_reduction(scale: int) -> None:
    pixels = photo(64, 96)
    small = reduced(to_tensor(pixels), scale, 0)
    expected = Image.fromarray(pixels).resize((96 // scale, 64 // scale), Image.Resampling.BICUBIC)
    assert np.abs(small[0].permute(1, 2, 0).numpy() * 255 - np.asarray(expected)).max() <= 2


def test_blur_is_a_gaussian_before_the_reduction() -> None:
    point = torch.zeros(1, 3, 64, 64)
    point[:, :, 32, 32] = 1
    rows = torch.arange(64.0)
    gauss = torch.exp(-((rows - 32) ** 2) / (2 * 1.5**2)) / (1.5 * math.sqrt(2 * math.pi))
    expected = (reduction(64, 2, 0) @ torch.outer(gauss, gauss) @ reduction(64, 2, 0).T).clamp(0, 1)
    assert (reduced(point, 2, 1.5)[0, 0] - expected).abs().max() < 1e-4


def test_a_flat_picture_stays_flat_when_it_is_made_small() -> None:
    small = reduced(torch.full((1, 3, 40, 24), 0.37), 4, 1.0)
    assert small.shape == (1, 3, 10, 6)
    torch.testing.assert_close(small, torch.full_like(small, 0.37))


def test_psnr_is_of_lightness() -> None:
    one = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(one, one - 0.1) == pytest.approx(20 - 20 * math.log10(219.0 / 255), abs=0.01)
    red, blue = (one + torch.eye(3)[i][None, :, None, None] * 0.1 for i in (0, 2))
    assert psnr(one, blue) > psnr(one, red) + 8


# ---------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module", params=SCALES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[UpscalerNet, Path]:
    net = random_net(request.param)
    path = tmp_path_factory.mktemp("upscalers") / "a.onnx"
    export_upscaler(net, path, UpscalerSpec(arguments=net.args, figures={"psnr": 25.0}, recipe={"steps": 3}))
    return net, path


def test_a_file_enlarges_as_pytorch_does_and_says_what_it_is(exported: tuple[UpscalerNet, Path]) -> None:
    net, path = exported
    loaded = load_upscaler(path)
    assert (loaded.scale, loaded.spec.arguments) == (net.args.scale, net.args)
    assert (loaded.spec.figures, loaded.spec.recipe) == ({"psnr": 25.0}, {"steps": 3})
    for size in ((1, 1), (7, 30), (33, 21)):
        image = np.random.default_rng(1).random((1, 3, *size), dtype=np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(image)).clamp(0, 1).numpy()
            again = load_network(path.read_bytes())(torch.from_numpy(image)).numpy()
        painted = OpenVINORuntime(path.read_bytes(), precision="float32")(image)
        assert np.abs(painted - expected).mean() < 0.5 / 255
        assert np.abs(again - expected).mean() < 0.5 / 255
        assert painted.min() >= 0
        assert painted.max() <= 1


def test_tiles_are_the_whole(exported: tuple[UpscalerNet, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["impasto.upscale"], "SIDE", 96)
    path, small = exported[1], photo(131, 170)
    expected = from_network(OpenVINORuntime(path.read_bytes(), precision="float32")(to_network(small)))
    tiled = upscale(small, upscaler=path, precision="float32")
    assert tiled.shape == expected.shape
    assert tiled.std() > 5
    assert np.abs(tiled.astype(int) - expected).max() <= 1


def test_bfloat16_does_not_band_a_clear_sky(exported: tuple[UpscalerNet, Path]) -> None:
    path = exported[1]
    sky = np.broadcast_to(np.linspace(0.5, 0.9, 96, dtype=np.float32), (1, 3, 40, 96)).copy()
    exact, short = (OpenVINORuntime(path.read_bytes(), precision=kind)(sky).copy() for kind in ("float32", "bfloat16"))
    assert np.abs(exact - short).max() < 1.5 / 255


def test_weights_come_back_from_a_file(exported: tuple[UpscalerNet, Path]) -> None:
    net, path = exported
    back = load_upscaler_network(path.read_bytes(), "a.onnx").state_dict()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(back[name], value, rtol=1e-3, atol=1e-6)


def test_a_file_that_lacks_weights_is_told(exported: tuple[UpscalerNet, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model(exported[1])
    for prop in model.metadata_props:
        if prop.key == UPSCALER_KEY:
            prop.value = prop.value.replace('"blocks": 1', '"blocks": 2')
    with pytest.raises(StyleError, match=r"no weights residual\.1"):
        load_upscaler_network(model.SerializeToString(), "a.onnx")


# ------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six photos and a loss network."""
    folder = tmp_path_factory.mktemp("world")
    for i in range(6):
        picture(folder / "photos" / f"{i}.png", 80, 96 - 4 * i, i)
    loss_network(folder / "vgg.safetensors", "2_2")
    return folder


@dataclass
class Trainer:
    """Makes and runs small trainings in a folder of their own."""

    world: Path
    folder: Path
    exported: list[tuple[State, UpscalerSpec]] = dataclasses.field(default_factory=list)

    def config(self, name: str = "a", /, **values: Any) -> UpscalerConfig:
        shape = {"scale": values.pop("scale", 4)} | SHAPE | values.pop("network", {})
        defaults: dict[str, Any] = {
            "photos": self.world / "photos",
            "output": self.folder / f"{name}.onnx",
            "network": UpscalerArgs(**shape),
            "loss_network": (str(self.world / "vgg.safetensors"),),
            "feature_layers": ("relu2_2",),
            "image_size": (32,),
            "batch_size": (2,),
            "steps": 6,
            "precision": "float32",
            "device": "cpu",
            "warmup_steps": 2,
            "log_interval": 1,
            "sample_interval": 1000,
            "checkpoint_interval": 1000,
        }
        return UpscalerConfig(**defaults | values)

    def run(self, name: str = "a", /, *, stop: int | None = None, **values: Any) -> list[UpscalerStep]:
        """All steps, or those to step `stop`, after which the run is closed."""
        steps = []
        with contextlib.closing(train_upscaler(self.config(name, **values))) as running:
            for step in running:
                steps.append(step)
                if step.step == stop:
                    break
        return steps

    def weights(self, name: str = "a", /, **values: Any) -> State:
        """Weights that a whole run exports."""
        self.run(name, **values)
        return self.exported[-1][0]

    def checkpoint(self, name: str = "a") -> Path:
        return self.folder / f"{name}.onnx.training" / "checkpoint.pt"

    def log(self, name: str = "a") -> list[dict[str, Any]]:
        text = (self.folder / f"{name}.onnx.training" / "log.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def trainer(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Trainings whose export, which takes seconds, only keeps what it is given."""
    made = Trainer(world, tmp_path)

    def export(net: UpscalerNet, path: Path, spec: UpscalerSpec) -> None:  # noqa: ARG001
        made.exported.append(({k: v.clone() for k, v in net.state_dict().items()}, spec))

    monkeypatch.setattr(module, "export_upscaler", export)
    return made


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def edges(path: Path, seed: int) -> None:
    """Save rectangles of colour, whose edges are sharp."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((96, 96, 3), np.uint8)
    for _ in range(60):
        top, left = rng.integers(0, 90, 2)
        height, width = rng.integers(4, 30, 2)
        pixels[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("feature_weight", [0.0, 1.0])
def test_it_learns_to_do_better_than_bicubic(trainer: Trainer, feature_weight: float) -> None:
    for i in range(6):
        edges(trainer.folder / "edges" / f"{i}.png", i)
    options: dict[str, Any] = {"photos": trainer.folder / "edges", "scale": 2, "network": {"width": 12}}
    options |= {"steps": 80, "sample_interval": 80, "average_decay": 0.9, "image_size": (48,)}
    steps = trainer.run(feature_weight=feature_weight, **options)
    figures = steps[-1].figures
    assert figures is not None
    assert figures["upscaled"]["psnr"] > figures["bicubic"]["psnr"] + 0.5
    if feature_weight:
        assert figures["upscaled"]["features"] < 0.9 * figures["bicubic"]["features"]
    else:
        assert {step.features for step in steps} == {0.0}
    assert trainer.exported[-1][1].figures == figures["upscaled"]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_run_continues_to_the_bit(trainer: Trainer, stop: int) -> None:
    whole = trainer.weights("whole", image_size=(32, 48), batch_size=(2, 1))
    trainer.run("torn", stop=stop, image_size=(32, 48), batch_size=(2, 1))
    assert len(trainer.exported) == 1
    rest = trainer.run("torn", image_size=(32, 48), batch_size=(2, 1))
    assert rest[0].event == f"resumed at step {stop}"
    assert [step.step for step in rest] == [*range(stop + 1, 7)]
    assert same(trainer.exported[-1][0], whole)
    assert [line["step"] for line in trainer.log("torn")] == [1, 2, 3, 4, 5, 6]


def test_a_killed_run_goes_back_to_its_checkpoint(trainer: Trainer) -> None:
    whole = trainer.weights("whole")
    run = train_upscaler(trainer.config("killed", checkpoint_interval=2))
    for _ in range(3):
        next(run)
    kept = trainer.checkpoint("killed").read_bytes()
    run.close()
    trainer.checkpoint("killed").write_bytes(kept)  # what a kill would have left
    half = trainer.checkpoint("killed").with_name(TEMPORARY.format("killed"))
    half.write_bytes(b"half a checkpoint")
    os.utime(half, (0, 0))
    rest = trainer.run("killed", checkpoint_interval=2)
    assert rest[0].event == "resumed at step 2"
    assert same(trainer.exported[-1][0], whole)
    assert [line["step"] for line in trainer.log("killed")] == [1, 2, 3, 4, 5, 6]
    assert not half.exists()


def test_a_run_of_other_settings_is_not_continued(trainer: Trainer) -> None:
    trainer.run(stop=2)
    with pytest.raises(TrainingError, match=r"pixel_weight was 10\.0, is 2\.0"):
        trainer.run(pixel_weight=2.0)
    assert trainer.run(steps=4)[0].step == 3  # its length may change
    assert trainer.run(pixel_weight=2.0, resume=False)[0].step == 1


def test_a_broken_checkpoint_is_told(trainer: Trainer) -> None:
    trainer.run(stop=1)
    trainer.checkpoint().write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match=r"not a checkpoint.*--no-resume"):
        trainer.run()


def test_an_interrupt_inside_a_step_does_not_save_half_of_it(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.runs import move_average

    def interrupt(average: UpscalerNet, net: UpscalerNet, decay: float, step: int) -> None:
        move_average(average, net, decay, step)
        if step == 3:
            raise KeyboardInterrupt

    usual = trainer.weights("usual")
    with monkeypatch.context() as patch:
        patch.setattr(module, "move_average", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trainer.run("torn", checkpoint_interval=2)
    assert torch.load(trainer.checkpoint("torn"), weights_only=True)["step"] == 2
    assert same(trainer.weights("torn", checkpoint_interval=2), usual)


def spoil(monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """Make the losses of some steps no numbers."""
    usual = UpscalerRun.losses

    def losses(run: UpscalerRun, image: Tensor) -> dict[str, Tensor]:
        factor = math.nan if first <= run.step_count <= last else 1.0
        return {name: value * factor for name, value in usual(run, image).items()}

    monkeypatch.setattr(UpscalerRun, "losses", losses)


def test_every_step_settles_the_last_layer(trainer: Trainer) -> None:
    trained = trainer.weights(steps=3, learning_rate=0.05)
    net = UpscalerNet(scale=4, **SHAPE)
    net.load_state_dict(trained)
    net.output.settle()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-4, atol=1e-6)
    assert trained["output.features.weight"].abs().max() > 1e-3


def test_a_loss_that_is_not_a_number_moves_no_weight(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 2, 3)
    steps = trainer.run()
    assert [bool(step.event) for step in steps] == [False, False, True, True, False, False]
    assert all(value.isfinite().all() for value in trainer.exported[-1][0].values())


def test_training_gives_up_when_it_stays_so(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 3, 1000)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        trainer.run(steps=40)


def test_samples_show_bicubic_the_network_and_the_photo(trainer: Trainer) -> None:
    step = trainer.run(steps=1, sample_interval=1, validation=trainer.world / "photos")[-1]
    assert step.sample is not None
    with Image.open(step.sample) as sheet:
        assert sheet.height == 3 * 80
        assert sheet.width == 96 + 92 + 88 + 84 + 4 * 8


def test_strips_and_broken_files_are_no_samples(trainer: Trainer, caplog: pytest.LogCaptureFixture) -> None:
    folder = trainer.folder / "validation"
    picture(folder / "0.png", 20, 300, 0)
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(TrainingError, match="none of the photos for samples"):
        trainer.run(validation=folder)
    picture(folder / "2.png", 70, 90, 0)
    run = UpscalerRun(trainer.config(validation=folder))
    assert [sample.shape for sample in run.read_samples()] == [(1, 3, 68, 88)]
    assert "1.png" in caplog.text


def test_large_photos_are_reduced_for_samples(trainer: Trainer) -> None:
    folder = trainer.folder / "large"
    picture(folder / "0.png", 700, 1400, 0)
    run = UpscalerRun(trainer.config(validation=folder))
    assert run.read_samples()[0].shape == (1, 3, 288, 288)


def test_pixel_loss_alone_needs_no_loss_network(trainer: Trainer) -> None:
    steps = trainer.run(steps=2, feature_weight=0.0, loss_network=("/nowhere",))
    assert steps[-1].loss == pytest.approx(10 * steps[-1].pixels + 2 * steps[-1].small)


def test_a_layer_that_is_nowhere_is_told_before_training(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="relu5_1"):
        trainer.run(feature_layers=("relu5_1",))
    assert not trainer.checkpoint().exists()


def test_what_the_loss_network_sees_is_moved_at_random(trainer: Trainer) -> None:
    run = UpscalerRun(trainer.config(batch_size=(1,)))
    run.open()
    seen = set()
    for step in range(40):
        run.step_count = step
        large = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        seen.add(round(run.features(large, torch.full_like(large, 0.5)).item(), 6))
    assert len(seen) == 4


def export_random(path: Path, scale: int = 4, **shape: int) -> UpscalerNet:
    torch.manual_seed(5)
    net = UpscalerNet(None, **{"scale": scale} | SHAPE | shape).eval().requires_grad_(False)
    net.output.features.weight.normal_(0, 0.05)
    export_upscaler(net, path, UpscalerSpec(arguments=net.args))
    return net


def test_a_base_of_another_scale_gives_all_but_the_last_layer(trainer: Trainer) -> None:
    base = export_random(trainer.folder / "base.onnx", scale=2)
    begun = UpscalerRun(trainer.config(base=str(trainer.folder / "base.onnx"))).net
    for name, value in begun.state_dict().items():
        if name.startswith("output."):
            assert torch.equal(value, UpscalerNet(scale=4, **SHAPE).state_dict()[name]), name
        else:
            torch.testing.assert_close(value, base.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_a_base_of_the_same_scale_gives_all(trainer: Trainer) -> None:
    base = export_random(trainer.folder / "base.onnx")
    begun = UpscalerRun(trainer.config(base=str(trainer.folder / "base.onnx"))).net
    torch.testing.assert_close(begun.output.features.weight, base.output.features.weight, rtol=1e-3, atol=1e-6)


def test_a_base_of_another_shape_is_refused(trainer: Trainer) -> None:
    export_random(trainer.folder / "base.onnx", width=4)
    with pytest.raises(ValueError, match=r"4 channels wide with 1 blocks.*6 and 1"):
        UpscalerRun(trainer.config(base=str(trainer.folder / "base.onnx")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": (34,)}, "multiple of the scale, 4"),
        ({"image_size": ()}, "image_size is empty"),
        ({"batch_size": (1, 2, 3)}, "batch_size has 3 values"),
        ({"feature_weight": 0.0, "pixel_weight": 0.0}, "are both 0"),
        ({"blur": -1.0}, "blur is -1.0"),
        ({"feature_layers": ("relu2_2:x",)}, "feature_layers"),
    ],
)
def test_settings_that_cannot_be(trainer: Trainer, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer.config(**values)


def test_bfloat16_trains_float32_weights(trainer: Trainer) -> None:
    steps = trainer.run(steps=3, precision="bfloat16")
    assert all(math.isfinite(step.loss) for step in steps)
    assert {value.dtype for value in trainer.exported[-1][0].values()} == {torch.float32}
    assert steps[0].loss == pytest.approx(trainer.run("b", steps=1)[0].loss, rel=0.05)


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(world: Path, tmp_path: Path) -> list[str]:
    options = "--width 4 --blocks 0 --scale 2 --image-size 32 --batch-size 1 --feature-layers relu2_2 --log-interval 1"
    return [
        *(sys.executable, "-m", "impasto", "train-upscaler", "--photos", str(world / "photos"), *options.split()),
        *("--loss-network", str(world / "vgg.safetensors"), "-o", str(tmp_path / "mine.onnx")),
    ]


def test_the_command_trains_and_its_file_enlarges(command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("steps = 3\nsample_interval = 3\nwidth = 5\n")
    done = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "100.0%  step 3  loss" in done.stdout
    assert "  bicubic     psnr" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "mine.onnx")
    loaded = load_upscaler(tmp_path / "mine.onnx")
    assert loaded.spec.arguments == UpscalerArgs(scale=2, width=4, blocks=0)
    assert str(tmp_path) not in loaded.spec.to_json()
    assert loaded.spec.recipe["photos"] == "6 photos"
    assert loaded.spec.figures["psnr"] > 10


def test_the_command_stopped_by_a_signal_saves_and_says_so(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--steps", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "step 2" in line:
                process.send_signal(signal.SIGTERM)
                break
        assert process.wait(60) == 143
        assert "run the same command to continue" in process.stderr.read()
    assert torch.load(tmp_path / "mine.onnx.training" / "checkpoint.pt", weights_only=True)["step"] >= 2
