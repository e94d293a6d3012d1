"""Style files' parsed graphs, taken apart so that a picture can be painted by tiles.

What makes tiles disagree is what a network takes of the whole picture: the means and variances of its normalisations
(Ulyanov et al. 2016), those of AdaIN, the covariances of WCT. In a graph they are all of one kind: a value without
height or width, computed of one that has them. A first graph measures them jointly on crops spread over the picture, in
a second they are constants, and tiles painted by it agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from impasto.errors import StyleError
from impasto.runtimes import Model, load_model, openvino

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from impasto.images import Floats

SHAPES: Final = ("ShapeOf", "ConvertLike", "Result")
"""Operations that take no values of their input, only its shape or type; and what has no output to speak of."""
SIDE: Final = 64
"""Of the picture, a multiple of every stride, for which sizes in a graph are counted."""


def opset() -> ModuleType:
    """OpenVINO's operations."""
    return openvino().opset13  # type: ignore[no-any-return]


def split_norms(model: Any, one: Any = None) -> None:
    """Replace normalisations in one piece, which ONNX's InstanceNormalization becomes, by means and a division.

    What is divided by is multiplied by `one`, where there is one.
    """
    ops = opset()
    for node in [node for node in model.get_ordered_ops() if node.get_type_name() == "MVN"]:
        x, axes, about = node.input_value(0), node.input_value(1), node.get_attributes()
        made = ops.subtract(x, ops.reduce_mean(x, axes, keep_dims=True))
        if about["normalize_variance"]:
            variance, eps = ops.reduce_mean(ops.multiply(made, made), axes, keep_dims=True), np.float32(about["eps"])
            inside = about["eps_mode"].upper().startswith("INSIDE")
            deviation = ops.sqrt(ops.add(variance, eps)) if inside else ops.add(ops.sqrt(variance), eps)
            made = ops.divide(made, deviation if one is None else ops.multiply(deviation, one))
        node.output(0).replace(made.output(0))
    model.validate_nodes_and_infer_types()


def statistics_in(model: Any, source: str) -> list[Any]:
    """Outputs, in order, that have no height or width and are computed of what has.

    Raises:
        StyleError: One is a sum over the places that nothing divides by their number.

    """
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in SHAPES or not node.get_output_size() or is_open(node.output(0)):
            continue
        if not any(is_open(value) for value in node.input_values()):
            continue
        found.append(node.output(0) if node.get_type_name() == "ReduceMean" else divided(node, source))
    return found


def divided(node: Any, source: str) -> Any:
    """Output at which a sum over the places has been divided by their number; raises StyleError where it is not."""
    targets = [*node.output(0).get_target_inputs()]
    after = targets[0].get_node() if len(targets) == 1 else None
    if node.get_type_name() not in ("MatMul", "ReduceSum") or after is None or after.get_type_name() != "Divide":
        raise StyleError(
            f"{source}: takes of the whole picture what cannot be shared by tiles ({node.get_type_name()})"
        )
    return after.output(0)


def is_open(value: Any) -> bool:
    """Whether a value's shape depends on the picture's."""
    return bool(value.get_partial_shape().is_dynamic)


def freed(model: Any) -> None:
    """Let a graph that was traced with one picture take several: the leading 1 of its reshapings becomes any."""
    ops = opset()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Reshape" and is_open(node.output(0)):
            pattern = node.input_value(1)
            first, rest = ops.constant(np.zeros(1, np.int64)), ops.constant(np.array([1], np.int64))
            end = ops.constant(np.array([1 << 30], np.int64))
            tail = ops.slice(ops.convert(pattern, "i64"), rest, end, rest)
            made = ops.reshape(node.input_value(0), ops.concat([first, tail], 0), special_zero=True)
            node.output(0).replace(made.output(0))


@dataclass(frozen=True, slots=True)
class Statistic:
    """What a network takes of the whole picture."""

    value: Any
    """Output that has no height and width."""
    node: Any
    """Operation that sums over the places."""
    places: tuple[int, ...] | None
    """Shape that a map of counts (N, 1, h, w) is given to multiply that: 0 is as it is, -1 all places; None its own."""
    sized: Any
    """Output that has the map's height and width."""
    mean: int | None
    """Which statistic, by its place, this is the variance or the covariance about."""
    round: int
    """1 where no other statistic but its mean's is needed to take it, else one more than the latest of those."""


def taken(model: Any, source: str) -> list[Statistic]:
    """Statistics of a graph in order; raises StyleError where one cannot be shared by tiles."""
    found: list[Statistic] = []
    values = {name_of(value): value for value in statistics_in(model, source)}
    places = {name: place for place, name in enumerate(values)}
    rounds: dict[str, int] = {}
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        rounds[name] = max((rounds[name_of(value)] for value in node.input_values()), default=0)
        if name in values:
            own, shape, sized = summed_in(values[name], source)
            centre, of = centre_of(own)
            mean = places.get(centre)
            if mean is not None and of != name_of(before(summed_by(found[mean].node).get_source_output())):
                mean = None
            rounds[name] += mean is None
            found.append(Statistic(values[name], own, shape, sized, mean, rounds[name]))
    return found


