"""Where a style's network runs: OpenVINO on CPUs and Intel GPUs, PyTorch on NVIDIA and Apple ones."""

import copy
import math
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

from impasto.choices import DEVICES, PRECISIONS
from impasto.errors import DeviceError, MissingExtraError, StyleError
from impasto.images import Floats, Pixels

if TYPE_CHECKING:
    from impasto.specs import StyleSpec

ONNX_START: Final = b"\x08"
"""Of every ONNX file: the key of its first field, the version."""
OPENVINO_PRECISIONS: Final = {"float32": "f32", "bfloat16": "bf16"}
TOGETHER: Final = 4
"""Pictures of one shape that a GPU paints as one batch, where so many wait; fewer go alone, so that graphs are few."""
UNDER_WAY: Final = 2
"""Batches that a GPU is given at a time: one is painted, and the next is there when that is done."""
ABREAST: Final = UNDER_WAY * TOGETHER + 1
"""Pictures to give it at a time, each by a thread of its own, so that batches come about."""
PROBE: Final = 256
"""Side in pixels of the picture on which memory is counted."""
_beginning = Lock()
_shared: dict[str, Any] = {}
"""How OpenVINO is told to leave processors to other processes; empty unless `share_processors` was called."""


class Runtime(Protocol):
    """A network that is ready to run; hold `lock` from the call until its result has been used."""

    device: str
    precision: str
    lock: Lock

    def __call__(self, image: Floats, *style: Floats) -> Floats:
        """RGB float32 (1, 3, H, W) in [0, 1] -> the same, in memory that the next call may write over.

        A palette takes `style`, the weights of its rows, float32 (K,), too.
        """


class Model:
    """A parsed ONNX model, not yet compiled."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def describe(self, key: str, names: Collection[str] = ()) -> tuple[str | None, dict[str, int], dict[str, int]]:
        """Metadata text under `key`, and inputs and outputs: name -> channels or length (-1 where not a known number).

        What has several names, as after a node that does nothing, goes by the one that is in `names`.

        Raises:
            ValueError: The text or a name is not UTF-8.

        """
        text = None
        if self.model.has_rt_info(["framework", key]):
            text = str(self.model.get_rt_info(["framework", key]).value)
        return text, ports(self.model.inputs, names), ports(self.model.outputs, names)


def ports(nodes: list[Any], names: Collection[str]) -> dict[str, int]:
    """Name -> channels of a model's inputs or outputs of rank 4, length of those of rank 1."""
    found = {}
    for node in nodes:
        shape = node.get_partial_shape()
        axis = {4: 1, 1: 0}.get(len(shape)) if shape.rank.is_static else None
        name = min(node.get_names(), key=lambda name: (name not in names, name), default="")
        found[name] = shape[axis].get_length() if axis is not None and shape[axis].is_static else -1
    return found


