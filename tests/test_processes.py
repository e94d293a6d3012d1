"""Training in several processes, as torchrun starts them: that it is the training of one."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import loss_network, picture
from impasto.config import StyleNetArgs, TrainConfig
from impasto.photos import Crops, find_photos
from impasto.processes import Processes, joined, launched
from impasto.train import Run, check_shares

SETTINGS = shlex.split(
    "train painting.png --photos photos --loss-network vgg.safetensors --content-layers relu2_1 "
    "--style-layers relu1_1 relu2_1 relu3_1 --stylenet.widths 4 4 --stylenet.blocks 1 --image-size 48 --style-size 48 "
    "--precision float32 --device cpu --warmup-steps 4 --log-interval 1 --sample-interval 1000 --stability-weight 1"
)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a painting, nine photos, one of them broken, and a loss network."""
    picture(tmp_path / "painting.png", 40, 48, 99)
    for i in range(9):
        picture(tmp_path / "photos" / f"{i}.png", 48, 64 - 2 * i, i)
    (tmp_path / "photos" / "9.png").write_bytes(b"no picture")
    loss_network(tmp_path / "vgg.safetensors", "3_1")
    return tmp_path


def start(world: Path, *settings: str, processes: int = 1) -> subprocess.Popen[str]:
    """The command with further settings, by torchrun where it is of several processes."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(several if processes > 1 else []), "-m", "impasto", *SETTINGS, *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=world, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Its output, when it ended well."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def state(world: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(world / f"{name}.onnx.training" / "checkpoint.pt", weights_only=True)
    return loaded


def log(world: Path, name: str) -> list[dict[str, Any]]:
    path = world / f"{name}.onnx.training" / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def seen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those that are seen: normalisation takes biases and a residual's shift away, whose gradients are rounding."""
    unseen = ("conv.bias", "second.norm.shift", "second.norm.photo_shift")
    return {k: v for k, v in weights.items() if not k.endswith(unseen)}


def test_two_processes_of_batch_two_train_as_one_of_batch_four(world: Path) -> None:
    one = start(world, "--batch-size", "4", "--steps", "6", "-o", "one.onnx")
    ended(one)
    told = ended(start(world, "--batch-size", "4", "--steps", "6", "-o", "two.onnx", processes=2))
    assert told.count("batch_size = ") == 1  # one of them speaks
    assert told.count("two.onnx\n") == 1
    a, b = state(world, "one"), state(world, "two")
    assert (a["step"], a["images"]) == (b["step"], b["images"]) == (6, 24)
    for key in ("net", "average"):
        for name, value in seen(a[key]).items():
            torch.testing.assert_close(b[key][name], value, rtol=1e-4, atol=1e-5, msg=name)
    for before, after in zip(log(world, "one"), log(world, "two"), strict=True):
        for name in ("loss", "content", "style", "tv", "instability", "learning_rate"):
            assert after[name] == pytest.approx(before[name], rel=1e-4), name
    assert (world / "two.onnx").stat().st_size == pytest.approx((world / "one.onnx").stat().st_size, rel=0.01)


def test_a_run_of_two_processes_that_was_stopped_is_finished_by_one(world: Path) -> None:
    length = ("--batch-size", "2", "--steps", "400")
    running = start(world, *length, "-o", "a.onnx", processes=2)
    deadline = time.monotonic() + 120
    while len(log(world, "a")) < 3 and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=120)
    assert running.returncode != 0
    done = state(world, "a")["step"]
    assert 3 <= done < 400
    told = ended(start(world, "--batch-size", "2", "--steps", str(done + 2), "-o", "a.onnx"))
    assert f"resumed at step {done}" in told
    assert [line["step"] for line in log(world, "a")] == list(range(1, done + 3))
    assert state(world, "a")["images"] == 2 * (done + 2)


def test_each_process_has_its_part_of_a_step_s_photos(world: Path) -> None:
    photos = find_photos(world / "photos")
    for step in range(4):  # the broken photo's place is taken by the same one
        whole = Crops(photos, 5).batch(step, 6 * step, 6, 32)
        parts = [Crops(photos, 5, share=(i, 3)).batch(step, 6 * step, 6, 32) for i in range(3)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_a_step_s_photos_are_divided_equally(world: Path) -> None:
    config = TrainConfig(
        (world / "painting.png",),
        photos=world / "photos",
        output=world / "a.onnx",
        stylenet=StyleNetArgs(widths=(4, 4)),
        device="cpu",
        batch_size=(8, 6, 4),
        image_size=(64, 64, 64),
        loss_network=(str(world / "vgg.safetensors"),),
    )
    check_shares(config, 2)
    with pytest.raises(ValueError, match="batch_size is 6; each of the 4 processes must get as many of them"):
        Run(config, Processes(0, 4))


def test_another_launcher_s_variables_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == Processes(0, 1)
    with joined("cpu") as processes:
        assert processes.told("word") == "word"
        assert processes.gathered(torch.ones(2)).tolist() == [1, 1]
