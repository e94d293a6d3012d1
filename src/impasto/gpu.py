"""What a GPU needs to be kept busy: half precision where it pays, captured graphs, transfers beside work, its memory.

All that only CUDA has is in `Lane` and `Captured`. Where a graph cannot be captured pictures are painted without; other
devices paint the plain way.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from impasto.memory import free_memory
from impasto.runtimes import TOGETHER, UNDER_WAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from impasto.images import Floats

    Forward = Callable[..., Tensor]

KEPT: Final = 4
"""Graphs that stay captured, each of one shape, with the memory that its network takes."""
NOTED: Final = 32
"""Shapes that are remembered: one that comes again is captured."""
OFTEN: Final = 8
"""How often a shape has to come before it takes the place of another's graph: capturing takes some runs' time."""
TOGETHER_PIXELS: Final = 1 << 22
"""Of a batch, at most: larger pictures keep a GPU busy one by one."""
WARM: Final = 3
"""Runs before a graph is captured, in which cuDNN tries its ways to convolve and keeps the fastest."""
capturing = threading.Lock()
"""Held while a graph is captured, which no two may be at a time in a process."""
SHARE: Final = 0.9
"""Of what is free on a GPU that is taken; other programs use it too."""


FULL: Final = ("out of memory", "ALLOC_FAILED", "32-bit index")
"""In errors that smaller tiles get around; the last is of maps of more values than kernels count."""


def halved(net: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """A network on a device, with its convolutions, and only those, in `dtype` and channels last.

    Scales, shifts and the statistics of paintings stay float32: they are few, and float16 has neither their range nor
    their digits.
    """
    net = net.to(device)
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 4:
            for value in module.parameters(recurse=False):
                value.data = value.data.to(dtype)
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            module.register_forward_pre_hook(narrowed)
    return net


def narrowed(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs of a convolution in the type of its weights."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    return (inputs[0].to(weight.dtype), *inputs[1:])


class ChannelsLast(TorchFunctionMode):
    """Pads and unfolds maps inside in the layout that they have.

    CUDA's kernels for that copy a channels-last map to the other layout first, and cuDNN copies it back.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        told = kwargs or {}
        if func is F.pad and told.get("mode") in ("reflect", "replicate"):
            return padded(args[0], args[1], told["mode"])
        if func is torch.pixel_shuffle:
            return unfolded(*args)
        return func(*args, **told)


def padded(x: Tensor, pad: Sequence[int], mode: str) -> Tensor:
    """Map (N, C, H, W) with a border (left, right, above, below), as `torch.nn.functional.pad` gives it."""
    left, right, above, below = pad
    rows, columns = (
        torch.arange(-before, length + after, device=x.device)
        for before, length, after in ((above, x.shape[2], below), (left, x.shape[3], right))
    )
    if mode == "reflect":
        rows, columns = ((n - 1) - (n - 1 - i.abs()).abs() for i, n in zip((rows, columns), x.shape[2:], strict=True))
    else:
        rows, columns = (i.clamp(0, n - 1) for i, n in zip((rows, columns), x.shape[2:], strict=True))
    return x.permute(0, 2, 3, 1)[:, rows[:, None], columns].permute(0, 3, 1, 2)


