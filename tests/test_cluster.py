"""Folders painted by Ray: a cluster begun for it, and one by its address, of which a process is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from impasto import BatchConfig, BatchStep, DeviceError, MissingExtraError, batch, stylize_folder
from impasto.images import read_image
from impasto.painters import Here
from impasto.work import ITSELF, Job

Noise = Callable[..., npt.NDArray[np.uint8]]

HOST = """
import os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
context = ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""

RAY_ONLY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, of the extra cluster, is not installed")
QUIETLY = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    """Work in a folder of its own, with photos in it."""
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        Image.fromarray(noise(9, 12)).save(Path("photos", name))


def paint(style: Path, target: str, **options: object) -> BatchStep:
    steps = stylize_folder("photos", Path(target).resolve(), style, batch=BatchConfig(**options))  # type: ignore[arg-type]
    return list(steps)[-1]


def paintings(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*.png")}


def test_without_ray_the_extra_is_named(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "impasto.cluster", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'impasto\[cluster\]'"):
        paint(invert, "out", cluster="auto")


@pytest.fixture
def address() -> Iterator[str]:
    """Address of a cluster of another process."""
    host = subprocess.Popen([sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert host.stdin
    assert host.stdout
    yield host.stdout.readline().strip()
    host.stdin.close()
    host.stdout.close()
    try:
        host.wait(30)
    except subprocess.TimeoutExpired:
        host.kill()


@RAY_ONLY
@QUIETLY
def test_a_cluster_of_its_own_paints_what_this_process_paints(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos/broken.jpg").write_bytes(b"x")
    handler = signal.getsignal(signal.SIGTERM)
    step = paint(invert, "out", cluster="auto", workers=2)
    assert (step.painted, step.failed) == (3, 1)
    assert signal.getsignal(signal.SIGTERM) is handler
    monkeypatch.setattr(batch, "Processes", lambda work, *_: Here(work))
    paint(invert, "local")
    assert paintings("out") == paintings("local")
    begin = time.monotonic()
    step = paint(invert, "out", cluster="auto", workers=2)
    assert (step.painted, step.unchanged, step.failed_before) == (0, 3, 1)
    assert time.monotonic() - begin < 5  # no cluster is begun for nothing


@RAY_ONLY
@QUIETLY
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_process_costs_nothing(address: str, invert: Path, noise: Noise) -> None:
    for i in range(16):
        Image.fromarray(noise(300, 400, seed=i)).save(f"photos/{i:02}.png", compress_level=1)
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while not killed and not done.is_set():
            for pid in painting(os.getpid()):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
            time.sleep(0.01)

    watch = threading.Thread(target=kill)
    watch.start()
    step = paint(invert, "out", cluster=address)
    done.set()
    watch.join()
    assert killed
    assert (step.painted, step.failed) == (19, 0)
    for name in paintings("out"):
        source = read_image(f"photos/{name.replace('-invert', '')}")
        np.testing.assert_array_equal(read_image(f"out/{name}"), 255 - source)


@RAY_ONLY
@QUIETLY
def test_what_a_share_of_the_memory_does_not_hold_is_painted_alone(
    invert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it does not hold a process, all of it does."""
    from impasto.cluster import Cluster

    given: list[tuple[bool, float | None, int]] = []
    submit = Cluster.submit

    def spied(self: Cluster, job: Job) -> object:
        given.append((job.alone, self.memory, len(self.running)))
        return submit(self, job)

    monkeypatch.setattr(Cluster, "submit", spied)
    steps = stylize_folder("photos", "out", invert, batch=BatchConfig(cluster="auto", workers=2), memory=0.42)
    assert list(steps)[-1].painted == 3
    assert [alone for alone, _, _ in given] == [False] * 3 + [True] * 3
    assert [share for _, share, _ in given] == pytest.approx([(0.42e9 - ITSELF) / 2] * 6)
    assert [running for alone, _, running in given if alone] == [0, 0, 0]  # one after another


@RAY_ONLY
@QUIETLY
def test_no_cluster_at_an_address(invert: Path) -> None:
    with pytest.raises(DeviceError, match=r"no Ray cluster at 127\.0\.0\.1:1 "):
        paint(invert, "out", cluster="127.0.0.1:1")


def painting(ancestor: int) -> list[int]:
    """Processes below one that paint for Ray, by the titles that it gives them."""
    found, waiting = [], [ancestor]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
            waiting += [int(child) for task in tasks for child in task.read_text().split()]
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::paint"):
                found.append(pid)
        except OSError:
            continue
    return found