def openvino() -> ModuleType:
    """OpenVINO, without its model converter, which nothing here uses.

    Importing that reports the use to its makers over the network and takes half of the start-up time; OpenVINO does
    without where it is missing.
    """
    converter = "openvino.tools.ovc"
    absent = converter not in sys.modules and "openvino" not in sys.modules
    if absent:
        sys.modules[converter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if absent:
            del sys.modules[converter]
    return openvino  # type: ignore[no-any-return]


def core() -> Any:
    """Return OpenVINO's Core, one for the whole process, which is never given up.

    Each Core gives the thread that begins it a stack for signals, and takes that away when it ends. Two that end in the
    order in which they began leave the thread with the first one's, which is gone: the next signal, such as Ctrl-C,
    kills the process (OpenVINO 2026.4).
    """
    with _beginning:
        return _core()


@cache
def _core() -> Any:
    return openvino().Core()


def load_model(data: bytes, source: str, what: str = "style") -> Model:
    """Parse an ONNX file's bytes, which may be `what`; raises StyleError, naming `source`, when they are none."""
    reader = core()
    try:
        if data[:1] != ONNX_START:
            raise ValueError("not ONNX")  # noqa: TRY301 - OpenVINO reads other formats too
        return Model(reader.read_model(data))
    except Exception as error:
        raise StyleError(f"{source}: not a readable ONNX file; is it complete, and a {what}?") from error


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_processors(threads: int) -> None:
    """Have CPU networks that are compiled from now on use so many threads, wherever the system puts them.

    It is for the whole process, one of several that paint beside each other: left alone each takes every processor,
    and binds its threads to the first ones.
    """
    _shared.update({"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False})


class OpenVINORuntime:
    """A model compiled by OpenVINO, for any size of image at once."""

    def __init__(self, data: bytes | Model, device: str = "CPU", precision: str = "auto") -> None:
        model = load_model(data, "style") if isinstance(data, bytes) else data
        hint = {} if precision == "auto" else {"INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision]}
        hint |= _shared if device == "CPU" else {}
        try:
            compiled = core().compile_model(model.model, device, {"PERFORMANCE_HINT": "LATENCY", **hint})
            self.request = compiled.create_infer_request()
        except RuntimeError as error:
            raise DeviceError(f"{device}: the network does not compile there ({last_line(error)})") from error
        self.lock = Lock()
        self.device = device.lower()
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = {short: long for long, short in OPENVINO_PRECISIONS.items()}.get(used, used)

    def __call__(self, image: Floats, *style: Floats) -> Floats:
        """See `Runtime`; raises DeviceError when memory runs out."""
        return self.infer(image, *style)[0]

    def infer(self, image: Floats, *style: Floats) -> list[Floats]:
        """All outputs, where there are several."""
        try:
            result = self.request.infer([image, *style], share_inputs=True, share_outputs=True)
        except (RuntimeError, MemoryError) as error:
            height, width = image.shape[2:]
            raise DeviceError(
                f"{self.device}: failed on a {width} x {height} image ({last_line(error)}); try --max-side"
            ) from error
        return [*result.values()]


class GpuMemoryError(DeviceError):
    """A GPU's memory does not hold what a picture takes; a smaller tile, or the CPU's, may."""


class TorchRuntime:
    """A style file loaded back into PyTorch, for the GPUs that OpenVINO does not run on; see gpu.py."""

    def __init__(self, data: bytes, device: str, precision: str = "auto") -> None:
        try:
            import torch

            from impasto import gpu, statistics
            from impasto.export import load_network
            from impasto.networks import shared
        except ImportError as error:
            raise MissingExtraError("a GPU of this kind needs PyTorch: pip install 'impasto[train]'") from error
        dtype = {"auto": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self.torch, self.gpu, self.statistics, self.shared = torch, gpu, statistics, shared
        try:
            self.net = gpu.halved(load_network(data), device, dtype)
        except RuntimeError as error:
            raise DeviceError(f"{device}: the network cannot be put there ({last_line(error)})") from error
        self.lock = Lock()
        self.device = device
        self.precision = str(dtype).removeprefix("torch.")
        self.frames = gpu.Frames(self.forward, device)
        self.known: Sequence[Any] | None = None
        """Statistics to paint with, see networks/shared.py, where they are not to be the picture's own."""
        self.full = math.inf
        """Pixels for which memory did not suffice, at the least."""
        self.bytes_a_pixel: float | None = None

    def __call__(self, image: Floats, *style: Floats) -> Floats:
        """See `Runtime`; raises DeviceError, of a kind of its own (GpuMemoryError) when memory runs out."""
        torch = self.torch
        with self.told(image.shape[2:]), torch.inference_mode():
            x = torch.from_numpy(image).to(self.device, memory_format=torch.channels_last)
            rows = [torch.from_numpy(weights).to(self.device) for weights in style]
            return self.forward(x, *rows, known=self.known).float().cpu().numpy()  # type: ignore[no-any-return]

    def paint(self, photo: Pixels, *style: Floats) -> Pixels:
        """Paint uint8 (H, W, 3), or several pictures of one size (N, H, W, 3), as a network's needs have them.

        It needs no lock: of several threads one's picture is painted while another's is on its way, and small ones of
        one shape are painted together.
        """
        with self.told(photo.shape[-3:-1]):
            return self.frames(photo, *style)

    def forward(self, image: Any, *rows: Any, taker: Any = None, known: Sequence[Any] | None = None) -> Any:
        """Network's painting of a tensor (N, 3, H, W) in [0, 1], by statistics that are `known`, or the pictures' own.

        `taker`: what takes them instead, see `statistics.taken_by`.
        """
        if known is not None:
            taker = self.shared.Known(known)
        if self.device == "mps":  # where types do not mix, and maps are as they are
            with self.statistics.taken_by(taker):
                return self.net(image, *rows)
        with self.statistics.taken_by(taker or self.shared.own), self.gpu.ChannelsLast():
            return self.net(image, *rows)

    def given(self, statistics: Sequence[Any]) -> "TorchRuntime":
        """The same network, with statistics that were taken before."""
        made = copy.copy(self)
        made.known, made.lock = statistics, Lock()
        made.frames = self.gpu.Frames(partial(self.forward, known=statistics), self.device)
        return made

    def held(self, spec: "StyleSpec") -> float:
        """Bytes a pixel that painting takes at most: counted, once, on a small picture.

        Where not even that fits, no number of them does.
        """
        if self.bytes_a_pixel is None:
            side = max(PROBE, spec.min_size + 4) // spec.multiple * spec.multiple + spec.multiple
            photo = self.torch.zeros((side, side, 3), dtype=self.torch.uint8, device=self.device)
            rows = [self.torch.ones(spec.rows, device=self.device) / spec.rows] if spec.rows else []
            try:
                with self.told((side, side)), self.torch.inference_mode(), self.gpu.Held() as counted:
                    self.frames.pixels(photo, *rows)
            except GpuMemoryError:
                return math.inf
            self.bytes_a_pixel = counted.most / side**2
        return self.bytes_a_pixel

    def room(self) -> float:
        """Bytes of the device's memory that may be taken."""
        return self.gpu.free_bytes(self.device)

    def forget(self) -> None:
        """Give back the memory that is kept for pictures to come."""
        self.frames.forget()

    @contextmanager
    def told(self, size: Sequence[int]) -> Iterator[None]:
        """Turn what PyTorch raises over a picture (height, width) into a DeviceError."""
        try:
            yield
        except RuntimeError as error:
            kind = GpuMemoryError if self.gpu.is_full(error) else DeviceError
            told = f"{self.device}: failed on a {size[1]} x {size[0]} image ({last_line(error)})"
            raise kind(f"{told}; try --max-side, or the CPU") from error


def make_runtime(data: bytes, device: str = "auto", precision: str = "auto") -> Runtime:
    """Compile a style file's bytes for a device: auto takes the CPU, gpu the best GPU that is there.

    Raises:
        ValueError: The device or precision is not one of those that there are.
        DeviceError: It is not to be had on this machine.

    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; it must be one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if device != "gpu":
        return OpenVINORuntime(data, "CPU", precision)
    if kind := torch_gpu():
        return TorchRuntime(data, kind, precision)
    if "GPU" in openvino_devices():
        return OpenVINORuntime(data, "GPU", precision)
    raise DeviceError("no GPU that can be used was found; use --device cpu (impasto doctor tells what there is)")


def torch_gpu() -> str | None:
    """PyTorch's name of the GPU it can use, if it is installed and there is one."""
    try:
        import torch
    except ImportError:
        return None
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None


def openvino_devices() -> list[str]:
    """Devices that OpenVINO can use: CPU, and GPU where Intel's is there."""
    return [str(name).partition(".")[0] for name in core().available_devices]


def last_line(error: BaseException) -> str:
    """The telling line of an OpenVINO error: its last, without the source positions before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