def name_of(value: Any) -> str:
    """Name of the operation that a value comes from."""
    return str(value.get_node().get_friendly_name())


def summed_in(value: Any, source: str) -> tuple[Any, tuple[int, ...] | None, Any]:
    """Of a statistic `Statistic.node`, `places` and `sized`; raises StyleError where its places are not known."""
    node = value.get_node()
    if node.get_type_name() == "Divide":
        node = node.input_value(0).get_node()
    sized = summed_by(node).get_source_output()
    while sized is not None and not is_map(sized):
        sized = next((used for used in sized.get_node().input_values() if is_open(used)), None)
    shape = summed_by(node).get_partial_shape()
    sides = len(shape), tuple(axis for axis, side in enumerate(shape) if side.is_dynamic)
    if sized is None or sides not in PLACES:
        raise StyleError(f"{source}: takes of the whole picture what cannot be shared by tiles ({shape})")
    return node, PLACES[sides], sized


def centre_of(node: Any) -> tuple[str, str]:
    """Of a sum of squares or products: names of what was subtracted before, and of what; empty of another sum."""
    factors = [*node.input_values()] if node.get_type_name() == "MatMul" else squared(node.input_value(0))
    nodes = [before(value).get_node() for value in factors]
    names = {node.get_friendly_name() for node in nodes}
    if len(nodes) != 2 or nodes[0].get_type_name() != "Subtract" or len(names) > 1:
        return "", ""
    return name_of(before(nodes[0].input_value(1))), name_of(before(nodes[0].input_value(0)))


def squared(value: Any) -> list[Any]:
    """Both factors of a product, or of a square."""
    node = value.get_node()
    if node.get_type_name() == "Multiply":
        return [*node.input_values()]
    power = constant_of(node.input_value(1)) if node.get_type_name() == "Power" else None
    return [node.input_value(0)] * 2 if power is not None and (power == 2).all() else []


def before(value: Any) -> Any:
    """What a value was before its shape was changed."""
    while value.get_node().get_type_name() in ("Reshape", "Squeeze", "Transpose", "Unsqueeze"):
        value = value.get_node().input_value(0)
    return value


def summed_by(node: Any) -> Any:
    """Input of which an operation sums over the places."""
    return node.input(1 if node.get_type_name() == "MatMul" else 0)


PLACES: Final[Mapping[Any, tuple[int, ...] | None]] = {(4, (2, 3)): None, (3, (1,)): (0, -1, 1), (3, (2,)): (0, 1, -1)}
"""See `Statistic.places`, by a value's rank and the axes that its places are on."""


def constant_of(value: Any) -> Any:
    """A constant behind conversions and other shapes, or None."""
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return node.get_data()
    return constant_of(node.input_value(0)) if node.get_type_name() in ("Convert", "Reshape", "Unsqueeze") else None


def is_map(value: Any) -> bool:
    """Whether a value is a picture's map (1, C, h, w) as a network made it, which a reshaped one is not."""
    sides = [side.is_dynamic for side in value.get_partial_shape()]
    return sides == [False, False, True, True] and value.get_node().get_type_name() != "Reshape"


def measuring(data: bytes, source: str) -> Model | None:
    """Model whose outputs are the statistics of several crops together; None where a network takes none.

    It takes crops (N, 3, H, W), of a palette the rows, and how much each pixel counts, (N, 1, H, W).
    """
    made = load_model(data, source)
    found, counts = counted(made.model, source)
    results = []
    for statistic, shown in zip(found, counts, strict=True):
        targets = [*statistic.value.get_target_inputs()]
        total, count = weighed(statistic, shown)
        together = opset().divide(total, count).output(0)
        for target in targets:
            target.replace_source_output(together)
        results.append(together)
    made.model = finished(made.model, results, image=(-1, 3, -1, -1))
    return made if found else None


def sweeping(data: bytes, source: str, statistics: Sequence[Floats], shape: Sequence[int], turn: int) -> Model:
    """Model of windows of one `shape` whose outputs are their parts of the statistics of one round, see `Statistic`.

    It takes a window, of a palette the rows, and how much each pixel counts, (1, 1, H, W). Of each statistic of the
    round there are two outputs, a sum and a count, of which those of all windows are to be summed and divided. Inside,
    the network goes by `statistics`; so variances are about the means in those.
    """
    made = load_model(data, source)
    found, counts = counted(made.model, source)
    results: list[Any] = []
    for statistic, shown, known in zip(found, counts, statistics, strict=True):
        targets = [*statistic.value.get_target_inputs()]
        if statistic.round == turn:
            results += weighed(statistic, shown)
        for target in targets:
            target.replace_source_output(opset().constant(known).output(0))
    made.model = finished(made.model, results, image=shape, counts=(1, 1, *shape[2:]))
    return made


