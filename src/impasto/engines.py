"""ONNX files of what paints after any painting: an engine's network, and the one that takes a painting's statistics.

An engine's file is a style file without rows: `paintings.freeze` puts those of paintings into it. Nor has it the
weights of the encoder, which all engines share: they are in the file of the statistics once (`without_encoder`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from impasto.errors import StyleError
from impasto.export import TOLERANCE, store_half, traced
from impasto.files import atomic_write
from impasto.networks.engines import ENGINES, LEVELS, PaintingStatistics, WCTNet
from impasto.networks.rewrite import for_inference
from impasto.networks.stylenet import TABLES
from impasto.paintings import ENCODER, ENGINE_KEY, SIZES, STATISTICS, Statistics, engine_style, measure, taken
from impasto.runtimes import OpenVINORuntime
from impasto.specs import StyleSpec

PROBE = (80, 112)
"""Height and width of the picture on which OpenVINO is compared with PyTorch."""
SHAPES = {
    "adain": (8, 32, "auto"),
    "hourglass": (8, 32, "auto"),
    "wct": (16, 32, "float32"),
}
"""By engine: what height and width are multiples of, the least of them, and the arithmetic it needs."""
LOOSER = {"wct": 4.0}
"""Factor of the tolerance: whitening multiplies what rounding to float16 does to the features of five encoders."""


class EngineGraph(nn.Module):
    """An engine as its file has it, with its output in [0, 1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, style: Tensor, *statistics: Tensor) -> Tensor:
        """See `networks.engines`."""
        return self.net(image, style, *statistics).clamp(0, 1)  # type: ignore[no-any-return]


def export_statistics(folder: Path) -> Path:
    """Write the network that takes a painting's statistics, whole or not at all."""
    size = torch.export.Dim.DYNAMIC
    names = [f"{kind}{level}" for level in LEVELS for kind in ("mean", "covariance")]
    net = PaintingStatistics().eval().requires_grad_(False)
    model = traced(net, (noise(),), ("image",), names, ({2: size, 3: size},))
    write(folder / STATISTICS, halved(model))
    return folder / STATISTICS


