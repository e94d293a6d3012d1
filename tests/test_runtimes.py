import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openvino
import pytest

from impasto import runtimes
from impasto.errors import DeviceError, MissingExtraError, StyleError
from impasto.images import Floats
from impasto.runtimes import (
    OpenVINORuntime,
    TorchRuntime,
    last_line,
    load_model,
    make_runtime,
    openvino_devices,
    processors,
    share_processors,
    torch_gpu,
)

HAS_BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
SIZES = [(8, 8), (64, 48), (128, 20), (48, 64), (8, 8)]


def picture(height: int, width: int) -> Floats:
    """A smooth picture (1, 3, height, width) in [0, 1]."""
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    return np.stack([rows + 0 * columns, rows * columns, 0 * rows + columns])[None].astype(np.float32)


@pytest.fixture(scope="module")
def tiny_bytes(tiny: Path) -> bytes:
    return tiny.read_bytes()


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_one_compiled_model_takes_every_size(tiny_bytes: bytes, precision: str) -> None:
    runtime = make_runtime(tiny_bytes, "auto", precision)
    first = runtime(picture(*SIZES[0])).copy()
    for size in SIZES:
        painted = runtime(picture(*size))
        assert painted.shape == (1, 3, *size)
        assert painted.dtype == np.float32
        assert np.isfinite(painted).all()
    np.testing.assert_array_equal(painted, first)  # nothing of the sizes between is left in it


def test_float32_is_the_network(tiny_bytes: bytes) -> None:
    expected = TorchRuntime(tiny_bytes, "cpu", "float32")
    runtime = OpenVINORuntime(tiny_bytes, "CPU", "float32")
    assert (expected.device, expected.precision) == (runtime.device, runtime.precision) == ("cpu", "float32")
    for size in SIZES:
        image = picture(*size)
        np.testing.assert_allclose(runtime(image), expected(image), atol=2e-4)


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU does not compute in bfloat16")
def test_bfloat16_is_close_and_what_auto_takes(tiny_bytes: bytes) -> None:
    image = picture(64, 48)
    exact, fast, auto = (make_runtime(tiny_bytes, "cpu", p) for p in ("float32", "bfloat16", "auto"))
    assert (exact.precision, fast.precision, auto.precision) == ("float32", "bfloat16", "bfloat16")
    difference = np.abs(fast(image) - exact(image))
    assert 0 < difference.mean() < 0.1 * exact(image).std()
    np.testing.assert_array_equal(auto(image), fast(image))


@pytest.mark.skipif(HAS_BFLOAT16, reason="this CPU computes in bfloat16")
def test_auto_is_float32_without_bfloat16(tiny_bytes: bytes) -> None:
    assert make_runtime(tiny_bytes).precision == "float32"


def test_the_image_is_not_changed(tiny_bytes: bytes) -> None:
    image = picture(16, 24)
    before = image.copy()
    make_runtime(tiny_bytes)(image)
    np.testing.assert_array_equal(image, before)


def test_values_are_what_the_file_says(invert_bytes: bytes) -> None:
    image = np.full((1, 3, 8, 8), 3, np.float32)
    np.testing.assert_array_equal(make_runtime(invert_bytes, precision="float32")(image), 1 - image)


def test_unknown_device_and_precision_are_value_errors(invert_bytes: bytes) -> None:
    with pytest.raises(ValueError, match="device is 'tpu'; it must be one of auto, cpu, gpu"):
        make_runtime(invert_bytes, "tpu")
    with pytest.raises(ValueError, match="precision is 'int8'; it must be one of auto, float32, bfloat16"):
        make_runtime(invert_bytes, "cpu", "int8")


def test_gpu_without_one_is_a_device_error(invert_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "torch_gpu", lambda: None)
    monkeypatch.setattr(runtimes, "openvino_devices", lambda: ["CPU"])
    with pytest.raises(DeviceError, match="no GPU that can be used was found; use --device cpu"):
        make_runtime(invert_bytes, "gpu")