def unfolded(x: Tensor, factor: int) -> Tensor:
    """Channels (N, C factor^2, H, W) as blocks of pixels (N, C, factor H, factor W): `torch.pixel_shuffle`."""
    count, channels, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(count, height, width, channels // factor**2, factor, factor)
    made = parts.permute(0, 1, 4, 2, 5, 3).reshape(count, height * factor, width * factor, channels // factor**2)
    return made.permute(0, 3, 1, 2)


class Frames:
    """Paints pictures, uint8 in and uint8 out: a third of the bytes of float32 to move, none to convert on the CPU.

    On CUDA a shape that comes again is captured as a graph, threads that call it have their pictures moved while
    others' are painted, and those that wait with small pictures of one shape have them painted as one batch.
    """

    def __init__(self, forward: Forward, device: str) -> None:
        self.forward, self.device = forward, device
        self.quick = device.startswith("cuda")
        """Whether streams and graphs are used."""
        self.plain: set[Any] = set()
        """Shapes that are not captured, since it has failed."""
        self.apart: set[Any] = set()
        """Shapes of which memory does not hold a batch."""
        self.seen: OrderedDict[Any, int] = OrderedDict()
        """How often a shape has come without a graph."""
        self.graphs: OrderedDict[Any, Captured] = OrderedDict()
        self.turn = threading.Condition()
        """Held while work is put on the stream, and told when a batch is done."""
        self.waiting: list[Asked] = []
        self.under_way: set[Asked] = set()
        """Those for which batches are on the stream, one of each."""
        self.own = threading.local()
        self.work: Any = None
        """Stream on which networks run, one after another."""

    def __call__(self, photo: npt.NDArray[np.uint8], *style: Floats) -> npt.NDArray[np.uint8]:
        """Paint (H, W, 3), or several of one size (N, H, W, 3), RGB; raises what PyTorch raises.

        Where memory runs out, what graphs keep is given back, and it is tried once more.
        """
        try:
            return self.painted(photo, style)
        except RuntimeError as error:
            if not (is_full(error) and self.graphs):
                raise
        self.forget()  # only here, since the error holds on to what was computed
        return self.painted(photo, style)

    @torch.inference_mode()
    def painted(self, photo: npt.NDArray[np.uint8], style: Sequence[Floats]) -> npt.NDArray[np.uint8]:
        """See `__call__`."""
        photo = np.require(photo, requirements=("C", "W"))  # or PyTorch refuses it, or warns
        if self.quick:
            return self.beside(photo, style)
        with self.turn:  # memory is reckoned for one
            rows = [torch.from_numpy(weights).to(self.device) for weights in style]
            return self.pixels(torch.from_numpy(photo).to(self.device), *rows).cpu().numpy()

    def pixels(self, photo: Tensor, *rows: Tensor) -> Tensor:
        """Paint uint8 (H, W, 3) or (N, H, W, 3) on the device: the same; rounded as by `images.from_network`."""
        image = photo.reshape(-1, *photo.shape[-3:]).permute(0, 3, 1, 2).float() / 255  # which is channels last
        made = self.forward(image, *rows)
        if made.shape != image.shape:
            return made  # a stranger's network; who asked looks at the shape
        made = made.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
        return made.permute(0, 2, 3, 1).reshape(photo.shape)

    def beside(self, photo: npt.NDArray[np.uint8], style: Sequence[Floats]) -> npt.NDArray[np.uint8]:
        """Paint on CUDA: this thread's stream moves pixels while the one of all threads computes."""
        lane = self.lane()
        lane.stream.synchronize()  # of what failed before something may still be under way
        given = (
            lane.up("photo", torch.from_numpy(photo)),
            *(lane.up(f"{i}", torch.from_numpy(w)) for i, w in enumerate(style)),
        )
        key = (photo.shape, *(weights.tobytes() for weights in style))
        asked = Asked(lane=lane, given=given, key=key)
        try:
            with self.turn:
                self.waiting.append(asked)
                self.turn.wait_for(lambda: asked.made is not None or len(self.under_way) < UNDER_WAY)
                self.waiting = [one for one in self.waiting if one is not asked]
                if asked.made is None:
                    self.begin(asked)
            if asked in self.under_way:
                asked.done.synchronize()
        finally:
            self.leave(asked)
        lane.stream.wait_event(asked.done)
        return lane.down(asked.made)

    def leave(self, asked: Asked) -> None:
        """Make room for the next, whatever has become of a picture, an interrupt at any line included."""
        if asked in self.under_way or asked in self.waiting:
            with self.turn:
                self.under_way.discard(asked)
                self.waiting = [one for one in self.waiting if one is not asked]
                self.turn.notify_all()

    def begin(self, asked: Asked) -> None:
        """Put a picture on the stream, with those that wait and are like it where they make a batch."""
        group = self.group(asked)
        with torch.cuda.stream(self.work):
            for one in group:
                self.work.wait_stream(one.lane.stream)
            try:
                made = self.together(group)
            except RuntimeError as error:
                if len(group) == 1 or not is_full(error):
                    raise
                made = ()
            if not made:  # only here, since the error holds on to what was computed
                self.apart.add(asked.key[0])
                group = [asked]
                made = self.together(group)
        done = self.work.record_event()
        self.under_way.add(asked)
        for one, painted in zip(group, made, strict=True):
            one.done, one.made = done, painted  # in this order: who sees the painting waits for the other
        self.waiting = [one for one in self.waiting if one.made is None]

    def group(self, asked: Asked) -> list[Asked]:
        """A picture, or as many as make a batch: of its shape, in its style."""
        shape = asked.key[0]
        if len(shape) > 3 or TOGETHER * shape[0] * shape[1] > TOGETHER_PIXELS or shape in self.apart:
            return [asked]
        alike = [asked, *(one for one in self.waiting if one.key == asked.key)]
        return alike[: TOGETHER if len(alike) >= TOGETHER else 1]

    def together(self, group: Sequence[Asked]) -> Sequence[Tensor]:
        """Paint pictures of one shape in one style."""
        first = group[0].given
        if len(group) == 1:
            return (self.computed(first),)
        return self.computed((torch.stack([one.given[0] for one in group]), *first[1:])).unbind()

    def lane(self) -> Lane:
        """The lane of the thread that asks."""
        if not hasattr(self.own, "lane"):
            with self.turn:
                if self.work is None:
                    work: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
                    work.wait_stream(torch.cuda.current_stream(self.device))  # which made the weights
                    self.work = work
            self.own.lane = Lane(self.device)
        made: Lane = self.own.lane
        return made

    def computed(self, given: tuple[Tensor, ...]) -> Tensor:
        """Paint what is on the GPU, by a graph where that is captured or has come before."""
        key = tuple(value.shape for value in given)
        if key not in self.graphs:
            self.seen[key] = times = self.seen.pop(key, 0) + 1
            while len(self.seen) > NOTED:
                self.seen.popitem(last=False)
            wanted = times > (1 if len(self.graphs) < KEPT else OFTEN) and key not in self.plain
            if not (wanted and self.capture(key, given)):
                return self.pixels(*given)
            del self.seen[key]
        self.graphs.move_to_end(key)
        return self.graphs[key](*given)

    def capture(self, key: Any, given: tuple[Tensor, ...]) -> bool:
        """Capture the graph of a shape; where that fails, say so, and do not try again."""
        while len(self.graphs) >= KEPT:
            self.graphs.popitem(last=False)
        try:
            with capturing, tried_out(), torch.cuda.stream(self.work):  # which PyTorch leaves where capturing fails
                self.graphs[key] = Captured(self.pixels, given)
        except RuntimeError as error:
            told = "there is not memory enough" if is_full(error) else " ".join(str(error).split())[:200]
        else:
            return True
        self.plain.add(key)
        emptied(self.device)
        warnings.warn(f"{self.device}: a graph cannot be captured, so it goes on without ({told})", stacklevel=2)
        return False

    def forget(self) -> None:
        """Give back what graphs keep."""
        with self.turn:
            self.graphs.clear()
            self.seen.clear()
        emptied(self.device)


@dataclass(slots=True, kw_only=True, eq=False)
class Asked:
    """A picture that a thread wants painted."""

    lane: Lane
    given: tuple[Tensor, ...]
    """On the GPU, once the lane's stream is done."""
    key: tuple[Any, ...]
    """Its shape and style; those of the same may be painted as one batch."""
    made: Any = None
    """The painting, a tensor, once `done` has come."""
    done: Any = None


class Lane:
    """A thread's way to a GPU and back: a stream of its own, and pinned memory, which is moved while others compute."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pinned: dict[str, Tensor] = {}

    def buffer(self, name: str, like: Tensor) -> Tensor:
        """Pinned memory by name, shaped as a tensor."""
        there = self.pinned.get(name)
        if there is None or there.shape != like.shape or there.dtype != like.dtype:
            self.pinned[name] = there = pinned(like)
        return there

    def up(self, name: str, value: Tensor) -> Tensor:
        """A tensor on the GPU, once the stream is done."""
        with torch.cuda.stream(self.stream):
            return self.buffer(name, value).copy_(value).to(self.device, non_blocking=True)

    def down(self, value: Tensor) -> npt.NDArray[np.uint8]:
        """What a tensor on the GPU holds; blocks."""
        there = self.buffer("made", value)
        with torch.cuda.stream(self.stream):
            there.copy_(value, non_blocking=True)
        self.stream.synchronize()
        return there.numpy().copy()


def pinned(like: Tensor) -> Tensor:
    """Pinned memory for a tensor."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


class Captured:
    """A network's run for one shape as a graph of CUDA, which is begun by one call instead of hundreds."""

    def __init__(self, run: Forward, given: Sequence[Tensor]) -> None:
        self.given = [value.clone() for value in given]
        device = given[0].device
        # PyTorch hands out 32 streams of a priority again and again: of the others' this may be a lane that is in use.
        stream: Any = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream(device)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                run(*self.given)
        here.wait_stream(stream)
        self.graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):  # others go on meanwhile
            self.made = run(*self.given)

    def __call__(self, *given: Tensor) -> Tensor:
        """What `run` would give, in memory of its own: the graph's is written over by the next."""
        for own, value in zip(self.given, given, strict=True):
            own.copy_(value)
        self.graph.replay()
        return self.made.clone()


@contextlib.contextmanager
def tried_out() -> Iterator[None]:
    """Have cuDNN try its ways to convolve, which pays where a shape comes again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that tensors take which are made inside, and how many they are at most at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        before = {value.untyped_storage()._cdata for value in tensors(args)}  # noqa: SLF001 - what it is known by
        for value in tensors(made):
            storage = value.untyped_storage()
            if storage._cdata not in before and storage._cdata not in self.known:  # noqa: SLF001
                self.known.add(storage._cdata)  # noqa: SLF001
                self.now += storage.nbytes()
                weakref.finalize(storage, self.freed, storage._cdata, storage.nbytes())  # noqa: SLF001
        self.most = max(self.most, self.now)
        return made

    def freed(self, key: int, size: int) -> None:
        """Note that a tensor's memory is given back."""
        self.known.discard(key)
        self.now -= size


def tensors(values: Any) -> list[Tensor]:
    """Tensors in what an operation takes or gives."""
    if isinstance(values, Tensor):
        return [values]
    return [one for value in values for one in tensors(value)] if isinstance(values, (list, tuple)) else []


def free_bytes(device: str) -> float:
    """Bytes that may be taken on a device."""
    if device.startswith("cuda"):
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by us, and not in use
        return SHARE * (torch.cuda.mem_get_info(device)[0] + kept)
    if device == "mps":
        return SHARE * (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return SHARE * free_memory()


def emptied(device: str) -> None:
    """Give back what PyTorch keeps of a device's memory without using it."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def is_full(error: BaseException) -> bool:
    """Whether an error says that a picture is too large; of CUDA's libraries some have words of their own for it."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in FULL)
