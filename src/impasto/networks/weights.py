"""Loss-network weights from every file that people have them in, told apart by what the files hold.

| source | input its first layer expects | padding |
|---|---|---|
| ours, and the distilled small16x (`normalize`, `conv0`) | RGB in [0, 1]: the file normalises itself | reflect |
| torchvision (`features.0.weight`) | RGB in [0, 1], ImageNet's mean and deviation | zeros |
| Caffe (`conv1_1.weight`, or torchvision's names) | BGR in [0, 255], mean subtracted | zeros |
| MatConvNet (`.mat`) | RGB in [0, 255], the file's mean subtracted | zeros |

Each becomes a `VGG` that takes RGB in [0, 1]. Pickled objects are never loaded, only tensors.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from impasto.downloads import Asset, Progress, cache_dir, fetch
from impasto.errors import WeightsError
from impasto.networks.matlab import read_mat
from impasto.networks.vgg import CONVS, VGG, conv_names
from impasto.styles import zoo

COMPACT: Final = "vgg19-compact"
"""Name of the loss network that is in the package."""
Convention = Literal["auto", "torchvision", "caffe"]

ASSETS: Final = {
    "vgg16": Asset(
        name="vgg16-397923af.pth",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        size=553_433_881,
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "vgg19": Asset(
        name="vgg19-dcbb9e9d.pth",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        size=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
    "vgg19-small16x": Asset(
        name="vgg19-small16x.pth",
        url="https://raw.githubusercontent.com/MingSun-Tse/Collaborative-Distillation/master/"
        "trained_models/wct_se_16x_new/20191109-211322_E20.pth",
        size=3_862_288,
        sha256="9417c34d0d8d621bc6af78be745f1b8d30f5f210efa01e50655c60eb3770816b",
    ),
}
"""Loss networks that are downloaded by name."""
NAMES: Final = (COMPACT, *ASSETS)
"""All that there are by name."""

CAFFE_MEAN: Final = (103.939, 116.779, 123.68)
"""Mean subtracted by Simonyan and Zisserman, BGR in [0, 255]."""
OXFORD_KERNELS: Final = (
    (0.42947, 0.37347, -0.06136, 0.27477, 0.03868, -0.36722, -0.05747, -0.26225, -0.35010),
    (0.34120, 0.33999, -0.04484, 0.23216, 0.08978, -0.30331, -0.07261, -0.24668, -0.33683),
)
"""First kernel, blue, of Oxford's VGG-16 and VGG-19, row by row: the mark by which their weights are known."""
WIDEST: Final = 512
"""Channels of VGG's widest layers."""


def load_loss_network(
    source: str | Path,
    *,
    pooling: str = "max",
    convention: Convention = "auto",
    thin: bool = True,
    progress: Progress | None = None,
) -> VGG:
    """Load a loss network by name (one of `NAMES`; but for the first downloaded once), or from a file as above.

    `pooling`: ``max`` or ``avg``. `convention`: the input that a file without its own normalisation expects; ``auto``
    takes Oxford's weights (known by their first kernel) and files with Caffe's layer names as ``caffe``, others as
    ``torchvision``. `thin`: as of `VGG`.

    Raises:
        ValueError: `pooling` or `convention` is none of those.
        WeightsError: The download failed, or the file is missing, broken or no plain VGG-16 or VGG-19.

    """
    if convention not in get_args(Convention):
        raise ValueError(f"convention is {convention!r}; it must be one of {', '.join(get_args(Convention))}")
    path = locate(source, progress)
    tensors, padding = _read(path)
    architecture, state = _recognise(path, tensors)
    if "normalize.weight" not in state and _is_caffe(tensors, state, convention):
        state |= _normalize(torch.eye(3).flip(0), torch.tensor(CAFFE_MEAN))
    return VGG(architecture, state, pooling=pooling, padding=padding, thin=thin)


def locate(source: str | Path, progress: Progress | None = None) -> Path:
    """File of a source of weights: the package's own, a name's safetensors in the cache, or its download.

    Raises:
        WeightsError: There is no such name or file, or its download failed.

    """
    if source == COMPACT:
        return zoo() / f"{COMPACT}.safetensors"
    if isinstance(source, str) and source in ASSETS:
        converted = cache_dir() / f"{source}.safetensors"
        return converted if converted.is_file() else fetch(ASSETS[source], progress=progress)
    if not (path := Path(source)).is_file():
        raise WeightsError(f"there is no loss network {source}: it is neither a file nor one of {', '.join(NAMES)}")
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors under the file's own names, and the padding they want."""
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
        if head.startswith(b"MATLAB"):
            return _read_matconvnet(path), "zeros"
        tensors = _tensors(load_file(path) if head[8:] == b"{" else _unpickle(path))
    except Exception as error:  # over a broken file its parser may raise anything, assertions included
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}): it is broken or holds more than tensors; "
            "a state dictionary, safetensors or MatConvNet file of VGG-16 or VGG-19 is needed"
        ) from error
    return tensors, "reflect" if {"normalize.weight", "conv0.weight"} & tensors.keys() else "zeros"


def _unpickle(path: Path) -> Any:
    """Read what `torch.save` wrote, as long as it is plain containers of tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of foreign pickles before it refuses them
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(data: Any) -> dict[str, Tensor]:
    """Floating-point tensors by name, out of whatever wraps them."""
    for wrapper in ("model", "state_dict"):
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
    if not isinstance(data, Mapping):
        raise TypeError(f"a dictionary of tensors is needed, not {type(data).__name__}")
    return {str(key).removeprefix("module."): value for key, value in data.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    """Whether it is a dense tensor in memory, of real numbers."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return value.is_floating_point() and value.device.type == "cpu"


