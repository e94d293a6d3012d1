"""Training: that it learns, survives whatever happens to it and says what it did, in a world of a few pictures."""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import loss_network, picture
from impasto import stylize
from impasto import train as package_train
from impasto.cli import main
from impasto.config import StyleNetArgs, TrainConfig, TransformerArgs
from impasto.errors import DeviceError, ImageError, ImpastoError, StyleError, TrainingError, WeightsError
from impasto.export import Network, load_trainable
from impasto.images import image_size, read_image
from impasto.journal import Step
from impasto.networks.stylenet import StyleNet, tables
from impasto.networks.transformer import TransformerNet
from impasto.runs import middle, move_average
from impasto.specs import StyleSpec
from impasto.styles import load_style
from impasto.targets import to_tensor
from impasto.train import MAX_ROLLBACKS, Run, train

pytestmark = pytest.mark.usefixtures("one_thread")
module = sys.modules["impasto.train"]
LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1", "relu3_1")}
SAMPLE_SIDE = 96
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a painting, six photos and a loss network."""
    folder = tmp_path_factory.mktemp("world")
    picture(folder / "painting.png", 40, 48, 99)
    for i in range(6):
        picture(folder / "photos" / f"{i}.png", 48, 64 - 4 * i, i)
    loss_network(folder / "vgg.safetensors", "3_1")
    return folder


@dataclass
class Exported:
    """What training handed to the export."""

    weights: State
    path: Path
    spec: StyleSpec


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Exported]:
    """Put a list in the place of the export, which takes seconds."""
    calls: list[Exported] = []

    def export(net: TransformerNet, path: Path, spec: StyleSpec) -> None:
        calls.append(Exported({k: v.clone() for k, v in net.state_dict().items()}, path, spec))

    monkeypatch.setattr(module, "export_style", export)
    return calls


@dataclass
class Trainer:
    """Makes and runs small trainings in a folder of their own."""

    world: Path
    folder: Path
    exported: list[Exported] = field(default_factory=list)

    def config(self, name: str = "a", /, **settings: Any) -> TrainConfig:
        defaults: dict[str, Any] = {
            "photos": self.world / "photos",
            "output": self.folder / f"{name}.onnx",
            "loss_network": (str(self.world / "vgg.safetensors"),),
            "architecture": "TransformerNet",
            "network": TransformerArgs(width=4, blocks=1),
            "image_size": (32,),
            "batch_size": (2,),
            "style_size": (48,),
            "precision": "float32",
            "device": "cpu",
            "warmup_steps": 4,
            "log_interval": 1,
            "sample_interval": 1000,
            "checkpoint_interval": 1000,
        }
        if not {"epochs", "minutes"} & settings.keys():
            defaults["steps"] = 6
        paintings = settings.pop("paintings", (self.world / "painting.png",))
        return TrainConfig(paintings, **defaults | LAYERS | settings)

    def run(self, name: str = "a", /, *, stop: int | None = None, **settings: Any) -> list[Step]:
        """All steps, or those to step `stop`, after which the run is closed."""
        steps = []
        with contextlib.closing(train(self.config(name, **settings))) as running:
            for step in running:
                steps.append(step)
                if step.step == stop:
                    break
        return steps

    def weights(self, name: str = "a", /, **settings: Any) -> State:
        """Weights that a whole run exports."""
        self.run(name, **settings)
        return self.exported[-1].weights

    def checkpoint(self, name: str = "a") -> Path:
        return self.folder / f"{name}.onnx.training" / "checkpoint.pt"

    def state(self, name: str = "a") -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(self.checkpoint(name), weights_only=True)
        return loaded

    def log(self, name: str = "a") -> list[dict[str, Any]]:
        """Lines of the log, as strict JSON."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        text = (self.folder / f"{name}.onnx.training" / "log.jsonl").read_text()
        return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def trainer(world: Path, tmp_path: Path, exported: list[Exported], monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(module, "SAMPLE_SIDE", SAMPLE_SIDE)
    return Trainer(world, tmp_path, exported)


def assert_equal(one: State, other: State) -> None:
    """Equal to the last bit."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def differ(one: State, other: State) -> bool:
    return any(not torch.equal(value, other[key]) for key, value in one.items())


# ------------------------------------------------------------------------------------------------- learning


def test_loss_falls(trainer: Trainer) -> None:
    steps = trainer.run(steps=60, learning_rate=0.02)
    first, last = (sum(s.loss for s in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.5 * first
    assert steps[-1].style < 0.5 * steps[0].style


def test_a_style_file_is_written_that_paints_as_the_averaged_network(world: Path, tmp_path: Path) -> None:
    trainer = Trainer(world, tmp_path)
    about: dict[str, Any] = {"name": "blobs", "title": "Blobs", "artist": "Nobody", "year": "2024", "rights": "CC0"}
    trainer.run("style", steps=5, learning_rate=0.01, about={"painting": about})
    style = load_style(tmp_path / "style.onnx")
    net = TransformerNet(width=4, blocks=1).eval()
    net.load_state_dict(trainer.state("style")["average"])
    image = np.random.default_rng(3).random((1, 3, 52, 64), np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(image)).clamp(0, 1).numpy()
    painted = style.runtime("cpu", "float32")(image)
    assert np.abs(painted - expected).mean() < 0.3 / 255
    assert expected.std() > 0.01
    entry = style.spec.entries[0]
    assert {name: getattr(entry, name) for name in about} == about
    assert style.spec.recipe["steps"] == 5
    assert style.spec.recipe["photos"] == "6 photos"
    assert style.spec.recipe["paintings"] == ["painting.png"]
    assert str(tmp_path) not in style.spec.to_json()
    assert str(world) not in style.spec.to_json()


def test_name_of_the_style_is_the_outputs_unless_given(trainer: Trainer) -> None:
    trainer.run("candy", steps=1)
    assert trainer.exported[0].spec.names[0] == "candy"
    assert trainer.exported[0].path == trainer.folder / "candy.onnx"


def test_steps_say_what_was_done(trainer: Trainer) -> None:
    steps = trainer.run(steps=5, learning_rate=0.01, warmup_steps=2)
    assert [s.step for s in steps] == [1, 2, 3, 4, 5]
    assert [s.images for s in steps] == [2, 4, 6, 8, 10]
    assert [s.progress for s in steps] == [0.2, 0.4, 0.6, 0.8, 1.0]
    for step, weight in zip(steps, (10, 10, 10, 5, 5), strict=True):  # half of the run each
        assert step.loss == pytest.approx(step.content + weight * step.style + 0.02 * step.tv, rel=1e-5)
        assert step.images_per_second > 0
        assert step.event == ""
    seconds = [s.seconds for s in steps]
    assert seconds == sorted(seconds)
    assert steps[-1].seconds_left == 0
    assert steps[1].seconds_left == pytest.approx(1.5 * steps[1].seconds)


def test_learning_rate_rises_to_the_one_given_and_falls_to_a_hundredth(trainer: Trainer) -> None:
    rates = [s.learning_rate for s in trainer.run(steps=40, learning_rate=0.01, warmup_steps=4)]
    assert rates[0] == pytest.approx(0.0025)
    assert rates[3] == pytest.approx(0.01, rel=0.03)
    assert rates.index(max(rates)) == 3
    assert rates[20] == pytest.approx(0.01 * (0.01 + 0.99 / 2))
    assert 0.0001 < rates[-1] < 0.0002


def test_seed_decides_the_run(trainer: Trainer) -> None:
    first = trainer.weights("a", steps=2)
    assert_equal(first, trainer.weights("b", steps=2))
    assert differ(first, trainer.weights("c", steps=2, seed=1))


def test_what_is_exported_is_the_moving_average(trainer: Trainer) -> None:
    without = trainer.weights("a", steps=4, average_decay=0.0, learning_rate=0.01)
    assert_equal(without, trainer.state("a")["net"])
    averaged = trainer.weights("b", steps=4, learning_rate=0.01)
    assert_equal(averaged, trainer.state("b")["average"])
    assert_equal(trainer.state("b")["net"], without)
    assert differ(averaged, without)


def test_average_is_the_one_of_its_formula(trainer: Trainer) -> None:
    run = Run(trainer.config(average_decay=0.5))
    name, before = "output.bias", torch.zeros(3)
    for step in range(20):
        run.net.output.bias.data.fill_(step)  # type: ignore[union-attr]
        run.average.load_state_dict(run.average.state_dict() | {name: before})
        move_average(run.average, run.net, 0.5, step)
        decay = min(0.5, (1 + step) / (10 + step))
        before = decay * before + (1 - decay) * step
        torch.testing.assert_close(run.average.state_dict()[name], before)


def test_absolute_losses_are_another_scale(trainer: Trainer) -> None:
    relative, absolute = (trainer.run(name, steps=1, absolute=name == "b")[0] for name in "ab")
    assert math.isfinite(absolute.loss)
    assert absolute.style != pytest.approx(relative.style, rel=0.05)


def test_bfloat16_trains_float32_weights(trainer: Trainer) -> None:
    steps = trainer.run(steps=3, precision="bfloat16")
    assert all(math.isfinite(s.loss) for s in steps)
    assert {value.dtype for value in trainer.state()["net"].values()} == {torch.float32}
    assert steps[0].loss == pytest.approx(trainer.run("b", steps=1)[0].loss, rel=0.05)


@pytest.mark.parametrize(
    "network",
    [
        TransformerArgs(width=4, blocks=0, norm="batch", upsample="transposed", padding="zeros", output="tanh"),
        TransformerArgs(width=4, blocks=2, padding="start"),
    ],
    ids=["batch", "start"],
)
def test_every_network_trains(trainer: Trainer, network: TransformerArgs) -> None:
    steps = trainer.run(steps=2, network=network, sample_interval=1)
    assert all(math.isfinite(s.loss) for s in steps)
    assert trainer.exported[0].spec.arguments["padding"] == network.padding


# ------------------------------------------------------------------------------------------------- length and phases


def spy_on_batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Note batch size and image size of every step."""
    shapes: list[tuple[int, int]] = []
    original = Run.losses

    def losses(self: Run, image: Tensor, rows: Tensor, net: Network) -> dict[str, Tensor]:
        if net is self.net:  # not to take figures
            shapes.append((image.shape[0], image.shape[2]))
            assert image.shape[2] == image.shape[3]
        return original(self, image, rows, net)

    monkeypatch.setattr(Run, "losses", losses)
    return shapes


def test_image_sizes_share_the_run_each_with_its_batch(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = spy_on_batches(monkeypatch)
    steps = trainer.run(steps=6, image_size=(32, 36, 48), batch_size=(3, 2, 1))
    assert shapes == [(3, 32)] * 2 + [(2, 36)] * 2 + [(1, 48)] * 2
    assert steps[-1].images == 12


def test_one_batch_size_goes_with_all_image_sizes(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = spy_on_batches(monkeypatch)
    trainer.run(steps=4, image_size=(32, 36), batch_size=(2,))
    assert shapes == [(2, 32)] * 2 + [(2, 36)] * 2


@pytest.mark.parametrize(
    ("epochs", "batches", "images"), [(2.0, (2, 2), 12), (0.5, (2, 2), 4), (1e-6, (2, 2), 2), (3.0, (2, 1), 18)]
)
def test_epochs_are_passes_over_the_photos(
    trainer: Trainer, epochs: float, batches: tuple[int, ...], images: int
) -> None:
    steps = trainer.run(epochs=epochs, image_size=(32, 36), batch_size=batches)
    assert steps[-1].images == images
    assert steps[-1].progress == 1


def test_minutes_end_by_the_clock(trainer: Trainer) -> None:
    steps = trainer.run(minutes=0.01)
    assert steps[-1].progress == 1
    assert steps[-1].seconds >= 0.6
    assert all(s.seconds < 0.6 for s in steps[:-1])
    assert len(trainer.exported) == 1


# ------------------------------------------------------------------------------------------------- going on


VARIANTS = {
    "plain": {},
    "batch norm, sizes": {
        "network": TransformerArgs(width=4, blocks=1, norm="batch"),
        "image_size": (32, 36, 40),
        "batch_size": (2, 2, 1),
    },
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("stops", [(1,), (3, 5), (4,)], ids=str)
def test_stopped_and_resumed_is_the_same_to_the_bit(
    trainer: Trainer, variant: dict[str, Any], stops: tuple[int, ...]
) -> None:
    settings: dict[str, Any] = {"steps": 7, "learning_rate": 0.01, "checkpoint_interval": 4, **variant}
    whole = trainer.weights("whole", **settings)
    for stop in stops:
        trainer.run("parts", stop=stop, **settings)
        assert trainer.state("parts")["step"] == stop
    resumed = trainer.run("parts", **settings)
    assert [s.step for s in resumed] == list(range(stops[-1] + 1, 8))
    assert resumed[0].event == f"resumed at step {stops[-1]}"
    assert [s.event for s in resumed[1:]] == [""] * (len(resumed) - 1)
    assert_equal(trainer.exported[-1].weights, whole)
    assert_equal(trainer.state("parts")["net"], trainer.state("whole")["net"])
    assert [line["step"] for line in trainer.log("parts")] == list(range(1, 8))


KILLED = """
import os, signal, torch
from pathlib import PosixPath
from impasto.config import StyleNetArgs, TrainConfig, TransformerArgs
from impasto.train import train
torch.set_num_threads(1)
for step in train({config!r}):
    if step.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_checkpoints_and_resumed_is_the_same_to_the_bit(trainer: Trainer) -> None:
    settings: dict[str, Any] = {"steps": 9, "learning_rate": 0.01, "checkpoint_interval": 4, "sample_interval": 2}
    script = KILLED.format(config=trainer.config("killed", **settings))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert trainer.state("killed")["step"] == 4
    assert [line["step"] for line in trainer.log("killed")] == [1, 2, 3, 4, 5, 6]
    with (trainer.folder / "killed.onnx.training" / "log.jsonl").open("a") as stream:
        stream.write('{"step": 7, "progr')  # killed while it wrote a line
    resumed = trainer.run("killed", **settings)
    assert resumed[0].event == "resumed at step 4"
    assert [line["step"] for line in trainer.log("killed")] == list(range(1, 10))
    whole = trainer.weights("whole", **settings)
    assert_equal(trainer.exported[0].weights, whole)


def test_killed_before_the_first_checkpoint_starts_afresh_with_its_log(trainer: Trainer) -> None:
    trainer.run(steps=3)
    trainer.checkpoint().unlink()
    steps = trainer.run(steps=4)
    assert [s.step for s in steps] == [1, 2, 3, 4]
    assert steps[0].event == ""
    assert [line["step"] for line in trainer.log()] == [1, 2, 3, 4]


def test_finished_run_started_again_only_exports(trainer: Trainer) -> None:
    trainer.run(steps=3)
    before = trainer.checkpoint().read_bytes()
    assert trainer.run(steps=3) == []
    assert trainer.checkpoint().read_bytes() == before
    assert_equal(trainer.exported[1].weights, trainer.exported[0].weights)
    assert trainer.exported[1].spec.recipe["steps"] == 3


def test_finished_run_goes_on_when_more_steps_are_asked_for(trainer: Trainer) -> None:
    trainer.run(steps=3)
    assert [s.step for s in trainer.run(steps=5)] == [4, 5]


def test_closing_before_the_first_step_leaves_no_checkpoint(trainer: Trainer) -> None:
    train(trainer.config()).close()
    assert not trainer.checkpoint().exists()


def test_checkpoints_come_at_their_interval_and_at_the_end(trainer: Trainer) -> None:
    steps = trainer.run(steps=7, checkpoint_interval=3)
    assert [s.step for s in steps if s.checkpoint] == [3, 6, 7]
    assert {s.checkpoint for s in steps} == {None, trainer.checkpoint()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"style_weight": (5.0,)}, r"style_weight was \[10.0, 5.0\], is \[5.0\]"),
        ({"seed": 3}, "seed was 0, is 3"),
        ({"network": TransformerArgs(width=5, blocks=1)}, "network was .*'width': 4.*'width': 5"),
        ({"image_size": (36,)}, r"image_size was \[32\], is \[36\]"),
        ({"batch_size": (1,), "pooling": "avg"}, r"batch_size was \[2\], is \[1\]; pooling was max, is avg"),
    ],
    ids=["weight", "seed", "network", "size", "two"],
)
def test_other_settings_are_refused_with_what_changed(trainer: Trainer, changed: dict[str, Any], message: str) -> None:
    trainer.run(steps=2)
    before = trainer.checkpoint().read_bytes()
    with pytest.raises(TrainingError, match=message) as caught:
        trainer.run(steps=4, **changed)
    assert "--no-resume" in str(caught.value)
    assert str(trainer.checkpoint()) in str(caught.value)
    assert trainer.checkpoint().read_bytes() == before
    assert [line["step"] for line in trainer.log()] == [1, 2]
    steps = trainer.run(steps=4, resume=False, **changed)
    assert [s.step for s in steps] == [1, 2, 3, 4]
    assert [line["step"] for line in trainer.log()] == [1, 2, 3, 4]


def test_what_does_not_change_the_weights_may_change(trainer: Trainer) -> None:
    trainer.run(steps=6, stop=2)
    changed: dict[str, Any] = {
        "log_interval": 3,
        "sample_interval": 2,
        "checkpoint_interval": 2,
        "about": {"painting": {"title": "T"}},
        "tensorboard": False,
    }
    assert trainer.run(steps=6, validation=trainer.world / "photos", **changed)[0].step == 3


def test_painting_and_loss_network_may_move_but_not_be_others(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(steps=2)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("painting.png", "vgg.safetensors"):
        (moved / name).write_bytes((trainer.world / name).read_bytes())
    settings: dict[str, Any] = {
        "paintings": (moved / "painting.png",),
        "loss_network": (str(moved / "vgg.safetensors"),),
    }
    assert trainer.run(steps=3, **settings)[0].step == 3
    (moved / "painting.png").rename(moved / "other.png")
    with pytest.raises(TrainingError, match=r"paintings was .*painting.*, is .*other.*"):
        trainer.run(steps=4, **settings | {"paintings": (moved / "other.png",)})
    (moved / "vgg.safetensors").rename(moved / "deep.safetensors")
    with pytest.raises(TrainingError, match=r"loss_network was .*vgg.*, is .*deep.*"):
        trainer.run(steps=4, loss_network=(str(moved / "deep.safetensors"),))


@pytest.mark.parametrize("damage", ["cut off", "empty", "nonsense", "list", "other keys"])
def test_broken_checkpoint_is_one_clear_error(trainer: Trainer, damage: str) -> None:
    trainer.run(steps=2)
    path = trainer.checkpoint()
    data = path.read_bytes()
    if damage in ("list", "other keys"):
        torch.save([1, 2] if damage == "list" else {"net": {}}, path)
    else:
        path.write_bytes({"cut off": data[: len(data) // 2], "empty": b"", "nonsense": b"nonsense" * 100}[damage])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a checkpoint .*--no-resume") as caught:
        trainer.run(steps=4)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert trainer.run(steps=4, resume=False)[-1].step == 4


def test_checkpoint_holds_no_code(trainer: Trainer) -> None:
    trainer.run(steps=1)
    torch.save({"config": print}, trainer.checkpoint())
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer.run(steps=2)


# ------------------------------------------------------------------------------------------------- trouble


def spoil(monkeypatch: pytest.MonkeyPatch, when: Callable[[int, int], bool], value: float = math.nan) -> None:
    """Make the loss a `value` where `when` says so of the step that is tried and the number of tries before it."""
    tries: list[int] = []
    original = Run.losses

    def losses(self: Run, image: Tensor, rows: Tensor, net: Network) -> dict[str, Tensor]:
        found = original(self, image, rows, net)
        if net is self.average:  # to take figures
            return found
        bad = when(self.step_count + 1, tries.count(self.step_count + 1))
        tries.append(self.step_count + 1)
        return {name: loss * value if bad else loss for name, loss in found.items()}

    monkeypatch.setattr(Run, "losses", losses)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_a_number_rolls_back_and_halves_the_rate(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    settings: dict[str, Any] = {"steps": 8, "checkpoint_interval": 4, "learning_rate": 0.01}
    usual = trainer.run("usual", **settings)
    spoil(monkeypatch, lambda step, tried: step == 6 and tried == 0, value)
    steps = trainer.run("spoilt", **settings)
    assert [s.step for s in steps] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert steps[5].event == "loss is not a number: back from step 5 to 4, learning rate halved"
    assert [s.event for s in steps if s.event] == [steps[5].event]
    assert not math.isfinite(steps[5].loss)
    assert steps[6].images == 14  # other photos: those that went wrong are behind
    for after, before in zip(steps[6:], usual[4:], strict=True):
        assert after.learning_rate == pytest.approx(before.learning_rate / 2)
    assert all(value.isfinite().all() for value in trainer.exported[-1].weights.values())
    log = trainer.log("spoilt")
    assert log[5]["loss"] is None
    assert log[5]["event"] == steps[5].event


def test_rollbacks_that_were_got_over_do_not_end_a_long_run(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    count = MAX_ROLLBACKS + 2
    spoil(monkeypatch, lambda _, tried: tried == 0)
    steps = trainer.run(steps=count, checkpoint_interval=1, warmup_steps=0)
    assert sum("halved" in s.event for s in steps) == count
    assert steps[-1].step == count


def test_halved_rate_survives_a_resumption(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"steps": 8, "checkpoint_interval": 2}
    with monkeypatch.context() as patch:
        spoil(patch, lambda step, tried: step == 3 and tried == 0)
        whole = trainer.run("whole", **settings)
    with monkeypatch.context() as patch:
        spoil(patch, lambda step, tried: step == 3 and tried == 0)
        trainer.run("parts", stop=5, **settings)
    resumed = trainer.run("parts", **settings)
    assert resumed[0].learning_rate == whole[-3].learning_rate
    assert_equal(trainer.exported[1].weights, trainer.exported[0].weights)


def test_training_gives_up_and_keeps_the_last_good_state(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda step, tried: step == 5)  # noqa: ARG005
    seen: list[Step] = []
    with pytest.raises(TrainingError, match=r"not a number even at 0\.00390625 of the learning rate"):
        seen.extend(train(trainer.config(steps=8, checkpoint_interval=3)))
    assert sum("halved" in s.event for s in seen) == MAX_ROLLBACKS
    assert trainer.state()["step"] == 3
    assert all(value.isfinite().all() for value in trainer.state()["net"].values())
    assert not trainer.exported


def test_full_disk_keeps_the_old_checkpoint(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"steps": 8, "checkpoint_interval": 2, "log_interval": 100}
    trainer.run(stop=2, **settings)
    before = trainer.checkpoint().read_bytes()
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot write the checkpoint \(No space left"):
            trainer.run(**settings)
    assert len(calls) == 1  # the failure is not tried again on the way out
    assert trainer.checkpoint().read_bytes() == before
    assert sorted(p.name for p in trainer.checkpoint().parent.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    assert trainer.run(**settings)[-1].step == 8


def test_disk_that_fills_while_the_checkpoint_is_written(trainer: Trainer) -> None:
    """Not simulated: the file may not grow beyond a limit."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot write the checkpoint \(File too large\)"):
            trainer.run(steps=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(p.name for p in trainer.checkpoint().parent.iterdir()) == ["log.jsonl", "sample-000002.jpg"]


def test_failed_export_is_made_up_for_by_the_same_command(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StyleError("cannot write the style file")

    with monkeypatch.context() as patch:
        patch.setattr(module, "export_style", fail)
        with pytest.raises(StyleError):
            trainer.run(steps=2)
    assert trainer.run(steps=2) == []
    assert len(trainer.exported) == 1


def test_too_many_broken_photos_stop_the_training_with_a_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    picture(photos / "z.png", 40, 40, 0)
    for i in range(60):
        (photos / f"{i}.jpg").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="51 of 57 photos cannot be read"):
        trainer.run(steps=500, photos=photos)


# ------------------------------------------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"paintings": (Path("nowhere.png"),)}, ImageError, "nowhere.png"),
        ({"photos": Path("nowhere")}, TrainingError, "nowhere: no such folder"),
        ({"validation": Path("nowhere")}, TrainingError, "nowhere: no such folder"),
        ({"loss_network": ("nowhere.pth",)}, WeightsError, "nowhere.pth"),
        ({"content_layers": ("relu9_1",)}, ValueError, "relu9_1"),
        ({"content_layers": ("relu4_1",)}, ValueError, "relu4_1 are in no loss network"),
        ({"style_layers": ("relu1_1", "conv1_1")}, ValueError, "conv1_1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_told_before_anything_is_made(
    trainer: Trainer, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        trainer.run(**settings)
    assert "\n" not in str(caught.value)
    assert not list(trainer.folder.iterdir())


def test_unreadable_painting_is_named(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nonsense")
    with pytest.raises(ImpastoError, match=r"bad\.jpg"):
        trainer.run(paintings=(tmp_path / "bad.jpg",))


def test_painting_that_is_a_strip_is_refused(trainer: Trainer, tmp_path: Path) -> None:
    picture(tmp_path / "scroll.png", 20, 400, 0)
    with pytest.raises(TrainingError, match=r"scroll\.png: 26 pixels narrow at a style size of 512"):
        trainer.run(paintings=(tmp_path / "scroll.png",), style_size=(512,))
    assert trainer.run(paintings=(tmp_path / "scroll.png",), style_size=(640,), steps=1)


def test_painting_of_one_colour_leaves_the_losses_finite(trainer: Trainer, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48), (200, 30, 30)).save(tmp_path / "flat.png")
    steps = trainer.run(paintings=(tmp_path / "flat.png",), steps=3)
    assert all(math.isfinite(s.loss) and not s.event for s in steps)


def test_painting_may_be_of_any_kind(trainer: Trainer, tmp_path: Path) -> None:
    Image.fromarray(read_image(trainer.world / "painting.png")).convert("LA").save(tmp_path / "grey.png")
    assert trainer.run(paintings=(tmp_path / "grey.png",), steps=1)[0].loss > 0


def test_layer_is_taken_from_the_first_network_that_has_it(trainer: Trainer, tmp_path: Path) -> None:
    shallow = loss_network(tmp_path / "shallow.safetensors", "2_1", widths=(5, 7), seed=1)
    deep = trainer.world / "vgg.safetensors"
    run = Run(trainer.config(loss_network=(str(shallow), str(deep))))
    run.open()
    assert {layer: value.shape[1] for layer, value in run.targets.grams.items()} == {
        "relu1_1": 5,
        "relu2_1": 7,
        "relu3_1": 8,
    }
    alone = Run(trainer.config(loss_network=(str(deep),)))
    alone.open()
    torch.testing.assert_close(run.targets.grams["relu3_1"], alone.targets.grams["relu3_1"])
    assert trainer.run(steps=1, loss_network=(str(shallow), str(deep)))[0].loss > 0
    assert trainer.exported[0].spec.recipe["loss_network"] == ["shallow.safetensors", "vgg.safetensors"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there_is_told(trainer: Trainer) -> None:
    with pytest.raises(DeviceError, match="no cuda device"):
        trainer.run(device="cuda")


def test_folder_that_cannot_be_made_is_told(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file: cannot make the folder"):
        trainer.run(checkpoint_dir=tmp_path / "file")


def test_folders_of_output_and_checkpoint_are_made(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(steps=1, output=tmp_path / "x" / "y" / "s.onnx", checkpoint_dir=tmp_path / "c" / "d")
    assert (tmp_path / "x" / "y").is_dir()
    assert (tmp_path / "c" / "d" / "checkpoint.pt").is_file()


# ------------------------------------------------------------------------------------------------- palettes


@pytest.fixture
def paintings(world: Path) -> tuple[Path, ...]:
    """Two paintings, first and second."""
    for seed, name in enumerate(("first", "second"), 50):
        picture(world / f"{name}.png", 60, 72, seed)
    return world / "first.png", world / "second.png"


def of_a_palette(paintings: tuple[Path, ...], **settings: Any) -> dict[str, Any]:
    """Settings of a run that learns two styles with two stroke sizes."""
    shape = StyleNetArgs() if "base" in settings else StyleNetArgs(widths=(4, 6), blocks=1, kernel=3)
    return {"architecture": "StyleNet", "paintings": paintings, "style_size": (48, 64), "stylenet": shape} | settings


def test_a_palette_learns_all_its_styles(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    steps = trainer.run(**of_a_palette(paintings, steps=80, learning_rate=0.02, batch_size=(4,)))
    first, last = (sum(s.loss for s in part) / 10 for part in (steps[:10], steps[-10:]))
    assert last < 0.5 * first
    assert set(steps[-1].styles) == {"first", "second"}
    assert all(steps[-1].styles[name] < 0.5 * steps[3].styles[name] for name in steps[-1].styles)
    spec = trainer.exported[0].spec
    assert (spec.architecture, spec.names, spec.rows) == ("StyleNet", ["first", "second"], 5)
    assert [entry.strokes for entry in spec.entries] == [(48, 64)] * 2
    assert spec.recipe["paintings"] == ["first.png", "second.png"]
    assert "network" not in spec.recipe


def test_figures_of_every_style_come_with_the_samples(
    trainer: Trainer, paintings: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of_a_palette(paintings, steps=60, learning_rate=0.02, batch_size=(4,), sample_interval=30)
    examine, examined = Run.examine, list[int]()
    monkeypatch.setattr(Run, "examine", lambda run: examined.append(run.step_count) or examine(run))  # type: ignore[func-returns-value]
    steps = trainer.run(**settings)
    assert examined == [30, 60]  # not once more at the end
    shown = {step.step: step.figures for step in steps if step.figures}
    assert list(shown) == [30, 60]
    assert {name: set(figures) for name, figures in shown[60].items()} == {
        name: {"content", "style"} for name in ("first", "second")
    }
    assert all(shown[60][name]["style"] < 0.9 * shown[30][name]["style"] for name in ("first", "second"))
    assert [line.get("figures") for line in trainer.log() if line["step"] in shown] == list(shown.values())
    assert {e.name: e.figures for e in trainer.exported[0].spec.entries} == shown[60]
    trainer.run(**settings)  # it only exports again
    assert trainer.exported[1].spec.entries == trainer.exported[0].spec.entries


def test_paintings_stay_on_photos_that_move_where_that_has_a_weight(trainer: Trainer) -> None:
    settings: dict[str, Any] = {"architecture": "StyleNet", "steps": 40, "learning_rate": 0.005, "image_size": (48,)}
    settings["content_weight"] = 0.1
    plain, steady = (trainer.run(f"w{w}", stability_weight=w, **settings) for w in (1e-9, 30.0))
    free, held = (sum(step.instability for step in steps[-10:]) for steps in (plain, steady))
    assert 0 < held < 0.3 * free
    assert all(step.instability == 0 for step in trainer.run("none", steps=2))
    assert trainer.run("whole", stop=5, stability_weight=30.0, **settings)[-1].instability == steady[4].instability
    again = trainer.run("whole", stop=9, stability_weight=30.0, **settings)
    assert again[-1].instability == steady[again[-1].step - 1].instability


def test_what_moves_with_the_photo_is_no_instability(trainer: Trainer) -> None:
    run = Run(trainer.config(stability_weight=1.0, image_size=(64,)))
    run.open()
    image, rows = torch.rand(4, 3, 64, 64), torch.tensor([[0.0, 1.0]]).expand(4, 2)
    run.paint = lambda _, image, __: image  # type: ignore[assignment,method-assign]
    found = run.instability(image, image, rows)
    assert found.shape == (2,)
    assert found.max() < 2 * (module.NOISE**2 + (3 * module.BRIGHTER) ** 2) / image.var()
    assert (run.instability(image, image.flip(3), rows) > 1).all()


def test_crops_leave_room_to_move(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="image_size is 32; it must be a multiple of 16, at least 40"):
        Run(trainer.config(stability_weight=1.0, architecture="StyleNet", stylenet=StyleNetArgs(widths=(4, 4, 4, 4))))


def test_figures_are_of_the_middle_of_the_samples_and_the_averaged_weights(trainer: Trainer) -> None:
    run = Run(trainer.config(validation=trainer.world / "photos" / "0.png"))
    run.open()
    (sample,) = run.samples
    for p in run.net.parameters():
        p.data.zero_()
    expected = run.losses(to_tensor(sample), torch.tensor([[0.0, 1.0]]), run.average)
    found = run.examine()["a"]
    assert found["content"] == pytest.approx(expected["content"].item(), rel=1e-3)
    assert found["style"] == pytest.approx(expected["style"].item(), rel=1e-3)
    assert middle(np.arange(11 * 7 * 3, dtype=np.uint8).reshape(11, 7, 3), 8, 4).shape == (8, 4, 3)
    assert middle(np.eye(11, dtype=np.uint8)[..., None], 8, 4)[..., 0].tolist() == np.eye(8).tolist()


def test_a_palette_resumes_exactly(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    settings = of_a_palette(paintings, steps=9, learning_rate=0.01, batch_size=(3,))
    whole = trainer.weights("whole", **settings)
    trainer.run("parts", **settings, stop=4)
    assert_equal(whole, trainer.weights("parts", **settings))
    assert_equal({"": trainer.state("whole")["style_losses"]}, {"": trainer.state("parts")["style_losses"]})


def test_a_palette_is_written_and_paints_each_of_its_styles(
    world: Path, tmp_path: Path, paintings: tuple[Path, ...]
) -> None:
    about = {"first": {"name": "one", "title": "Number one", "strength": "0.9", "stroke": "48"}}
    trainer = Trainer(world, tmp_path)
    trainer.run("mine", **of_a_palette(paintings, steps=8, learning_rate=0.02, about=about))
    photo = read_image(world / "photos" / "0.png")
    painted = [stylize(photo, f"{tmp_path / 'mine.onnx'}:{name}") for name in ("one", "second")]
    assert np.abs(painted[0].astype(int) - painted[1]).mean() > 1
    entry = load_style(f"{tmp_path / 'mine.onnx'}:one").spec.entries[0]
    assert (entry.name, entry.title, entry.strokes) == ("one", "Number one", (48, 64))
    assert (entry.strength, entry.stroke) == (0.9, 48)
    assert entry.figures["content"] > 0
    renamed = {"first": {"name": "uno", "strength": "0.1"}}
    trainer.run("mine", **of_a_palette(paintings, steps=8, learning_rate=0.02, about=renamed))
    again = load_style(f"{tmp_path / 'mine.onnx'}:uno").spec.entries[0]
    assert again.figures["content"] < 0.5 * entry.figures["content"]  # at the strength that it paints with


def test_a_style_that_lags_weighs_more(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    run = Run(trainer.config(**of_a_palette(paintings, content_weight=0.0, tv_weight=0.0, style_weight=(1.0,))))
    losses = {name: torch.tensor([2.0, 2.0]) for name in ("content", "style", "tv", "instability")}
    run.style_losses = torch.tensor([3.0, 1.0])
    styles = [run.total(losses, torch.tensor([i, i])).item() for i in range(2)]
    assert styles == pytest.approx([2 * 1.5**0.5, 2 * 0.5**0.5])
    emphatic = Run(dataclasses.replace(run.config, emphasis={"second": 4.0}))
    emphatic.style_losses = run.style_losses
    assert [emphatic.total(losses, torch.tensor([i, i])).item() for i in range(2)] == pytest.approx(
        [styles[0], 4 * styles[1]]
    )
    run.step_count = 1000
    for _ in range(500):
        run.note(torch.tensor([0.25]), torch.tensor([1]))
    assert run.style_losses.tolist() == pytest.approx([3.0, 0.25], rel=1e-3)


def test_samples_of_a_palette_show_every_style(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    one = trainer.run("one", **of_a_palette(paintings[:1], steps=1))[0].sample
    two = trainer.run("two", **of_a_palette(paintings, steps=1))[0].sample
    assert one is not None
    assert two is not None
    assert image_size(two)[0] == pytest.approx(1.5 * image_size(one)[0], abs=2)


def test_rows_are_learnt_on_a_base_that_stays(trainer: Trainer, palette: Path, paintings: tuple[Path, ...]) -> None:
    base = load_trainable(palette.read_bytes(), "palette.onnx")
    assert isinstance(base, StyleNet)
    settings = of_a_palette(paintings[:1], base=str(palette), steps=60, learning_rate=0.05, batch_size=(4,))
    steps = trainer.run(**settings)
    assert sum(s.style for s in steps[-8:]) < 0.8 * sum(s.style for s in steps[:8])
    weights = trainer.exported[0].weights
    own = tables(base)
    for name, value in base.state_dict().items():
        if name in own:
            assert len(weights[name]) == 2
        else:
            assert torch.equal(weights[name], value), name
    assert any(differ({"": weights[name][:1]}, {"": weights[name][1:]}) for name in own)
    spec = trainer.exported[0].spec
    assert (spec.names, spec.recipe["base"], spec.arguments["widths"]) == (["a"], "palette.onnx", (4, 6))
    assert not {"stylenet", "network"} & spec.recipe.keys()  # it was not these settings that shaped it


def test_all_weights_of_a_base_are_learnt_when_asked(
    trainer: Trainer, palette: Path, paintings: tuple[Path, ...]
) -> None:
    trainer.run(**of_a_palette(paintings[:1], base=str(palette), steps=3, unfreeze=True))
    before, after = load_trainable(palette.read_bytes(), "").state_dict(), trainer.exported[0].weights
    assert differ({k: before[k] for k in ("output.weight",)}, {k: after[k] for k in ("output.weight",)})


def test_a_base_that_is_none_is_told(trainer: Trainer, tiny: Path, paintings: tuple[Path, ...]) -> None:
    with pytest.raises(StyleError, match=r"tiny\.onnx: a TransformerNet, which is no base for a StyleNet"):
        trainer.run(**of_a_palette(paintings, base=str(tiny)))
    with pytest.raises(StyleError, match="unknown style 'nonesuch'"):
        trainer.run(**of_a_palette(paintings, base="nonesuch"))
    with pytest.raises(ValueError, match="stylenet is the shape of a new network"):
        trainer.config(**of_a_palette(paintings, base="mine.onnx") | {"stylenet": StyleNetArgs(blocks=1)})
    with pytest.raises(ValueError, match="network is the shape of a new network"):
        trainer.config(base=str(tiny), network=TransformerArgs(blocks=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"image_size": (36,), "stylenet": StyleNetArgs(widths=(4, 5, 6))},
            "image_size is 36; it must be a multiple of 8, at least 16",
        ),
        ({"unfreeze": True}, "unfreeze is for a StyleNet's base"),
        ({"photos": "first.png"}, "no photos found but the paintings"),
    ],
    ids=["crops", "unfreeze", "no photos"],
)
def test_what_cannot_be_trained_is_told_before(
    trainer: Trainer, paintings: tuple[Path, ...], settings: dict[str, Any], message: str
) -> None:
    if "photos" in settings:
        settings = {"photos": trainer.world / settings["photos"]}
    with pytest.raises((ValueError, TrainingError), match=message):
        trainer.run(**of_a_palette(paintings, **settings))


def test_crops_must_fit_the_network_of_one_style(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="image_size is 66; it must be a multiple of 4"):
        trainer.run(image_size=(64, 66, 70))
    with pytest.raises(ValueError, match="image_size is 40; it must be a multiple of 4, at least 44"):
        trainer.run(network=TransformerArgs(width=4, padding="start"), image_size=(64, 40))


def test_three_halvings_have_samples_that_fit(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    settings = of_a_palette(paintings, steps=1, sample_interval=1, stylenet=StyleNetArgs(widths=(4, 5, 6), blocks=0))
    assert trainer.run(**settings)[0].sample


def test_a_network_of_one_style_goes_on_from_its_base(trainer: Trainer, tiny: Path) -> None:
    trainer.run(base=str(tiny), network=TransformerArgs(), steps=1, learning_rate=1e-9, average_decay=0.0)
    begun = load_trainable(tiny.read_bytes(), "").state_dict()
    for name, value in trainer.exported[0].weights.items():
        torch.testing.assert_close(value, begun[name], rtol=0, atol=1e-5)


def test_a_painting_with_dots_in_its_name_has_settings(trainer: Trainer, world: Path) -> None:
    painting = world / "my.first.png"
    picture(painting, 60, 72, 3)
    settings = of_a_palette((painting,), about={"my_first": {"title": "T"}}, emphasis={"my_first": 2.0}, steps=1)
    trainer.run(**settings)
    assert trainer.exported[0].spec.entries[0].title == "T"
    assert Run(trainer.config(**settings)).emphasis.tolist() == [2.0]


def test_what_is_said_of_a_painting_that_is_none_is_told(trainer: Trainer, paintings: tuple[Path, ...]) -> None:
    with pytest.raises(ValueError, match="about is of third; the paintings are first, second"):
        trainer.run(**of_a_palette(paintings, about={"third": {"title": "T"}}))
    for key, value, allowed in [
        ("strength", "1.1", "from 0 to 1"),
        ("strength", "nan", "from 0 to 1"),
        ("strength", "much", "from 0 to 1"),
        ("stroke", "50", "one of 48, 64"),
        ("stroke", "broad", "one of 48, 64"),
    ]:
        with pytest.raises(ValueError, match=f"^about of first has the {key} {value}; it must be {allowed}$"):
            trainer.run(**of_a_palette(paintings, about={"first": {"stroke": "48", key: value}}))
    with pytest.raises(ValueError, match="about of first has colour; it may have name, title, artist, year, rights"):
        trainer.run(**of_a_palette(paintings, about={"first": {"colour": "T"}}))
    for name in ("", "a,b", "1889", "../x"):
        with pytest.raises(ValueError, match=r"which --style could not ask for; .*--about\.first\.name"):
            trainer.run(**of_a_palette(paintings, about={"first": {"name": name}}))
    with pytest.raises(ValueError, match="one name twice"):
        trainer.run(**of_a_palette(paintings, about={"first": {"name": "second"}}))


# ------------------------------------------------------------------------------------------------- samples and logs


def test_samples_show_the_photos_above_their_paintings(trainer: Trainer) -> None:
    steps = trainer.run(steps=5, sample_interval=2)
    sheets = {s.step: s.sample for s in steps if s.sample}
    folder = trainer.checkpoint().parent
    assert sheets == {n: folder / f"sample-{n:06d}.jpg" for n in (2, 4, 5)}
    photos = [trainer.world / "photos" / f"{i}.png" for i in range(2, 6)]
    sheet = read_image(folder / "sample-000005.jpg").astype(int)
    left, top = 0, 0
    for path in photos:
        photo = Image.fromarray(read_image(path))
        scale = SAMPLE_SIDE / max(photo.size)
        width, height = (round(side * scale / 4) * 4 for side in photo.size)
        expected = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(sheet[:height, left : left + width] - expected).mean() < 6
        assert np.abs(sheet[height : 2 * height, left : left + width] - expected).mean() > 6
        left, top = left + width + 8, max(top, 2 * height)
    assert sheet.shape == (top, left, 3)


def test_samples_do_not_change_the_training(trainer: Trainer) -> None:
    settings: dict[str, Any] = {"steps": 4, "network": TransformerArgs(width=4, blocks=1, norm="batch")}
    plain = trainer.weights("plain", **settings)
    assert_equal(trainer.weights("sampled", sample_interval=1, **settings), plain)


def test_held_out_photos_are_not_trained_on(trainer: Trainer, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for i in range(24):
        picture(photos / f"{i:02d}.png", 40, 40, i)
    run = Run(trainer.config(photos=photos))
    assert [p.path.name for p in run.validation] == ["20.png", "21.png", "22.png", "23.png"]
    assert [p.path.name for p in run.photos] == [f"{i:02d}.png" for i in range(20)]
    run = Run(trainer.config(photos=photos, validation=trainer.world / "photos"))
    assert len(run.photos) == 24
    assert [p.path.name for p in run.validation] == ["0.png", "1.png", "2.png", "3.png"]


def test_broken_validation_photo_is_skipped(trainer: Trainer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "validation"
    picture(folder / "b.png", 40, 40, 0)
    picture(folder / "strip.png", 4, 400, 0)
    picture(folder / "panorama.png", 28, 400, 0)  # room for the network, none for the loss network's deepest layers
    (folder / "a.png").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        steps = trainer.run(steps=1, validation=folder)
    assert f"skipped {folder / 'a.png'}" in caplog.text
    assert steps[0].sample is not None
    assert read_image(steps[0].sample).shape == (2 * SAMPLE_SIDE, SAMPLE_SIDE + 8, 3)
    (folder / "b.png").unlink()
    with pytest.raises(TrainingError, match="none of the photos for samples can be used"):
        trainer.run("b", steps=1, validation=folder)


def test_log_has_a_line_for_every_interval_and_for_what_is_special(trainer: Trainer) -> None:
    steps = trainer.run(steps=9, log_interval=4, sample_interval=6)
    log = trainer.log()
    assert [line["step"] for line in log] == [4, 6, 8, 9]
    by_step = {s.step: s for s in steps}
    for line in log:
        step = by_step[line["step"]]
        assert line["loss"] == step.loss
        assert line["images_per_second"] == step.images_per_second
        assert line.get("sample") == (str(step.sample) if step.sample else None)
        assert "event" not in line
    assert log[-1]["checkpoint"] == str(trainer.checkpoint())


def test_log_on_a_full_disk_is_one_clear_error(trainer: Trainer) -> None:
    folder = trainer.checkpoint().parent
    folder.mkdir()
    (folder / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"log\.jsonl: cannot write the log"):
        trainer.run(steps=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own
def test_tensorboard_events_are_written_when_asked_for(trainer: Trainer) -> None:
    EventAccumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator  # noqa: N806

    trainer.run("plain", steps=1)
    folder = trainer.checkpoint().parent
    assert not list(trainer.checkpoint("plain").parent.glob("events.*"))
    trainer.run(steps=6, stop=3, tensorboard=True)
    steps = trainer.run(steps=6, tensorboard=True)
    events = EventAccumulator(str(folder)).Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in losses][3:] == pytest.approx([s.loss for s in steps])
    assert {"content", "style", "tv", "learning_rate"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("a/style")] == [6]


# ------------------------------------------------------------------------------------------------- command line


def write_toml(trainer: Trainer, **more: Any) -> Path:
    """Settings of a small run as a file."""
    settings = {
        "paintings": [str(trainer.world / "painting.png")],
        "architecture": "TransformerNet",
        "photos": str(trainer.world / "photos"),
        "output": str(trainer.folder / "a.onnx"),
        "loss_network": [str(trainer.world / "vgg.safetensors")],
        "image_size": [32],
        "batch_size": [2],
        "style_size": [48],
        "style_layers": list(LAYERS["style_layers"]),
        "content_layers": ["relu2_1:2"],
        "precision": "float32",
        "log_interval": 1,
        "steps": 3,
        "learning_rate": 0.002,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in (settings | more).items()]
    path = trainer.folder / "run.toml"
    path.write_text("\n".join([*lines, "[network]", "width = 4", "blocks = 1", ""]))
    return path


def call(*arguments: str | Path) -> int:
    """Exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(caught.value.code or 0)


def test_settings_come_from_a_file_and_flags_go_before_it(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(trainer)
    assert call("train", "--config", file, "--learning-rate", "0.001", "--steps", "2", "--seed", "7") == 0
    printed = capsys.readouterr().out
    for line in ("learning_rate = 0.001", "steps = 2", "seed = 7", 'content_layers = ["relu2_1:2"]'):
        assert f"\n{line}\n" in printed
    assert '"width": 4' in printed
    assert trainer.state()["config"]["learning_rate"] == 0.001
    assert trainer.state()["step"] == 2
    assert printed.splitlines()[-1] == str(trainer.folder / "a.onnx")
    assert "step 2" in printed
    assert trainer.exported[0].spec.recipe["content_layers"] == ["relu2_1:2"]


def test_mistakes_and_failures_are_one_line(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toml(trainer)
    for code, word, flags in [
        (2, "image_size", ["--image-size", "30"]),
        (2, "relu7_1", ["--style-layers", "relu7_1"]),
        (2, "stepz", ["--stepz", "30"]),
        (1, "no such folder", ["--photos", "nowhere"]),
        (1, "not here.png", ["--paintings", "not here.png"]),
    ]:
        assert call("train", "--config", file, *flags) == code
        error = capsys.readouterr().err.strip()
        assert word in error
        assert "\n" not in error


def test_unknown_setting_in_the_file_is_told(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "--config", write_toml(trainer, stile_weight=3)) == 2
    assert "stile" in capsys.readouterr().err
    file = Path(write_toml(trainer))
    file.write_text(file.read_text() + "\n[train]\nsteps = 3\n")
    assert call("train", "--config", str(file)) == 2
    assert "it has train, which is no setting" in capsys.readouterr().err
    assert not trainer.checkpoint().exists()


def test_sigterm_saves_and_exits_with_143_and_the_same_command_continues(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(trainer, steps=100_000, checkpoint_interval=60_000, sample_interval=60_000)
    command = [sys.executable, "-m", "impasto", "train", "--config", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "step 3 " in line:
                process.send_signal(signal.SIGTERM)
        error = process.stderr.read()
    assert process.returncode == 143
    assert error.startswith("impasto: stopped; run the same command to continue")
    done = trainer.state()["step"]
    assert done >= 3
    assert not (trainer.folder / "a.onnx").exists()
    assert call("train", "--config", file, "--steps", str(done + 2)) == 0
    assert f"resumed at step {done}" in capsys.readouterr().out
    assert trainer.state()["step"] == done + 2
    assert [line["step"] for line in trainer.log()] == list(range(1, done + 3))


def test_the_function_is_the_packages() -> None:
    assert package_train is train


def test_an_interrupt_inside_a_step_does_not_save_half_of_it(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = trainer.weights("usual")

    def interrupt(average: Network, net: Network, decay: float, step: int) -> None:
        move_average(average, net, decay, step)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "move_average", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trainer.run("torn", checkpoint_interval=2)
    assert trainer.state("torn")["step"] == 2
    torn = trainer.weights("torn", checkpoint_interval=2)
    assert all(torch.equal(torn[name], value) for name, value in usual.items())


def test_samples_and_the_painting_do_not_become_photos(trainer: Trainer) -> None:
    folder = trainer.folder / "all"
    shutil.copytree(trainer.world / "photos", folder)
    painting = shutil.copy(trainer.world / "painting.png", folder)
    settings: dict[str, Any] = {
        "photos": folder,
        "paintings": (Path(painting),),
        "output": folder / "a.onnx",
        "steps": 2,
    }
    trainer.run(sample_interval=1, **settings)
    assert list(folder.glob("a.onnx.training/sample-*.jpg"))
    seen = Run(trainer.config(**settings))
    assert len(seen.photos) == len(Run(trainer.config("b", steps=2)).photos)


def test_a_failure_of_pytorch_is_one_line(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(Run, "losses", fail)
    with pytest.raises(TrainingError, match=r"PyTorch failed \(CUDA out of memory. Tried .*\); try a smaller"):
        trainer.run()
