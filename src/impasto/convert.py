"""Checkpoints of other projects, read into a `TransformerNet` that gives the same pixels.

A project has a layout, the names of its layers, by which it is recognised, and a convention, the numbers that its
network takes for pixels. A convention is an affine map of each channel and an order of the channels, so it folds into
the first and the last convolution. That is exact because both pad by reflection, which repeats pixels and invents none;
a convolution that pads with zeros could not take in a mean, and no project that is understood here has one.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import safetensors.torch
import torch
from torch import Tensor

from impasto.choices import CONVENTIONS, Convention
from impasto.config import TransformerArgs
from impasto.errors import WeightsError
from impasto.export import export_style, make_spec
from impasto.networks.transformer import TransformerNet
from impasto.networks.vgg import MEAN, STD
from impasto.specs import StyleEntry

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "transformer")
"""Where training loops keep the weights beside their own state."""
PREFIX = re.compile(r"(?:module\.|_orig_mod\.)+")
"""What `DataParallel` and `torch.compile` put before every name."""
MAX_WIDTH, MAX_BLOCKS, USUAL_WIDTH, USUAL_BLOCKS = 512, 64, 32, 5
TOLERANCE = 0.1 / 255
"""Of `export_style`: a network that was converted keeps its pixels where float16 would move them by more."""
FAINT, HARSH = 4 / 255, 1000 / 255
"""Deviation of a test picture's painted pixels below and above which the convention is probably another."""


@dataclass(frozen=True)
class Converted:
    """A network read from another project's checkpoint."""

    net: TransformerNet
    """In evaluation mode, float32, on the CPU; RGB in [0, 1] in and out."""
    source: str
    """The project, in words."""
    convention: Convention
    """Pixels of the source network, now folded into the weights."""
    note: str = ""
    """What looks wrong with the pictures, if anything does; to be shown to the user."""


@dataclass(frozen=True)
class Layout:
    """Names that a project gives to the layers of a network of so many blocks."""

    source: str
    convention: Convention
    upsample: Literal["nearest", "transposed"]
    block: re.Pattern[str]
    """Matches the keys of residual blocks; its group is the number of the block."""
    first_block: int
    """Number of the first block."""
    layers: Callable[[int], list[tuple[str, str]]]
    """Blocks -> convolution and normalisation of each layer, in the order of the network; the last has no second."""
    deprecated: re.Pattern[str] | None = None
    """Matches keys that old checkpoints have and no version ever used."""


def convert(
    checkpoint: str | Path,
    output: str | Path,
    *,
    name: str | None = None,
    convention: Convention = "auto",
) -> Converted:
    """Write a style file that paints what a checkpoint's network paints; returns what was read.

    `name`: of the style, the output's stem unless given. `convention`: as of `load_checkpoint`.

    Raises:
        WeightsError: As of `load_checkpoint`.
        StyleError: The file cannot be written.
        ValueError: `convention` is unknown.

    """
    checkpoint, output = Path(checkpoint), Path(output)
    converted = load_checkpoint(checkpoint, convention=convention)
    spec = make_spec(
        converted.net,
        entries=(StyleEntry(name=name or output.stem),),
        recipe={"source": converted.source, "convention": converted.convention, "file": checkpoint.name},
    )
    export_style(converted.net, output, spec, tolerance=TOLERANCE)
    return converted