def counted(model: Any, source: str) -> tuple[list[Statistic], list[Any]]:
    """Ready a graph for several pictures at once: its statistics, and the counts of the places of each one's map.

    The graph has a new input, `counts` (N, 1, H, W), of the picture's pixels. Maps of one size have their counts once.
    """
    split_norms(model)
    found = taken(model, source)
    sizes = sizes_of(model, found)
    freed(model)
    counts = opset().parameter(openvino().PartialShape([-1, 1, -1, -1]), np.float32, name="counts")
    counts.output(0).set_names({"counts"})
    model.add_parameters([counts])
    shown = {size: sampled(counts, found[sizes.index(size)].sized) for size in sizes}  # by the first: none loops
    return found, [shown[size] for size in sizes]


def sizes_of(model: Any, found: Sequence[Statistic]) -> list[tuple[int, int]]:
    """Height and width of the map that each statistic is taken of, of a picture of 8 times `SIDE` pixels a side."""
    image = next(port.get_node() for port in model.inputs if "image" in port.get_names())
    was = image.get_partial_shape()
    image.set_partial_shape(openvino().PartialShape([1, 3, 8 * SIDE, 8 * SIDE]))
    model.validate_nodes_and_infer_types()  # which, unlike reshape, leaves the nodes that were found
    sizes = [(int(shape[2]), int(shape[3])) for shape in (each.sized.get_shape() for each in found)]
    image.set_partial_shape(was)
    model.validate_nodes_and_infer_types()
    return sizes


def finished(model: Any, results: Sequence[Any], **shapes: Sequence[int]) -> Any:
    """Model of other results, with inputs of other shapes by their names.

    Shapes come last, since giving them fuses operations: what was found of a graph before is no longer in it.
    """
    made = openvino().Model([opset().result(value) for value in results], model.get_parameters(), "statistics")
    ports = {port: next((shapes[name] for name in shapes if name in port.get_names()), None) for port in made.inputs}
    made.reshape({port: openvino().PartialShape([*shape]) for port, shape in ports.items() if shape})
    return made


def weighed(statistic: Statistic, shown: Any) -> tuple[Any, Any]:
    """A statistic's sum over all pictures whose places count as is `shown`, and what that is to be divided by."""
    ops, value, x = opset(), statistic.value, summed_by(statistic.node).get_source_output()
    if statistic.node.get_type_name() == "ReduceMean" and channels_of(x) == math.prod(value.get_shape()):
        flat = ops.reshape(x, np.array([0, 0, -1]), special_zero=True) if statistic.places is None else x
        every = ops.reshape(shown, np.array([0, -1, 1]), special_zero=True)
        sums = ops.matmul(flat, every, statistic.places == (0, -1, 1), False)  # without a copy of the map
        total = ops.reduce_sum(sums, np.array([0]), keep_dims=True)
        total = ops.reshape(total, np.array([*value.get_shape()]), special_zero=False)
        return total.output(0), ops.reduce_sum(shown, np.arange(4), keep_dims=False).output(0)
    shaped = shown if statistic.places is None else ops.reshape(shown, np.array(statistic.places), special_zero=True)
    summed_by(statistic.node).replace_source_output(ops.multiply(x, shaped).output(0))
    total = ops.reduce_mean(value, np.array([0]), keep_dims=True)
    return total.output(0), ops.reduce_mean(shown, np.arange(4), keep_dims=False).output(0)


def channels_of(value: Any) -> int:
    """Values at each place."""
    return math.prod(side.get_length() for side in value.get_partial_shape() if side.is_static)


def sampled(counts: Any, sized: Any) -> Any:
    """Counts (N, 1, H, W) at the places of a map: those of the pixel in the middle of each.

    In whole numbers, which no arithmetic rounds; a pixel of one window alone makes a place of no other's.
    """
    ops, made = opset(), counts
    for axis in (2, 3):
        have, want = (ops.gather(ops.shape_of(x), np.int64(axis), np.int64(0)) for x in (counts, sized))
        odd = ops.range(np.int64(1), ops.multiply(want, np.int64(2)), np.int64(2), "i64")
        at = ops.divide(ops.multiply(odd, have), ops.multiply(want, np.int64(2)))
        made = ops.gather(made, at, np.int64(axis))
    return made


def painting(
    data: bytes,
    source: str,
    statistics: Sequence[Floats],
    rows: Sequence[Floats],
    shape: Sequence[int],
    *,
    rounded: bool,
) -> Model:
    """Model of images of one `shape` whose statistics, in the order of `measuring`, and rows are constants.

    Where the arithmetic is `rounded` to fewer bits it has a second input, always 1, which its deviations are multiplied
    by: as constants they would be folded into the weights, and those, rounded otherwise than when they were measured,
    would shift maps by more than their deviations where a picture is smooth. The means become biases, which are exact.
    """
    ops, model = opset(), load_model(data, source)
    graph = model.model
    one = ops.parameter([], np.float32, name="one") if rounded else None
    if rounded:
        graph.add_parameters([one])
    split_norms(graph, one)
    for found, value in zip(taken(graph, source), statistics, strict=True):
        found.value.replace(ops.constant(value.reshape([*found.value.get_shape()])).output(0))
    for port in [port for port in graph.inputs if "style" in port.get_names()]:
        port.replace(ops.constant(rows[0]).output(0))
        graph.remove_parameter(port.get_node())
    graph.reshape({port: [*shape] for port in graph.inputs if "image" in port.get_names()})
    return model
