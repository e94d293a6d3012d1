"""What a network needs of a tile around it and of memory, read off its graph (see graphs.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from impasto.errors import StyleError
from impasto.graphs import SIDE, constant_of, is_open, name_of, opset, sizes_of, split_norms, taken
from impasto.runtimes import load_model, openvino

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reach = tuple[float, float, float]

# fmt: off
AT_A_PLACE: Final = frozenset(
    (
        "Abs", "Add", "BatchNormInference", "Broadcast", "Clamp", "Concat", "Convert", "ConvertLike", "Divide", "Elu",
        "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterEqual", "HardSigmoid", "HSigmoid", "HSwish",
        "LeakyRelu", "Less", "LessEqual", "Log", "MatMul", "Maximum", "Minimum", "Mish", "Multiply", "MVN",
        "Negative", "PRelu", "Power", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Round",
        "Select", "Selu", "Sigmoid", "Sign", "SoftPlus", "SoftSign", "Sqrt", "SquaredDifference", "Squeeze",
        "Subtract", "Swish", "Tanh", "Transpose", "Unsqueeze",
    )
)
# fmt: on
"""Operations whose values at a place are made of those at the same place, or of all places."""
IN_PLACE: Final = AT_A_PLACE - {"Concat", "MatMul", "Transpose"}
"""Those that need no memory of their own: an engine writes over an input that nothing else needs, or fuses them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a network needs of a tile and of memory."""

    margin: int
    """Pixels beyond a tile that its painting depends on."""
    stride: int
    """Pixels of which tiles begin at a multiple, so that all maps have pixels where the whole picture's have."""
    values: float
    """Values a pixel that are held at once, at most, when it is painted."""
    measured: float
    """The same, when statistics are measured."""
    statistics: tuple[tuple[int, int | None], ...]
    """Round and mean of each that it takes of the whole picture, see `graphs.Statistic`."""
    aligned: bool
    """Whether those are of maps of which each place is that of a pixel of the picture, or of a block of them."""

    @property
    def rounds(self) -> int:
        """Rounds in which all of them can be taken by tiles, one after another; 0 where that cannot be."""
        return max((turn for turn, _ in self.statistics), default=0) * self.aligned


@lru_cache(maxsize=8)
def needs_of(data: bytes, source: str) -> Needs:
    """What a style file's network needs; raises StyleError where a tile would need all of the picture."""
    model = load_model(data, source).model
    split_norms(model)
    found = taken(model, source)
    order = tuple((each.round, each.mean) for each in found)
    aligned = all(8 * SIDE % length == 0 for size in sizes_of(model, found) for length in size)
    outputs = [each.value for each in found]
    reach, stride = reach_of(model, {name_of(value) for value in outputs}, source)
    side = 2 * SIDE * max(1, math.ceil(reach / SIDE))
    measuring = openvino().Model([opset().result(value) for value in outputs], model.get_parameters(), "measuring")
    painting = load_model(data, source).model
    for graph in (painting, measuring):
        graph.reshape({port: [1, 3, side, side] for port in graph.inputs if "image" in port.get_names()})
    held = [most_held(graph) / side**2 for graph in (painting, measuring)]
    return Needs(margin=reach, stride=stride, values=held[0], measured=held[1], statistics=order, aligned=aligned)


def reach_of(model: Any, whole: set[str], source: str) -> tuple[int, int]:
    """Pixels around its own that an output pixel depends on, and the coarsest stride of a map; `whole` see none."""
    seen: dict[Any, Reach] = {}
    strides = [1.0]
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind == "Parameter" and is_open(node.output(0)):
            seen[name] = (1.0, 0.0, 0.0)
        inputs = [value.get_node().get_friendly_name() for value in node.input_values()]
        before = [seen[used] for used in inputs[: 1 if kind == "ConvertLike" else None] if used in seen]
        if not before or kind in ("ShapeOf", "Constant") or name in whole:
            continue
        if kind == "Result":
            return math.ceil(max(-before[0][1], before[0][2], 0)), int(max(strides))
        step, low, high = before[0][0], min(b[1] for b in before), max(b[2] for b in before)
        seen[name] = moved(node, (step, low, high), source)
        strides.append(seen[name][0])
    raise StyleError(f"{source}: its painting does not depend on the photo")


