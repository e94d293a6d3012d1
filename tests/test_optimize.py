"""Painting by optimisation: that it paints, survives whatever happens to it, and says what it did."""

import errno
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import loss_network, picture
from impasto import easel, plan
from impasto.cli import main
from impasto.cli.console import follow
from impasto.config import OptimizeConfig
from impasto.easel import PROBE, extended, read_paintings, sizes_of
from impasto.errors import ImageError, ImpastoError, OptimizationError, WeightsError
from impasto.images import Picture, Pixels, read_image, read_picture
from impasto.losses import style_distance
from impasto.networks.weights import load_loss_network
from impasto.objective import Objective
from impasto.optimize import OptimizeStep, Run, optimize
from impasto.plan import Cost, Plan, make_plan
from impasto.recipes import hash_of
from impasto.statistics import Moments, sums
from impasto.targets import scale_to, to_tensor
from impasto.texts import PaintingText
from impasto.tiles import tiles

pytestmark = pytest.mark.usefixtures("one_thread")
module = sys.modules["impasto.optimize"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo, two paintings and a loss network."""
    folder = tmp_path_factory.mktemp("world")
    picture(folder / "photo.png", 60, 80, 1)
    for seed, name in enumerate(("first", "second"), 50):
        picture(folder / f"{name}.png", 90, 100, seed)
    loss_network(folder / "vgg.safetensors", "3_1")
    return folder


@dataclass
class Painter:
    """Optimises small pictures in a folder of their own."""

    world: Path
    folder: Path

    def config(self, name: str = "a", /, **settings: Any) -> OptimizeConfig:
        defaults: dict[str, Any] = {
            "output": self.folder / f"{name}.png",
            "size": 64,
            "min_size": 45,
            "first_iterations": 6,
            "iterations": 4,
            "loss_network": (str(self.world / "vgg.safetensors"),),
            "content_layers": ("relu2_1",),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
            "precision": "float32",
            "device": "cpu",
        }
        paintings = settings.pop("paintings", (str(self.world / "first.png"),))
        return OptimizeConfig(self.world / "photo.png", paintings, **defaults | settings)

    def run(self, name: str = "a", /, *, stop: int | None = None, **settings: Any) -> list[OptimizeStep]:
        """All steps, or those to step `stop`, after which the run is closed."""
        steps, run = [], optimize(self.config(name, **settings))
        for step in run:
            steps.append(step)
            if step.step == stop:
                run.close()
        return steps

    def pixels(self, name: str = "a", /, **settings: Any) -> Pixels:
        """Picture of a whole run."""
        self.run(name, **settings)
        return read_image(self.folder / f"{name}.png")


@pytest.fixture
def painter(world: Path, tmp_path: Path) -> Painter:
    return Painter(world, tmp_path)


# ------------------------------------------------------------------------------------------------- painting


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adam"},
        {"style_loss": "wasserstein"},
        {"style_loss": "moments", "pooling": "avg"},
        {"precision": "bfloat16"},
        {"init": "noise"},
        {"init": "grey"},
        {"init": "style"},
    ],
)
def test_the_loss_falls_at_every_size(painter: Painter, settings: dict[str, Any]) -> None:
    steps = painter.run(first_iterations=20, iterations=10, size=68, **settings)
    assert [s.step for s in steps] == list(range(1, 31))
    sizes = [s.size for s in steps]
    assert sizes == [(36, 48)] * 20 + [(51, 68)] * 10
    assert min(s.loss for s in steps[10:20]) < 0.6 * steps[0].loss
    assert min(s.loss for s in steps[-3:]) < steps[20].loss
    assert steps[0].progress < steps[-2].progress < steps[-1].progress == 1
    assert steps[-1].seconds_left == 0
    assert read_image(painter.folder / "a.png").shape == (51, 68, 3)
    assert not painter.config().state.exists()


def test_the_result_is_the_best_picture_and_is_returned(painter: Painter) -> None:
    config, returned = painter.config(first_iterations=20, size=48), []

    def collect() -> Iterator[OptimizeStep]:
        returned.append((yield from optimize(config)))

    steps = list(collect())
    assert isinstance(returned[0], Picture)
    np.testing.assert_array_equal(returned[0].pixels, read_image(config.output))
    run = Run(config)
    run.begin()
    while run.place == 0:
        run.step()
    assert run.objective(run.best)[0].total == pytest.approx(min(step.loss for step in steps), rel=1e-5)
    assert (run.pixels() == returned[0].pixels).all()


def test_other_starts_end_elsewhere_and_a_seed_repeats(painter: Painter) -> None:
    one, two = painter.pixels("one", init="noise"), painter.pixels("two", init="noise")
    np.testing.assert_array_equal(one, two)
    assert (painter.pixels("three", init="noise", seed=1) != one).any()
    assert (painter.pixels("four", init=str(painter.world / "second.png")) != painter.pixels("five")).any()


def test_weights_of_paintings_and_masks_decide(painter: Painter, world: Path) -> None:
    first, second = (str(world / f"{name}.png") for name in ("first", "second"))
    alone = painter.pixels("alone", paintings=(first,))
    np.testing.assert_allclose(painter.pixels("twice", paintings=(first, first)), alone, atol=1)
    both = painter.pixels("both", paintings=(f"{first}:0.5", f"{second}:0.5"))
    assert np.abs(both.astype(int) - alone).mean() > 1
    left = np.zeros((60, 80), np.uint8)
    left[:, :40] = 255
    Image.fromarray(left).save(painter.folder / "left.png")
    weights = {"content_weight": 0.0, "tv_weight": 0.0, "size": 64, "min_size": 64, "style_layers": ("relu1_1",)}
    masked = painter.pixels("masked", paintings=(f"{first}@{painter.folder / 'left.png'}",), **weights)
    photo = np.asarray(Image.open(world / "photo.png").resize((64, 48), Image.Resampling.LANCZOS))
    np.testing.assert_allclose(masked[:, 36:], photo[:, 36:], atol=1)
    assert np.abs(masked[:, :28].astype(int) - photo[:, :28]).mean() > 1
    part = np.zeros((90, 100), np.uint8)
    part[:30] = 255
    Image.fromarray(part).save(painter.folder / "some.png")
    of_part = painter.pixels("part", paintings=(f"{first}@@{painter.folder / 'some.png'}",))
    assert np.abs(of_part.astype(int) - alone).mean() > 0.5


def test_tiles_paint_what_the_whole_does(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(painter.folder / "large.png", 450, 420, 7)
    settings: dict[str, Any] = {"size": 400, "min_size": 400, "first_iterations": 8}
    settings["paintings"] = (str(painter.folder / "large.png"),)
    whole = painter.pixels("whole", **settings)
    made: list[int] = []
    call = Objective.__call__

    def counted(self: Objective, picture: torch.Tensor) -> Any:
        made.append(len(self.tiles))
        return call(self, picture)

    monkeypatch.setattr(Objective, "__call__", counted)
    tiled = painter.pixels("tiled", tile=256, **settings)
    assert made[-8:] == [35] * 8
    photo = Image.open(painter.world / "photo.png").resize((400, 300), Image.Resampling.LANCZOS)
    assert np.abs(whole.astype(int) - np.asarray(photo)).mean() > 3
    assert np.abs(tiled.astype(int) - whole).mean() < 0.1


def test_colours_alpha_and_size_are_as_everywhere(painter: Painter, world: Path) -> None:
    photo = Image.open(world / "photo.png").convert("RGBA")
    photo.putalpha(128)
    photo.save(painter.folder / "clear.png")
    config = painter.config(colors="luma", first_iterations=30)
    list(optimize(module.replace(config, photo=painter.folder / "clear.png")))
    result = read_picture(config.output)
    assert result.alpha is not None
    assert (result.alpha == 128).all()
    small = np.asarray(photo.convert("RGB").resize((64, 48), Image.Resampling.LANCZOS)).astype(float)
    chroma = result.pixels - result.pixels.mean(2, keepdims=True) - (small - small.mean(2, keepdims=True))
    assert np.abs(chroma).mean() < 8
    assert np.abs(result.pixels - small).mean() > 2


def test_what_is_hidden_under_alpha_changes_nothing(painter: Painter, world: Path) -> None:
    made = []
    for color in ("red", "blue"):
        photo = Image.open(world / "photo.png").convert("RGBA")
        photo.paste(Image.new("RGBA", (photo.width // 2, photo.height // 2), color))
        alpha = Image.new("L", photo.size, 255)
        alpha.paste(0, (0, 0, photo.width // 2, photo.height // 2))
        photo.putalpha(alpha)
        photo.save(painter.folder / f"{color}.png")
        config = painter.config(f"{color}-painted")
        list(optimize(module.replace(config, photo=painter.folder / f"{color}.png")))
        made.append(read_picture(config.output))
    assert made[0].alpha is not None
    shown = made[0].alpha > 0
    np.testing.assert_array_equal(made[0].pixels[shown], made[1].pixels[shown])


# ------------------------------------------------------------------------------------------------- interruptions


def test_a_state_of_other_files_is_told(painter: Painter) -> None:
    own = painter.folder / "own.png"
    picture(own, 90, 100, 50)
    painter.run(stop=2, paintings=(str(own),))
    picture(own, 90, 100, 51)
    with pytest.raises(OptimizationError, match=r"own\.png was another file"):
        painter.run(paintings=(str(own),))


def test_what_fails_on_the_way_back_does_not_blame_the_state(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not enough memory")

    painter.run(stop=2)
    with monkeypatch.context() as patch:
        patch.setattr(easel, "moments_of", fail)
        with pytest.raises(OptimizationError, match="not enough memory"):
            painter.run()
    assert painter.run()[0].event == "resumed at iteration 2"


def test_adams_rising_loss_is_its_own_way(painter: Painter) -> None:
    settings: dict[str, Any] = {"optimizer": "adam", "style_weight": 0.005, "tv_weight": 0.0, "size": 48}
    steps = painter.run(first_iterations=30, **settings)
    assert not any(step.event for step in steps)
    photo = np.asarray(Image.open(painter.world / "photo.png").resize((48, 36), Image.Resampling.LANCZOS))
    assert abs(read_image(painter.folder / "a.png").mean() - photo.mean()) < 12


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("stop", [3, 6, 8])
def test_an_interrupted_run_continues_to_the_same_picture(painter: Painter, optimizer: str, stop: int) -> None:
    whole = painter.pixels("whole", optimizer=optimizer, size=68)
    assert len(painter.run("parts", optimizer=optimizer, size=68, stop=stop)) == stop
    assert painter.config("parts").state.exists()
    assert not painter.config("parts").output.exists()
    rest = painter.run("parts", optimizer=optimizer, size=68)
    assert rest[0].event == f"resumed at iteration {stop}"
    assert rest[0].step == stop + 1
    np.testing.assert_array_equal(read_image(painter.config("parts").output), whole)
    assert not painter.config("parts").state.exists()


def test_a_state_of_other_settings_or_of_nothing_is_told(painter: Painter) -> None:
    painter.run(stop=2)
    with pytest.raises(OptimizationError, match=r"style_weight was 60\.0, is 9\.0.*--no-resume"):
        painter.run(style_weight=9.0)
    painter.config().state.write_bytes(b"nothing")
    with pytest.raises(OptimizationError, match="not a state of this version"):
        painter.run()
    assert painter.run(resume=False)[0].event == ""


@pytest.mark.parametrize("gigabytes", [0.0, 1e9])
def test_other_memory_changes_no_run_that_has_begun(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, gigabytes: float
) -> None:
    settings: dict[str, Any] = {"size": 48, "first_iterations": 20}
    whole = painter.pixels("whole", history=4, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "HISTORY", 4)
        painter.run("parts", stop=12, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "free_memory", lambda _: gigabytes)
        painter.run("parts", **settings)
    np.testing.assert_array_equal(read_image(painter.config("parts").output), whole)
    assert (painter.pixels("longer", history=10, **settings) != whole).any()


@pytest.mark.parametrize("key", ["version", "plan", "losses", "values", "optimizer", "files", "config"])
def test_a_state_that_lacks_something_is_told(painter: Painter, key: str) -> None:
    painter.run(stop=2)
    state = torch.load(painter.config().state, weights_only=True)
    del state[key]
    torch.save(state, painter.config().state)
    with pytest.raises(OptimizationError, match="not a state of this version") as caught:
        painter.run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("plan", [{"history": "a"}, {"tile": 1}, {"size": 64.5}, {"none": 1}, [], 3])
def test_a_state_of_a_plan_that_cannot_be_is_told(painter: Painter, plan: Any) -> None:
    painter.run(stop=2)
    state = torch.load(painter.config().state, weights_only=True)
    torch.save(state | {"plan": plan}, painter.config().state)
    with pytest.raises(OptimizationError, match="not a state of this version"):
        painter.run()


def test_saving_takes_little_of_the_time(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[float] = []

    def slow(run: Run) -> dict[str, Any]:
        time.sleep(0.2)
        saves.append(run.count)
        return {}

    monkeypatch.setattr(module, "SAVE_SECONDS", 0)
    monkeypatch.setattr(Run, "state", slow)
    painter.run(first_iterations=30)
    assert len(saves) < 12


def test_a_full_disk_stops_nothing_but_the_last_picture(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(module, "atomic_write", full)
        patch.setattr("impasto.images.atomic_write", full)
        with pytest.raises(ImageError, match="the disk is full"):
            painter.run(save_every=5)
    assert any("cannot write the state" in message for message in caplog.messages)
    assert len(painter.run()) == 10


def test_the_state_is_kept_where_the_picture_cannot_be_written(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ImageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_image", full)
        with pytest.raises(ImageError, match="the disk is full"):
            painter.run()
    assert painter.run() == []  # only the picture was left to do
    np.testing.assert_array_equal(read_image(painter.config().output), painter.pixels("again"))


def test_a_loss_gone_astray_returns_to_the_best(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    call, tries = Objective.__call__, [0]

    def spoilt(self: Objective, picture: torch.Tensor) -> Any:
        tries[0] += picture.shape[2] != PROBE
        losses, gradient = call(self, picture)
        return (module.replace(losses, total=float("nan")) if tries[0] == 4 else losses), gradient

    monkeypatch.setattr(Objective, "__call__", spoilt)
    steps = painter.run(size=48, first_iterations=12)
    assert [bool(s.event) for s in steps] == [s.step == 4 for s in steps]
    assert "back to the best picture" in steps[3].event
    assert steps[-1].loss < steps[2].loss


def test_a_loss_that_never_is_a_number_is_told(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Objective.__call__

    def spoilt(self: Objective, picture: torch.Tensor) -> Any:
        losses, gradient = call(self, picture)
        return module.replace(losses, total=float("inf")), gradient

    monkeypatch.setattr(Objective, "__call__", spoilt)
    with pytest.raises(OptimizationError, match="not a number from the start"):
        painter.run()


def test_pictures_on_the_way_are_written_when_asked_for(painter: Painter) -> None:
    steps = painter.run(save_every=4)
    shown = [s.picture for s in steps if s.picture]
    assert [path.name for path in shown] == ["a-000004.png", "a-000008.png"]
    assert [read_image(path).shape for path in shown] == [(34, 45, 3), (48, 64, 3)]


# ------------------------------------------------------------------------------------------------- plans


def test_sizes_grow_by_the_square_root_of_two(painter: Painter) -> None:
    config = painter.config(size=512, min_size=128)
    assert [max(size) for size in sizes_of(config, (480, 640))] == [128, 181, 256, 362, 512]
    assert sizes_of(config, (480, 640))[-1] == (384, 512)
    assert [min(size) for size in sizes_of(config, (100, 1000))] == [36, 51]
    with pytest.raises(ImageError, match="26 pixels narrow at a size of 512"):
        sizes_of(config, (50, 1000))


LAYERS = ({"relu4_1": 1.0}, {"relu1_1": 1.0, "relu5_1": 1.0})
COST = Cost(base=5e8, held=1000.0, content=50.0, seconds=1e-6)


def test_a_plan_keeps_to_the_memory(painter: Painter) -> None:
    sizes = [(3072, 4096)]
    roomy, tight = (make_plan(painter.config(memory=gb), sizes, COST, LAYERS) for gb in (40.0, 4.0))
    assert (roomy.side, roomy.history) == (4096, 10)
    assert roomy.gigabytes > 12
    assert tight.side < 4096
    assert tight.gigabytes <= 4.0
    assert roomy.seconds == pytest.approx(6 * 3072 * 4096 * 1e-6)
    assert tight.seconds > 1.5 * roomy.seconds
    adam = make_plan(painter.config(memory=3.5, optimizer="adam"), sizes, COST, LAYERS)
    assert adam.gigabytes <= 3.5
    with pytest.raises(OptimizationError, match=r"needs some .* GB, and 1\.0 may be used; choose a smaller --size"):
        make_plan(painter.config(memory=1.0), sizes, COST, LAYERS)


def test_a_plan_is_as_it_is_asked_for(painter: Painter) -> None:
    made = make_plan(painter.config(memory=1.0, tile=640, history=30), [(3072, 4096)], COST, LAYERS)
    assert (made.side, made.history) == (640, 30)
    assert made.gigabytes > 1
    windows = [t.window for t in tiles(3072, 4096, 640, 96)]
    seen = sum((bottom - top) * (right - left) for top, bottom, left, right in windows)
    assert made.seconds == pytest.approx(4 / 3 * 6 * seen * COST.seconds)  # forwards twice, backwards once


def test_weights_are_not_counted_by_the_pixel(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    path = loss_network(painter.folder / "deep.safetensors", "5_1", widths=(2, 2, 2, 64, 64))
    run = Run(painter.config(loss_network=(str(path),), content_layers=("relu4_1",), style_layers=("relu5_1",)))
    held = []
    for probe in (64, 256):
        monkeypatch.setattr(easel, "PROBE", probe)
        held.append(run.measure().held)
    assert held[0] < 1.5 * held[1]  # what is not by the pixel is Gram matrices


def test_the_plan_is_told_before_anything_is_done(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easel, "resident", lambda _: 5e8)  # the suite's own process may be a large one
    told: list[Plan] = []
    steps = optimize(painter.config(), told=told.append)
    next(steps)
    assert (told[0].sizes, told[0].iterations) == (((34, 45), (48, 64)), (6, 4))
    assert told[0].seconds > 0
    steps.close()
    assert 0.5 < told[0].gigabytes < 0.6  # the process, and a picture of 48 x 64


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"output": Path("a.gif")}, ImageError, "its name must end in one of"),
        ({"output": Path("none/a.png")}, ImageError, "its folder does not exist"),
        ({"output": Path()}, ImageError, "its name must end in"),
        ({"output": Path("folder.png")}, ImageError, "it is a folder"),
        ({"output": Path("a.webp"), "size": 16400}, ImageError, "webp ends at 16383"),
        ({"init": "a-000004.png", "output": Path("a.png"), "save_every": 4}, ValueError, "would be written over"),
        ({"paintings": ("first.png",), "output": Path("first.png")}, ValueError, "would be written over"),
        ({"init": "nets/noise"}, ValueError, "the name of a setting's value"),
        ({"loss_network": ("nets/vgg19",)}, ValueError, "the name of a setting's value"),
        ({"paintings": ("{world}/none.png",)}, ImageError, "no such file"),
        ({"paintings": ("{world}/first.png:0",)}, ValueError, "paintings has"),
        ({"paintings": ("candy:0.5",)}, ValueError, "'candy', which is a built-in style, .* stylize --style candy"),
        ({"paintings": ("{world}/first.png", "a.onnx:one")}, ValueError, "'a.onnx:one', a style file, not a painting"),
        ({"paintings": ("{world}/first.png@a@b@c",)}, ValueError, "paintings has"),
        ({"paintings": ("{world}/first.png@{world}/none.png",)}, ImageError, "no such file"),
        ({"paintings": ("{folder}/small.png",)}, ImageError, "40 pixels long, less than the smallest size"),
        ({"paintings": ("{folder}/strip.png",)}, ImageError, "less than 32 pixels narrow"),
        ({"paintings": ("{world}/first.png@{folder}/strip.png",)}, ImageError, "another shape"),
        ({"paintings": ("{world}/first.png@{folder}/black.png",)}, ImageError, "a mask without white"),
        (
            {"paintings": ("{world}/first.png@@{folder}/black.png",)},
            ImageError,
            "the painting's is 100 x 90, ",
        ),
        ({"init": "{world}/none.png"}, ImageError, "no such file"),
        ({"content_layers": ("relu9_9",)}, ValueError, "layers relu9_9 are in no loss network; there are relu1_1"),
        ({"style_layers": ("relu4_1",)}, ValueError, "relu4_1"),
        ({"loss_network": ("{world}/photo.png",)}, WeightsError, "cannot be read as weights"),
        ({"memory": 1e-4}, OptimizationError, "may be used"),
    ],
)
def test_bad_input_is_told_in_one_line(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(painter.folder)
    for folder in ("nets", "folder.png"):
        Path(folder).mkdir()
    for name in ("a-000004.png", "first.png"):
        picture(Path(name), 100, 100, 3)
    for name in ("noise", "vgg19"):
        Path("nets", name).write_bytes(Path("first.png").read_bytes())
    before = hash_of(Path("first.png"))
    monkeypatch.delattr(Run, "step")  # all is told before the work
    picture(painter.folder / "small.png", 40, 40, 3)
    picture(painter.folder / "strip.png", 20, 200, 3)
    Image.new("L", (80, 60)).save(painter.folder / "black.png")

    def filled(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(filled, value))
        return value.format(world=painter.world, folder=painter.folder) if isinstance(value, str) else value

    with pytest.raises(error, match=message) as caught:
        painter.run(**{k: filled(v) for k, v in settings.items()})
    assert "\n" not in str(caught.value)
    assert not painter.config().output.exists()
    assert hash_of(Path("first.png")) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 8},
        {"history": 0},
        {"tile": 8},
        {"iterations": 0},
        {"style_weight": -1},
        {"optimizer": "sgd"},
        {"average_decay": 1.0},
        {"paintings": ()},
        {"loss_network": ()},
        {"style_layers": ("relu1_1:0",)},
        {"memory": 0.0},
        {"style_scale": 0.0},
    ],
)
def test_settings_out_of_range_are_value_errors(painter: Painter, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        painter.config(**settings)


def test_a_painting_may_have_signs_in_its_name(painter: Painter, world: Path) -> None:
    photo = read_image(world / "photo.png")
    strange = painter.folder / "a@b:2.png"
    picture(strange, 60, 60, 4)
    plain, weighted = read_paintings([str(strange), f"{world / 'first.png'}:0.25"], photo)
    assert (plain.source, plain.weight, weighted.weight) == (strange, 1.0, 0.25)
    mask = painter.folder / "m@k.png"
    Image.new("L", (80, 60), 255).save(mask)
    read, other = read_paintings([f"{strange}:0.5@{mask}", f"{world / 'first.png'}@{mask}"], photo)
    assert read.mask is other.mask  # so that their statistics are summed up once
    assert (read.source, read.weight, read.own_mask) == (strange, 0.5, None)
    assert read.mask is not None
    text = PaintingText.parse(f"{strange}@@{mask}")
    assert (text.mask, text.own_mask, str(text)) == ("", str(mask), f"{strange}:1.0@@{mask}")


@pytest.mark.parametrize("method", ["picture", "pixels", "step"])
def test_what_fails_at_the_end_is_one_clear_error(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Run, method, fail)
    with pytest.raises(OptimizationError, match="try a smaller --size"):
        painter.run(save_every=2)


def test_a_start_of_the_paintings_colours_heeds_weights_and_masks(painter: Painter) -> None:
    colors = {"red": (200, 20, 20), "blue": (20, 20, 200)}
    for (name, color), side in zip(colors.items(), (300, 100), strict=True):
        Image.new("RGB", (side, side), color).save(painter.folder / f"{name}.png")
    half = np.zeros((100, 100), np.uint8)
    half[:50] = 255
    both = np.where(half[..., None] > 0, colors["red"], colors["blue"]).astype(np.uint8)
    Image.fromarray(both).save(painter.folder / "both.png")
    Image.fromarray(half).save(painter.folder / "half.png")

    def mean(*paintings: str) -> list[float]:
        run = Run(painter.config(init="style", paintings=tuple(str(painter.folder / p) for p in paintings)))
        return [round(255 * value) for value in run.beginning().mean((0, 2, 3)).tolist()]

    assert mean("red.png:0.25", "blue.png:0.75") == pytest.approx([65, 20, 155], abs=3)
    assert mean(f"both.png@@{painter.folder / 'half.png'}") == pytest.approx(colors["red"], abs=3)


@pytest.mark.parametrize("style_loss", ["gram", "moments", "wasserstein"])
def test_statistics_are_those_of_the_wide_features(painter: Painter, world: Path, style_loss: str) -> None:
    state = load_file(world / "vgg.safetensors")
    state |= {"linear1_1.weight": torch.randn(12, 4, 1, 1), "linear1_1.bias": torch.randn(12)}
    save_file(state, painter.folder / "linear.safetensors")
    network = (str(painter.folder / "linear.safetensors"),)
    run = Run(painter.config(loss_network=network, style_loss=style_loss, style_layers=("relu1_1",), size=48))
    run.begin()
    wide = load_loss_network(network[0], thin=False)
    painting = extended(to_tensor(scale_to(read_image(world / "first.png"), max(run.plan.sizes[0]))))
    found, target = (
        Moments(*(part / count for part in sums(features, cross=style_loss != "moments")))
        for image in (run.values, painting)
        for features in [wide(image, ["relu1_1"])["relu1_1"]]
        for count in [features.shape[2] * features.shape[3]]
    )
    expected = style_distance(found, target, style_loss).item()
    assert run.objective(run.values)[0].style == pytest.approx(expected, rel=1e-2)


def test_a_painting_of_itself_does_not_go_astray(painter: Painter) -> None:
    own = (str(painter.world / "photo.png"),)
    settings: dict[str, Any] = {"style_loss": "wasserstein", "content_weight": 0.0, "tv_weight": 0.0, "size": 64}
    steps = painter.run(paintings=own, min_size=64, first_iterations=12, **settings)
    assert all(step.style >= 0 for step in steps)
    assert not any(step.event for step in steps)


def test_out_of_memory_is_one_clear_error(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127]\n data. DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(Objective, "__call__", fail)
    with pytest.raises(ImpastoError, match=r"PyTorch failed .*not enough memory.*; try a smaller --size"):
        painter.run()


# ------------------------------------------------------------------------------------------------- command line


def arguments(painter: Painter, **flags: str) -> list[str]:
    files = [str(painter.world / "photo.png"), str(painter.world / "first.png")]
    defaults = {"output": str(painter.folder / "a.png"), "size": "64", "min-size": "45", "first-iterations": "6"}
    defaults |= {"iterations": "4", "content-layers": "relu2_1", "style-layers": "relu1_1:2"}
    defaults |= {"loss-network": str(painter.world / "vgg.safetensors")} | flags
    return ["optimize", *files, *(part for name, value in defaults.items() for part in (f"--{name}", value))]


def test_the_command_paints_and_says_what_it_does(painter: Painter, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments(painter))
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert out == f"{painter.folder / 'a.png'}\n"
    assert "64 x 48; " in err
    assert "GB" in err
    assert "100.0%  64 x 48  iteration" in err
    assert read_image(painter.folder / "a.png").shape == (48, 64, 3)


def test_a_plan_says_and_does_nothing(painter: Painter, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(painter.folder.iterdir())
    with pytest.raises(SystemExit) as ended:
        main([*arguments(painter), "--plan"])
    out, _ = capsys.readouterr()
    assert ended.value.code == 0
    first, second = out.splitlines()
    assert first == "45 x 34, 64 x 48; 10 iterations"
    assert second.startswith("some ")
    assert second.endswith(" GB")
    assert sorted(painter.folder.iterdir()) == before
    with pytest.raises(SystemExit) as ended:
        main([*arguments(painter, memory="1MB"), "--plan"])
    assert ended.value.code == 1
    assert "and 0.0 may be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"size": "8"}, 2, "size is 8"),
        ({"style-loss": "best"}, 2, "style-loss"),
        ({"output": "out.gif"}, 2, "it must end in one of"),
        ({"output": "/none/out.png"}, 2, "its folder does not exist"),
        ({"init": "none.png"}, 1, "no such file"),
    ],
)
def test_a_wrong_command_is_one_line(
    painter: Painter, capsys: pytest.CaptureFixture[str], more: dict[str, str], code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments(painter, **more))
    assert ended.value.code == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("impasto: ")
    assert message in last


def test_a_painting_with_a_sign_in_its_name_is_not_written_over(
    painter: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = painter.folder / "a@b:2.png"
    picture(strange, 60, 60, 4)
    before = strange.read_bytes()
    files = [str(painter.world / "photo.png"), f"{strange}:0.5", "-o", str(strange)]
    with pytest.raises(SystemExit):
        main(["optimize", *files])
    assert "one of the files that are read" in capsys.readouterr().err
    assert strange.read_bytes() == before


def test_the_photo_and_paintings_are_not_written_over(painter: Painter, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("photo", "first"):
        with pytest.raises(SystemExit):
            main(arguments(painter, output=str(painter.world / f"{name}.png")))
        assert "one of the files that are read" in capsys.readouterr().err


@pytest.mark.parametrize(("saved", "told"), [(True, "run the same command to continue"), (False, "nothing could be")])
def test_a_command_that_is_stopped_says_whether_it_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], saved: bool, told: str
) -> None:
    def work() -> Generator[int, None, None]:
        try:
            yield from range(5)
        finally:
            if saved:
                (tmp_path / "state").touch()

    def show(step: int) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    code = follow(work(), show, tmp_path / "out", tmp_path / "state")
    assert code == 143
    assert told in capsys.readouterr().err


def test_a_command_asked_to_stop_saves_and_goes_on(painter: Painter) -> None:
    command = [sys.executable, "-m", "impasto", *arguments(painter, **{"first-iterations": "5000"})]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "iteration" in line and "%" in line:
                break
        time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()
    assert running.returncode == 143
    assert "stopped; run the same command to continue" in rest
    assert (painter.folder / "a.png.state").exists()
    assert not (painter.folder / "a.png").exists()


def test_every_pixel_is_seen_whatever_the_size(painter: Painter) -> None:
    """Deep layers leave out what is beyond the last whole square of their grid, which was painted at will."""
    run = Run(painter.config(size=47, content_layers=("relu3_1",), style_weight=0.0, tv_weight=0.0))
    run.begin()
    height, width = run.plan.sizes[-1]
    assert width == 47
    assert run.values.shape == (1, 3, -(-height // 16) * 16, 48)
    torch.testing.assert_close(run.values[..., 47], run.values[..., 45])
    _, gradient = run.objective(torch.rand_like(run.values))
    pull = gradient.abs().mean((0, 1, 2))
    assert pull[44:47].mean() > 0.3 * pull[8:40].mean()
    assert run.pixels().shape == (height, width, 3)


def test_what_is_begun_with_is_as_it_shows(painter: Painter) -> None:
    begun = []
    for level in (0, 255):
        pixels = np.full((48, 64, 4), level, np.uint8)
        pixels[:, :32] = (200, 100, 50, 255)
        pixels[:, 32:, 3] = 0
        Image.fromarray(pixels).save(painter.folder / f"{level}.png")
        run = Run(painter.config(init=str(painter.folder / f"{level}.png")))
        run.begin()
        begun.append(run.values)
    torch.testing.assert_close(*begun, rtol=0, atol=0)


def test_only_the_picture_grows_not_what_is_around_it(painter: Painter) -> None:
    run = Run(painter.config(size=67, min_size=47))
    run.begin()
    height, width = run.plan.sizes[0]
    assert (height, width) == (36, 47)
    run.best = torch.full_like(run.values, 0.25)
    run.best[..., height:, :] = run.best[..., width:] = 1.0
    run.grow()
    assert run.values.shape[-1] == 80
    torch.testing.assert_close(run.values, torch.full_like(run.values, 0.25))


@pytest.mark.parametrize(("scale", "side"), [(0.75, 48), (1.5, 96), (4.0, 100)])
def test_small_paintings_are_enlarged_up_to_twice(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, scale: float, side: int
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(painter.folder / "small.png")
    run = Run(painter.config(paintings=(str(painter.folder / "small.png"),), style_scale=scale))
    seen = list[int]()

    def spy(image: Pixels, size: int) -> Pixels:
        seen.append(size)
        return scale_to(image, size)

    monkeypatch.setattr(easel, "scale_to", spy)
    run.place = len(run.plan.sizes) - 1
    run.values = run.beginning()
    run.enter()
    assert seen == [side]
