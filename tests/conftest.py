"""Styles to test with: one that inverts, so that results are known to the bit, and a tiny network, exported once."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

from impasto import paintings, upscalers
from impasto.export import Network, export_style, make_spec
from impasto.networks.stylenet import StyleNet, tables
from impasto.networks.transformer import TransformerNet
from impasto.networks.vgg import conv_names
from impasto.paintings import ENGINE_KEY
from impasto.specs import KEY, StyleEntry, StyleSpec
from impasto.upscaler_config import UpscalerArgs
from impasto.upscalers import UPSCALER_KEY, UpscalerSpec

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


COLORS = {"red": ((200, 0, 0), (220, 40, 0), (240, 80, 0)), "blue": ((0, 0, 150), (0, 60, 170), (0, 120, 190))}
"""Of the styles of the palette `colors`, one for each of its stroke sizes."""
STROKES = (100, 200, 400)


def colors_model(**about: object) -> onnx.ModelProto:
    """Palette whose styles are plain colours: the photo by the weight of row 0, and colours by those of the others."""
    table = np.array([(0, 0, 0), *(color for colors in COLORS.values() for color in colors)], np.float32) / 255
    weights = [helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.flatten())]
    integers = {"zero": [0], "planes": [1, 3, 1, 1]}
    weights += [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in integers.items()]
    nodes = [
        helper.make_node("Gather", ["style", "zero"], ["share"]),
        helper.make_node("MatMul", ["style", "table"], ["color"]),
        helper.make_node("Reshape", ["color", "planes"], ["plane"]),
        helper.make_node("Mul", ["image", "share"], ["photo"]),
        helper.make_node("Add", ["photo", "plane"], ["stylized"]),
    ]
    shape = (1, 3, "h", "w")
    inputs = [("image", shape), ("style", (len(table),))]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entries = tuple(StyleEntry(name=name, title=name.title(), strokes=STROKES) for name in COLORS)
    spec = StyleSpec(architecture="Colors", arguments={}, **{"entries": entries} | about)  # type: ignore[arg-type]
    helper.set_model_props(model, {KEY: spec.to_json()})
    return model


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A palette of plain colours, red and blue, so that every mixture is known; called colors."""
    path = tmp_path_factory.mktemp("styles") / "colors.onnx"
    path.write_bytes(colors_model().SerializeToString())
    return path