def load_checkpoint(path: Path, *, convention: Convention = "auto") -> Converted:
    """Read the state dictionary in `path`, a PyTorch or safetensors file, as a `TransformerNet` with the same pixels.

    The project is recognised from the keys, width and number of blocks from the shapes. Two things the keys cannot
    tell. One is pixels: a fork that kept the names and changed the numbers needs its `convention`; ``auto`` is the
    project's own. The other is a last tanh, which has no weights; `Converted.note` then says that pictures look wrong.

    Raises:
        WeightsError: The file is missing, broken or holds more than weights; or keys, shapes or values do not fit.
        ValueError: `convention` is unknown.

    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; it must be one of {', '.join(CONVENTIONS)}")
    state = read_state(path)
    layout = recognise(path, state)
    net = build(path, state, layout)
    pixels = layout.convention if convention == "auto" else convention
    fold(net, pixels)
    return Converted(net, layout.source, pixels, doubt(net, layout))


def read_state(path: Path) -> State:
    """Tensors by name, unwrapped, with nothing of the file executed; raises WeightsError."""
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's, about archives that it then refuses
            content = deserialise(stream, path)
            size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); give a checkpoint file") from error
    except Exception as error:  # broken and hostile pickles raise nearly anything
        raise WeightsError(
            f"{path}: is broken, no checkpoint, or more than plain weights, which are all that is loaded; save the"
            " network's state_dict() with torch.save or safetensors"
        ) from error
    state = unwrap(content)
    if state is None or sum(t.numel() * t.element_size() for t in state.values()) > size:
        raise WeightsError(f"{path}: holds no state dictionary (named tensors); save the network's state_dict()")
    return state


def deserialise(stream: BinaryIO, path: Path) -> Any:
    """Content of a safetensors file, which is told by its opening brace, or of a pickle of tensors and plain values."""
    head = stream.read(9)
    stream.seek(0)
    if head[8:] == b"{":
        return safetensors.torch.load_file(path)
    return torch.load(stream, map_location="cpu", weights_only=True)


def unwrap(content: Any) -> State | None:
    """State dictionary inside the dictionaries of a training loop, without common prefixes; None if there is none."""
    for _ in range(3):  # not endless: a pickle may contain itself
        if isinstance(content, Mapping):
            content = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        return None
    if not all(isinstance(k, str) and is_plain(v) for k, v in content.items()):
        return None
    if all(PREFIX.match(k) for k in content):
        return {PREFIX.sub("", k, count=1): v for k, v in content.items()}
    return dict(content)


def is_plain(value: Any) -> bool:
    """Whether `value` is a tensor of numbers in memory: not sparse, not quantised, not without its data."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu and not value.is_quantized


def johnson_layers(up: str, resize: str) -> Callable[[int], list[tuple[str, str]]]:
    """Names of pytorch/examples, where upsampling layer ``<up>1`` holds its convolution as `resize`."""

    def layers(blocks: int) -> list[tuple[str, str]]:
        return [
            *((f"conv{i}.conv2d", f"in{i}") for i in (1, 2, 3)),
            *((f"res{i}.conv{j}.conv2d", f"res{i}.in{j}") for i in range(1, blocks + 1) for j in (1, 2)),
            *((f"{up}{i}.{resize}", f"in{i + 3}") for i in (1, 2)),
            (f"{up}3.conv2d", ""),
        ]

    return layers


def sequential_layers(blocks: int) -> list[tuple[str, str]]:
    """Names of eriklindernoren, one numbered sequence."""
    residual = [f"model.{3 + i}.block.{j}" for i in range(blocks) for j in (0, 1)]
    plain = [f"model.{i}" for i in (0, 1, 2, *range(3 + blocks, 6 + blocks))]
    *layers, last = [*plain[:3], *residual, *plain[3:]]
    return [*((f"{layer}.block.1", f"{layer}.norm") for layer in layers), (f"{last}.block.1", "")]


def rrmina_layers(blocks: int) -> list[tuple[str, str]]:
    """Names of rrmina, three sequences that count activations too."""
    return [
        *((f"ConvBlock.{i}.conv_layer", f"ConvBlock.{i}.norm_layer") for i in (0, 2, 4)),
        *(
            (f"ResidualBlock.{i}.conv{j}.conv_layer", f"ResidualBlock.{i}.conv{j}.norm_layer")
            for i in range(blocks)
            for j in (1, 2)
        ),
        *((f"DeconvBlock.{i}.conv_transpose", f"DeconvBlock.{i}.norm_layer") for i in (0, 2)),
        ("DeconvBlock.4.conv_layer", ""),
    ]