def _read_matconvnet(path: Path) -> dict[str, Tensor]:
    """Convolutions of a SimpleNN network, and `normalize` from its average image.

    Kernels are (H, W, in, out) as MATLAB's images are (H, W, C), and the first takes RGB: measured against Oxford's own
    first kernel (equal to 3e-8; with H and W swapped, as ports to TensorFlow do, off by 0.11).
    """
    net = read_mat(path)
    state: dict[str, Tensor] = {}
    for layer in net["layers"]:
        if layer["type"] == "conv":
            kernels, bias = layer["weights"]
            if kernels.ndim == 4 and layer["name"].startswith("conv"):
                state[f"{layer['name']}.weight"] = torch.tensor(kernels.transpose(3, 2, 0, 1).copy())
                state[f"{layer['name']}.bias"] = torch.tensor(bias.flatten())
    normalization = net["normalization"] if "normalization" in net else net["meta"]["normalization"]
    mean = torch.tensor(normalization["averageImage"].reshape(-1, 3).mean(0)).float()
    return state | _normalize(torch.eye(3), mean)


def _normalize(order: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """`normalize` from RGB in [0, 1] to channels by `order` (3, 3) in [0, 255], less `mean` (3,)."""
    return {"normalize.weight": 255.0 * order[:, :, None, None], "normalize.bias": -mean}


def _recognise(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Architecture, and the tensors under our names; what fits no architecture is refused with what is missing."""
    if any(key.endswith(".running_mean") for key in tensors):
        raise WeightsError(f"{path} is a VGG with batch normalisation; the plain one is needed, such as vgg16 or vgg19")
    states = {architecture: _renamed(tensors, architecture) for architecture in CONVS}
    problems = {architecture: _problems(state, architecture) for architecture, state in states.items()}
    best = min(CONVS, key=lambda architecture: len(problems[architecture]))
    if problems[best]:
        more = f" and {len(problems[best]) - 8} more" if len(problems[best]) > 8 else ""
        raise WeightsError(f"{path} does not fit {best}: {', '.join(problems[best][:8])}{more}")
    kinds = ("conv", "normalize", "project", "linear")
    return best, {key: x.float() for key, x in states[best].items() if key.startswith(kinds)}


def _renamed(tensors: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Give the tensors our layer names in place of torchvision's and the distilled network's."""
    names = {"conv0": "normalize"}
    index = 0
    for name in conv_names(architecture):
        index += name.endswith("_1") and name != "1_1"  # the pooling before it
        short = name.replace("_", "")
        names |= {
            f"features.{index}": f"conv{name}",
            f"conv{short}": f"conv{name}",
            f"conv{short}_aux": f"project{name}",
        }
        index += 2  # itself and its ReLU
    keys = {key: key.rpartition(".") for key in tensors}
    return {f"{names.get(layer, layer)}.{part}": tensors[key] for key, (layer, _, part) in keys.items()}


def _problems(state: Mapping[str, Tensor], architecture: str) -> list[str]:
    """Why `state` is not the architecture down to some layer; empty if it is."""
    names = conv_names(architecture)
    depth = max((i for i, name in enumerate(names, 1) if f"conv{name}.weight" in state), default=1)
    known = {f"{kind}{name}" for name in names[:depth] for kind in ("conv", "project", "linear")}
    layers = {key.rpartition(".")[0] for key in state}
    problems = [
        f"{x} has no place" for x in sorted(layers - known) if re.fullmatch(r"(conv|project|linear|features\.)\d\w*", x)
    ]
    width: int | None = 3
    if "normalize" in layers:
        problems += _layer_problems(state, "normalize", inputs=width, kernel=1)
    for name in names[:depth]:
        problems += _layer_problems(state, f"conv{name}", inputs=width, kernel=3)
        width = _outputs(state, f"conv{name}")
        for head in (f"project{name}", f"linear{name}"):
            if head in layers:
                problems += _layer_problems(state, head, inputs=width, kernel=1)
    return problems


def _outputs(state: Mapping[str, Tensor], layer: str) -> int | None:
    """Channels that a layer gives; None where its weight is missing."""
    weight = state.get(f"{layer}.weight")
    return None if weight is None or weight.ndim == 0 else weight.shape[0]


def _layer_problems(state: Mapping[str, Tensor], layer: str, *, inputs: int | None, kernel: int) -> list[str]:
    """Say what a convolution's weight (N, inputs, kernel, kernel) and bias (N,) lack; inputs None may be any."""
    if missing := [key for part in ("weight", "bias") if (key := f"{layer}.{part}") not in state]:
        return [f"{key} is missing" for key in missing]
    weight, bias = tuple(state[f"{layer}.weight"].shape), tuple(state[f"{layer}.bias"].shape)
    if len(bias) != 1 or not 0 < bias[0] <= WIDEST:
        return [f"{layer}.bias is {bias}, not (1 to {WIDEST})"]
    wanted = (bias[0], weight[1] if inputs is None and len(weight) > 1 else inputs, kernel, kernel)
    return [] if weight == wanted else [f"{layer}.weight is {weight}, not {wanted}"]


def _is_caffe(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], convention: Convention) -> bool:
    """Whether a network without its own normalisation expects Caffe's input.

    The scale of the first layer does not tell: Oxford's kernels reach 0.5 although their input reaches 150.
    """
    if convention != "auto":
        return convention == "caffe"
    kernel = state["conv1_1.weight"][0, 0].flatten()
    oxford = any(F.cosine_similarity(kernel, torch.tensor(known), dim=0) > 0.99 for known in OXFORD_KERNELS)
    return oxford or not any(key.startswith("features.") for key in tensors)