def test_gpu_takes_pytorchs_first_then_openvinos(invert_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(runtimes, "TorchRuntime", lambda *args: calls.append(("torch", *args[1:])))
    monkeypatch.setattr(runtimes, "OpenVINORuntime", lambda *args: calls.append(("openvino", *args[1:])))
    monkeypatch.setattr(runtimes, "openvino_devices", lambda: ["CPU", "GPU"])
    for kind in ("cuda", None):
        monkeypatch.setattr(runtimes, "torch_gpu", lambda kind=kind: kind)
        make_runtime(invert_bytes, "gpu", "float32")
    assert calls == [("torch", "cuda", "float32"), ("openvino", "GPU", "float32")]


def test_a_device_that_does_not_compile_is_a_device_error(invert_bytes: bytes) -> None:
    with pytest.raises(DeviceError, match=r"^NPU9: the network does not compile there \(.+\)$") as caught:
        OpenVINORuntime(invert_bytes, "NPU9")
    assert "\n" not in str(caught.value)


def test_an_image_that_does_not_fit_is_a_device_error(invert_bytes: bytes) -> None:
    runtime = OpenVINORuntime(invert_bytes)
    with pytest.raises(DeviceError, match=r"^cpu: failed on a 16 x 8 image \(.+\); try --max-side$") as caught:
        runtime(np.zeros((1, 5, 8, 16), np.float32))
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_a_device_error(
    invert_bytes: bytes, tiny_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    runtime = OpenVINORuntime(invert_bytes)
    runtime.request = SimpleNamespace(infer=fail)
    with pytest.raises(DeviceError, match=r"failed on a 16 x 8 image.*try --max-side"):
        runtime(picture(8, 16))

    import torch

    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    other = TorchRuntime(tiny_bytes, "cpu", "float32")
    monkeypatch.setattr(other, "net", refuse)
    with pytest.raises(DeviceError, match=r"cpu: failed on a 16 x 8 image.*try --max-side"):
        other(picture(8, 16))


def test_pytorch_that_is_missing_is_named(tiny_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_gpu() is None
    with pytest.raises(MissingExtraError, match=r"pip install 'impasto\[train\]'"):
        TorchRuntime(tiny_bytes, "cuda")


def test_pytorch_refuses_weights_that_do_not_fit(invert_bytes: bytes) -> None:
    with pytest.raises(StyleError):
        TorchRuntime(invert_bytes, "cpu", "float32")


def test_a_broken_model_names_its_source() -> None:
    with pytest.raises(StyleError, match=r"^a/b\.onnx: not a readable ONNX file"):
        load_model(b"\x08\x0anonsense", "a/b.onnx")


def test_devices_include_the_cpu() -> None:
    assert "CPU" in openvino_devices()


@pytest.mark.parametrize(
    ("message", "line"), [("a\n b \n\n", "b"), ("", "ValueError"), ("\n", "ValueError"), ("x" * 300, "x" * 200)]
)
def test_last_line_is_one_short_line(message: str, line: str) -> None:
    assert last_line(ValueError(message)) == line


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("end", ["del first, second", "del second, first", "share_processors(1)"])
def test_a_signal_is_no_end_of_a_process_whose_models_came_and_went(
    invert_bytes: bytes, tmp_path: Path, end: str
) -> None:
    (tmp_path / "invert.onnx").write_bytes(invert_bytes)
    code = f"""
import faulthandler, signal, sys
from pathlib import Path
from threading import Thread
from impasto.doctor import inference
from impasto.runtimes import make_runtime, share_processors
faulthandler.enable()
data = Path(sys.argv[1]).read_bytes()
inference()
first, second = make_runtime(data), make_runtime(data)
thread = Thread(target=make_runtime, args=(data,))
thread.start()
thread.join()
{end}
signal.signal(signal.SIGTERM, lambda *_: print("asked to stop"))
signal.raise_signal(signal.SIGTERM)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "invert.onnx"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "asked to stop\n"), ran.stderr


def test_openvino_reports_nothing_to_anyone(invert_bytes: bytes, tmp_path: Path) -> None:
    style = tmp_path / "invert.onnx"
    style.write_bytes(invert_bytes)
    code = """
import os
import subprocess
import sys
events = []
watched = ("os.fork", "socket.connect", "urllib.Request")
sys.addaudithook(lambda name, args: events.append(name) if name in watched else None)
import numpy as np, impasto
impasto.stylize(np.zeros((16, 16, 3), np.uint8), sys.argv[1])
import impasto.doctor
impasto.doctor.examine()
assert not [m for m in sys.modules if "telemetry" in m], "telemetry is loaded"
assert not events, events
import openvino.tools.ovc  # still there for who asks for it
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code, str(style)], check=True, env=environment | {"IMPASTO_CACHE": str(home)})


def test_processors_are_shared_where_that_is_asked(invert_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_shared", {})
    share_processors(1)
    compiled = OpenVINORuntime(invert_bytes).request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert processors() >= 1
