"""Styles to test with: one that inverts, so that results are known to the bit, and a tiny network, exported once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from impasto.export import export_style, make_spec
from impasto.networks.transformer import TransformerNet
from impasto.styles import KEY, StyleEntry, StyleSpec

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int | str, ...]


def invert_spec(name: str = "invert", **about: object) -> StyleSpec:
    return StyleSpec(architecture="Invert", arguments={}, entries=(StyleEntry(name=name),), **about)  # type: ignore[arg-type]


def invert_model(
    spec: StyleSpec | str | None,
    names: tuple[str, str] = ("image", "stylized"),
    shape: Shape = (1, 3, "h", "w"),
    extra: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """Return 1 - image as a model, for the given metadata, names of input and output, and shape.

    `extra` is a node at its end, followed by further inputs of that.
    """
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (names[0], *extra[1:])]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["one", names[0]], ["a negative" if extra else names[1]]),
            *([helper.make_node(extra[0], ["a negative", *extra[1:]], [names[1]])] if extra else []),
        ],
        "invert",
        inputs,
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, shape)],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if spec is not None:
        helper.set_model_props(model, {KEY: spec.to_json() if isinstance(spec, StyleSpec) else spec})
    return model


@pytest.fixture(scope="session")
def invert_bytes() -> bytes:
    """A style file that paints the negative, as bytes."""
    return bytes(invert_model(invert_spec()).SerializeToString())


@pytest.fixture(scope="session")
def invert(tmp_path_factory: pytest.TempPathFactory, invert_bytes: bytes) -> Path:
    """A style file that paints the negative; called invert."""
    path = tmp_path_factory.mktemp("styles") / "invert.onnx"
    path.write_bytes(invert_bytes)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real style file: an exported network of a few thousand random weights; called tiny."""
    torch.manual_seed(0)
    net = TransformerNet(width=4, blocks=1).eval()
    path = tmp_path_factory.mktemp("styles") / "tiny.onnx"
    export_style(net, path, make_spec(net, entries=(StyleEntry(name="tiny", title="Tiny"),)))
    return path


@pytest.fixture(scope="session")
def noise() -> Callable[..., Pixels]:
    """(height, width) -> a picture of seeded noise."""

    def make(height: int, width: int, seed: int = 0) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make
