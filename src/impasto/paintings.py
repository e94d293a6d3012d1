"""Any painting as a style: its statistics, put as rows into an engine's network, give a palette of that painting.

The engines and the network that takes the statistics are ONNX files of the package; PyTorch is not needed. All have
one encoder, whose weights are in the latter's file alone and are put into an engine with the statistics.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from impasto import protobuf
from impasto.choices import ENGINES
from impasto.errors import StyleError
from impasto.files import atomic_write, stamp
from impasto.hidden import read_shown
from impasto.images import Floats, Pixels, resize, to_network
from impasto.runtimes import OpenVINORuntime, load_model
from impasto.specs import KEY, StyleEntry, StyleSpec
from impasto.styles import Style, is_name, zoo

ENGINE_KEY: Final = "impasto_engine"
"""Metadata property of an engine's file."""
ABOUT: Final = ("engine", "architecture", "arguments", "inputs", "multiple", "min_size", "precision")
"""What that says."""
ENCODER: Final = "encoder"
"""And, where there are any, which inputs are weights of the encoder, with their names in the file of `STATISTICS`."""
SIZES: Final = (256, 512, 1024)
"""Long sides in pixels at which a painting's statistics are taken: the reach of its strokes."""
STATISTICS: Final = "painting.onnx"
"""File of the network that takes statistics."""
MULTIPLE, NARROWEST = 16, 32
"""What the sides of a painting are made multiples of, and the least of them, in pixels."""
LEAST = 1e-5
"""Deviation of features below which they are taken for flat."""

Statistics = Mapping[str, Floats]
"""By name and level, as ``mean4``: a painting's mean (P, C), deviation (P, C) and coloring (P, C, C)."""


def engines_folder() -> Path:
    """Folder of the engines' files."""
    return zoo() / "engines"


def available() -> list[str]:
    """Names of the engines that there are, best first."""
    if not (engines_folder() / STATISTICS).is_file():
        return []
    return [name for name in ENGINES if engine_file(name).is_file()]


def engine_file(name: str) -> Path:
    """File of an engine."""
    return engines_folder() / f"{name}.onnx"


def load_paintings(paintings: Mapping[Path, float], engine: str | None = None) -> Style:
    """Style of paintings by weight, as `styles.load_style` gives of theirs; a set of paintings is encoded once.

    `engine`: ``hourglass``, ``rows``, ``adain`` or ``wct``; the best that there is unless given.

    Raises:
        ValueError: There is no such engine, or the weights are all 0.
        StyleError: The engine is not in this installation.
        ImageError: A painting cannot be read.

    """
    if engine is not None and engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    there = available()
    if not there or (engine is not None and engine not in there):
        missing = f"engine {engine} is" if there else "engines that paint after any painting are"
        raise StyleError(
            f"{next(iter(paintings))}: a picture, not a style file, and the {missing} not in this installation; "
            "learn a style from it with impasto train, or paint with impasto optimize"
        )
    stamps = tuple((path.resolve(), stamp(path)) for path in paintings)
    style = cached(stamps, engine or there[0], stamp(engine_file(engine or there[0])))
    return style.choose(dict(zip(style.spec.names, paintings.values(), strict=True)))


def write_style(paintings: Sequence[str | Path], output: str | Path, engine: str | None = None) -> StyleSpec:
    """Write a style file that needs the paintings no more, whole or not at all; of several, a palette.

    Raises:
        ValueError: There are no paintings, or a painting comes twice, or there is no such engine, or the output does
            not end in .onnx.
        StyleError: A file is no picture, the engine is not in this installation, or the file cannot be written.
        ImageError: A painting cannot be read.

    """
    check_paths(paintings, output)
    files = [Path(painting) for painting in paintings]
    if not files or len({file.resolve() for file in files}) < len(files):
        raise ValueError(f"paintings are {', '.join(map(str, files)) or 'none'}; give some, and each only once")
    style = load_paintings(dict.fromkeys(files, 1.0), engine)
    try:
        with atomic_write(output) as stream:
            stream.write(style.data)
    except OSError as error:
        raise StyleError(f"{output}: cannot write the style file ({error.strerror})") from error
    return style.spec


def check_paths(paintings: Sequence[str | Path], output: str | Path) -> None:
    """Raise a ValueError for what are no pictures and a style file to write, in this order."""
    if not isinstance(paintings, (list, tuple)) or not all(isinstance(one, (str, Path)) for one in paintings):
        raise ValueError(f"paintings is {paintings!r}; it must be a list of pictures' paths, as ['painting.jpg']")
    if not isinstance(output, (str, Path)) or Path(output).suffix.lower() != ".onnx":
        raise ValueError(f"output is {output!r}; it must be the path of the style file to write, and end in .onnx")


@lru_cache(maxsize=8)
def cached(paintings: tuple[tuple[Path, tuple[int, ...]], ...], engine: str, _: tuple[int, ...]) -> Style:
    """Keep the last few sets of paintings, encoded and compiled; what has changed is encoded anew."""
    files = [path for path, _ in paintings]
    names = names_of(files)
    statistics = {name: measure(read_shown(path)) for name, path in zip(names, files, strict=True)}
    source = ", ".join(map(str, files))
    return engine_style(engine_file(engine).read_bytes(), statistics, source, tuple(files))