def moved(node: Any, seen: Reach, source: str) -> Reach:
    """Of an operation's output pixel: its step in pixels of the picture, and the first and last of those it sees."""
    step, low, high = seen
    kind = node.get_type_name()
    if kind in AT_A_PLACE:
        return seen
    if kind in MOVES:
        made, first, last = MOVES[kind](node)
        return step * made, low + step * first, high + step * last
    raise StyleError(f"{source}: cannot be painted by tiles, for what {kind} does to a picture is not known here")


def convolved(node: Any) -> Reach:
    """An output pixel's step and first and last input pixel, of a convolution or pooling; the widest direction's."""
    about = node.get_attributes()
    kernel = about["kernel"] if "kernel" in about else [*node.input_value(1).get_shape()][-2:]
    dilations = about.get("dilations", [1, 1])
    spans = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    first = [-max(before, 0) for before in about["pads_begin"]]
    if str(about.get("auto_pad", "explicit")).lower().startswith("same"):
        first = [-((span + 1) // 2) for span in spans]
    return float(max(about["strides"])), min(first), max(f + s for f, s in zip(first, spans, strict=True))


def unconvolved(node: Any) -> Reach:
    """As `convolved`, of a transposed convolution."""
    about, kernel = node.get_attributes(), [*node.input_value(1).get_shape()][-2:]
    step, pad = min(about["strides"]), max(about["pads_begin"])
    return 1 / step, (pad - max(kernel) + 1) / step, max(kernel) / step


def padded(node: Any) -> Reach:
    """As `convolved`, of what puts a border around."""
    before = node.input_value(1).get_node().get_data()[-2:]
    return 1.0, -float(before.max()), -float(before.min())


def cut(node: Any) -> Reach:
    """As `convolved`, of a slice with known beginnings; those of other directions are none of ours."""
    starts = constant_of(node.input_value(1))
    known = [] if starts is None else [float(start) for start in np.atleast_1d(starts) if 0 <= start < SIDE]
    return 1.0, 0.0, max(known, default=0.0)


def doubled(node: Any) -> Reach:
    """As `convolved`, of what spreads channels over blocks of pixels."""
    block = node.get_attributes()["block_size"]
    return 1 / block, -(block - 1) / block, 0.0


MOVES: Final[Mapping[str, Callable[[Any], Reach]]] = {
    "Convolution": convolved,
    "GroupConvolution": convolved,
    "MaxPool": convolved,
    "AvgPool": convolved,
    "ConvolutionBackpropData": unconvolved,
    "GroupConvolutionBackpropData": unconvolved,
    "Pad": padded,
    "Slice": cut,
    "StridedSlice": cut,
    "DepthToSpace": doubled,
}
"""Step, first and last input pixel of an output pixel, by operation."""


def most_held(model: Any) -> float:
    """Values that are held at once, at most, of a graph of fixed shapes that is computed in its order."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Constant", "Result")]
    names = [name_of(node.output(0)) for node in nodes]
    inputs = [[name for name in map(name_of, node.input_values()) if name in names] for node in nodes]
    needed = {name: place for place, used in enumerate(inputs) for name in used}
    own: dict[str, str] = {}  # whose memory each value is in
    last: dict[str, int] = {}
    sizes: dict[str, float] = {}
    copies = [0.0] * len(nodes)
    for place, (node, name, used) in enumerate(zip(nodes, names, inputs, strict=True)):
        for each in used:
            last[own[each]] = place
        kind, size = node.get_type_name(), float(np.prod([*node.output(0).get_shape()]))
        free = [own[x] for x in used if sizes[own[x]] == size and needed[x] == place and own[x] != "image"]
        own[name] = free[0] if free and kind in IN_PLACE else name
        sizes.setdefault(own[name], size)
        last[own[name]] = max(place, last.get(own[name], 0))
        if kind == "MatMul":  # computed of maps put in another order, and in float32
            copies[place] = size + sum(sizes[own[each]] for each in used)
    begins = {own[name]: place for place, name in reversed([*enumerate(names)])}
    held = [sum(sizes[n] for n in last if begins[n] <= place <= last[n]) for place in range(len(nodes))]
    return max(map(sum, zip(held, copies, strict=True)))