EXAMPLES = Layout(
    source="pytorch/examples fast_neural_style",
    convention="rgb255",
    upsample="nearest",
    block=re.compile(r"res(\d{1,3})\."),
    first_block=1,
    layers=johnson_layers("deconv", "conv2d"),
    deprecated=re.compile(r"(?:res\d+\.)?in\d+\.running_(?:mean|var)"),
)
GORDIC = replace(
    EXAMPLES,
    source="gordicaleksa/pytorch-neural-style-johnson",
    convention="imagenet",
    layers=johnson_layers("up", "conv2d.conv2d"),
    deprecated=None,
)
GORDIC_FLAT = replace(GORDIC, layers=johnson_layers("up", "conv2d"))  # forks whose upsampling pads by itself
ERIK = Layout(
    source="eriklindernoren/Fast-Neural-Style-Transfer",
    convention="imagenet",
    upsample="nearest",
    block=re.compile(r"model\.(\d{1,3})\.block\.0\.block\."),
    first_block=3,
    layers=sequential_layers,
)
RRMINA = Layout(
    source="rrmina/fast-neural-style-pytorch",
    convention="bgr255",
    upsample="transposed",
    block=re.compile(r"ResidualBlock\.(\d{1,3})\."),
    first_block=0,
    layers=rrmina_layers,
)
LAYOUTS = (EXAMPLES, GORDIC, GORDIC_FLAT, ERIK, RRMINA)
UNDERSTOOD = "understood are " + ", ".join(dict.fromkeys(layout.source for layout in LAYOUTS))


def recognise(path: Path, state: State) -> Layout:
    """Layout with the most of its keys in `state`; raises WeightsError when there is none at all."""
    matches = [len(state.keys() & set(source_keys(layout, state).values())) for layout in LAYOUTS]
    if not any(matches):
        raise WeightsError(f"{path}: its keys ({shorten(state)}) are of no known project; {UNDERSTOOD}")
    return LAYOUTS[matches.index(max(matches))]


def source_keys(layout: Layout, state: State) -> dict[str, str]:
    """Keys of a `TransformerNet` -> the project's, for the number of blocks in `state`."""
    blocks = count_blocks(layout, state)
    ours = [
        *((f"encoder.{i}.conv", f"encoder.{i}.norm") for i in range(3)),
        *((f"residual.{i}.{j}.conv", f"residual.{i}.{j}.norm") for i in range(blocks) for j in ("first", "second")),
        *((f"decoder.{i}.conv", f"decoder.{i}.norm") for i in range(2)),
        ("output", ""),
    ]
    pairs = zip(sum(ours, ()), sum(layout.layers(blocks), ()), strict=True)
    return {f"{a}.{kind}": f"{b}.{kind}" for a, b in pairs if a for kind in ("weight", "bias")}


def count_blocks(layout: Layout, state: State) -> int:
    """Residual blocks up to the highest number among the keys; the usual five where there is none, to name them."""
    found = [int(match[1]) - layout.first_block + 1 for key in state if (match := layout.block.match(key))]
    return min(max(found), MAX_BLOCKS) if found else USUAL_BLOCKS


def build(path: Path, state: State, layout: Layout) -> TransformerNet:
    """Network with the weights of `state` as they are, in float32; raises WeightsError unless all fits exactly."""
    keys = source_keys(layout, state)
    refuse_preactivation(path, state, layout)
    first = state.get(keys["encoder.0.conv.weight"])
    width = min(max(first.shape[0], 1), MAX_WIDTH) if first is not None and first.dim() else USUAL_WIDTH
    args = TransformerArgs(width=width, blocks=count_blocks(layout, state), upsample=layout.upsample)
    with torch.device("meta"):  # no time for first weights, no random numbers drawn
        net = TransformerNet(args)
    expected = {keys[name]: tuple(value.shape) for name, value in net.state_dict().items()}
    check_fit(path, state, layout, expected)
    weights = {name: state[key].detach().to(torch.float32, copy=True) for name, key in keys.items()}
    if bad := [keys[name] for name, value in weights.items() if not value.isfinite().all()]:
        raise WeightsError(f"{path}: weights are not finite: {shorten(bad)}; take an earlier checkpoint")
    net.load_state_dict(weights, assign=True)
    return net.eval()


def refuse_preactivation(path: Path, state: State, layout: Layout) -> None:
    """Raise WeightsError for rrmina's TransformerNetworkV2, which differs from the first by the order of keys only.

    Its blocks normalise before they convolve, so they list the normalisation first; the layers before them do not.
    """
    order = {key: i for i, key in enumerate(state)}
    block, plain = ("ResidualBlock.0.conv1", "ConvBlock.0")
    names = [f"{layer}.{part}_layer.weight" for layer in (block, plain) for part in ("norm", "conv")]
    if layout is not RRMINA or not all(name in order for name in names):
        return
    block_norm, block_conv, plain_norm, plain_conv = (order[name] for name in names)
    if block_norm < block_conv and plain_conv < plain_norm:
        raise WeightsError(
            f"{path}: is a TransformerNetworkV2 of {RRMINA.source}, whose residual blocks normalise first; only its"
            " TransformerNetwork can be converted"
        )