def upscaler_model(
    scale: int = 2, *, spec: str | None = None, name: str = "upscaled", bias: float = 0.0
) -> onnx.ModelProto:
    """An upscaler whose large pixels are sums of 3x3 small ones, other ones by phase; it reaches 1 pixel of its 2."""
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.02, (3, scale**2, 3, 3, 3))
    weight[range(3), :, range(3), 1, 1] += 1
    values = {"weight": weight.reshape(-1, 3, 3, 3), "bias": np.full(3 * scale**2, bias)}
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()]
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["phases"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["phases"], ["free"], blocksize=scale, mode="CRD"),
        helper.make_node("Clip", ["free", "low", "high"], [name]),
    ]
    constants += [helper.make_tensor(k, TensorProto.FLOAT, [], [v]) for k, v in (("low", 0.0), ("high", 1.0))]
    shapes = {"image": (1, 3, "h", "w"), name: (1, 3, "H", "W")}
    ports = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()}
    graph = helper.make_graph(nodes, "upscaler", [ports["image"]], [ports[name]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    text = UpscalerSpec(arguments=UpscalerArgs(scale=scale, blocks=0)).to_json() if spec is None else spec  # type: ignore[arg-type]
    helper.set_model_props(model, {UPSCALER_KEY: text})
    return model


@pytest.fixture
def upscalers_zoo(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of built-in upscalers x2 and x4, in place of the package's."""
    folder = tmp_path_factory.mktemp("upscalers")
    for scale in (2, 4):
        (folder / f"x{scale}.onnx").write_bytes(upscaler_model(scale).SerializeToString())
    monkeypatch.setattr(upscalers, "upscalers_folder", lambda: folder)
    return folder


def color_engine() -> onnx.ModelProto:
    """Engine that paints a painting's mean colour, by the weights of its rows and the photo's."""
    integers = {"zero": [0], "one": [1], "end": [1 << 40], "planes": [1, 3, 1, 1]}
    weights = [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in integers.items()]
    nodes = [
        helper.make_node("Gather", ["style", "zero"], ["share"]),
        helper.make_node("Slice", ["style", "one", "end", "zero"], ["shares"]),
        helper.make_node("MatMul", ["shares", "mean1"], ["color"]),
        helper.make_node("Reshape", ["color", "planes"], ["plane"]),
        helper.make_node("Mul", ["image", "share"], ["photo"]),
        helper.make_node("Add", ["photo", "plane"], ["stylized"]),
    ]
    shape = (1, 3, "h", "w")
    inputs = [("image", shape), ("style", ("k",)), ("mean1", ("p", 3))]
    graph = helper.make_graph(
        nodes,
        "engine",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def color_statistics() -> onnx.ModelProto:
    """Network that takes the mean and covariance of a picture's own colours."""
    weights = [
        helper.make_tensor("places", TensorProto.INT64, [2], [3, -1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("size", TensorProto.INT64, [1], [3]),
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
    ]
    nodes = [
        helper.make_node("Reshape", ["image", "places"], ["colors"]),
        helper.make_node("ReduceMean", ["colors", "axis"], ["means"]),
        helper.make_node("Sub", ["colors", "means"], ["centered"]),
        helper.make_node("Transpose", ["centered"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["centered", "turned"], ["products"]),
        helper.make_node("Shape", ["turned"], ["sides"]),
        helper.make_node("Gather", ["sides", "first"], ["count"]),
        helper.make_node("Cast", ["count"], ["places_count"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["products", "places_count"], ["covariance1"]),
        helper.make_node("Reshape", ["means", "size"], ["mean1"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, "h", "w"))
    outputs = [("mean1", (3,)), ("covariance1", (3, 3))]
    graph = helper.make_graph(
        nodes,
        "statistics",
        [image],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def engines(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with engines adain and wct that paint a painting's mean colour, in place of the package's."""
    folder = tmp_path_factory.mktemp("engines")
    write_engines(folder)
    monkeypatch.setattr(paintings, "engines_folder", lambda: folder)
    return folder


def write_engines(folder: Path) -> None:
    """Write engines that paint a painting's mean colour."""
    (folder / "painting.onnx").write_bytes(color_statistics().SerializeToString())
    for name in ("adain", "wct"):
        model = color_engine()
        about: dict[str, object] = {
            "engine": name,
            "architecture": "Color",
            "arguments": {},
            "inputs": ["mean1"],
            "multiple": 8,
            "min_size": 16,
        }
        helper.set_model_props(model, {ENGINE_KEY: json.dumps(about | {"precision": "float32"})})
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def random_palette(names: tuple[str, ...], seed: int = 0, strokes: tuple[int, ...] = (64, 96)) -> StyleNet:
    """A small StyleNet with rows for styles, all its weights random."""
    torch.manual_seed(seed)
    net = StyleNet(widths=(4, 6), blocks=1, rows=1 + len(names) * len(strokes)).eval()
    for table in tables(net).values():
        torch.nn.init.normal_(table, 0.5, 0.3)
    return net


def palette_spec(net: Network, names: tuple[str, ...], strokes: tuple[int, ...] = (64, 96)) -> StyleSpec:
    return make_spec(net, entries=tuple(StyleEntry(name=name, strokes=strokes) for name in names))


@pytest.fixture(scope="session")
def palette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real palette of random weights, styles one and two; called palette."""
    names = ("one", "two")
    net = random_palette(names)
    path = tmp_path_factory.mktemp("styles") / "palette.onnx"
    export_style(net, path, palette_spec(net, names))
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


def picture(path: Path, height: int, width: int, seed: int) -> None:
    """Save blobs of colour, which look different at every place and scale."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)


def loss_network(path: Path, last: str, widths: tuple[int, ...] = (4, 6, 8), seed: int = 0) -> Path:
    """Save a narrow VGG-19 of noise, down to convolution `last`."""
    generator = torch.Generator().manual_seed(seed)
    state = {"normalize.weight": torch.eye(3)[:, :, None, None].contiguous(), "normalize.bias": torch.full((3,), -0.45)}
    inputs = 3
    for name in itertools.takewhile(lambda name: name <= last, conv_names("vgg19")):
        outputs = widths[int(name[0]) - 1]
        deviation = math.sqrt(2 / (9 * inputs))
        state[f"conv{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * deviation
        state[f"conv{name}.bias"] = torch.zeros(outputs)
        inputs = outputs
    save_file(state, path)
    return path


def write_checkpoint(path: Path) -> None:
    """Save a checkpoint with the names of pytorch/examples, of width 4 and one block."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, norm: str, *shape: int) -> None:
        state[f"{name}.conv2d.weight"] = torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5
        state[f"{name}.conv2d.bias"] = torch.zeros(shape[0])
        if norm:
            state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.ones(shape[0]), torch.zeros(shape[0])

    for i, (inputs, outputs, kernel) in enumerate([(3, 4, 9), (4, 8, 3), (8, 16, 3)], 1):
        add(f"conv{i}", f"in{i}", outputs, inputs, kernel, kernel)
    for i in (1, 2):
        add(f"res1.conv{i}", f"res1.in{i}", 16, 16, 3, 3)
    for i, (inputs, outputs) in enumerate([(16, 8), (8, 4)], 1):
        add(f"deconv{i}", f"in{i + 3}", outputs, inputs, 3, 3)
    add("deconv3", "", 3, 4, 9, 9)
    state["deconv3.conv2d.weight"] *= 40
    state["deconv3.conv2d.bias"] += 128
    torch.save(state, path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread: on small maps more are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that reflects at its beginning and pads no more, with transposed convolutions, as converted ones do."""
    torch.manual_seed(1)
    net = TransformerNet(width=4, blocks=2, padding="start", upsample="transposed").eval()
    path = tmp_path_factory.mktemp("styles") / "valid.onnx"
    export_style(net, path, make_spec(net, entries=(StyleEntry(name="valid"),)))
    return path


@pytest.fixture(scope="session")
def batch_norm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes nothing of the whole picture."""
    torch.manual_seed(2)
    net = TransformerNet(width=4, blocks=1, norm="batch").eval()
    torch.nn.init.constant_(net.output.bias, 0.5)  # type: ignore[arg-type]
    torch.nn.init.normal_(net.output.weight, 0, 0.05)
    path = tmp_path_factory.mktemp("styles") / "batch.onnx"
    export_style(net, path, make_spec(net, entries=(StyleEntry(name="batch"),)))
    return path
