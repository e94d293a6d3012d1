"""Style files from networks, and networks back from style files.

The exported graph is the network itself after exact rewrites (networks/rewrite.py), its weights stored as float16. A
file is only written when OpenVINO, reading it, paints what PyTorch paints.
"""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.func import functional_call

from impasto.config import StyleNetArgs, TransformerArgs
from impasto.errors import StyleError
from impasto.files import atomic_write
from impasto.networks.own import OwnWeights, shared
from impasto.networks.rewrite import for_inference, undone
from impasto.networks.stylenet import StyleNet
from impasto.networks.transformer import TransformerNet
from impasto.networks.upscaler import UpscalerNet
from impasto.runtimes import OpenVINORuntime
from impasto.specs import KEY, StyleSpec
from impasto.styles import ADDED, OWN, parse_style
from impasto.upscalers import UPSCALER_KEY, UpscalerSpec, parse_upscaler

Network = StyleNet | TransformerNet
OPSET = 18
TOLERANCE = 0.5 / 255
"""Largest mean difference, of 1, of OpenVINO's and PyTorch's float32 outputs that is let through."""
PROBE = (84, 100)
"""Height and width of the image on which they are compared, unless the network needs a larger one."""


class StyleGraph(nn.Module):
    """A network as its style file has it, with its output in [0, 1]."""

    def __init__(self, net: Network, spec: StyleSpec) -> None:
        super().__init__()
        self.net = net
        owners = torch.from_numpy(spec.owners)
        self.own = OwnWeights(net, owners) if isinstance(net, StyleNet) and owners.shape[1] else None

    def forward(self, image: Tensor, style: Tensor | None = None) -> Tensor:
        """RGB (1, 3, H, W) in [0, 1], and of a palette the weights of its rows (K,) -> RGB the same."""
        inputs = (image,) if style is None else (image, style[None])
        if isinstance(self.net, StyleNet) and self.own and style is not None:
            return functional_call(self.net, self.own(self.net, style), inputs).clamp(0, 1)  # type: ignore[no-any-return]
        return self.net(*inputs).clamp(0, 1)  # type: ignore[no-any-return]

    def settle(self, shares: Tensor) -> None:
        """Have shares (A,) of the additions to the shared weights once and for all."""
        if isinstance(self.net, StyleNet) and self.own:
            self.net.load_state_dict(self.own.with_shares(self.net, shares), strict=False)
            self.own = None


