"""How much colours pump: what their means do along the motion, of frames that are painted in several ways.

A normalisation takes its means and variances of the frame, so something bright that comes in could move the colours of
all that stays. Whether it does, and whether means over several frames would do better, is measured by networks whose
statistics are led: a share of the frame's own, the rest of those before.
"""

import cv2
import numpy as np
import numpy.typing as npt

import impasto
from impasto import graphs
from impasto.flow import Motion, Steadier
from impasto.images import from_network, to_network
from impasto.runtimes import Model, OpenVINORuntime, load_model, openvino
from impasto.styles import Style

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
SHARES = {"led": 0.25, "held": 0.0}
"""Of a frame's own statistics: as --steady 0.75 leads pixels, and none after the first frame."""


def ways(frames: list[Pixels], style: Style, fresh: set[int]) -> dict[str, list[Pixels]]:
    """Frames painted each by itself and with statistics that are led, in float32, all of them steadied too.

    `fresh`: numbers of frames that are the first ones after a cut.
    """
    network = OpenVINORuntime(led(style), precision="float32")
    made = {"plain": [impasto.stylize(frame, style, precision="float32") for frame in frames]} | {
        way: with_statistics(network, frames, style, share, fresh) for way, share in SHARES.items()
    }
    changes = [*map(Motion(), frames)]
    for way, painted in [*made.items()]:
        steadier = Steadier()
        made[f"{way}, steady"] = [steadier(each, change) for each, change in zip(painted, changes, strict=True)]
    return made


def led(style: Style) -> Model:
    """A palette's network that takes statistics, and their own share, too; it gives those it painted with."""
    ops, made = graphs.opset(), load_model(style.data, style.source)
    graph = made.model
    graphs.split_norms(graph)
    share = ops.parameter([], np.float32, name="share")
    inputs, used = [share], []
    for number, statistic in enumerate(graphs.taken(graph, style.source)):
        targets = [*statistic.value.get_target_inputs()]
        before = ops.parameter(statistic.value.get_partial_shape(), np.float32, name=f"before{number}")
        mixed = ops.add(before, ops.multiply(share, ops.subtract(statistic.value, before))).output(0)
        for target in targets:
            target.replace_source_output(mixed)
        inputs.append(before)
        used.append(mixed)
    results = [*graph.get_results(), *map(ops.result, used)]
    made.model = openvino().Model(results, [*graph.get_parameters(), *inputs], "led")
    return made


def with_statistics(
    network: OpenVINORuntime, frames: list[Pixels], style: Style, share: float, fresh: set[int]
) -> list[Pixels]:
    """Frames painted one after another with statistics of which a share is their own, all of it in `fresh` ones."""
    shapes = [port.get_partial_shape() for port in network.request.model_inputs[3:]]
    before = [np.zeros([side.get_length() if side.is_static else 1 for side in shape], np.float32) for shape in shapes]
    rows = style.spec.mix(style.weights, size=max(frames[0].shape))
    painted = []
    for number, frame in enumerate(frames):
        own = share if number and number not in fresh else 1
        values = network.infer(to_network(frame), rows, np.array(own, np.float32), *before)
        painted.append(from_network(values[0]))
        before = [value.copy() for value in values[1:]]
    return painted


def entering(frame: Pixels, count: int) -> list[Pixels]:
    """A frame that stands still, into which a white disc of half its height moves from the left."""
    height, width = frame.shape[:2]
    found: list[Pixels] = []
    for number in range(count):
        place = (int((number / count * 0.75 - 0.25) * width), height // 2)
        shown = frame.copy()
        cv2.circle(shown, place, height // 4, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        found.append(shown)
    return found