def export_engine(name: str, net: nn.Module, folder: Path, *, tolerance: float = TOLERANCE) -> Path:
    """Write an engine's network, whole or not at all, its weights as float16, beside that of the statistics.

    What that has of its weights too is not written again.

    Raises:
        StyleError: OpenVINO does not paint what PyTorch paints, or the file cannot be written.

    """
    graph = EngineGraph(for_inference(net).cpu().float())
    inputs: tuple[str, ...] = net.inputs  # type: ignore[assignment]
    painting = (noise(3)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    statistics = measure(painting, folder)
    rows = taken(statistics, inputs)
    style = torch.tensor([0.2, *(0.8 / len(SIZES) for _ in SIZES)])
    size = torch.export.Dim.DYNAMIC
    probe = (noise(), style, *(torch.from_numpy(rows[key]) for key in inputs))
    shapes = ({2: size, 3: size}, {0: size}, tuple({0: size} for _ in inputs))
    model = traced(graph, probe, ("image", "style", *inputs), ("stylized",), shapes)
    multiple, least, precision = SHAPES[name]
    about: dict[str, Any] = {"engine": name, "architecture": type(net).__name__, "inputs": inputs}
    about |= {"arguments": {"levels": net.levels} if isinstance(net, WCTNet) else {}}
    about |= {"multiple": multiple, "min_size": least, "precision": precision}
    helper.set_model_props(model, {ENGINE_KEY: json.dumps(about)})
    data = without_encoder(halved(model), (folder / STATISTICS).read_bytes())
    compare(graph, data, probe, statistics, folder, tolerance * LOOSER.get(name, 1.0))
    write(folder / f"{name}.onnx", data)
    return folder / f"{name}.onnx"


def compare(
    graph: nn.Module, data: bytes, probe: Sequence[Tensor], statistics: Statistics, folder: Path, tolerance: float
) -> None:
    """Raise a StyleError unless OpenVINO paints what PyTorch paints, in float32."""
    with torch.inference_mode():
        expected = graph(*probe).numpy()
    style = engine_style(data, {"probe": statistics}, "probe", folder=folder)
    painted = OpenVINORuntime(style.data, precision="float32")(probe[0].numpy(), probe[1].numpy())
    moved = float(np.abs(painted - expected).mean())
    if not moved <= tolerance:
        raise StyleError(
            f"the engine is not written, since OpenVINO's output is {moved * 255:.2f} of 255 from PyTorch's"
        )


def noise(seed: int = 0) -> Tensor:
    """A picture (1, 3, H, W) in [0, 1] to try networks on, the same every time."""
    coarse = torch.rand((1, 3, 10, 14), generator=torch.Generator().manual_seed(seed))
    fine = torch.rand((1, 3, *PROBE), generator=torch.Generator().manual_seed(seed + 1))
    return 0.7 * nn.functional.interpolate(coarse, PROBE, mode="bilinear") + 0.3 * fine


def halved(model: onnx.ModelProto) -> bytes:
    """A model's bytes, its weights as float16."""
    model.producer_name = "impasto"
    store_half(model.graph)
    return model.SerializeToString()  # type: ignore[no-any-return]


def without_encoder(engine: bytes, statistics: bytes) -> bytes:
    """Engine's bytes without the kernels that the network of the statistics has too: those become inputs.

    `paintings.complete` puts them back, the same to the bit, by the names that the engine's property tells.
    """
    there = {values(tensor): tensor.name for tensor in onnx.load_model_from_string(statistics).graph.initializer}
    model = onnx.load_model_from_string(engine)
    properties = {prop.key: prop.value for prop in model.metadata_props}
    about = json.loads(properties[ENGINE_KEY])
    found = about.setdefault(ENCODER, {})
    for tensor in [*model.graph.initializer]:
        if len(tensor.dims) == 4 and values(tensor) in there:  # a bias is shorter than what would be said of it
            found[tensor.name] = there[values(tensor)]
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            model.graph.initializer.remove(tensor)
    helper.set_model_props(model, properties | {ENGINE_KEY: json.dumps(about)})
    return model.SerializeToString()  # type: ignore[no-any-return]


def values(tensor: onnx.TensorProto) -> tuple[Any, ...]:
    """What a constant is but for its name."""
    return tuple(tensor.dims), tensor.data_type, tensor.raw_data


def write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; raises StyleError where that cannot be done."""
    try:
        with atomic_write(path) as stream:
            stream.write(data)
    except OSError as error:
        raise StyleError(f"{path}: cannot write the engine ({error.strerror})") from error


class Frozen(nn.Module):
    """An engine with the statistics of paintings, as a style file has it."""

    def __init__(self, net: nn.Module, statistics: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = EngineGraph(net)
        for place, value in enumerate(statistics):
            self.register_buffer(f"statistics{place}", value)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """RGB (1, 3, H, W) in [0, 1] and weights of the rows (K,) -> RGB the same."""
        return self.graph(image, style, *self.buffers(recurse=False))  # type: ignore[no-any-return]


def load_frozen(spec: StyleSpec, weights: Mapping[str, Tensor]) -> nn.Module:
    """Network of a frozen painting's style file, whose constants are given by name.

    Raises:
        KeyError, RuntimeError: They are not those of such a network.

    """
    kind = {net.__name__: net for net in ENGINES.values()}[spec.architecture]
    net = for_inference(kind(**spec.arguments))
    made = Frozen(net, [weights[name] for name in net.inputs])
    made.graph.load_state_dict(weights, strict=False)
    every = dict(made.graph.named_parameters(remove_duplicate=False))
    there = {id(parameter) for name, parameter in every.items() if name in weights}  # a shared one has one name of many
    if missing := [k for k, v in every.items() if id(v) not in there and k.rpartition(".")[2] not in TABLES]:
        raise KeyError(missing[0])
    return made.eval().requires_grad_(False)