class UpscalerGraph(nn.Module):
    """An upscaler's network as its file has it, with its output in [0, 1]."""

    def __init__(self, net: UpscalerNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """RGB (1, 3, H, W) in [0, 1] -> RGB (1, 3, scale H, scale W)."""
        return self.net(image).clamp(0, 1)  # type: ignore[no-any-return]


def export_style(
    net: Network, path: Path, spec: StyleSpec, *, added: Tensor | None = None, tolerance: float = TOLERANCE
) -> None:
    """Write a network as a style file, whole or not at all.

    Weights are stored as float16 where that moves the output by less than `tolerance` (mean difference, of 1), else as
    float32. `added`: what `spec` has of weights of single styles, see `OwnWeights.added`.

    Raises:
        StyleError: OpenVINO does not paint what PyTorch paints, or the file cannot be written.

    """
    graph, probe = StyleGraph(for_inference(net).cpu().float(), spec), probe_for(spec)
    if graph.own and added is not None:
        graph.own.added.copy_(added)
    data = packed(graph, to_onnx(graph, probe), probe, {KEY: spec.to_json()}, path, tolerance)
    parse_style(data, str(path))
    write_model(data, path)


def export_upscaler(net: UpscalerNet, path: Path, spec: UpscalerSpec, *, tolerance: float = TOLERANCE) -> None:
    """Write a network as an upscaler's file; see `export_style`, which it is like."""
    graph = UpscalerGraph(for_inference(net).cpu().float())
    probe = (torch.from_numpy(np.random.default_rng(0).random((1, 3, *PROBE), dtype=np.float32)),)
    size = torch.export.Dim.DYNAMIC
    model = traced(graph, probe, ("image",), ("upscaled",), ({2: size, 3: size},))
    data = packed(graph, model, probe, {UPSCALER_KEY: spec.to_json()}, path, tolerance)
    parse_upscaler(data, str(path))
    write_model(data, path)


def packed(
    graph: nn.Module,
    model: onnx.ModelProto,
    probe: tuple[Tensor, ...],
    properties: Mapping[str, str],
    path: Path,
    tolerance: float,
) -> bytes:
    """Bytes of a model with properties, its weights as float16 where they may be; StyleError as `export_style`."""
    model.producer_name = "impasto"
    helper.set_model_props(model, dict(properties))
    half = onnx.ModelProto.FromString(model.SerializeToString())
    store_half(half.graph)
    data: bytes = half.SerializeToString()
    if difference(graph, data, probe) > tolerance:
        data = model.SerializeToString()
    if not (moved := difference(graph, data, probe)) <= tolerance:
        moved *= 255
        raise StyleError(f"{path}: not written, since OpenVINO's output is {moved:.2f} of 255 from PyTorch's")
    return data


def write_model(data: bytes, path: Path) -> None:
    """Write a model's file, whole or not at all; raises StyleError."""
    try:
        with atomic_write(path) as stream:
            stream.write(data)
    except OSError as error:
        raise StyleError(f"{path}: cannot write the style file ({error.strerror})") from error


def make_spec(net: Network, **about: Any) -> StyleSpec:
    """Spec of a network, with what else there is to say: entries, recipe."""
    args, sizes = net.args, {}
    if isinstance(args, StyleNetArgs):
        multiple = 2 ** len(args.widths)
        sizes = {"multiple": multiple, "min_size": 2 * multiple}
    elif args.padding == "start":
        sizes = {"min_size": 8 * args.blocks + 4}
    return StyleSpec(architecture=type(net).__name__, arguments=dataclasses.asdict(args), **sizes | about)


def make_network(spec: StyleSpec) -> Network:
    """Network of a spec, untrained; raises TypeError or ValueError where its description is of none."""
    if spec.architecture == "StyleNet":
        return StyleNet(StyleNetArgs(**{**spec.arguments, "widths": tuple(spec.arguments["widths"])}), rows=spec.rows)
    return TransformerNet(TransformerArgs(**spec.arguments))


def probe_for(spec: StyleSpec) -> tuple[Tensor, ...]:
    """Image (1, 3, H, W), the same every time, large enough for the network, and weights of a palette's rows."""
    rng = np.random.default_rng(0)
    height, width = (-(-max(side, spec.min_size + 4) // spec.multiple) * spec.multiple for side in PROBE)
    image = torch.from_numpy(rng.random((1, 3, height, width), dtype=np.float32))
    rows = rng.random(spec.rows, dtype=np.float32) + 0.1  # of every row some
    return (image, torch.from_numpy(rows / rows.sum())) if spec.rows else (image,)


def to_onnx(net: nn.Module, probe: tuple[Tensor, ...]) -> onnx.ModelProto:
    """ONNX graph of a network for images of any size, and of a palette for weights of as many rows as `probe` has."""
    size, count = torch.export.Dim.DYNAMIC, len(probe)
    model = traced(net, probe, ("image", "style")[:count], ("stylized",), ({2: size, 3: size}, None)[:count])
    if isinstance(net, StyleGraph) and net.own and isinstance(net.net, StyleNet):
        weights = {f"net.{name}" for name in shared(net.net)}
        for node in list(model.graph.node):
            if node.op_type == "Add" and node.input[0] in weights:
                rename(model.graph, node.output[0], node.input[0] + OWN)
    return model


def rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    """Call a value of a graph otherwise."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, other in enumerate(names):
                if other == name:
                    names[place] = new


def traced(
    net: nn.Module, probe: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], shapes: Any
) -> onnx.ModelProto:
    """ONNX graph of a network whose inputs are like `probe`, but for the sizes that `shapes` has as dynamic."""
    with quiet():
        program = torch.onnx.export(
            net,
            probe,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise StyleError("PyTorch made no ONNX graph of the network")
    model = program.model_proto
    for node in model.graph.node:  # names of source files and lines, which are nobody's business
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's own warnings, about PyTorch's insides and torchvision, from the user."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def store_half(graph: onnx.GraphProto) -> None:
    """Store float32 weights as float16, widened by a Cast when the graph is loaded."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max(initial=0) >= np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def difference(net: nn.Module, data: bytes, probe: tuple[Tensor, ...]) -> float:
    """Mean difference of what OpenVINO, given a style file's bytes, and `net` paint in float32; of 1, or NaN."""
    with torch.inference_mode():
        expected = net(*probe).numpy()
    painted = OpenVINORuntime(data, precision="float32")(*(tensor.numpy() for tensor in probe))
    return float(np.abs(painted - expected).mean()) if painted.shape == expected.shape else float("nan")


def load_network(data: bytes) -> nn.Module:
    """Network of a style file's bytes, in PyTorch, for inference.

    Raises:
        StyleError: It is neither a style file nor an upscaler's, or its weights do not fit its description.

    """
    if UPSCALER_KEY in {prop.key for prop in onnx.load_model_from_string(data).metadata_props}:
        return UpscalerGraph(load_upscaler_network(data, "upscaler").eval().requires_grad_(False))
    spec = parse_style(data, "style")
    if "engine" in spec.recipe:
        from impasto.engines import load_frozen  # which imports this module

        with translated("style", spec.architecture):
            return load_frozen(spec, stored_weights(data))
    with translated("style", spec.architecture):
        graph, weights = StyleGraph(for_inference(make_network(spec)), spec), stored_weights(data)
        if ADDED not in weights:  # it is in the weights already
            graph.own = None
        fill(graph, weights, "style", spec.architecture)
    return graph


def load_trainable(data: bytes, source: str, own: int = 0) -> Network:
    """Network of a style file's bytes as it was before its rewrites, to be trained further.

    `own`: of a palette, with which of the additions to its shared weights.

    Raises:
        StyleError: It is not a style file, or its weights do not fit its description.

    """
    spec = parse_style(data, source)
    with translated(source, spec.architecture):
        net = make_network(spec)
        weights = stored_weights(data)
        if own:
            graph = StyleGraph(for_inference(net), spec)
            fill(graph, weights, source, spec.architecture)
            graph.settle(torch.eye(len(spec.owners.T))[own - 1])
            weights |= graph.state_dict()
        weights = {name.removeprefix("net."): value for name, value in weights.items()}
        fill(net, weights | undone(net, weights), source, spec.architecture)
    return net


def load_upscaler_network(data: bytes, source: str) -> UpscalerNet:
    """Network of an upscaler's bytes, in PyTorch.

    Raises:
        StyleError: It is not an upscaler's file, or its weights do not fit its description.

    """
    net = UpscalerNet(parse_upscaler(data, source).arguments)
    weights = {name.removeprefix("net."): value for name, value in stored_weights(data).items()}
    with translated(source, "UpscalerNet"):
        fill(net, weights, source, "UpscalerNet")
    return net


def stored_weights(data: bytes) -> dict[str, Tensor]:
    """Weights of a style file's bytes by name, as float32."""
    return {
        tensor.name.removesuffix(".half").removesuffix(OWN): torch.from_numpy(
            numpy_helper.to_array(tensor).copy()
        ).float()
        for tensor in onnx.load_model_from_string(data).graph.initializer
    }


@contextlib.contextmanager
def translated(source: str, kind: str) -> Iterator[None]:
    """Turn what PyTorch raises over weights that do not fit into a StyleError."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StyleError(f"{source}: its weights do not fit a {kind} ({error})") from error


def fill(net: nn.Module, weights: Mapping[str, Tensor], source: str, kind: str) -> None:
    """Load weights by name; raises StyleError where there are none for a part of the network."""
    missing = net.load_state_dict(weights, strict=False).missing_keys
    if missing := [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise StyleError(f"{source}: its graph has no weights {', '.join(missing[:3])} of a {kind}")