def check_fit(path: Path, state: State, layout: Layout, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a WeightsError that lists every kind of difference between the keys and shapes of `state` and `expected`.

    Names are cut to a few of each kind.
    """
    ignored = [k for k in state if layout.deprecated and layout.deprecated.fullmatch(k)]
    shapes = {k: tuple(v.shape) for k, v in state.items() if k in expected}
    wrong = [
        f"{k} is {size_text(shape)}, not {size_text(expected[k])}"
        for k, shape in shapes.items()
        if shape != expected[k]
    ]
    whole = [k for k in shapes if not state[k].is_floating_point()]
    differences = {
        "missing": [k for k in expected if k not in state],
        "unexpected": [k for k in state if k not in expected and k not in ignored],
        "of the wrong shape": wrong,
        "of whole numbers": whole,
    }
    listed = [f"{len(names)} {kind} ({shorten(names)})" for kind, names in differences.items() if names]
    if listed:
        raise WeightsError(f"{path}: is nearest to {layout.source} but has keys {', '.join(listed)}; {UNDERSTOOD}")


def size_text(shape: Iterable[int]) -> str:
    """``(32, 3, 9, 9)`` -> ``32x3x9x9``."""
    return "x".join(map(str, shape)) or "a single number"


def shorten(names: Iterable[str]) -> str:
    """First three names, each printable, on one line and cut to a readable length."""
    names = list(names)
    shown = [(n if n.isprintable() else ascii(n)) for n in names[:3]]
    return ", ".join([*(n if len(n) <= 80 else f"{n[:77]}..." for n in shown), *(["..."] if len(names) > 3 else [])])


def channel_map(convention: Convention) -> tuple[list[int], Tensor, Tensor]:
    """Order of channels and, in that order, scale and shift (3,): a network's pixel is scale * rgb[order] + shift."""
    if convention == "imagenet":
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (MEAN, STD))
        return [0, 1, 2], 1 / std, -mean / std
    scale = torch.full((3,), 1.0 if convention == "rgb1" else 255.0, dtype=torch.float64)
    return [2, 1, 0] if convention == "bgr255" else [0, 1, 2], scale, torch.zeros_like(scale)


@torch.no_grad()
def fold(net: TransformerNet, convention: Convention) -> None:
    """Fold the convention into the outer convolutions of `net`, which then sees and paints RGB in [0, 1].

    With x = scale * rgb[order] + shift, w * x + b = (w scale) * rgb[order] + (b + sum(w shift)), and an output y is
    rgb[order] = (y - shift) / scale. The orders here are their own inverses. Worked in float64.
    """
    order, scale, shift = channel_map(convention)
    first: Any = net.encoder[0].conv
    weight = first.weight.double()  # (width, 3, 9, 9)
    first.bias.copy_(first.bias.double() + torch.einsum("ochw,c->o", weight, shift))
    first.weight.copy_((weight * scale[:, None, None])[:, order])
    last: Any = net.output
    last.bias.copy_(((last.bias.double() - shift) / scale)[order])
    last.weight.copy_((last.weight.double() / scale[:, None, None, None])[order])


@torch.inference_mode()
def doubt(net: TransformerNet, layout: Layout) -> str:
    """Why the convention may be another, judged by the contrast of a painted test picture; empty if it looks right."""
    ramp = torch.linspace(0, 1, 64)
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), (ramp + ramp[:, None]).frac()])
    contrast = float(net(picture[None]).std())
    if FAINT <= contrast <= HARSH:
        return ""
    tanh = " or a last tanh (TransformerNetworkTanh), which cannot be converted" if layout is RRMINA else ""
    return (
        f"a test picture comes out with a contrast of {255 * contrast:.2g} of 255: if pictures look wrong, the"
        f" checkpoint has other pixels than {layout.source}, so try another convention{tanh}"
    )