def names_of(files: Sequence[Path]) -> list[str]:
    """Names of styles after paintings' files, each another one."""
    names: list[str] = []
    for path in files:
        plain = re.sub(r"[^\w +-]", "_", path.stem).strip()
        first = plain if is_name(plain) else f"painting {plain}".strip()
        others = (f"{first} {number}" for number in range(2, len(files) + 2))
        names.append(next(name for name in (first, *others) if name not in names))
    return names


def engine_style(
    engine: bytes,
    statistics: Mapping[str, Statistics],
    source: str,
    files: tuple[Path, ...] = (),
    folder: Path | None = None,
) -> Style:
    """Style of paintings, whose statistics are given by name, from an engine's file; `folder` as of `measure`.

    Raises:
        StyleError: The bytes are no engine of this program, or the encoder's weights are not in its file.

    """
    about = describe_engine(engine, source)
    whole, network = complete(engine, about[ENCODER], (folder or engines_folder()) / STATISTICS)
    together = {key: np.concatenate([found[key] for found in statistics.values()]) for key in about["inputs"]}
    spec = StyleSpec(
        architecture=about["architecture"],
        arguments=about["arguments"],
        entries=tuple(StyleEntry(name=name, strokes=SIZES) for name in statistics),
        multiple=about["multiple"],
        min_size=about["min_size"],
        precision=about["precision"],
        recipe={"engine": about["engine"], "engine_sha256": sha256(engine), "statistics_sha256": sha256(network)},
    )
    spec.check()
    weights = dict.fromkeys(spec.names, 1 / len(spec.names))
    return Style(spec, freeze(whole, together, spec), source, weights, files=files)


def describe_engine(engine: bytes, source: str) -> dict[str, Any]:
    """What an engine's file says of itself; raises StyleError where it is none."""
    text = load_model(engine, source).describe(ENGINE_KEY)[0]
    try:
        about: dict[str, Any] = json.loads(text or "")
        about = {key: about[key] for key in ABOUT} | {ENCODER: dict(about.get(ENCODER, {}))}
    except (ValueError, KeyError, TypeError) as error:
        raise StyleError(f"{source}: its engine is not one of this program's; install impasto again") from error
    return about


def complete(engine: bytes, encoder: Mapping[str, str], file: Path) -> tuple[bytes, bytes]:
    """Engine's bytes with its encoder's weights, by `ENCODER` of that of the statistics; and that one's bytes.

    Raises:
        StyleError: The weights are not there.

    """
    try:
        network = file.read_bytes()
        weights = protobuf.constants_of(network, encoder)
    except (OSError, KeyError, ValueError) as error:
        raise StyleError(f"{file}: has no encoder for this engine; install impasto again") from error
    return protobuf.without_inputs(engine, encoder) + weights, network


def sha256(data: bytes) -> str:
    """Hash as `sha256sum` tells it."""
    return hashlib.sha256(data).hexdigest()


def freeze(engine: bytes, statistics: Statistics, spec: StyleSpec) -> bytes:
    """Style file of an engine's network and the statistics of a spec's rows, as its constants."""
    kept = protobuf.without_inputs(engine, {"style", *statistics}, ENGINE_KEY)
    return kept + protobuf.model(inputs={"style": (spec.rows,)}, constants=statistics, properties={KEY: spec.to_json()})


def measure(painting: Pixels, folder: Path | None = None) -> Statistics:
    """Statistics of a painting, uint8 (H, W, 3), at `SIZES`; `folder` has the network that takes them."""
    network = statistics_network((folder or engines_folder()) / STATISTICS)
    found = [one_size(painting, size, network) for size in SIZES]
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}


def one_size(painting: Pixels, size: int, network: OpenVINORuntime) -> Statistics:
    """Statistics of a painting whose long side is `size`."""
    scale = size / max(painting.shape[:2])
    height, width = (max(NARROWEST, round(side * scale / MULTIPLE) * MULTIPLE) for side in painting.shape[:2])
    with network.lock:
        outputs = [np.array(value) for value in network.infer(to_network(resize(painting, (height, width))))]
    made: dict[str, Floats] = {}
    for level, (mean, covariance) in enumerate(zip(outputs[::2], outputs[1::2], strict=True), 1):
        deviation, coloring = decompose(covariance.astype(np.float64))
        values = {"mean": mean, "deviation": deviation, "coloring": coloring}
        made |= {f"{kind}{level}": np.asarray(value, np.float32)[None] for kind, value in values.items()}
    return made


def decompose(covariance: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """Deviations (C,) and coloring (C, C) of a covariance; see `statistics.coloring`."""
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = 1 / np.maximum(deviation, LEAST)
    correlation = covariance * scale[:, None] * scale
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return deviation, deviation[:, None] * root


def taken(statistics: Statistics, inputs: Iterable[str]) -> Statistics:
    """Of a painting's statistics those that an engine takes."""
    return {key: statistics[key] for key in inputs}


@cache
def statistics_network(file: Path) -> OpenVINORuntime:
    """The network that takes statistics, in float32."""
    return OpenVINORuntime(file.read_bytes(), precision="float32")
